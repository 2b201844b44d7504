"""The published encoding network: its predictions, and what becomes of a checkpoint that is not it."""

import re
from pathlib import Path
from types import SimpleNamespace

import gnet_checkpoint as published
import numpy as np
import pandas as pd
import pytest
import torch
from safetensors.numpy import load_file

import import_encoding
from fmri2img.artifacts.recording import Recording
from fmri2img.artifacts.stimuli import save_stimuli
from fmri2img.encoding.gnet import GNetEncoding, import_gnet
from fmri2img.encoding.opening import open_encoding
from fmri2img.errors import UserError

FIXTURE = Path(__file__).parents[1] / "fixtures" / "gnet_reference.safetensors"


def voxels_at(places) -> pd.DataFrame:
    return pd.DataFrame(dict(zip("xyz", np.unravel_index(places, published.SHAPE), strict=True)))


@pytest.fixture(scope="module")
def record():
    return published.checkpoint()


@pytest.fixture(scope="module")
def path(tmp_path_factory, record):
    return published.write_checkpoint(tmp_path_factory.mktemp("gnet") / "gnet_multisubject.pt", record)


@pytest.mark.parametrize("subject", [1, 2])
def test_predictions_are_those_of_the_published_code(subject, path, tmp_path):
    """Fixture: betas by MindEye2's own classes from the same weights and pictures."""
    model = import_gnet(path, f"subj0{subject}", voxels_at(published.PLACES[subject]))
    model.metadata.update(size=256, antialias=True)
    model.save(tmp_path / "model")
    predict = open_encoding(tmp_path / "model", networks=None)
    expected = load_file(FIXTURE)[f"subject{subject}"]
    assert expected.std(axis=0).min() > 100 * 2e-5
    np.testing.assert_allclose(predict(published.pictures()), expected, atol=2e-5)
    assert model.metadata["unread"] == [] and GNetEncoding.open(tmp_path / "model").network.training is False


def test_voxels_are_matched_by_place_and_not_by_order(path):
    places = [41, 8, 3]
    some = import_gnet(path, "subj01", voxels_at(places)).predict(published.pictures(), 256, True)
    rows = [published.PLACES[1].index(place) for place in places]
    np.testing.assert_allclose(some, load_file(FIXTURE)["subject1"][:, rows], atol=2e-5)
    with pytest.raises(
        UserError, match=r"predicts 7 voxels of a volume \(5, 4, 3\), and 2 of the recording's 3 are not"
    ):
        import_gnet(path, "subj01", voxels_at([3, 4, 5]))
    elsewhere = voxels_at([3]).assign(x=99)
    with pytest.raises(UserError, match="1 of the recording's 1 are not among them"):
        import_gnet(path, "subj01", elsewhere)


def without(weights, name):
    return {key: value for key, value in weights.items() if key != name}


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda enc, out: (without(enc, "enc.conv5a.bn1.weight"), out), "missing enc enc.conv5a.bn1.weight (1 in all)"),
        (lambda enc, out: (without(enc, "enc.conv6b.conv1.bias"), out), "missing enc.conv6b.conv1.bias"),
        (
            lambda enc, out: (enc | {"enc.conv7a.conv1.bias": torch.zeros(1)}, out),
            "unexpected enc enc.conv7a.conv1.bias",
        ),
        (lambda enc, out: (enc, without(out, "w")), "missing fwrfs 1 w"),
        (lambda enc, out: (enc, out | {"rf2": torch.zeros(7, 2, 2)}), "unexpected fwrfs 1 rf2"),
        (
            lambda enc, out: (enc, out | {"rf0": torch.zeros(7, 27, 27)}),
            "fwrfs 1 rf0 (7, 27, 27) instead of (7, 25, 25)",
        ),
        (
            lambda enc, out: (enc | {"mu": torch.zeros(3, 224, 224)}, out),
            "enc mu (3, 224, 224) instead of (3, 227, 227)",
        ),
    ],
)
def test_a_wrong_weight_is_named(spoil, message, record, tmp_path):
    enc, out = spoil(record["best_params"]["enc"], record["best_params"]["fwrfs"][1])
    wrong = record | {"best_params": {"enc": enc, "fwrfs": {1: out}}, "final_params": {}}
    path = published.write_checkpoint(tmp_path / "wrong.pt", wrong)
    with pytest.raises(UserError, match=re.escape(message)):
        import_gnet(path, "subj01", voxels_at([3]))


