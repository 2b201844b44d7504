"""A changed input never leaves a stale result: which jobs run again when a key or an entry of a registry changes.

Nothing is run. The jobs of a small study with a method of every kind are compared before and after each change, by what
Snakemake compares (tests/helpers/reruns.py). Edits of the code are tested in tests/unit/test_code_identity.py.
"""

import copy
import os
import random
import re

import pytest
import yaml
from configurations import REPOSITORY, merged
from designs import DISCLOSURE
from reruns import jobs_of, rerun, workflow_of

from fmri2img import study as study_module
from fmri2img.backbones.registry import Backbone
from fmri2img.errors import UserError
from fmri2img.schemas import prose_of
from fmri2img.study import Study

TRIED = 16  # keys, and a fifth as many entries of registries, drawn at random; all are tried with --cases 30
# Every report depends on the whole configuration, so it says what was configured.
REPORTS = {
    "make_tables", "make_figures", "make_similarity", "make_cards", "make_brain_maps", "make_page", "make_crate",
    "report_analyses", "bottleneck",
}  # fmt: skip
NOTHING = {"resources", "site"}  # on what jobs run, and where
# Keys, as a regular expression -> the rules whose jobs read them, and so run again or for the first time.
READERS = [
    (r"study|seeds|split|subjects|sessions|plugins|dataset|pools|encoder", None),  # nearly all
    (r"methods|retrieval_only|budgets.*|submissions|analyses|test_sets|compare_with|cluster_split.*", set()),
    (r"metrics", {"evaluate"}),
    (r"shards\.embed", {"embed_stimuli", "encode_latents", "embed_texts", "embed_local_features", "join_embeddings"}),
    (r"shards\.draw", {"draw", "join_predictions"}),
    (r"autoencoder|generator|generation\..*", {"draw"}),
    (r"captioner|caption_converter", {"caption", "caption_images", "make_prediction", "train_caption_converter"}),
    (r"refinement\..*", {"draw", "draw_light"}),
    (r"encoding\..*", {"fit_encoding", "import_encoding", "evaluate"}),
    (r"bottleneck\..*", None),
    (r"evaluation\.size", {"embed_test_images", "evaluate", "fit_encoding"}),
    (r"evaluation\.pixel_size|retrieval\..*", {"evaluate"}),
    (r"statistics\.resamples", {"fit_components"}),
    (r"statistics\.confidence", {"draw_encoding"}),
    (r"statistics\.permutations", {"evaluate"}),
    (r"nsd\.root", None),
    (r"nsd\.simulation\.subjects\.\w+\.sessions", None),
    (r"nsd\.simulation\..*", {"simulate_stimuli", "simulate_subj01", "simulate_subj02"}),
    (r"nsd\.bucket\..*", set()),
    (r"nsd\.betas\.(version|mask).*", {"mask_session", "prepare_recording"}),
    (r"nsd\.betas\..*", {"prepare_recording"}),
    (r"nsd\.shared982_sessions", {"make_splits"}),
    (r"\w+\.pretraining\..*", {"pretrain"}),
    (
        r"\w+\.low_level\.(image_size|augmentations)",
        {"encode_latents", "embed_local_features", "pretrain", "finetune"},
    ),
    (r"\w+\.(finetuning|losses|low_level|augmentation)(\..*)?", {"pretrain", "finetune"}),
    (r"takagi\.encoding\..*", {"compute_components", "fit_components", "draw_encoding"}),
]
EXACT = (r"\w+\.pretraining\..*", r"refinement\..*", r"evaluation\..*", r"generation\..*", r"nsd\.(betas|shared982).*")


@pytest.fixture(scope="module")
def small():
    config = merged("tiny.yaml") | {
        "study": "walk",
        "methods": [
            "mindeye2_blended", "mindeye2_unrefined", "mindvis", "mindeye1", "ferrante", "ridge", "takagi",
            "brain_diffuser", "ridge_shuffled_brain", "repeat_ceiling", "caption_ceiling", "true_tokens",
        ],
        "metrics": [
            "pixcorr", "identification_efficientnet_lite2", "retrieval_image", "caption_rougeL", "caption_clip_s_demo",
            "brain_correlation_visual_cortex",
        ],
        "analyses": "all",
        "budgets": {},
        "bottleneck": {"methods": ["ridge", "mindeye2_unrefined"], "directions": "ridge", "dimensions": [2]},
    }  # fmt: skip
    return Study(config).config


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("walk")
    for name in ("config", "resources"):
        (folder / name).symlink_to(REPOSITORY / name)
    return folder


@pytest.fixture(scope="module")
def graph(folder):
    return lambda config: jobs_of(workflow_of(config, folder, ("all", "bottleneck")))


