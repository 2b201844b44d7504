"""Linear decoders stated as data: regressions with their targets, regions, penalty and calibration."""

import numpy as np
import pytest
from cells import CELL, SPLIT, UNSEEN, small_cell
from configurations import changed
from folders import method_folder
from sklearn.linear_model import Ridge
from snakemakes import job_of

import decode
import fit_linear
from fmri2img import plugins
from fmri2img.artifacts.cells import ALL
from fmri2img.artifacts.decoded import Decoded
from fmri2img.artifacts.embeddings import Embeddings, save_embeddings
from fmri2img.artifacts.recording import Recording
from fmri2img.errors import UserError
from fmri2img.linear.decoder import LinearDecoder
from fmri2img.methods.registry import LINEAR
from fmri2img.study import Study

ALPHA = 5.0
TOKENS = {
    "array": "tokens", "target": "embeddings", "regions": "all", "alphas": [0.1, 1.0, 10.0], "folds": 4,
    "per": "all", "folds_key": "ridge.folds", "penalties_key": "ridge.alphas", "trials": "single",
    "standardised": False,    "calibration": "training_images",
}  # fmt: skip
STATES = TOKENS | {
    "array": "states", "target": "texts", "regions": ["V1"], "alphas": [ALPHA], "penalties_key": "penalty.fixed",
    "calibration": "none",
}  # fmt: skip
TARGETS = ["embeddings", "texts"]
TEST_IDS = [i for i in SPLIT.test_sets["shared1000"] if i != UNSEEN]


@pytest.fixture
def cell(tmp_path):
    """The artifacts of a cell, and embeddings of a second network, `texts`: (52, 2, 3), linear in the tokens."""
    paths = small_cell(tmp_path)
    tokens = Embeddings.open(paths["embeddings"])
    texts = tokens.tokens.reshape(52, -1) @ np.random.default_rng(5).standard_normal((24, 6))
    save_embeddings(
        tmp_path / "texts",
        tokens.ids,
        texts.reshape(52, 2, 3),
        {"encoder": "texts", "revision": "2", "trained_on": "words"},
    )
    return paths | {"texts": str(tmp_path / "texts")}


def fit(cell, path, *regressions, sessions="2", seed="0"):
    targets = [cell["embeddings"], cell["texts"]]
    wildcards = {"decoder": "planted", "subject": "subj01", "sessions": sessions, "seed": seed}
    needed = {"recording": cell["recording"], "targets": targets}
    params = {"regressions": list(regressions), "targets": TARGETS}
    fit_linear.main(job_of(needed, str(path), params, wildcards))
    return path


def decoded(cell, decoder, path, **wildcards):
    needed = {"decoder": str(decoder), "recording": cell["recording"], "targets": [cell["embeddings"], cell["texts"]]}
    params = {"decode": LINEAR, "settings": {}, "method": "planted", "origin": "port", "targets": TARGETS}
    text = {name: str(value) for name, value in (CELL._asdict() | {"sessions": 2} | wildcards).items()}
    decode.main(job_of(needed, str(path), params, text))
    return Decoded.open(path)


def test_each_regression_makes_its_array(cell, tmp_path):
    made = decoded(cell, fit(cell, tmp_path / "decoder", TOKENS, STATES), tmp_path / "decoded")
    assert {name: values.shape for name, values in made.arrays.items()} == {"tokens": (11, 4, 6), "states": (11, 2, 3)}
    assert made.ids.tolist() == TEST_IDS
    assert made.disclosure.encoder == "planted (1), texts (2)" and made.disclosure.origin == "port"
    assert made.disclosure.encoder_data == "pictures, words"
    assert (made.disclosure.training_trials, made.disclosure.training_subjects) == (40, ["subj01"])
    assert (made.metadata["method"], made.metadata["test_set"], made.metadata["sessions"]) == (
        "planted",
        "shared1000",
        2,
    )


