"""What a job depends on follows from what its script imports: an edit reruns what uses it, prose reruns nothing."""

import shutil
import sys

import pytest

from fmri2img import code_identity, plugins
from fmri2img.code_identity import code_of
from fmri2img.generation.pipelines import pipelines
from fmri2img.paths import SCRIPTS
from fmri2img.plugins import register

TASK = "fmri2img.methods.mindeye2.task:MindEye2Task"
METRIC_MODULES = "fmri2img.metrics.evaluate_modules"


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    """Where all tests keep what they parsed; a changed file is parsed again."""
    return tmp_path_factory.mktemp("parsed") / "cache.json"


@pytest.fixture
def library(tmp_path, monkeypatch, cache):
    """A copy of scripts/ that may be edited; every hash is computed afresh."""
    shutil.copytree(SCRIPTS, tmp_path / "scripts", ignore=shutil.ignore_patterns("__pycache__"))
    monkeypatch.setattr(code_identity, "SCRIPTS", tmp_path / "scripts")
    monkeypatch.setattr(code_identity, "CACHE", cache)
    forget()
    yield tmp_path / "scripts"
    forget()


def forget():
    code_of.cache_clear()
    code_identity._sources.cache_clear()


def identities(library) -> dict[str, str]:
    """Hash of every script as its rule asks for it, and of the training of MindEye2."""
    forget()
    found = {path.stem: code_of(path.stem) for path in library.glob("*.py")}
    found["evaluate_predictions"] = code_of("evaluate_predictions", METRIC_MODULES)
    found["acquire"] = code_of(library / "fmri2img/datasets/nsd/scripts/acquire.py")
    found |= {f"draw {name}": code_of("draw", pipeline.function) for name, pipeline in pipelines().items()}
    return found | {"train MindEye2": code_of("train", TASK), "mask": code_of("fmri2img.datasets.nsd.betas")}


def changed_by(library, path, edit) -> set[str]:
    before = identities(library)
    file = library / "fmri2img" / path
    file.write_text(edit(file.read_text()))
    after = identities(library)
    return {name for name in before if before[name] != after[name]}


def with_statement(source: str) -> str:
    return f"{source}\n\nADDED = 1\n"


# module -> some jobs that must rerun when it changes, and some that must not
USES = {
    "artifacts/recording.py": ({"fit_linear", "decode", "make", "evaluate_predictions", "train MindEye2"}, {"draw"}),
    "artifacts/atomic.py": ({"draw", "fit_linear", "train MindEye2", "caption"}, {"mask"}),
    "datasets/transfer.py": ({"acquire"}, {"fit_linear", "draw", "train MindEye2", "evaluate_predictions"}),
    "backbones/generators.py": ({"draw unclip", "draw refine"}, {"draw", "fit_linear", "train MindEye2", "caption"}),
    "stats/bootstrap.py": (
        {"make_tables", "make_figures", "make_page"},
        {"evaluate_predictions", "fit_linear", "draw"},
    ),
    "linear/solver.py": (
        {"fit_linear", "learn_bottleneck"},
        {"train MindEye2", "draw", "evaluate_predictions", "train"},
    ),
    "generation/unclip.py": (
        {"draw unclip"},
        {"draw latents", "fit_linear", "train MindEye2", "caption", "make", "evaluate_predictions"},
    ),
    "encoding/model.py": ({"fit_encoding", "evaluate_predictions"}, {"fit_linear", "draw", "train MindEye2"}),
    "training/loop.py": ({"train", "train MindEye2"}, {"fit_linear", "decode", "draw", "evaluate_predictions"}),
    "metrics/pixels.py": ({"evaluate_predictions"}, {"fit_linear", "draw", "train MindEye2", "embed_test_images"}),
    "metrics/evaluate_modules/rouge/rouge.py": ({"evaluate_predictions"}, {"draw", "make_tables"}),
    "methods/mindeye2/losses.py": ({"train MindEye2"}, {"train", "fit_linear", "draw", "make", "evaluate_predictions"}),
    "methods/shuffled_brain/control.py": (set(), {"make", "draw", "fit_linear", "train MindEye2"}),
    "submissions/checks.py": ({"import_submission"}, {"train MindEye2", "fit_linear", "draw", "evaluate_predictions"}),
    "reporting/leaderboard.py": ({"make_tables"}, {"evaluate_predictions", "draw", "train MindEye2", "fit_linear"}),
}


@pytest.mark.parametrize("path", USES)
def test_an_edit_reruns_what_imports_the_module_and_nothing_else(library, path):
    rerun, kept = USES[path]
    changed = changed_by(library, path, with_statement)
    assert rerun <= changed
    assert not kept & changed


@pytest.mark.parametrize(
    "edit",
    [
        lambda source: f"# a remark\n{source}",
        lambda source: source.replace('"""', '"""Reworded: ', 1),
        lambda source: source.replace("\n\n\n", "\n\n\n\n"),
    ],
    ids=["comment", "docstring", "blank lines"],
)
def test_prose_reruns_nothing(library, edit):
    assert changed_by(library, "artifacts/recording.py", edit) == set()


def test_a_changed_function_body_counts(library):
    changed = changed_by(library, "metrics/pixels.py", lambda source: source.replace("def pixcorr", "def pixcorr_"))
    assert "evaluate_predictions" in changed


def test_a_function_named_at_run_time_counts_where_the_rule_names_it(library):
    function = "fmri2img.methods.shuffled_brain.control:shuffled_brain"
    before = code_of("make", function), code_of("make")
    file = library / "fmri2img/methods/shuffled_brain/control.py"
    file.write_text(with_statement(file.read_text()))
    forget()
    assert code_of("make", function) != before[0]
    assert code_of("make") == before[1]


def test_code_of_a_plug_in_counts_with_its_relative_imports(library, tmp_path, monkeypatch):
    monkeypatch.setattr(plugins, "OUTSIDE", {})
    monkeypatch.setattr(code_identity, "OUTSIDE", plugins.OUTSIDE)
    folder = tmp_path / "outside" / "my_decoder"
    folder.mkdir(parents=True)
    (folder / "method.yaml").write_text("title: Mine\n")
    (folder / "decode.py").write_text("from .helper import helped\n\ndef decode(given):\n    return helped()\n")
    (folder / "helper.py").write_text("def helped():\n    return 1\n")
    register(folder)
    try:
        name = "fmri2img.methods.my_decoder.decode:decode"
        before = code_of("make", name)
        (folder / "helper.py").write_text("def helped():\n    return 2\n")
        forget()
        assert code_of("make", name) != before
    finally:
        del sys.modules["fmri2img.methods.my_decoder"]


def test_a_module_that_does_not_exist_is_an_error(library):
    with pytest.raises(FileNotFoundError, match=r"no module 'fmri2img\.methods\.nobody\.task'"):
        code_of("train", "fmri2img.methods.nobody.task:Task")


def test_what_was_parsed_is_kept_between_runs(library):
    first = identities(library)
    assert code_identity.CACHE.is_file()
    code_identity.CACHE.write_text("damaged")
    assert identities(library) == first
