"""Datasets whose pictures the user does not hold, and which bring embeddings of their stimuli."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml
from cells import CELL, SPLIT, given, small_cell
from configurations import changed
from designs import DISCLOSURE

from fmri2img import plugins
from fmri2img.artifacts.decoded import save_decoded
from fmri2img.artifacts.embeddings import Embeddings, save_vectors
from fmri2img.artifacts.stimuli import Stimuli, save_stimuli
from fmri2img.datasets.dataset import Dataset
from fmri2img.errors import UserError
from fmri2img.methods.nearest_caption.control import nearest_caption
from fmri2img.methods.random_caption.control import random_caption
from fmri2img.reporting.cards import card_facts
from fmri2img.study import Study

DATASET = {
    "title": "Planted",
    "description": "Made by a test.",
    "reference": "None.",
    "licence": {"name": "MIT License", "url": "https://spdx.org/licenses/MIT"},
    "subjects": {"sub-03": 2},
    "regions": ["early", "late"],
    "captions": True,
    "pictures": False,
    "embeddings": {"vectors": {"title": "A network", "width": 12, "trained_on": "its data"}},
    "splits": {"standard": {"description": "held out", "test_sets": ["scenes"]}},
    "sizes": {"images": 60, "image_size": 32, "test_images": 12, "session_trials": 36, "voxels": 64},
}
KEYS = {
    "dataset": "planted",
    "subjects": ["sub-03"],
    "sessions": ["all"],
    "split": "standard",
    "encoder": "vectors",
    "methods": ["ridge", "ridge_nearest_caption", "random_caption", "repeat_ceiling"],
    "retrieval_only": ["ridge"],
    "metrics": ["retrieval_image", "retrieval_image_2way", "caption_rougeL"],
}


@pytest.fixture(autouse=True)
def _no_plugins(monkeypatch):
    monkeypatch.setattr(plugins, "OUTSIDE", {})


@pytest.fixture
def folder(tmp_path) -> Path:
    """A dataset's folder, without rules."""
    path = tmp_path / "planted"
    path.mkdir()
    (path / "dataset.yaml").write_text(yaml.safe_dump(DATASET), encoding="utf-8")
    return path


def study_of(folder: Path, **keys) -> Study:
    return Study(changed(plugins=[str(folder)], **KEYS | keys))


def test_linear_decoders_decode_what_the_dataset_brings(folder):
    study = study_of(folder)
    assert study.targets("ridge") == {"embeddings/vectors": "<results>/embeddings/vectors"}
    assert study.retrieval_network("ridge") == "vectors" and study.scored_tokens == (1, 12)
    assert study.dataset.bytes_of(study)[Path("results/demo")] == 4 * 2 * 36 * 64  # betas, and no pictures
    facts = card_facts(study, "ridge", [], {}).set_index("item")["value"]
    assert facts["encoder data"] == "vectors (A network): its data"
    assert facts["encoder"] == "vectors, which the dataset brings"


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        (
            {"metrics": ["retrieval_image", "pixcorr"]},
            "key 'metrics': pixcorr compares with pictures, which you do not",
        ),
        ({"metrics": ["brain_correlation_visual_cortex"]}, "brain_correlation_visual_cortex compares with pictures"),
        ({"metrics": ["caption_rougeL_git"]}, "key 'metrics': caption_rougeL_git compares with pictures"),
        ({"metrics": ["caption_clip_s_demo"]}, "key 'metrics': caption_clip_s_demo compares with pictures"),
        (
            {"encoder": "demo_clip"},
            "key 'encoder': demo_clip takes pictures, which you do not hold of dataset planted; use what it brings "
            "(vectors)",
        ),
        ({"methods": ["random_training_image"]}, "key 'methods': random_training_image needs pictures"),
        ({"methods": ["ridge", "ridge_nearest_neighbour"]}, "'methods': ridge_nearest_neighbour needs pictures"),
        ({"methods": ["caption_ceiling"]}, "key 'methods': caption_ceiling needs pictures"),
        ({"methods": ["mindvis"]}, "key 'methods': mindvis is trained on pictures"),
        ({"methods": ["brain_diffuser"]}, "key 'methods': brain_diffuser decodes latents of pictures"),
        ({"retrieval_only": []}, "no generator or captioner takes vectors, which ridge decodes; name ridge under retr"),
        (
            {"methods": ["true_tokens"]},
            "no generator or captioner takes vectors, which true_tokens decodes; remove true",
        ),
    ],
)
def test_what_needs_pictures_is_refused_with_the_key_and_the_remedy(folder, keys, message):
    drawn = {"retrieval_only": []} if "ridge" not in keys.get("methods", ["ridge"]) else {}
    with pytest.raises(UserError) as error:
        study_of(folder, **drawn | keys)
    assert message in str(error.value) and "\n" not in str(error.value)