def test_a_fixed_penalty_on_one_region_without_calibration_is_plain_ridge(cell, tmp_path):
    """As scikit-learn has it on the voxels of V1, of betas averaged over the two repeats of a test image."""
    recording, texts = Recording.open(cell["recording"]), Embeddings.open(cell["texts"])
    rows, inside = recording.training_rows(2), recording.voxels["V1"].to_numpy()
    shown = recording.trials["image_id"].to_numpy()[rows]
    ids, test = recording.averaged(recording.test_rows("shared1000"))
    targets = texts.tokens[texts.rows(shown)].reshape(len(rows), -1).astype(np.float64)
    expected = Ridge(alpha=ALPHA).fit(recording.betas[rows][:, inside], targets).predict(test[:, inside])
    made = decoded(cell, fit(cell, tmp_path / "decoder", STATES), tmp_path / "decoded")
    assert made.ids.tolist() == ids.tolist()
    np.testing.assert_allclose(made.array("states").reshape(len(ids), -1), expected, rtol=2e-3, atol=2e-2)


def test_calibration_is_left_out_where_the_record_says_so(cell, tmp_path):
    folder = fit(cell, tmp_path / "decoder", TOKENS, TOKENS | {"array": "plain", "calibration": "none"})
    made = decoded(cell, folder, tmp_path / "decoded")
    plain, calibrated = (LinearDecoder.open(folder / name) for name in ("plain", "tokens"))
    np.testing.assert_array_equal(plain.calibration(2), [np.ones(24), np.zeros(24)])
    gain, offset = calibrated.calibration(2)
    expected = made.array("plain").reshape(11, -1) * gain + offset
    np.testing.assert_allclose(made.array("tokens").reshape(11, -1), expected, rtol=5e-3, atol=2e-2)
    assert np.abs(gain - 1).max() > 0.05


def test_the_budget_bounds_what_is_fitted(cell, tmp_path):
    folder = fit(cell, tmp_path / "decoder", STATES, sessions="1")
    assert LinearDecoder.open(folder / "states").ids.tolist() == list(range(20))


def test_a_decoder_that_is_not_random_is_fitted_once_for_all_seeds(cell, tmp_path):
    """With a fixed penalty and without calibration nothing depends on the seed."""
    once = decoded(cell, fit(cell, tmp_path / "once", STATES, seed=ALL), tmp_path / "of_once", seed=ALL)
    other = decoded(cell, fit(cell, tmp_path / "other", STATES, seed="3"), tmp_path / "of_other", seed=3)
    np.testing.assert_array_equal(once.array("states"), other.array("states"))
    assert once.metadata["seed"] == ALL and other.metadata["seed"] == 3


@pytest.mark.parametrize(
    ("regions", "message"),
    [
        (["V1", "V9"], r"recording: has no region 'V9'; available: V1, V2, empty"),
        (["ncsnr"], "has no region 'ncsnr'"),
        (["empty"], "no voxel of the mask is in empty; choose other regions"),
    ],
)
def test_a_region_that_cannot_be_used_ends_in_one_line(cell, tmp_path, regions, message):
    with pytest.raises(UserError, match=message) as error:
        fit(cell, tmp_path / "decoder", STATES | {"regions": regions})
    assert "\n" not in str(error.value) and not (tmp_path / "decoder").exists()


def test_too_few_images_for_the_folds_name_the_key(cell, tmp_path):
    with pytest.raises(UserError, match=r"^dual\.folds: 50 folds need as many training images, but there are 20"):
        fit(cell, tmp_path / "decoder", TOKENS | {"folds": 50, "folds_key": "dual.folds"}, sessions="1")


