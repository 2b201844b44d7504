"""What a method's folder must keep to."""

import pandas as pd
import pytest
from designs import DISCLOSURE
from folders import method_folder

from fmri2img import plugins
from fmri2img.artifacts.prediction import save_prediction
from fmri2img.artifacts.scores import save_scores
from fmri2img.methods.conformance import check_declared, check_expected, check_scores
from fmri2img.methods.registry import read_methods

IDENTITY = {"subject": "subj01", "sessions": 1, "seed": 0, "split": "s", "test_set": "test"}


@pytest.fixture
def declared(tmp_path, monkeypatch):
    """A function that writes a folder whose method.yaml names decode:decode, and checks what it declares."""
    monkeypatch.setattr(plugins, "OUTSIDE", {})

    def check(name, code):
        made_by = {"function": "decode:decode", "makes": "decoded", "needs": ["recording"]}
        folder = method_folder(tmp_path / name, {"decode": code} if code is not None else None, made_by=made_by)
        plugins.register(folder)
        return check_declared(folder, {name: read_methods()[name]})

    return check


def test_what_method_yaml_names_must_exist(declared):
    assert declared("conforming", "def decode(given): ...\n") == []
    assert "has no 'decode', which method.yaml names; add it" in declared("renamed", "def decoded(given): ...\n")[0]
    assert "cannot be imported (ModuleNotFoundError" in declared("absent", None)[0]
    assert "cannot be imported (ZeroDivisionError: division by zero)" in declared("raising", "1 / 0\n")[0]


def test_a_method_that_does_not_beat_its_floor_or_lacks_an_output_is_named(tmp_path):
    entries = {
        "mine": {"outputs": ["retrieval", "captions"]},
        "mine_floor": {"outputs": ["retrieval"], "of": "mine", "scale": {"floor": ["retrieval"]}},
        "unmade": {"outputs": ["images"]},
    }
    for name in ("mine", "mine_floor"):
        metadata = IDENTITY | {"method": name, "split_sha256": "0", "disclosure": DISCLOSURE}
        path = tmp_path / "predictions" / name / "subj01/1sessions/seed0/test"
        save_prediction(path, [1, 2], metadata, retrieval=[[0.0, 1.0], [1.0, 0.0]])

    def score(**means):
        for name, value in means.items():
            row = IDENTITY | {"method": name, "metric": "retrieval_image", "value": value}
            rows = [row | {"image_id": i} for i in (1, 2)]
            save_scores(tmp_path / "scores" / f"{name}.parquet", pd.DataFrame(rows))
        return check_scores(tmp_path, entries)

    output = "mine: `outputs` lists captions, but the prediction holds none; correct one of them"
    unmade = "unmade: made no prediction; check `outputs` and `drawing`"
    assert score(mine=0.8, mine_floor=0.5) == [output, unmade]
    assert score(mine=0.5, mine_floor=0.5) == [
        output,
        unmade,
        "mine: does not beat mine_floor in any of retrieval_image",
    ]


def test_means_outside_their_tolerance_are_named():
    table = pd.DataFrame({"method": "m", "metric": ["a", "a", "b"], "value": [0.2, 0.4, 0.9]})
    assert check_expected(table, {"m": {"a": [0.31, 0.02], "b": [0.9, 0.0]}}) == (2, [])
    count, problems = check_expected(table, {"m": {"a": [0.4, 0.05], "c": [0.1, 1.0]}})
    assert count == 2 and problems == [
        "m: a is 0.3000, expected 0.4 within 0.05", "m: c is nan, expected 0.1 within 1",
    ]  # fmt: skip