def test_a_refusal_says_how_the_pictures_are_had(folder, monkeypatch):
    monkeypatch.setattr(Dataset, "pictures_remedy", "sign the form and set planted.pictures")
    with pytest.raises(UserError, match=r"of dataset planted; remove it, or sign the form and set planted\.pictures$"):
        study_of(folder, metrics=["ssim"])


def test_with_pictures_in_hand_all_metrics_are_there_again(folder, monkeypatch):
    monkeypatch.setattr(Dataset, "has_pictures", True)
    keys = {"methods": ["ridge", "ridge_nearest_neighbour"], "metrics": ["pixcorr", "retrieval_image"]}
    assert study_of(folder, **keys).predictions()
    assert study_of(folder, **keys | {"encoder": "demo_clip", "retrieval_only": []}).predictions()


def test_a_name_of_two_networks_is_refused(folder):
    record = DATASET | {"embeddings": {"demo_clip": DATASET["embeddings"]["vectors"]}}
    (folder / "dataset.yaml").write_text(yaml.safe_dump(record), encoding="utf-8")
    with pytest.raises(UserError, match=r"dataset\.yaml: key 'embeddings\.demo_clip': is the name of a network"):
        study_of(folder)


def test_captions_need_to_be_there(folder):
    (folder / "dataset.yaml").write_text(yaml.safe_dump(DATASET | {"captions": False}), encoding="utf-8")
    with pytest.raises(UserError, match="key 'methods': ridge_nearest_caption needs captions, which dataset planted"):
        study_of(folder)


def test_stimuli_without_pictures_say_so(tmp_path):
    table = Stimuli.open(small_cell(tmp_path)["stimuli"]).table
    save_stimuli(tmp_path / "names", None, table, {"sources_sha256": {}})
    found = Stimuli.open(tmp_path / "names")
    pd.testing.assert_frame_equal(found.table, table)
    assert found.pictures is None and found.metadata["pictures"] is False
    with pytest.raises(UserError, match="names: holds no pictures, only their table; get the dataset's pictures"):
        found.images  # noqa: B018


def test_pictures_that_are_lost_are_not_pictures_that_never_were(tmp_path):
    stimuli = Path(small_cell(tmp_path)["stimuli"])
    (stimuli / "images.npy").unlink()
    with pytest.raises(UserError, match=r"images\.npy"):
        Stimuli.open(stimuli)


def test_brought_vectors_are_one_token_and_a_unit_vector(tmp_path):
    vectors = np.random.default_rng(0).standard_normal((5, 12)).astype(np.float32)
    metadata = {"encoder": "vectors", "revision": "1", "trained_on": "its data"}
    save_vectors(tmp_path / "made", np.arange(5), vectors, metadata)
    found = Embeddings.open(tmp_path / "made")
    assert found.tokens.shape == (5, 1, 12) and found.disclosed["encoder_data"] == "its data"
    np.testing.assert_allclose(found.tokens[:, 0], vectors, rtol=1e-3)
    np.testing.assert_allclose(np.linalg.norm(found.pooled, axis=1), 1, rtol=1e-6)
    vectors[3] = 0
    with pytest.raises(UserError, match="the vector of image_id 3 is zero"):
        save_vectors(tmp_path / "zero", np.arange(5), vectors, metadata)
    vectors[3] = np.nan
    with pytest.raises(UserError, match="image_id 0 and following"):
        save_vectors(tmp_path / "nan", np.arange(5), vectors, metadata)


def test_captions_are_those_of_the_training_image_nearest_to_what_was_decoded(tmp_path):
    """Decoded are the true tokens of training images 3, 4, 5, ...: their first captions are found."""
    cell = small_cell(tmp_path)
    true, stimuli = Embeddings.open(cell["embeddings"]), Stimuli.open(cell["stimuli"])
    table = stimuli.table.assign(captions=[[f"first {i}", f"second {i}"] for i in stimuli.ids])
    save_stimuli(tmp_path / "captioned", None, table, {})
    paths = cell | {"captions": str(tmp_path / "captioned")}
    test_ids = given(paths).test_ids
    shown = np.arange(3, 3 + len(test_ids))
    metadata = CELL._asdict() | SPLIT.identity | {"method": "ridge", "disclosure": DISCLOSURE}
    save_decoded(tmp_path / "decoded", test_ids, metadata, {"tokens": np.array(true.tokens[true.rows(shown)])})
    made = nearest_caption(given(paths, source=str(tmp_path / "decoded"), of="decoded"))
    assert made.ids.tolist() == test_ids.tolist()
    assert made.arrays["captions"] == [f"first {i}" for i in shown] and made.facts["nearest"] == shown.tolist()
    drawn = random_caption(given(paths))
    assert drawn.arrays["captions"] == [f"first {i}" for i in drawn.facts["drawn"]]
    assert set(drawn.facts["drawn"]) <= set(range(20))  # the images of the first session
