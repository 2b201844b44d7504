"""Snakemake's own graph of a study's jobs."""

import multiprocessing
import sys
from collections.abc import Callable, Iterable
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any, TypeVar

from fmri2img.errors import UserError
from fmri2img.paths import REPOSITORY

Read = TypeVar("Read")


def read_graph(
    configfiles: list[str], read: Callable[[Any], Read], targets: Iterable[str] = (), whole: bool = True
) -> Read:
    """`read` of Snakemake's workflow, whose `dag` holds all jobs, in a process of its own, which the workflow changes.

    configfiles: laid over config/config.yaml; read: a function of a module, whose result can be pickled; targets and
    whole: as `graph_of`. Raises UserError for a configuration that Snakemake refuses.
    """
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
        return pool.submit(_read_graph, configfiles, read, list(targets), whole).result()


def _read_graph(configfiles: list[str], read: Callable[[Any], Read], targets: list[str], whole: bool) -> Read:
    from snakemake.exceptions import WorkflowError

    try:
        return read(graph_of(targets, whole, configfiles=[Path(path).resolve() for path in configfiles]))
    except WorkflowError as error:
        raise UserError(str(error)) from None


def jobs_in_order(dag: Any) -> list[tuple[Any, list[int]]]:
    """Jobs that run something, each after those that it needs, with the places of these in the list."""
    ordered = [job for level in dag.toposorted() for job in sorted(level, key=_name) if not job.rule.norun]
    places = {job: place for place, job in enumerate(ordered)}
    return [(job, sorted(places[other] for other in dag.dependencies[job] if other in places)) for job in ordered]


def _name(job: Any) -> tuple:
    return job.rule.name, sorted(job.wildcards_dict.items())


def graph_of(targets: Iterable[str] = (), whole: bool = True, **configuration: Any) -> Any:
    """Snakemake's workflow with the graph of all jobs. It changes the process that it is in.

    targets: rules or files; none for the default. whole: whether all jobs are to run, whatever has been made.
    configuration: as snakemake.settings.types.ConfigSettings takes it.
    """
    from snakemake.api import SnakemakeApi
    from snakemake.settings import types
    from snakemake.settings.enums import Quietness
    from snakemake_interface_executor_plugins.registry import ExecutorPluginRegistry

    with SnakemakeApi(types.OutputSettings(quiet={Quietness.ALL})) as api:
        started = api.workflow(
            types.ResourceSettings(cores=sys.maxsize),
            config_settings=types.ConfigSettings(**configuration),
            snakefile=REPOSITORY / "Snakefile",
        )
        started.dag(types.DAGSettings(forceall=whole, targets=set(targets)))
        workflow = started._workflow
        workflow._executor_plugin = ExecutorPluginRegistry().get_plugin("dryrun")
        workflow.execution_settings = types.ExecutionSettings()
        workflow.group_settings = types.GroupSettings()
        workflow.remote_execution_settings = types.RemoteExecutionSettings()
        workflow.scheduling_settings = types.SchedulingSettings()
        workflow._prepare_dag(forceall=whole, ignore_incomplete=True, lock_warn_only=True, nolock=True)
        workflow._build_dag()
        return workflow
