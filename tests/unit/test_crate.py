import hashlib
import json
import os
import re

import pytest

from fmri2img.artifacts.atomic import atomic_file
from fmri2img.errors import UserError
from fmri2img.reporting.crate import run_crate

CONFIG = {
    "study": "small", "subjects": ["subj01", "subj02"], "sessions": [1, "all"], "seeds": [0], "methods": ["ridge"],
    "metrics": ["pixcorr"], "split": "shared1000", "encoder": "clip", "generator": "unclip",
}  # fmt: skip
CITATION = {"version": "0.1.0", "authors": [{"name": "The contributors"}]}
WORKFLOW = ["workflow/Snakefile", "workflow/rules/train.smk"]
MADE = ["config.yaml", "page.html", "scores/ridge/subj 01.parquet", "predictions/ridge/subj01"]

RAN = {"versions": {"numpy": "2.4.6 (1 job: 2.5.5)"}, "started": "2023-11-14T22:00:00+00:00"}
MIT = {"name": "MIT License", "url": "https://spdx.org/licenses/MIT", "note": "Simulated."}
AGREEMENT = {"name": "NSD Data Sharing and Usage Agreement", "url": "https://naturalscenesdataset.org/", "note": ""}


@pytest.fixture
def crate(tmp_path):
    for number, path in enumerate([*WORKFLOW, *MADE[:3], f"{MADE[3]}/images.npy"]):
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_text(path)
        os.utime(tmp_path / path, (0, 1_700_000_000 + number))
    sources = {"nsd_expdesign.mat": "8" * 64}
    return run_crate(
        tmp_path, WORKFLOW, MADE, sources, CONFIG, CITATION, snakemake="9.27.1", simulated=True, licence=MIT, **RAN
    )


def by_id(crate):
    entities = {entity["@id"]: entity for entity in crate["@graph"]}
    assert len(entities) == len(crate["@graph"])
    return entities


def references(value):
    if isinstance(value, list):
        return [link for part in value for link in references(part)]
    return [value["@id"]] if isinstance(value, dict) else []


def test_every_reference_within_the_crate_leads_somewhere(crate):
    entities = by_id(crate)
    links = {link for entity in entities.values() for value in entity.values() for link in references(value)}
    assert {link for link in links if not link.startswith("http")} <= set(entities)
    assert json.loads(json.dumps(crate)) == crate


def test_the_run_names_workflow_inputs_and_results(crate):
    entities = by_id(crate)
    root, run = entities["./"], entities["#run"]
    assert references(root["mentions"]) == ["#run"] and references(run["instrument"]) == references(root["mainEntity"])
    main = entities[root["mainEntity"]["@id"]]
    assert main["@type"] == ["File", "SoftwareSourceCode", "ComputationalWorkflow"] and main["version"] == "0.1.0"
    assert entities[main["programmingLanguage"]["@id"]]["version"] == "9.27.1"
    assert {"config.yaml", "#value-sessions", "#source-nsd_expdesign.mat"} <= set(references(run["object"]))
    assert references(run["result"]) == ["page.html", "scores/ridge/subj%2001.parquet", "predictions/ridge/subj01/"]
    assert entities["#value-sessions"]["value"] == "1, all"
    assert entities["#parameter-sessions"]["workExample"] == {"@id": "#value-sessions"}
    assert "https://w3id.org/ro/wfrun/workflow/0.5" in references(root["conformsTo"])


def test_files_have_checksums_and_the_run_ends_with_the_last_of_them(crate):
    entities = by_id(crate)
    scores = entities["scores/ridge/subj%2001.parquet"]
    assert scores["sha256"] == hashlib.sha256(MADE[2].encode()).hexdigest() and scores["contentSize"] == str(
        len(MADE[2])
    )
    assert entities["predictions/ridge/subj01/"]["@type"] == "Dataset"
    assert (
        entities["#run"]["endTime"].endswith("+00:00")
        and entities["#run"]["endTime"] == entities["./"]["datePublished"]
    )


HOSTILE = '"><script>alert(1)</script>\n[x](javascript:alert(1)) ../../etc $(id) \u202e'


def test_hostile_names_stay_text_and_identifiers_stay_addresses(crate, tmp_path):
    config = CONFIG | {"study": HOSTILE, "subjects": [HOSTILE], "methods": [HOSTILE]}
    licence = {"name": HOSTILE, "url": "javascript:alert(1)", "note": HOSTILE}
    citation = {"version": HOSTILE, "authors": [{"name": HOSTILE}]}
    hostile = run_crate(
        tmp_path, WORKFLOW, MADE, {HOSTILE: "8" * 64}, config, citation, snakemake="9.27.1", simulated=False,
        licence=licence, versions={HOSTILE: HOSTILE}, failed=HOSTILE,
    )  # fmt: skip
    entities = by_id(json.loads(json.dumps(hostile)))
    assert len(entities) == len(by_id(crate))
    links = [link for entity in entities.values() for value in entity.values() for link in references(value)]
    for identifier in (*entities, *links):
        assert re.fullmatch(r"https?://\S+|[\w.#%/-]+", identifier)
    texts = [entity.get(key) for entity in entities.values() for key in ("name", "version", "value", "error")]
    assert texts.count(HOSTILE) == 9


def test_a_damaged_table_is_not_described_as_a_result(crate, tmp_path):
    with atomic_file(tmp_path / "page.html") as temporary:
        temporary.write_text("<p>whole</p>")
    (tmp_path / "page.html").write_text("<p>wh")
    with pytest.raises(UserError, match=r"page\.html: is damaged"):
        run_crate(tmp_path, WORKFLOW, MADE, {}, CONFIG, CITATION, "9.27.1", simulated=True, licence=MIT, versions={})


def test_real_data_are_under_the_agreement_they_came_with(crate, tmp_path):
    real = run_crate(
        tmp_path, WORKFLOW, MADE, {}, CONFIG, CITATION, snakemake="9.27.1", simulated=False, licence=AGREEMENT, **RAN
    )
    assert "MIT" in by_id(crate)["./"]["license"]["@id"]
    assert by_id(real)[by_id(real)["./"]["license"]["@id"]]["name"] == "NSD Data Sharing and Usage Agreement"


def test_the_crate_names_the_versions_of_the_jobs_and_what_failed(crate, tmp_path):
    entities = by_id(crate)
    main = entities[entities["./"]["mainEntity"]["@id"]]
    package = entities["#package-numpy"]
    assert references(main["softwareRequirements"]) == ["#package-numpy"]
    assert (package["@type"], package["version"]) == ("SoftwareApplication", "2.4.6 (1 job: 2.5.5)")
    run = entities["#run"]
    assert run["startTime"] < run["endTime"] and run["actionStatus"].endswith("CompletedActionStatus")
    assert "error" not in run
    part = run_crate(
        tmp_path, WORKFLOW, MADE, {}, CONFIG, CITATION, snakemake="9.27.1", simulated=True, licence=MIT, versions={},
        failed="Ridge (all): loss is nan",
    )  # fmt: skip
    run = by_id(part)["#run"]
    assert run["actionStatus"].endswith("FailedActionStatus") and run["error"] == "Ridge (all): loss is nan"
