"""How every script of a rule runs: output goes to the log, bad input is reported in one line, and the exit is fast.

A script defines `main(snakemake)` and ends with

    if __name__ == "__main__":
        job.run(main)

so it can be imported, and run by hand: each job leaves a record next to its log, <log>.json, with everything that
Snakemake gave it, and `python scripts/x.py <log>.json` repeats the job without Snakemake, printing to the terminal.
A second one, of `job_record`, tells where and with what it ran.
"""

import argparse
import atexit
import gc
import json
import logging
import os
import sys
import traceback
from collections.abc import Callable, Iterable
from pathlib import Path
from types import SimpleNamespace, TracebackType
from typing import Any, NoReturn

from fmri2img import integrity, job_record, known_errors, liveness, plugins
from fmri2img.devices import gpus_of, take_gpus
from fmri2img.errors import UserError

LISTS = ("input", "output", "log")
MAPS = ("params", "wildcards", "resources")


def run(main: Callable[[Any], None]) -> None:
    """Run a script's `main` with the job that Snakemake started it for, or with the record of an earlier one."""
    script = sys.modules["__main__"]
    snakemake = vars(script).get("snakemake")
    if snakemake is not None:
        start(snakemake)
        write_job(snakemake, Path(f"{snakemake.log[0]}.json"))
        take_gpus(gpus_of(snakemake.resources))
        enable_plugins(snakemake.config)
        try:
            main(snakemake)
        except SystemExit as ended:  # which reaches no excepthook: the job would pass for one that succeeded
            if ended.code:
                raise RuntimeError(f"the script ended with status {ended.code}") from None
        return
    parser = argparse.ArgumentParser(
        description=(script.__doc__ or "").strip(), formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "job", type=Path, help="record of a job that ran before, next to its log: logs/.../<job>.log.json"
    )
    path = parser.parse_args().job
    try:
        recorded = read_job(path)
        enable_plugins(recorded.config)
        main(recorded)
    except UserError as error:
        sys.exit(f"Error: {error}")


def start(snakemake: Any) -> None:
    """Redirect stdout and stderr to `snakemake.log[0]`. (Snakemake itself sets OMP_NUM_THREADS to the rule's threads.)

    After this a UserError, or an error of a library that a user can do something about, ends the job with one line in
    the log and on the terminal; and the process ends with `leave`, or when Snakemake is killed. An input file that is
    not as it was written is such an error.
    """
    liveness.follow()
    if not snakemake.resources.get("downloads"):
        stay_offline()
    # Importing diffusers creates millions of permanent objects, which the garbage collector would scan again and again.
    gc.set_threshold(100_000)
    terminal = sys.stderr
    log = open(snakemake.log[0], "w", buffering=1, encoding="utf-8")  # noqa: SIM115  (lives as long as the job)
    sys.stdout = sys.stderr = log
    job_record.began(snakemake.log[0])
    status = 0

    def report(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
        nonlocal status
        status = 1
        less = known_errors.less_memory(snakemake.config, snakemake.params)
        found = known_errors.reported(error, less)
        if found is None or found.again:
            traceback.print_exception(kind, error, trace, file=log)
        if found is not None:
            print(found, file=log)
            print(found, file=terminal)
        else:
            print(f"Error in rule {snakemake.rule}: {kind.__name__}: {error} (see {snakemake.log[0]})", file=terminal)

    def end() -> None:
        if status == 0:
            job_record.succeeded(snakemake.log[0])
        leave(status)

    sys.excepthook = report
    atexit.register(end)
    for path in getattr(snakemake, "input", ()):  # folders are compared where their files are opened
        integrity.check(path)


def start_download(log: str, rule: str) -> None:
    """`start` for a script that downloads, which a rule calls from `shell:`, so that it has no `snakemake` object."""
    start(SimpleNamespace(log=[log], threads=1, rule=rule, resources={"downloads": 1}, config={}, params={}))


def stay_offline() -> None:
    """Keep libraries off the internet: all networks are in models/, and on a node without internet a call to the hub
    takes minutes to fail."""
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    constants = sys.modules.get("huggingface_hub.constants")
    if constants is not None:  # imported before, and it reads the variable then
        vars(constants)["HF_HUB_OFFLINE"] = True


def enable_plugins(config: dict) -> None:
    """Make the methods and datasets of a study's `plugins` importable."""
    for folder in config.get("plugins", []):
        plugins.register(folder)


def progress(what: str, total: int) -> Callable[[int], None]:
    """A function that prints how many of `total` are done, for loops that report their count."""
    return lambda done: print(f"{done} of {total} {what}", flush=True)


def leave(status: int) -> NoReturn:
    """End the process at once, after closing its files.

    The normal exit of an interpreter that has loaded diffusers and transformers takes up to three seconds.
    """
    logging.shutdown()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)


class Items(list):
    """Files or values of a job, by position, by name, or by attribute, as Snakemake's own lists are."""

    def __init__(self, values: list, names: dict[str, Any]) -> None:
        super().__init__(values)
        self._names = names
        for name, value in names.items():
            setattr(self, name, value)

    def __getitem__(self, key: Any) -> Any:
        return self._names[key] if isinstance(key, str) else super().__getitem__(key)

    def get(self, name: str, default: Any = None) -> Any:
        return self._names.get(name, default)

    def keys(self) -> Iterable[str]:
        return self._names.keys()

    def items(self) -> Iterable[tuple[str, Any]]:
        return self._names.items()


def write_job(snakemake: Any, path: Path) -> None:
    """Record a job, so that it can be repeated by hand. Values that JSON does not know become text."""
    record: dict[str, Any] = {name: _items(getattr(snakemake, name)) for name in (*LISTS, *MAPS)}
    record |= {"threads": snakemake.threads, "rule": snakemake.rule, "config": snakemake.config}
    path.write_text(json.dumps(record, default=str, indent=1) + "\n", encoding="utf-8")


def _items(values: Any) -> dict[str, Any]:
    """{values: all of them, names: name -> one or several}"""
    named = dict(values.items()) if hasattr(values, "items") else {}
    plain = {
        name: list(map(str, value))
        if isinstance(value, list) and not isinstance(value, str) and _paths(value)
        else value
        for name, value in named.items()
    }
    return {"values": [value if not hasattr(value, "flags") else str(value) for value in values], "names": plain}


def _paths(values: list) -> bool:
    return all(hasattr(value, "flags") for value in values)


def read_job(path: Path) -> SimpleNamespace:
    """A job as `write_job` recorded it. Raises UserError when the file is not such a record."""
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
        lists = {name: Items(record[name]["values"], record[name]["names"]) for name in (*LISTS, *MAPS)}
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UserError(f"{path}: not the record of a job ({error}); give the .log.json next to a job's log") from None
    return SimpleNamespace(**lists, threads=record["threads"], rule=record["rule"], config=record["config"])
