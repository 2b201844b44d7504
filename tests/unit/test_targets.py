"""Targets of linear decoders: where they come from, what their axes mean, and in which shape they are decoded."""

import numpy as np
import pytest
from cells import small_cell
from configurations import changed
from folders import method_folder

from embed_texts import embed_texts
from fmri2img import disk, plugins
from fmri2img.artifacts.axes import Axes
from fmri2img.artifacts.embeddings import Embeddings, save_embeddings
from fmri2img.artifacts.stimuli import Stimuli, save_stimuli
from fmri2img.backbones.prompts import load_prompts
from fmri2img.backbones.registry import load_registry
from fmri2img.errors import UserError
from fmri2img.study import Study

PENALTY = {"fixed": 10.0}


@pytest.fixture(autouse=True)
def _no_plugins(monkeypatch):
    monkeypatch.setattr(plugins, "OUTSIDE", {})


def study_of(folder, **keys) -> Study:
    return Study(changed(plugins=[str(folder)], methods=[folder.name], retrieval_only=[], **keys))


def test_states_of_captions_are_the_mean_over_an_images_captions(tmp_path):
    stimuli = Stimuli.open(small_cell(tmp_path)["stimuli"])
    table = stimuli.table.copy()
    table["captions"] = [
        [f"a red disk {i}", "a blue square"] if i % 2 else ["a green scene"] for i in table["image_id"]
    ]
    table.at[3, "captions"] = ["one", "two", "three", "four", "five", "the sixth is left out"]
    save_stimuli(tmp_path / "captioned", np.array(stimuli.images), table, {})
    backbone = load_registry()["demo_clip"]
    embed_texts(backbone, str(tmp_path / "captioned"), str(tmp_path / "texts"))
    found, encoder = Embeddings.open(tmp_path / "texts"), load_prompts(backbone)
    assert found.ids.tolist() == stimuli.ids.tolist() and found.axes.decoded == ("token", "dimension")
    for row in (0, 1, 3):
        wanted = encoder.encode(list(table["captions"][row])[:5]).states.mean(axis=0)
        np.testing.assert_allclose(found.tokens[row], wanted, rtol=2e-3, atol=2e-3)
    table.at[4, "captions"] = None  # of a test image: no one wrote any
    save_stimuli(tmp_path / "unwritten", np.array(stimuli.images), table, {})
    embed_texts(backbone, str(tmp_path / "unwritten"), str(tmp_path / "with_empty"))
    with_empty = Embeddings.open(tmp_path / "with_empty").tokens
    np.testing.assert_allclose(with_empty[4], encoder.encode([""]).states[0], rtol=2e-3, atol=2e-3)
    np.testing.assert_array_equal(np.delete(with_empty, 4, axis=0), np.delete(found.tokens, 4, axis=0))
    table.at[5, "captions"] = []
    save_stimuli(tmp_path / "silent", np.array(stimuli.images), table, {})
    with pytest.raises(UserError, match=r"stimuli\.parquet: image_id 5 has no caption"):
        embed_texts(backbone, str(tmp_path / "silent"), str(tmp_path / "none"))


def test_latents_are_decoded_as_a_map_of_channels():
    axes = Axes.channel_map(channels=2, rows=3, columns=4)
    picture = np.random.default_rng(0).standard_normal((5, 2, 3, 4))
    stored = picture.transpose(0, 2, 3, 1).reshape(5, 12, 2)
    np.testing.assert_array_equal(axes.arranged(stored.reshape(5, -1)), picture)
    assert axes.shape == (2, 3, 4)
    for name, position in (("channel", 0), ("row", 1), ("column", 2)):
        wanted = np.broadcast_to(np.indices((2, 3, 4))[position], (5, 2, 3, 4))
        np.testing.assert_array_equal(axes.arranged(np.tile(axes.groups(name), (5, 1))), wanted)


def test_levels_are_runs_of_flat_values():
    axes = Axes.flat({"level": [1, 2, 3]})
    assert axes.groups("level").tolist() == [0, 1, 1, 2, 2, 2] and axes.shape == (6,)
    assert axes.groups("all").max() == 0 and len(set(axes.groups("value"))) == 6


def test_axes_that_do_not_fit_what_is_stored_name_the_file(tmp_path):
    save_embeddings(tmp_path / "e", np.arange(3), np.zeros((3, 4, 2)), {"axes": Axes.channel_map(3, 2, 2).record()})
    with pytest.raises(UserError, match=r"e.metadata.json: key 'axes' does not describe 4 x 2 values"):
        _ = Embeddings.open(tmp_path / "e").axes


