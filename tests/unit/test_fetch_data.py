"""`make data` says what is there, what is missing, whose form it needs and where to put it, before it fetches."""

import sys
from pathlib import Path

import pytest
import yaml

import fetch_data
from fmri2img.backbones.registry import Backbone
from fmri2img.datasets.inventory import DOWNLOADED, LINKED, PLACED, Source, announced
from fmri2img.datasets.nsd import layout
from fmri2img.errors import UserError

SMALL = {
    "methods": ["ridge"],
    "analyses": [],
    "bottleneck": {"methods": ["ridge"]},
    "metrics": ["pixcorr"],
    "budgets": {},
}
NSD = {"subjects": ["subj01"], "sessions": [1], "nsd": {"root": "data/nsd", "sessions": {"subj01": 2}}}


@pytest.fixture
def data(tmp_path, monkeypatch, capsys):
    """Status and output of `make data` in an empty directory, and the arguments of the Snakemake that would fetch."""
    monkeypatch.chdir(tmp_path)
    started = []
    monkeypatch.setattr("fmri2img.runs.snakemake", lambda arguments: started.append(arguments))
    monkeypatch.setattr("fmri2img.runs.status", lambda process: 0)

    def of(study: dict, *arguments: str) -> tuple[int, str, list]:
        Path("mine.yaml").write_text(yaml.safe_dump({"study": "mine"} | SMALL | study))
        monkeypatch.setattr(sys, "argv", ["fetch_data.py", *arguments, "mine.yaml"])
        status = fetch_data.main()
        return status, capsys.readouterr().out, started

    return of


def bucket(**keys) -> dict:
    nsd = NSD["nsd"] | {"source": "bucket", "bucket": keys}
    return NSD | {"nsd": nsd, "encoder": "openclip_bigg", "caption_converter": None, "captioner": "git_large_coco"}


def test_what_is_there_linked_and_fetched_is_listed_and_an_unsigned_form_fetches_nothing(data, tmp_path):
    copied, present = layout.betas("subj01", "b3", 2), layout.STIMULUS_INFO
    for folder, key in (("copy", copied), ("data/nsd", present)):
        (tmp_path / folder / key).parent.mkdir(parents=True)
        (tmp_path / folder / key).touch()
    status, printed, started = data(bucket(copy="copy"))
    assert status == 1 and not started and printed.rstrip().endswith("1 to do first; nothing was fetched")
    assert "sign      configuration: key 'nsd.bucket.terms_accepted': is false; read and sign" in printed
    assert "https://forms.gle/" in printed and "there     " in printed
    assert "link      betas of subj01, sessions 2 " in printed and "from copy (key nsd.bucket.copy)" in printed
    assert "download  betas of subj01, sessions 1 (about 1.1 GB): from s3://natural-scenes-dataset" in printed
    assert "download  the stimuli (about 40 GB): from s3://" in printed
    assert "download  openclip_bigg (" in printed and "licence: MIT): from the hub's model laion/" in printed

    status, _, started = data(bucket(copy="copy", terms_accepted=True))
    assert status == 0 and started == [
        ["--cores", "4", "--quiet", "rules", "host", "--configfile", "mine.yaml", "--", "fetch"]
    ]


LACKING = {
    "bold5000": (
        {"split": "repeated", "subjects": ["CSI1"], "bold5000": {"source": "copy", "root": "b"}},
        ["betas of CSI1: b/BOLD5000_GLMsingle_ROI_betas/py", "download BOLD5000_Stimuli.zip from https://bold5000"],
    ),
    "god": (
        {"split": "classes", "subjects": ["Subject1"], "god": {"source": "copy", "root": "g"}},
        ["g/Subject1.h5; download it from https://", "pictures: g/images_256.npz; request the pictures at https://"],
    ),
    "nsd": (
        {"pools": ["hcp"], "subjects": ["subj01"], "hcp": {"source": "copy", "root": "h"}},
        ["key 'hcp.terms_accepted': is false", "resting state, V1 to V4: h/<subject>/HCP_visual_voxel.npz; extract V1"],
    ),
    "own_scans": (
        {
            "split": "held_out",
            "subjects": ["S1"],
            "own_scans": {
                "root": "o",
                "sessions": {"S1": 1},
                "betas": {"files": "{subject}.npy"},
                "events": {"files": "{subject}.tsv"},
                "pictures": {"folder": "p"},
                "held_out": {"rule": "random"},
            },
        },
        ["betas of S1: o/S1.npy; put your own there", "pictures: o/p; put the pictures"],
    ),
}


@pytest.mark.parametrize("dataset", LACKING)
def test_what_only_the_user_can_put_there_is_named_with_its_place(data, dataset, monkeypatch):
    def refused(*arguments, **options):
        raise UserError("Missing input files")  # as Snakemake says where a file has no rule

    monkeypatch.setattr(fetch_data, "read_graph", refused)
    study, said = LACKING[dataset]
    status, printed, started = data({"dataset": dataset, "sessions": ["all"]} | study)
    assert status == 1 and not started
    for text in said:
        assert text in printed
    assert "\n  missing" in printed and "nothing was fetched" in printed


def test_a_simulated_study_needs_nothing(data):
    status, printed, started = data({"subjects": ["subj01"], "sessions": [1]}, "--list")
    assert status == 0 and not started and "make      the simulated NSD, made by the study: data/simulated" in printed
    assert "Networks, in models/\n  there     all is in this repository" in printed


def test_a_network_that_no_program_may_fetch_says_where_it_is_and_where_it_goes(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    record = {"source": {"page": "https://example.org/x"}, "files": {"a.pth": None}, "licence": "not stated"}
    line = fetch_data.of_network(Backbone("mine", record))
    assert line.for_you and "take a.pth from https://example.org/x and put it into models/mine" in line.text
    (tmp_path / "models/mine").mkdir(parents=True)
    assert fetch_data.of_network(Backbone("mine", record)).state == "there"


def test_a_run_announces_only_what_its_jobs_get():
    sources = [
        Source("betas", [Path("a/1"), Path("a/2")], DOWNLOADED, "there", 4.0),
        Source("masks", [Path("a/m")], LINKED, "copy"),
        Source("pictures", [Path("a/p")], PLACED, "put them there"),
    ]
    assert announced("Lab", sources, ["a/1", "a/m", "a/p", "results/x"]) == [
        "Lab: 1 file is downloaded from there, about 2.0 GB: betas (1 of 2).",
        "Lab: 1 file is linked from copy: masks.",
    ]
    assert announced("Lab", sources, []) == []
