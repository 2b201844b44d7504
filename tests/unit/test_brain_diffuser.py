"""Brain-Diffuser: its stages and published numbers, its two steps, and pictures of single regions by known answers."""

import numpy as np
import pandas as pd
import pytest
from configurations import changed, merged

from fmri2img.artifacts.embeddings import Embeddings, save_embeddings
from fmri2img.backbones.registry import Backbone, load_registry
from fmri2img.errors import UserError
from fmri2img.linear.decoder import fit
from fmri2img.methods.brain_diffuser import card, draw
from fmri2img.methods.brain_diffuser.regions import picture_grid, region_arrays, region_masks, voxel_weights
from fmri2img.methods.brain_diffuser.settings import Generation, Penalties
from fmri2img.study import Study

IDS = np.array([4, 9, 11])


@pytest.fixture(scope="module")
def study() -> Study:
    return Study(changed(methods=["brain_diffuser"]))


@pytest.fixture(scope="module")
def networks(study) -> dict[str, Backbone]:
    registry = load_registry()
    return {role: registry[name] for role, name in study.drawing("brain_diffuser")["networks"].items()}


@pytest.fixture(scope="module")
def decoded() -> dict[str, np.ndarray]:
    rng = np.random.default_rng(0)
    shapes = {"latents": (3336,), "texts": (42, 96), "tokens": (64, 96)}
    return {name: rng.standard_normal((3, *shape)).astype(np.float16) for name, shape in shapes.items()}


def test_published_ablations_are_stages_of_one_decoder(study):
    """VDVAE alone; from noise; only image tokens; only caption states. All draw what brain_diffuser decodes."""
    entries = study.registries["methods"]
    ablations = [f"brain_diffuser_{name}" for name in ("vdvae_only", "without_vdvae", "without_text", "without_vision")]
    assert {entries[name]["decoder"] for name in ablations} == {"brain_diffuser"}
    assert [entries[name]["drawing"]["with"] for name in ablations] == [
        {}, {"strength": 1.0}, {"text_share": 0.0}, {"text_share": 1.0},
    ]  # fmt: skip
    assert entries["brain_diffuser"]["drawing"]["with"] == {}
    assert "brain_diffuser_shuffled_brain" in entries


def test_defaults_are_the_published_numbers():
    penalties, generation = Penalties(), Generation()
    assert (penalties.latents, penalties.texts, penalties.tokens) == ([50000.0], [100000.0], [60000.0])
    assert (generation.steps, generation.strength, generation.text_share) == (50, 0.75, 0.4)
    assert (generation.guidance, generation.unconditional) == (7.5, "encoded")


def settings(study, method, **changes) -> dict:
    return study.drawing(method)["settings"] | {"steps": 4} | changes


def test_the_second_step_starts_from_the_picture_of_the_first(study, networks, decoded, monkeypatch):
    def drawn(method="brain_diffuser", arrays=decoded, **changes):
        return draw.redrawn(networks, arrays, IDS, 0, settings(study, method, **changes), lambda done: None)

    pictures = drawn()
    assert pictures.shape == (3, 64, 64, 3) and pictures.dtype == np.uint8
    other = decoded | {"latents": decoded["latents"][::-1]}
    assert np.abs(pictures.astype(int) - drawn(arrays=other)).mean() > 2
    monkeypatch.setattr(draw, "load_vdvae", lambda backbone: pytest.fail("the first step ran"))
    from_noise = drawn("brain_diffuser_without_vdvae")
    np.testing.assert_array_equal(from_noise, drawn("brain_diffuser_without_vdvae", other))
    nothing = {name: np.full_like(values, np.nan) for name, values in decoded.items()}
    for method, kept in (("brain_diffuser_without_text", "tokens"), ("brain_diffuser_without_vision", "texts")):
        arrays = nothing | {kept: decoded[kept]}
        assert drawn(method, arrays, strength=1.0).std() > 5


def test_first_pictures_belong_to_their_image_and_seed(networks, decoded):
    hierarchy = draw.load_vdvae(networks["hierarchy"])
    assert hierarchy.size == 3336
    pictures = draw.first_pictures(hierarchy, decoded["latents"], IDS, 0)
    single = draw.first_pictures(hierarchy, decoded["latents"][1:2], IDS[1:2], 0)
    assert pictures.shape == (3, 64, 64, 3) and np.abs(pictures[1].astype(int) - single[0]).max() <= 2
    assert np.abs(pictures.astype(int) - draw.first_pictures(hierarchy, decoded["latents"], IDS, 1)).mean() > 1


def test_the_unconditional_context_is_a_grey_picture_and_an_empty_sentence(networks):
    context = draw.unconditional(networks)
    assert context.vision.shape == (1, 64, 96) and context.text.shape == (1, 42, 96)
    encoder = draw.load_encoder(networks["encoder"])
    grey = encoder.encode_images(np.full((1, 64, 64, 3), 127, np.uint8))[0]
    assert np.abs(context.vision - grey).mean() < 0.05 * grey.std()


# ---- regions