def test_keys_of_the_record_are_read_from_the_configuration(tmp_path, monkeypatch):
    """The target names a key that names the network, the penalty one that lists penalties, or a number."""
    monkeypatch.setattr(plugins, "OUTSIDE", {})
    linear = [
        {"array": "tokens", "target": "encoder", "penalty": {"choose_from": "ridge.alphas", "folds": "ridge.folds"}},
        {"array": "states", "target": {"texts": "refinement.prompts"}, "regions": ["V1"], "penalty": {"fixed": 7.0},
         "calibration": "none"},
    ]  # fmt: skip
    folder = method_folder(tmp_path / "dual_regression", linear=linear)
    study = Study(changed(plugins=[str(folder)], methods=["dual_regression"], retrieval_only=[]))
    config = study.config
    first, second = study.regressions("dual_regression")
    assert (first["target"], first["alphas"], first["folds"]) == (
        f"embeddings/{config['encoder']}", config["ridge"]["alphas"], config["ridge"]["folds"],
    )  # fmt: skip
    assert (first["regions"], first["calibration"], first["trials"]) == ("all", "training_images", "single")
    assert (first["penalties_key"], first["folds_key"]) == ("ridge.alphas", "ridge.folds")
    assert (second["target"], second["alphas"]) == (f"texts/{config['refinement']['prompts']}", [7.0])
    assert (second["regions"], second["calibration"], second["penalties_key"]) == (["V1"], "none", "penalty.fixed")
    # Two targets of one network are two artifacts.
    assert study.targets("dual_regression") == {
        "embeddings/demo_clip": "<results>/embeddings/demo_clip",
        "texts/demo_clip": "<results>/texts/demo_clip",
    }
    assert study.registries["methods"]["dual_regression"]["decodes"] == ["tokens", "states"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"target": "encodr"}, "'encodr' is not a key of the configuration; did you mean 'encoder'"),
        ({"penalty": {"choose_from": "ridge.alpha"}}, "'ridge.alpha' is not a key of the configuration; did"),
    ],
)
def test_a_key_that_the_configuration_lacks_is_named(tmp_path, monkeypatch, change, message):
    monkeypatch.setattr(plugins, "OUTSIDE", {})
    regression = {"array": "tokens", "target": "encoder", "penalty": {"fixed": 1.0}} | change
    folder = method_folder(tmp_path / "misspelt_regression", linear=[regression])
    with pytest.raises(UserError, match=f"misspelt_regression.*method.yaml: {message}"):
        Study(changed(plugins=[str(folder)], methods=["misspelt_regression"], retrieval_only=[]))


@pytest.mark.parametrize("calibration", ["none", "test_batch"])
def test_averaged_trials_are_scaled_over_images_as_brain_diffuser_scales_them(cell, tmp_path, calibration):
    """Mean of each image's trials, z-scored with the deviation (ddof 1) of training images, scikit-learn's Ridge on it,
    and, with the test batch, the moments of true targets in place of those of the predictions."""
    regression = TOKENS | {"alphas": [30.0], "trials": "averaged", "calibration": calibration, "standardised": True}
    made = decoded(cell, fit(cell, tmp_path / "decoder", regression), tmp_path / "decoded")
    recording, embeddings = Recording.open(cell["recording"]), Embeddings.open(cell["embeddings"])
    ids, betas = recording.averaged(recording.training_rows(2))
    _, test = recording.averaged(recording.test_rows("shared1000"))
    mean, sd = betas.mean(axis=0), betas.std(axis=0, ddof=1)
    targets = embeddings.tokens[embeddings.rows(ids)].reshape(len(ids), -1).astype(np.float64)
    predicted = Ridge(alpha=30.0).fit((betas - mean) / sd, targets).predict((test - mean) / sd)
    if calibration == "test_batch":
        predicted = (predicted - predicted.mean(axis=0)) / predicted.std(axis=0)
        predicted = predicted * targets.std(axis=0) + targets.mean(axis=0)
    assert made.disclosure.transductive == (calibration == "test_batch")
    np.testing.assert_allclose(made.arrays["tokens"].reshape(len(test), -1), predicted, atol=4e-3)
