"""The stage around the encoding model: what it may learn from, what it writes, and the maps drawn of that."""

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
import yaml
from designs import small_design
from records import unrecorded

import fit_encoding
from fmri2img.artifacts.anatomy import NOWHERE
from fmri2img.artifacts.recording import Recording
from fmri2img.artifacts.stimuli import save_stimuli
from fmri2img.backbones.loading import RegisteredNetworks
from fmri2img.encoding.opening import open_encoding
from fmri2img.metrics.brain import MeasuredBrain, brain_correlation, region_table, save_brain_tables, voxel_correlation
from fmri2img.paths import REPOSITORY
from fmri2img.reporting.brain_maps import brain_map, map_rows, projection, region_tables
from fmri2img.reporting.design import Design
from fmri2img.reporting.glass_brain import glass_brain, on_template

NETWORKS = {
    "efficientnet_lite0": yaml.safe_load((REPOSITORY / "config/backbones.yaml").read_text())["efficientnet_lite0"]
}
SETTINGS = {
    "bands": [{"network": "efficientnet_lite0", "layer": "stem"}], "grid": 2, "folds": 3, "alphas": [0.1, 1.0, 10.0],
}  # fmt: skip
TRAIN, TEST, VOXELS = 60, 12, 20


class Inputs(dict):
    __getattr__ = dict.get