@pytest.fixture(scope="module")
def before(small, graph):
    return graph(small)


def leaves(value, path=()):
    """Path and value of every key, and of the entries of lists of sections."""
    if isinstance(value, dict) and value:
        for key, inner in value.items():
            yield from leaves(inner, (*path, key))
    elif isinstance(value, list) and value and isinstance(value[0], dict):
        for number, inner in enumerate(value):
            yield from leaves(inner, (*path, number))
    else:
        yield path, value


def others(value):
    """Values of the same kind, one of which a key may take instead."""
    if isinstance(value, bool):
        return [not value]
    if isinstance(value, int):
        return [value + 1, value + 2, 2 * value, value - 1, value // 2, value + 32, 3 * value]
    if isinstance(value, float):
        return [value * 1.5, value / 2, value + 0.1]
    if isinstance(value, list):
        return [value[:-1], value[1:], *([*value, other] for last in value[-1:] for other in others(last))]
    words = [
        "demo_clip", "demo_text2img", "demo_unclip", "efficientnet_lite2", "random", "zeros", "b2", "all", "pooled",
        "local", "training_images", "test_batch", "none", "encoded", "cosine", "constant", "fp32", "bf16",
        "per_process", "nearest", "value", "clip", "residual_mlp", "shared982",
    ]  # fmt: skip
    return [*words, 1.5, 1, True] if value is None else [*words, f"{value}x"]


def changed(config, path):
    """The configuration with another value of a key that makes a valid study; None if none of `others` does."""
    for other in others(dict(leaves(config))[path]):
        found = copy.deepcopy(config)
        parent = found
        for part in path[:-1]:
            parent = parent[part]
        parent[path[-1]] = other
        try:
            if Study(copy.deepcopy(found)).config != config:
                return found
        except UserError:
            continue
    return None


def drawn(values, case, number):
    """This many of the values at random, or as many times more as --cases says."""
    return random.Random(case(0)).sample(values, min(len(values), number * (case(1) - case(0))))


def test_a_changed_key_reruns_the_jobs_that_read_it(small, graph, before, case):
    paths = [path for path, _ in leaves(small)]
    assert len(paths) > 350
    tried, wrong = 0, []
    for path in drawn(paths, case, TRIED):
        key, config = ".".join(map(str, path)), changed(small, path)
        if config is None or key in NOTHING:
            continue
        after, tried = graph(config), tried + 1
        found, reports = rerun(before, after), REPORTS & {job[0] for job in after}
        pattern, readers = next(((p, r) for p, r in READERS if re.fullmatch(p, key)), ("", None))
        wrong += [] if found >= reports else [f"{key} did not rerun {reports - found}"]
        rules = {job[0] for job in before}
        own = {twin if (twin := rule.removesuffix("_bottleneck")) in rules else rule for rule in found - REPORTS}
        wrong += [] if readers is None or own <= readers else [f"{key} reran {own - readers}"]
        wrong += [f"{key} did not rerun {readers - own}"] if pattern in EXACT and not readers <= own else []
    assert wrong == []
    assert tried > TRIED / 3


def test_the_machine_that_jobs_run_on_reruns_nothing(small, graph, before):
    assert rerun(before, graph(small | {"resources": "cluster"})) == set()


def test_a_decoder_behind_the_bottleneck_is_fitted_again_with_the_others(small, graph, before):
    config = copy.deepcopy(small)
    config["mindeye2"]["finetuning"]["training"]["epochs"] += 1
    config["ridge"]["folds"] += 1
    found = rerun(before, graph(config)) - REPORTS
    assert found == {f"{rule}{twin}" for rule in ("finetune", "fit_linear") for twin in ("", "_bottleneck")}


def registered(registry, names, monkeypatch, change):
    """Have studies read a registry in which these entries are changed."""
    function = {"backbones": "_backbones", "metrics": "read_metrics", "methods": "read_methods"}[registry]
    original = getattr(study_module, function)

    def read(*arguments):
        entries = copy.deepcopy(original(*arguments))
        for name in names:
            change(entries[name])
        return entries

    monkeypatch.setattr(study_module, function, read)


def test_a_changed_network_reruns_what_loads_it(small, graph, before, monkeypatch, case):
    study = Study(copy.deepcopy(small))
    used = [name for name in study.registries["backbones"] if any(f"'{name}'" in str(job) for job in before.values())]
    assert len(used) >= 8
    for name in drawn(used, case, TRIED // 5):
        files = set(Backbone(name, study.registries["backbones"][name]).inputs())
        loads = {job[0] for job, identity in before.items() if files & set(identity.inputs)}
        with monkeypatch.context() as patched:
            registered("backbones", [name], patched, lambda entry: entry.update(trained_on="others"))
            found = rerun(before, graph(small))
        assert found >= REPORTS | loads, f"{name}: {(REPORTS | loads) - found}"
        assert found - REPORTS <= {job[0] for job, identity in before.items() if name in str((job, identity))}, name


def test_a_changed_metric_or_method_reruns_what_it_defines(small, graph, before, monkeypatch, case):
    for name in drawn(small["metrics"], case, TRIED // 5):
        with monkeypatch.context() as patched:
            registered("metrics", [name], patched, lambda entry: entry.update(decimals=7))
            found = rerun(before, graph(small)) - REPORTS
        assert found in ({"evaluate"}, {"evaluate", "evaluate_bottleneck"}), name
    for name in drawn(small["methods"], case, TRIED // 5):
        with monkeypatch.context() as patched:
            registered("methods", [name], patched, lambda entry: entry.update(title="Another title"))
            assert rerun(before, graph(small)) == REPORTS, name


@pytest.mark.parametrize("registry", ["backbones", "metrics"])
def test_a_text_that_only_people_read_reruns_the_report_alone(small, graph, before, monkeypatch, registry):
    prose = prose_of(registry)
    assert {"note"} < prose
    names = Study(copy.deepcopy(small)).records[registry]
    registered(registry, names, monkeypatch, lambda entry: entry.update(dict.fromkeys(prose, "Another text")))
    assert rerun(before, graph(small)) == REPORTS


def test_a_changed_record_of_the_dataset_reaches_the_report(small, graph, before, monkeypatch):
    from fmri2img.datasets.dataset import DatasetRecord

    original = DatasetRecord.to_dict
    monkeypatch.setattr(DatasetRecord, "to_dict", lambda self: original(self) | {"title": "Another title"})
    assert rerun(before, graph(small)) == REPORTS


def test_a_submission_is_read_again_when_its_file_is_replaced_or_more_of_it_is_scored(small, graph, tmp_path):
    record = {"title": "Mine", "disclosure": DISCLOSURE, "predictions": [{"subject": ["subj01"], "images": "a.npy"}]}
    record["predictions"][0] |= {"sessions": ["all"], "seed": [0]}
    (tmp_path / "submission.yaml").write_text(yaml.safe_dump(record))
    (tmp_path / "a.npy").write_text("a")
    config = small | {"submissions": {"mine": {"path": str(tmp_path)}}, "methods": ["ridge"], "metrics": ["pixcorr"]}
    config |= {"analyses": [], "bottleneck": small["bottleneck"] | {"methods": ["ridge"]}}
    before = graph(config)
    (tmp_path / "a.npy").write_text("b")
    os.utime(tmp_path / "a.npy", (1, 1))  # older than all results
    assert rerun(before, graph(config)) == {"import_submission"}
    retrieval = graph(config | {"metrics": ["pixcorr", "retrieval_image"]})
    assert "import_submission" in rerun(graph(config), retrieval)


# Parameters that a function makes of input, output, threads or resources are not compared by Snakemake.
UNTRACKED = {
    "published": "a folder of input files",
    "script": "a path: `code` says what it does",
    "launch": "how many processes start: `processes` is compared",
    "gpus": "on what the job runs",
    "root": "where a download goes: the outputs lie there",
    "source": "where a file is downloaded from: it is the same one everywhere",
}


@pytest.mark.parametrize("changes", [{}, {"split": "cluster1"}], ids=["plain", "cluster"])
def test_snakemake_can_tell_every_change_of_a_parameter(small, folder, changes):
    """It compares the set of the values' representations, without their names, and leaves out what is not plain."""
    workflow = workflow_of(small | changes, folder, ("all", "bottleneck"))
    for job in workflow.dag.jobs:
        for name, value in job.rule.params._allitems():
            derived = callable(value) and job.rule._is_deriving_function(value)
            assert not derived or name in UNTRACKED, f"{job.rule.name}: {name}"
        assert all(
            isinstance(value, str | int | float | list | tuple | dict | None) for value in job.non_derived_params
        ), job
        numbers = [value for value in job.non_derived_params if type(value) in (int, float)]
        assert len(numbers) < 2, f"{job.rule.name}: two numbers could change places unnoticed; put them into one table"


def test_scripts_read_the_configuration_through_parameters():
    """What a script takes from the whole configuration is compared as `study`, the hash of all of it."""
    rules = "".join(path.read_text() for path in [*REPOSITORY.glob("workflow/rules/*.smk")])
    for script in REPOSITORY.glob("scripts/*.py"):
        if "Study(snakemake.config)" in script.read_text():
            blocks = [block for block in re.split(r"\n *rule ", rules) if f"scripts/{script.name}" in block]
            assert blocks and all("study=study.fingerprint" in block for block in blocks), script