@pytest.fixture
def planted(tmp_path):
    """Two regions of 30 voxels: the first carries targets 0 and 1, the second the others."""
    rng = np.random.default_rng(0)
    targets = rng.standard_normal((200, 6)) * [1, 1, 3, 3, 3, 3] + 5
    betas = np.concatenate([targets[:, :2] @ rng.random((2, 30)), targets[:, 2:] @ rng.random((4, 30))], axis=1)
    betas = (betas - betas.mean(axis=0) + rng.standard_normal(betas.shape)).astype(np.float32)
    save_embeddings(tmp_path / "e", np.arange(200), targets.reshape(200, 2, 3), {"encoder": "e", "trained_on": "none"})
    embeddings = Embeddings.open(tmp_path / "e")
    return fit(betas, np.arange(200), embeddings, [10.0], 4, 0, calibration="none"), embeddings, targets


def test_a_region_moves_the_targets_that_it_carries_by_their_typical_length(planted):
    decoder, embeddings, targets = planted
    masks = np.repeat(np.eye(2, dtype=np.float32), 30, axis=1)
    arrays, lengths = region_arrays(decoder, embeddings, masks)
    assert arrays.shape == (2, 2, 3) and (lengths > 0).all()
    deviation = arrays.reshape(2, 6) - targets.mean(axis=0)
    np.testing.assert_allclose(np.linalg.norm(deviation, axis=1), np.sqrt(targets.var(axis=0).sum()), rtol=1e-2)
    share = (deviation**2 / (deviation**2).sum(axis=1, keepdims=True))[:, :2].sum(axis=1)
    assert share[0] > 0.9 and share[1] < 0.1
    twice, _ = region_arrays(decoder, embeddings, 2 * masks)
    np.testing.assert_allclose(twice, arrays, rtol=1e-4)


@pytest.mark.parametrize("per", ["all", "value"])
def test_weights_of_voxels_are_those_of_the_regression(planted, per):
    """Recomputed one target at a time from the normal equations, at the penalty that was chosen for it."""
    _, embeddings, targets = planted
    rng = np.random.default_rng(1)
    betas = (targets @ rng.standard_normal((6, 20)) + 3 * rng.standard_normal((200, 20))).astype(np.float32)
    decoder = fit(betas, np.arange(200), embeddings, [1.0, 1e4], 4, 0, calibration="none", per=per)
    centred = betas - betas.mean(axis=0)
    squares = np.zeros(20)
    for target in range(6):
        system = centred.T @ centred + _penalties(decoder)[decoder.choice[target]] * np.eye(20)
        squares += np.linalg.solve(system, centred.T @ (targets[:, target] - targets[:, target].mean())) ** 2
    np.testing.assert_allclose(voxel_weights(decoder, embeddings), np.sqrt(squares), rtol=5e-3)


def _penalties(decoder) -> list[float]:
    """Penalties that some target has."""
    return [alpha for alpha, n in zip(decoder.metadata["alphas"], decoder.metadata["groups_at"], strict=True) if n]


def test_regions_without_voxels_and_the_mask_itself_are_left_out():
    class Recording:
        path = "recording"
        voxels = pd.DataFrame({"all": [True] * 3, "V1": [True, False, False], "FFA": [False] * 3})

    names, masks = region_masks(Recording, ["all", "V1", "FFA", "PPA"])
    assert names == ["V1"] and masks.tolist() == [[1, 0, 0]]
    with pytest.raises(UserError, match=r"recording: no region of FFA has voxels; correct brain_diffuser\.regions"):
        region_masks(Recording, ["FFA"])


def test_the_grid_has_a_row_for_each_subject_and_a_gap_for_a_region_it_lacks():
    picture = np.zeros((4, 4, 3), np.uint8)
    figure = picture_grid({"subj01": {"V1": picture, "FFA": picture}, "subj02": {"V1": picture}})
    shown = [len(axis.images) for axis in figure.axes]
    assert shown == [1, 1, 1, 0]
    assert [axis.get_title() for axis in figure.axes[:2]] == ["V1", "FFA"]


def test_the_papers_study_has_the_published_networks_and_penalties():
    paper = Study(merged("paper.yaml"))
    regressions = {one["array"]: one for one in paper.regressions("brain_diffuser")}
    assert [regressions[name]["alphas"] for name in ("latents", "texts", "tokens")] == [[5e4], [1e5], [6e4]]
    assert {one["trials"] for one in regressions.values()} == {"averaged"}
    assert paper.target_values("brain_diffuser") == {
        "latents/vdvae_imagenet64/64px": 91168,
        "texts/versatile_diffusion_clip": 77 * 768,
        "embeddings/versatile_diffusion_clip": 257 * 768,
    }
    assert paper.retrieval_network("brain_diffuser") == "versatile_diffusion_clip"
    assert sum(method.startswith("brain_diffuser") for method in paper.methods) == 6


@pytest.mark.parametrize(
    ("calibration", "early", "reproduced"),
    [("training_images", False, ["no", "no"]), ("test_batch", True, ["yes", "yes"])],
)
def test_the_card_lists_the_defects_with_their_switches(calibration, early, reproduced):
    config = changed()
    config["brain_diffuser"]["calibration"] = calibration
    config["brain_diffuser"]["generation"]["early_noise"] = early
    study = Study(config)
    defects = card.card(study.config, False, [])["known_defects"]
    assert defects["reproduced"].tolist() == reproduced
    assert study.regressions("brain_diffuser")[0]["calibration"] == calibration