@pytest.fixture
def data(tmp_path):
    """Pictures of one colour each; a voxel answers to one of the three channels, or to none."""
    rng = np.random.default_rng(0)
    images = np.repeat(rng.integers(0, 256, (TRAIN + TEST, 1, 1, 3), np.uint8), 256, axis=1).reshape(-1, 16, 16, 3)
    ids = np.arange(TRAIN + TEST) * 3
    table = pd.DataFrame(
        {
            "image_id": ids,
            "name": "x",
            "source": "x",
            "cluster": None,
            "captions": [[]] * len(ids),
            "categories": [[]] * len(ids),
        }
    )
    save_stimuli(tmp_path / "stimuli", images, table, {})
    trial_ids = np.repeat(ids, 2)
    trials = pd.DataFrame(
        {
            "trial": np.arange(len(trial_ids)), "session": 1, "run": 1, "image_id": trial_ids,
            "repeat": np.tile([0, 1], len(ids)), 
            "part": np.where(trial_ids >= 3 * TRAIN, "test", "train"),
        }
    )  # fmt: skip
    kind = np.arange(VOXELS) % 5
    voxels = pd.DataFrame({"x": np.arange(VOXELS) % 5, "y": np.arange(VOXELS) // 5, "z": 1, "ncsnr": np.float32(1)})
    voxels = voxels.assign(V1=kind == 0, V2=kind == 1, V3=kind == 2, hV4=kind == 3)
    colours = (images[:, 0, 0].astype(float) - 127) / 74
    answers = np.stack([colours[:, k % 3] if k < 4 else np.zeros(len(ids)) for k in kind], axis=1)
    betas = np.repeat(answers, 2, axis=0) + 0.3 * rng.standard_normal((len(trial_ids), VOXELS))
    with Recording.writer(tmp_path / "recording") as writer:
        writer.betas(*betas.shape)[:] = betas
        writer.finish(
            trials,
            voxels,
            {"subject": "subj01", "split": "shared1000", "split_sha256": "0" * 64, "test_sets": ["test"]},
        )
    return tmp_path


def fit(data: Path) -> tuple[bytes, pd.DataFrame]:
    """Run the script of the rule. Returns the weights it wrote, and the accuracy by region."""
    given = SimpleNamespace(
        input=Inputs(recording=data / "recording", stimuli=data / "stimuli"),
        output=Inputs(model=data / "encoding", accuracy=data / "accuracy"),
        params=SimpleNamespace(encoding=SETTINGS, networks=NETWORKS, size=16, antialias=True, seed=0),
        wildcards=Inputs(subject="subj01"),
    )
    fit_encoding.main(given)
    accuracy = pd.read_parquet(data / "accuracy/regions.parquet").set_index("region")
    return (data / "encoding/encoding.safetensors").read_bytes(), accuracy


def spoil(data: Path, betas=slice(0), images=slice(0)) -> None:
    """Replace rows of the betas (trials) and of the pictures by noise."""
    rng = np.random.default_rng(1)
    stored = np.load(unrecorded(data / "recording") / "betas.npy", mmap_mode="r+")
    stored[betas] = rng.standard_normal(stored[betas].shape)
    pictures = np.load(unrecorded(data / "stimuli") / "images.npy", mmap_mode="r+")
    pictures[images] = rng.integers(0, 256, pictures[images].shape)
    stored.flush()
    pictures.flush()


def test_test_images_and_their_betas_do_not_reach_the_encoding_model(data):
    weights, accuracy = fit(data)
    assert accuracy.loc["v1", "voxel"] > 0.8
    assert abs(accuracy.loc["higher", "voxel"]) < 0.5 < accuracy.loc["visual_cortex", "pattern"]
    spoil(data, betas=slice(2 * TRAIN, None), images=slice(TRAIN, None))
    again, accuracy = fit(data)
    assert again == weights and abs(accuracy.loc["v1", "voxel"]) < 0.6
    spoil(data, betas=slice(0, 2))
    assert fit(data)[0] != weights


def test_a_fitted_model_opens_as_a_function_of_pictures(data):
    fit(data)
    recording = Recording.open(data / "recording")
    predict = open_encoding(data / "encoding", RegisteredNetworks(NETWORKS))
    brain = MeasuredBrain.of(recording, predict, "test")
    pictures = np.load(data / "stimuli/images.npy")[TRAIN:]
    found = region_table(brain, brain.predict(pictures))
    pd.testing.assert_frame_equal(found, pd.read_parquet(data / "accuracy/regions.parquet"), rtol=1e-4)
    larger = brain.predict(np.repeat(np.repeat(pictures, 2, axis=1), 2, axis=2))
    np.testing.assert_allclose(larger, brain.predict(pictures), atol=1e-4)  # first resized to the study's size


# Regions and ceilings


def planted(ncsnr=1.0):
    rng = np.random.default_rng(2)
    kind = np.arange(100) % 5
    voxels = pd.DataFrame({"x": kind, "y": np.arange(100) // 5, "z": 0, "ncsnr": np.float32(ncsnr)})
    voxels = voxels.assign(V1=kind == 0, V2=kind == 1, V3=kind == 2, hV4=kind == 3)
    betas = rng.standard_normal((30, 100)).astype(np.float32)
    return MeasuredBrain(np.arange(30), betas, np.full(30, 3), voxels, lambda images: images)


def test_a_region_has_the_score_of_its_own_voxels():
    brain = planted()
    good = np.where(brain.voxels["V2"], brain.betas, 0.1 * np.random.default_rng(3).standard_normal((30, 100)))
    found = region_table(brain, good).set_index("region")
    assert found.loc["v2", "pattern"] == pytest.approx(1) and found.loc["v2", "voxel"] == pytest.approx(1)
    others = found.loc[["v1", "v3", "v4", "higher"], ["pattern", "voxel"]]
    assert others.abs().to_numpy().max() < 0.2
    assert found["voxels"].tolist() == [100, 20, 20, 20, 20, 20]
    for column, score in (("pattern", brain_correlation), ("voxel", voxel_correlation)):
        for region in found.index:
            assert found.loc[region, column] == pytest.approx(np.mean(score(brain, good, region, False)))


def test_voxels_without_signal_have_no_share_of_a_ceiling():
    brain = planted(ncsnr=0.0)
    found = region_table(brain, brain.betas)
    assert found[["pattern_normalised", "voxel_normalised"]].isna().all(axis=None) and (found["pattern"] > 0.99).all()
    half = replace(brain, voxels=brain.voxels.assign(ncsnr=np.where(brain.voxels["V1"], 0.0, 1.0)))
    found = region_table(half, half.betas).set_index("region")
    assert np.isnan(found.loc["v1", "voxel_normalised"]) and np.isfinite(found.loc["v2", "voxel_normalised"])
    assert np.isfinite(found.loc["visual_cortex", ["pattern_normalised", "voxel_normalised"]].astype(float)).all()


# Maps


def test_a_projection_is_the_mean_along_the_line_of_sight():
    table = pd.DataFrame({"x": [0, 0, 2], "y": [1, 2, 1], "z": [3, 3, 0], "correlation": [0.2, 0.6, 0.5]})
    table = table.assign(v1=[True, False, False], v2=False, v3=False, v4=False)
    values, early = projection(table, (3, 4, 5), "from behind")
    assert values.shape == (5, 3) and values[3, 0] == pytest.approx(0.4) and values[0, 2] == pytest.approx(0.5)
    assert np.isnan(values).sum() == 13 and early[3, 0] and early.sum() == 1
    assert projection(table, (3, 4, 5), "from the right")[0].shape == (5, 4)
    assert projection(table, (3, 4, 5), "from above")[0][2, 0] == pytest.approx(0.6)


def test_the_template_takes_the_nearest_voxel_on_its_own_side():
    """NSD's map runs from right to left and counts from 1; what it maps to the left is drawn at negative x."""
    transform = np.full((182, 10, 10, 3), NOWHERE, np.float32)
    transform[181 - 40, 4, 6] = 1.4, 2.6, 3.0  # of voxel (0, 2, 2), to x = 40 - 91 = -51 mm
    transform[181 - 42, 4, 6] = 9.0, 1.0, 1.0  # beyond the volume
    table = pd.DataFrame({"x": [0, 3], "y": [2, 0], "z": [2, 0], "correlation": [0.7, 0.4]})
    image = on_template(table, (4, 3, 3), transform)
    values = np.asarray(image.dataobj)
    assert np.count_nonzero(values) == 1 and values.max() == np.float32(0.7)
    place = image.affine @ [*np.argwhere(values)[0], 1]
    np.testing.assert_array_equal(place[:3], [40 - 91, 4 - 126, 6 - 72])


def design() -> Design:
    methods = {"ridge": {"title": "Ridge", "kind": "decoder"}, "shuffled": {"title": "Shuffled", "kind": "control"}}
    return small_design(subjects=["subj01"], methods=methods, budgets={"all": {"subj01": 8}}, seeds=[0], resamples=100)


def test_maps_and_tables_show_the_limits_first_and_methods_without_pictures_not_at_all(tmp_path):
    brain, noise = planted(), np.random.default_rng(4).standard_normal((30, 100))
    save_brain_tables(tmp_path / "stimuli", brain, brain.betas)
    save_brain_tables(tmp_path / "ridge", brain, brain.betas + noise)
    voxels = {name: pd.read_parquet(tmp_path / name / "voxels.parquet") for name in ("stimuli", "ridge")}
    rows = map_rows(voxels, design())
    assert list(rows) == ["Noise ceiling", "The stimuli themselves", "Ridge"]
    np.testing.assert_allclose(rows["Noise ceiling"]["correlation"], np.sqrt(0.5 / (0.5 + 0.5 / 3)))
    figure = brain_map(rows, np.ones((5, 20, 2), bool), "subj01", "all 8 sessions")
    shown = [text.get_text() for text in figure.texts]
    assert "Ridge" in shown and "mean 1.00" in shown and any("subj01, trained on all 8" in text for text in shown)
    drawn = [image for axes in figure.axes for image in axes.get_images()]
    assert len(drawn) == 2 * 3 * 3
    plt.close(figure)
    transform = np.full((182, 218, 182, 3), NOWHERE, np.float32)
    transform[60:120, 40:100, 60:120] = 3, 10, 1
    figure = glass_brain(dict(list(rows.items())[1:]), (5, 20, 2), transform, "subj01", "all 8 sessions")
    assert {"Ridge", "The stimuli themselves"} <= {text.get_text() for text in figure.texts}
    plt.close(figure)

    regions = [
        pd.read_parquet(tmp_path / name / "regions.parquet").assign(method=name) for name in ("ridge", "stimuli")
    ]
    tables = region_tables(pd.concat(regions).assign(subject="subj01"), design())
    assert [table.rows[0].heads for table in tables] == [["The stimuli themselves"]] * 2
    assert [len(table.rows) for table in tables] == [2, 2]
    assert str(tables[1].rows[0].cells[0]) == "1.000 [115 %]" and "V1" in tables[0].markdown()
