"""config/metrics.yaml: families of metrics, written out into the metrics that studies, tables and papers name."""

import json
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest
import yaml

from fmri2img.errors import UserError
from fmri2img.metrics.registry import read_metrics
from fmri2img.paths import REPOSITORY, SCRIPTS
from fmri2img.reporting.paper_tables import read_paper_layout
from fmri2img.schemas import check_schema

CONFIG = REPOSITORY / "config"
REGISTRY = read_metrics(CONFIG / "metrics.yaml")
FAMILY = {
    "names": "identification_{network}{ways}",
    "title": "{label} ({network})",
    "needs": "images",
    "function": "n_way_identification",
    "words": {"label": "Identification"},
    "note": "Of pictures. {more}",
    "reference": "none",
    "variants": {
        "ways": {
            "": {"parameters": {"ways": 2}, "words": {"more": ""}},
            "_10way": {"parameters": {"ways": 10}, "chance": 0.1, "words": {"more": "Ten of them.", "label": "10-way"}},
        },
        "network": {"clip": {"network": "clip_vit_l14", "layer": "pooled"}, "swav": {"network": "swav_resnet50"}},
    },
}


def read(folder: Path, **families: dict) -> dict[str, dict]:
    (folder / "metrics.yaml").write_text(yaml.safe_dump(families, sort_keys=False))
    return read_metrics(folder / "metrics.yaml")


def test_metrics_that_studies_tables_and_tests_use_are_what_they_were():
    """Name, title, definition and order of columns: what published tables and stored scores rest on."""
    known = pd.read_csv(Path(__file__).parents[1] / "fixtures" / "metrics.csv", dtype=str, keep_default_na=False)
    for row in known.itertuples():
        found = REGISTRY[row.name]
        assert (found["title"], found["needs"], found["function"]) == (row.title, row.needs, row.function), row.name
        assert found.get("parameters", {}) == json.loads(row.parameters), row.name
        assert (found["network"] or "", found["layer"] or "") == (row.network, row.layer), row.name
        assert found["range"] == json.loads(row.range), row.name
        assert found["higher_is_better"] == json.loads(row.higher_is_better), row.name
        assert ("" if found["chance"] is None else str(found["chance"])) == row.chance, row.name
        assert found.get("unit", "image") == row.unit, row.name
    named = _named_by_studies()
    in_studies = [name for name in REGISTRY if name in named]
    assert in_studies == [name for name in known["name"] if name in in_studies]


def _named_by_studies() -> set[str]:
    configs = (yaml.safe_load(path.read_text()) for path in CONFIG.glob("*.yaml"))
    lists = (config["metrics"] for config in configs if isinstance(config, dict) and "metrics" in config)
    return {name for names in lists for name in names}


def test_what_studies_and_paper_tables_name_is_registered():
    layouts = [read_paper_layout(path) for path in sorted((CONFIG / "paper_tables").glob("table*.yaml"))]
    named = _named_by_studies().union(*(layout["metrics"] for layout in layouts))
    assert len(named) > 30
    assert named <= set(REGISTRY), named - set(REGISTRY)


def test_texts_are_whole():
    for name, entry in REGISTRY.items():
        for text in ("title", "note", "reference", *(["warning"] if "warning" in entry else [])):
            assert entry[text] == " ".join(entry[text].split()) != "", (name, text)
            assert not set("{}") & set(entry[text]), (name, text)
    titles = [entry["title"] for entry in REGISTRY.values()]
    assert len(set(titles)) == len(titles)


def test_a_family_is_every_combination_the_first_axis_slowest(tmp_path):
    found = read(tmp_path, identification=FAMILY)
    names = ["identification_clip", "identification_swav", "identification_clip_10way", "identification_swav_10way"]
    assert list(found) == names
    assert found["identification_swav_10way"] == {
        "title": "10-way (swav)",
        "needs": "images",
        "function": "n_way_identification",
        "parameters": {"ways": 10},
        "network": "swav_resnet50",
        "layer": None,
        "range": [0, 1],
        "higher_is_better": True,
        "chance": 0.1,
        "note": "Of pictures. Ten of them.",
        "reference": "none",
    }
    assert found["identification_clip"]["title"] == "Identification (clip)"
    assert found["identification_clip"]["note"] == "Of pictures."
    assert found["identification_clip"]["chance"] is None
    check_schema(found, "metrics", "config/metrics.yaml")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"names": None}, "family 'identification': key 'names' is missing"),
        ({"names": "identification_{layer}"}, r"family 'identification': key 'names': the word '\{layer\}'"),
        ({"names": "identification_{ways}"}, "family 'identification': .*'identification_' already exists"),
        (
            {"title": "{labl} ({network})"},
            r"key 'title': the word '\{labl\}' is not defined; defined are label, more",
        ),
        ({"title": "{label"}, "key 'title': '{label' is not a text"),
        ({"variants": {"ways": ["", "_10way"]}}, "key 'variants.ways' is not a mapping"),
        ({"variants": ["ways"]}, "key 'variants' is not a mapping"),
        ({"words": "label"}, "key 'words' is not a mapping"),
    ],
)
def test_a_bad_family_is_named(change, message, tmp_path):
    with pytest.raises(UserError, match=message) as error:
        read(tmp_path, identification=FAMILY | change)
    assert "\n" not in str(error.value)


def test_a_field_that_does_not_exist_is_named_with_its_metric(tmp_path):
    found = read(tmp_path, identification=FAMILY | {"titel": "Identification"})
    with pytest.raises(UserError, match=r"unknown key 'identification_\w+\.titel'; did you mean 'title'"):
        check_schema(found, "metrics", "config/metrics.yaml")


def test_the_registry_is_read_without_heavy_libraries():
    program = (
        "import sys; from fmri2img.metrics.registry import read_metrics; read_metrics(sys.argv[1]); "
        "print(*({'torch', 'scipy', 'pandas', 'numpy'} & set(sys.modules)))"
    )
    command, env = [sys.executable, "-c", program, CONFIG / "metrics.yaml"], {"PYTHONPATH": str(SCRIPTS)}
    assert subprocess.run(command, env=env, check=True, capture_output=True, text=True).stdout == "\n"
