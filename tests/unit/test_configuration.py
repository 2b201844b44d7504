"""The whole configuration: 2,000 ways to break it, bounds of keys, generated documents, sections of plug-ins."""

import copy
import functools
import random
import re
import subprocess
import sys

import pytest
import yaml
from configurations import changed

from fmri2img import plugins
from fmri2img.errors import UserError
from fmri2img.paths import REPOSITORY
from fmri2img.settings.checks import check_dimensions
from fmri2img.settings.configuration import configuration_of, read_configuration
from fmri2img.study import Study

DEMO = yaml.safe_load((REPOSITORY / "config" / "config.yaml").read_text())
WRONG = (
    None, True, -1, 0, 1, 2.5, 1e-300, 10**9, 1e9, 10**30, -(10**30), float("nan"), float("inf"), "", "x", "all",
    "demo_vae", "a\nb", "x" * 300, [], [0], [1, 1], [float("inf")], ["x", "x"], [[1]], {}, {"x": 1}, {1: 2}, [{}],
    [None],
)  # fmt: skip
MUTATIONS, CHUNKS = 2000, 20


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
        key, how = (
            path[-1],
            chance.choice(("delete", "rename", "replace", "replace", "replace", "wrap", "double", "move")),
        )
        done.append(f"{how} {path}")
        if how == "delete":
            del parent[key]
        elif how in ("rename", "move") and isinstance(parent, dict):
            name = key[:-1] + chance.choice("xyz_") if how == "rename" else key
            (config if how == "move" else parent)[name] = parent.pop(key)
        elif how == "wrap":
            parent[key] = [parent[key]]
        elif how == "double" and isinstance(parent[key], list):
            parent[key] = 2 * parent[key]
        else:
            parent[key] = copy.deepcopy(chance.choice(WRONG))
            done[-1] += f" by {parent[key]!r}"
    return config, "; ".join(done)


@pytest.mark.parametrize("chunk", range(CHUNKS))
def test_a_broken_configuration_is_a_valid_study_or_one_line_that_names_a_key(chunk, case):
    for seed in range(case(chunk * MUTATIONS // CHUNKS), case((chunk + 1) * MUTATIONS // CHUNKS)):
        config, done = mutated(seed)
        try:
            study = Study(config)
        except UserError as error:
            message = str(error)
            assert message.startswith(("configuration: key '", "configuration: keys '")), f"{done}: {message}"
            assert "\n" not in message and len(message) < 1100, f"{done}: {message}"
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


def declarations(section, where=""):
    """Dotted key -> JSON schema of each number and list below a section of the schema, and whether it is bounded."""
    definitions = schema_of_everything()["$defs"]
    for part in ("anyOf", "allOf", "oneOf"):
        for choice in section.get(part, []):
            yield from declarations(choice, where)
    if "$ref" in section:
        yield from declarations(definitions[section["$ref"].rpartition("/")[2]], where)
    if section.get("type") in ("integer", "number", "array"):
        yield where, section
    for name, inner in section.get("properties", {}).items():
        yield from declarations(inner, f"{where}.{name}")
    for inner in (section.get("items"), section.get("additionalProperties"), *section.get("prefixItems", [])):
        if isinstance(inner, dict):
            yield from declarations(inner, f"{where}[]")


@functools.cache
def schema_of_everything():
    return configuration_of(*plugins.folders("datasets")).model_json_schema()


def test_every_number_has_bounds_and_every_list_an_end():
    bounds = ({"minimum", "exclusiveMinimum"}, {"maximum", "exclusiveMaximum"})
    found = dict(declarations(schema_of_everything()))
    unbounded = [
        key
        for key, schema in found.items()
        if not (
            {"uniqueItems", "maxItems"} & set(schema)
            if schema["type"] == "array"
            else all(side & set(schema) for side in bounds)
        )
    ]
    assert len(found) > 300 and unbounded == []


@pytest.mark.parametrize("value", [float("nan"), float("inf"), 10**13, -1])
def test_no_number_takes_a_slip_of_the_keyboard(value):
    for path in places(DEMO):
        config = copy.deepcopy(DEMO)
        *parents, key = path
        parent = functools.reduce(lambda inside, part: inside[part], parents, config)
        if isinstance(parent[key], bool) or not isinstance(parent[key], int | float):
            continue
        parent[key] = value
        with pytest.raises(UserError, match=r"configuration: key '"):
            read_configuration(config)


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({"ridge__folds": 20, "sessions": ["3min", "all"]}, "key 'ridge.folds': 20 folds need as many training images"),
        ({"takagi__latent_size": 65}, "key 'takagi.latent_size': 65 is out of range; it must be a multiple of 8"),
        ({"brain_diffuser__latent_size": 64}, "demo_vdvae takes pictures of 32 pixels; set it to 32"),
        ({"mindeye2__low_level__image_size": 72}, "key 'mindeye2.low_level.image_size': 72: the 16 features"),
        ({"mindeye1__low_level__network__channels": [32] * 5}, "key 'mindeye1.low_level.image_size': 64: the 16 feat"),
        ({"brain_diffuser__regions": ["V9"]}, "key 'brain_diffuser.regions': dataset nsd has no region 'V9'"),
        ({"mindeye2__finetuning__training__deepspeed": "zero.json"}, "training.deepspeed': there is no file "),
        ({"nsd__simulation__trials_per_run": [1, 1]}, "key 'nsd.simulation.trials_per_run': [1, 1] leave about 2 test"),
        ({"study": "x" * 65}, "key 'study': "),
    ],
)
def test_what_would_fail_after_hours_is_refused_at_once(keys, message):
    with pytest.raises(UserError, match=re.escape(message)):
        Study(changed(**keys))


def test_a_bottleneck_wider_than_the_data_is_refused_where_it_is_run():
    with pytest.raises(UserError, match=r"key 'bottleneck\.dimensions': 50000 are more than 1920 trials of \d+ voxels"):
        check_dimensions(Study(changed(bottleneck__dimensions=[50_000])))
    check_dimensions(Study(DEMO))


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
