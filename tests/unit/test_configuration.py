"""The whole configuration: 300 ways to break it, its generated documents, and sections of plug-ins."""

import copy
import random
import subprocess
import sys

import pytest
import yaml

from fmri2img import plugins
from fmri2img.errors import UserError
from fmri2img.paths import REPOSITORY
from fmri2img.settings.configuration import read_configuration
from fmri2img.study import Study

DEMO = yaml.safe_load((REPOSITORY / "config" / "config.yaml").read_text())
WRONG = (
    None, True, -1, 0, 1, 2.5, 10**30, -(10**30), float("nan"), float("inf"), "", "x", "all", "demo_vae", "a\nb", [],
    [0], ["x", "x"], [[1]], {}, {"x": 1}, {1: 2}, [{}], [None],
)  # fmt: skip


def places(value, path=()):
    """Every key and list entry below a value, as a path."""
    for key, inner in value.items() if isinstance(value, dict) else enumerate(value):
        yield (*path, key)
        if isinstance(inner, dict | list):
            yield from places(inner, (*path, key))


def mutated(seed: int) -> tuple[dict, str]:
    """The demo configuration with one or two keys deleted, renamed, moved or replaced; and what was done."""
    chance, config, done = random.Random(seed), copy.deepcopy(DEMO), []
    for _ in range(chance.choice((1, 1, 2))):
        path = chance.choice(list(places(config)))
        parent = config
        for part in path[:-1]:
            parent = parent[part]
        key, how = path[-1], chance.choice(("delete", "rename", "replace", "replace", "replace", "wrap", "move"))
        done.append(f"{how} {path}")
        if how == "delete":
            del parent[key]
        elif how in ("rename", "move") and isinstance(parent, dict):
            name = key[:-1] + chance.choice("xyz_") if how == "rename" else key
            (config if how == "move" else parent)[name] = parent.pop(key)
        elif how == "wrap":
            parent[key] = [parent[key]]
        else:
            parent[key] = copy.deepcopy(chance.choice(WRONG))
            done[-1] += f" by {parent[key]!r}"
    return config, "; ".join(done)


@pytest.mark.parametrize("start", range(0, 300, 30))
def test_a_broken_configuration_is_a_valid_study_or_one_line_that_names_a_key(start):
    for seed in range(start, start + 30):
        config, done = mutated(seed)
        try:
            study = Study(config)
        except UserError as error:
            message = str(error)
            assert message.startswith(("configuration: key '", "configuration: keys '")), f"{done}: {message}"
            assert "\n" not in message and len(message) < 700, f"{done}: {message}"
        else:
            assert study.predictions() and Study(study.config).config == study.config, done


def test_most_mutations_break_the_configuration():
    def breaks(seed):
        try:
            read_configuration(mutated(seed)[0])
        except UserError:
            return True
        return False

    assert sum(map(breaks, range(100))) > 50


def test_a_study_has_every_default_and_is_itself_a_configuration():
    config = copy.deepcopy(DEMO)
    for key in ("mindeye2", "ridge", "statistics", "plugins", "test_sets"):
        del config[key]
    filled = read_configuration(config).to_dict()
    assert filled["mindeye2"]["model"]["hidden"] == 4096 and filled["mindeye2"]["low_level"] is None
    assert filled["ridge"]["folds"] == 5 and filled["statistics"]["confidence"] == 0.95
    assert filled["test_sets"] == "all" and filled["plugins"] == []
    assert read_configuration(filled).to_dict() == filled


def test_documents_agree_with_the_code():
    command = [sys.executable, "scripts/write_settings_docs.py", "--check"]
    run = subprocess.run(command, capture_output=True, text=True, cwd=REPOSITORY, env={"PYTHONPATH": "scripts"})
    assert run.returncode == 0, f"{run.stdout}{run.stderr}run python scripts/write_settings_docs.py"


def test_studies_are_valid_by_the_schema_for_editors():
    import json

    from jsonschema import Draft202012Validator

    validator = Draft202012Validator(json.loads((REPOSITORY / "config" / "schema.json").read_text()))
    studies = [path for path in (REPOSITORY / "config").glob("*.yaml") if "$schema=schema.json" in path.read_text()]
    assert {"config", "paper", "light", "released", "cluster", "rescore"} <= {path.stem for path in studies}
    for path in studies:
        config = yaml.safe_load(path.read_text())
        assert [error.message for error in validator.iter_errors(config)] == [], path
        config["sesions"] = [1]
        assert not validator.is_valid(config)


METHOD = """
title: Toy
kind: decoder
origin: port
sentence: Does nothing.
reference: None.
drawing: unclip
outputs: [retrieval]
varies_with: [subject]
"""
SETTINGS = '''
from pydantic import Field

from fmri2img.settings import base


class Settings(base.Settings):
    """A method from elsewhere."""

    depth: base.Positive = Field(3, description="How deep.")

    def check(self, study):
        if self.depth > 9:
            raise base.problem("toy_decoder.depth", f"{self.depth} is too deep; use 9")
'''


@pytest.fixture
def toy(tmp_path, monkeypatch):
    monkeypatch.setattr(plugins, "OUTSIDE", {})
    folder = tmp_path / "toy_decoder"
    folder.mkdir()
    (folder / "method.yaml").write_text(METHOD)
    (folder / "settings.py").write_text(SETTINGS)
    return folder


def test_a_plug_in_brings_its_own_section(toy):
    config = DEMO | {"plugins": [str(toy)]}
    assert read_configuration(config).to_dict()["toy_decoder"] == {"depth": 3}
    with pytest.raises(UserError, match=r"key 'toy_decoder\.depht': unknown; did you mean 'depth'\?"):
        read_configuration(config | {"toy_decoder": {"depht": 4}})
    with pytest.raises(UserError, match=r"key 'toy_decoder\.depth': 12 is too deep; use 9"):
        Study(config | {"toy_decoder": {"depth": 12}})


def test_sections_of_datasets_that_are_not_used_are_left_out(tmp_path, monkeypatch):
    monkeypatch.setattr(plugins, "OUTSIDE", {})
    folder = tmp_path / "toy_data"
    folder.mkdir()
    (folder / "dataset.yaml").write_text("title: Toy data\n")
    config = read_configuration(DEMO | {"plugins": [str(folder)], "dataset": "toy_data", "subjects": ["sub-03"]})
    assert "nsd" not in config.to_dict() and config.subjects == ["sub-03"]