def test_every_value_of_a_regression_may_be_a_key_of_the_configuration(tmp_path):
    regression = {
        "array": "latents",
        "target": {"latents": "autoencoder", "size": "planted.size"},
        "regions": "planted.regions",
        "penalty": {"choose_from": [1.0, 2.0], "per": "planted.per", "folds": 3},
        "trials": "planted.trials",
        "standardised": "planted.standardised",
        "calibration": "planted.calibration",
    }
    settings = (
        "from fmri2img.settings import base\n\n\nclass Settings(base.Settings):\n"
        "    size: int\n    regions: list[str]\n    per: str\n    standardised: bool\n    trials: str\n"
        "    calibration: str\n"
    )
    tokens = {"array": "tokens", "target": {"tokens": "encoder"}, "penalty": PENALTY}
    folder = method_folder(tmp_path / "planted", {"settings": settings}, linear=[regression, tokens])
    section = {
        "size": 32,
        "regions": ["early"],
        "per": "channel",
        "standardised": True,
        "trials": "averaged",
        "calibration": "test_batch",
    }
    found, _ = study_of(folder, planted=section).regressions("planted")
    assert found == {
        "array": "latents", "target": "latents/demo_vae/32px", "regions": ["early"], "alphas": [1.0, 2.0],
        "per": "channel", "folds": 3, "standardised": True, "trials": "averaged",
        "calibration": "test_batch", "folds_key": "penalty.folds",
        "penalties_key": "penalty.choose_from",
    }  # fmt: skip
    for key, value, message in (
        ("per", "token", r"configuration: key 'planted.per': latents of demo_vae have no groups 'token'"),
        (
            "regions",
            ["early", "V9"],
            r"key 'planted.regions': dataset nsd has no region 'V9'; available: nsdgeneral, V1",
        ),
        ("trials", "mean", "key 'planted.trials': there is no 'mean'; available: single, averaged"),
        ("calibration", "test", "key 'planted.calibration': there is no 'test'; available: training_images"),
    ):
        with pytest.raises(UserError, match=message):
            study_of(folder, planted=section | {key: value})


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"target": {"latents": "encoder", "size": 32}}, "key 'encoder': demo_clip is of kind open_clip"),
        ({"target": {"latents": "autoencoder"}}, r"key 'linear.0.target.size': goes with latents"),
        ({"target": {}}, r"key 'linear.0.target': give one of tokens, latents, texts"),
        ({"target": {"tokens": "encoder", "texts": "encoder"}}, "give one of tokens, latents, texts"),
        ({"regions": ["early", "lateralis"]}, "planted/method.yaml: key 'regions': dataset nsd has no region"),
        ({"penalty": PENALTY | {"per": "level"}}, "planted/method.yaml: key 'penalty.per': tokens of demo_clip have"),
        ({"trials": "mean"}, "key 'linear.0.trials': 'mean' is not single, averaged or a key"),
    ],
)
def test_what_does_not_fit_is_reported_before_the_first_job(tmp_path, change, message):
    regression = {"array": "tokens", "target": {"tokens": "encoder"}, "penalty": PENALTY}
    folder = method_folder(tmp_path / "planted", linear=[regression | change])
    with pytest.raises(UserError, match=message) as error:
        study_of(folder)
    assert "\n" not in str(error.value)


def test_directions_of_the_bottleneck_need_all_voxels_and_one_penalty(tmp_path):
    tokens = {"array": "tokens", "target": {"tokens": "encoder"}, "penalty": PENALTY}
    section = changed()["bottleneck"]
    for name, more in (
        ("whole", {}),
        ("early", {"regions": ["early"]}),
        ("each", {"penalty": PENALTY | {"per": "token"}}),
    ):
        folder = method_folder(tmp_path / name, linear=[tokens | more])
        assert study_of(folder).gives_directions(name) == (name == "whole")
    with pytest.raises(
        UserError, match=r"key 'bottleneck\.directions': each does not decode the encoder's tokens from"
    ):
        study_of(folder, bottleneck=section | {"directions": "each"})


def test_the_disk_that_further_targets_need_is_counted(tmp_path):
    tokens = {"array": "tokens", "target": {"tokens": "encoder"}, "penalty": PENALTY}
    texts = {"array": "texts", "target": {"texts": "refinement.prompts"}, "penalty": PENALTY}
    one = study_of(method_folder(tmp_path / "one", linear=[tokens]))
    both = study_of(method_folder(tmp_path / "both", linear=[tokens, texts]))
    more = disk.results_bytes(both) - disk.results_bytes(one)
    sizes, values = both.dataset.sizes(both), both.target_values("both")["texts/demo_clip"]
    assert more >= 2 * sizes.images * values