def test_what_is_no_gnet_is_refused(record, path, tmp_path):
    with pytest.raises(UserError, match="lacks best_params fwrfs 3; available: 1, 2"):
        import_gnet(path, "subj03", voxels_at([3]))
    other = published.write_checkpoint(tmp_path / "other.pt", {"model_state_dict": {}})
    with pytest.raises(UserError, match=r"other\.pt: not a checkpoint of GNet: lacks best_params"):
        import_gnet(other, "subj01", voxels_at([3]))
    with pytest.raises(UserError, match=r"missing\.pt: no such file"):
        import_gnet(tmp_path / "missing.pt", "subj01", voxels_at([3]))
    (tmp_path / "cut.pt").write_bytes(path.read_bytes()[:1000])
    with pytest.raises(UserError, match=r"cut\.pt: "):
        import_gnet(tmp_path / "cut.pt", "subj01", voxels_at([3]))
    told = published.write_checkpoint(tmp_path / "told.pt", record | {"remarks": "kept"})
    assert import_gnet(told, "subj01", voxels_at([3])).metadata["unread"] == ["remarks"]


class Executed:
    def __reduce__(self):
        return Path.touch, (Path("executed"),)


def test_nothing_in_a_checkpoint_is_executed(record, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    path = published.write_checkpoint(tmp_path / "evil.pt", record | {"num_epochs": Executed()})
    with pytest.raises(UserError, match="holds Python objects other than tensors, arrays and numbers"):
        import_gnet(path, "subj01", voxels_at([3]))
    assert not (tmp_path / "executed").exists()


def test_a_mean_colour_stands_for_a_mean_picture(record, tmp_path):
    colour = torch.tensor([0.4, 0.5, 0.6])
    flat = torch.ones(3, 227, 227) * colour[:, None, None]
    found = []
    for mean in (colour.reshape(1, 3, 1, 1), flat):
        enc = record["best_params"]["enc"] | {"mu": mean}
        parameters = {"enc": enc, "fwrfs": record["best_params"]["fwrfs"]}
        path = published.write_checkpoint(tmp_path / "mean.pt", record | {"best_params": parameters})
        found.append(import_gnet(path, "subj02", voxels_at([0])).predict(published.pictures(1), 256, True))
    np.testing.assert_array_equal(*found)


class Named(dict):
    __getattr__ = dict.get


def test_the_rule_imports_a_subject_and_measures_its_accuracy(path, tmp_path):
    """Betas that are the network's own predictions, whatever their scale, are predicted without fault."""
    places, ids = published.PLACES[1], np.arange(4)
    betas = import_gnet(path, "subj01", voxels_at(places)).predict(published.pictures(4), 256, True)
    trials = pd.DataFrame({"trial": ids, "session": 1, "run": 1, "image_id": ids, "repeat": 0})
    voxels = voxels_at(places).assign(ncsnr=np.float32(1), V1=True, V2=False, V3=False, hV4=False)
    with Recording.writer(tmp_path / "recording") as writer:
        writer.betas(*betas.shape)[:] = 2 * betas + 1
        writer.finish(
            trials.assign(part="test"), voxels, {"subject": "subj01", "split": "shared1000", "test_sets": ["test"]}
        )
    table = pd.DataFrame(
        {"image_id": ids, "name": "x", "source": "x", "cluster": None, "captions": [[]] * 4, "categories": [[]] * 4}
    )
    save_stimuli(tmp_path / "stimuli", published.pictures(4), table, {})
    record = {"kind": "gnet", "source": {"folder": str(path.parent)}, "files": {path.name: None}, "image_size": 227}
    given = SimpleNamespace(
        input=Named(recording=tmp_path / "recording", stimuli=tmp_path / "stimuli"),
        output=Named(model=tmp_path / "model", accuracy=tmp_path / "accuracy"),
        params=SimpleNamespace(name="gnet_multisubject", record=record, size=256, antialias=True),
        wildcards=Named(subject="subj01"),
    )
    import_encoding.main(given)
    accuracy = pd.read_parquet(tmp_path / "accuracy/regions.parquet").set_index("region")
    assert accuracy.loc["v1", "pattern"] == pytest.approx(1) and accuracy.loc["v1", "voxel"] == pytest.approx(1)
    assert open_encoding(tmp_path / "model", None)(published.pictures(4)).shape == (4, 7)
    assert GNetEncoding.open(tmp_path / "model").metadata["source"] == "gnet_multisubject"
