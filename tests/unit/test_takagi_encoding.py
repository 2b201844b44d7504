"""The encoding analysis of Takagi & Nishimoto: a planted order comes out, and a planted fault destroys it."""

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
import torch
from scipy import stats
from tiny_backbones import WIDTH as WIDTH_OF_STATES
from tiny_backbones import tiny_autoencoder, tiny_generator

from fmri2img.artifacts.recording import Recording
from fmri2img.backbones.prompts import Prompt
from fmri2img.encoding.kernels import cross_validated, image_kernel
from fmri2img.errors import UserError
from fmri2img.generation.img2img import Refiner
from fmri2img.methods.takagi.components import Component, Components, save_components
from fmri2img.methods.takagi.encoding import analyse, gaussian_p, save
from fmri2img.methods.takagi.scripts.encoding_figure import Result, combined, encoding_figure
from fmri2img.methods.takagi.settings import EncodingSettings
from fmri2img.methods.takagi.traces import Tracer

TRAIN, TEST, WIDTH = 150, 40, 12
LEVELS = [0.25, 0.5, 0.75, 1.0]
REGIONS = {"V1": range(0, 12), "hV4": range(12, 20), "ventral": range(20, 40)}
SETTINGS = EncodingSettings.read(
    {
        "noise_levels": LEVELS, "traced_noise": 0.75, "steps": 4, "folds": 3, "permutations": 199,
        "alphas": [0.01, 0.1, 1.0, 10.0], "regions": list(REGIONS), "early": ["V1"], "higher": ["ventral"],
    }
)  # fmt: skip


def planted(folder, shuffled: bool):
    """A recording whose early voxels are linear in z and whose higher ones are linear in c, and the components.

    zc is a mixture of z and c whose share of c is the level of noise. shuffled: the fault, z of other images.
    """
    rng = np.random.default_rng(0)
    n = TRAIN + TEST
    z, c = rng.standard_normal((2, n, WIDTH))
    betas = np.concatenate([z @ rng.standard_normal((WIDTH, 20)), c @ rng.standard_normal((WIDTH, 20))], axis=1)
    betas += 0.7 * betas.std() * rng.standard_normal(betas.shape)
    ids = 3 * np.arange(n)
    trials = pd.DataFrame(
        {"trial": np.arange(n), "session": 1, "run": 1, "image_id": ids, "repeat": 0,
         "part": np.where(np.arange(n) < TRAIN, "train", "test")}
    )  # fmt: skip
    voxels = pd.DataFrame({"x": np.arange(40) % 8, "y": np.arange(40) // 8, "z": 1, "ncsnr": np.float32(1.4)})
    voxels = voxels.assign(**{name: voxels.index.isin(members) for name, members in REGIONS.items()})
    with Recording.writer(folder / "recording") as writer:
        writer.betas(n, 40)[:] = betas
        writer.finish(trials, voxels, {"subject": "s1", "split": "x", "split_sha256": "0" * 64, "test_sets": ["test"]})
    z = z[rng.permutation(n)] if shuffled else z
    layers = [Component(f"{name}_step1", "layer", 0.75, 1, 3, name) for name in ("down 1", "middle")]
    members = [
        Component("z", "z"), Component("c", "c"),
        *(Component(f"zc{level:g}", "zc", level, SETTINGS.steps_at(level), SETTINGS.steps_at(level))
          for level in LEVELS), *layers,
    ]  # fmt: skip
    values = {"z": z, "c": c, "down 1_step1": z, "middle_step1": c}
    values |= {f"zc{level:g}": (1 - level) * z + level * c for level in LEVELS}
    save_components(folder / "components", ids, members, iter([values]))
    return Recording.open(folder / "recording"), Components.open(folder / "components")


def accuracy(regions: pd.DataFrame, name: str) -> pd.Series:
    return regions[regions["name"] == name].set_index("region")["accuracy"]


def test_z_explains_early_cortex_and_c_the_higher_and_zc_drifts_from_one_to_the_other(tmp_path):
    regions, voxels, draws = analyse(*planted(tmp_path, shuffled=False), SETTINGS, 50, 0)
    assert accuracy(regions, "z")["early"] > 0.6 > 0.2 > abs(accuracy(regions, "z")["higher"])
    assert accuracy(regions, "c")["higher"] > 0.6 > 0.2 > abs(accuracy(regions, "c")["early"])
    found = regions[(regions["kind"] == "zc") & (regions["region"] == "early")]
    assert found["like_z"].is_monotonic_decreasing and found["like_c"].is_monotonic_increasing
    found = regions[(regions["kind"] == "zc") & (regions["region"] == "higher")].set_index("noise")
    assert found["beyond_z"][0.75] > 0.3
    significant = regions[regions["name"] == "z"].set_index("region")["significant"]
    assert significant["early"] == 1 and significant["higher"] < 0.3
    assert draws.shape == (50, len(regions)) and len(voxels) == 40

    save(tmp_path / "fit", regions, voxels, draws)
    table = combined([Result.open("s1", tmp_path / "fit")] * 2, 0.95)
    between = table[table["name"] == "z minus c"].set_index("region")
    assert between["low"]["early"] > 0 > between["high"]["higher"]
    figure = encoding_figure([Result.open("s1", tmp_path / "fit")], 0.95)
    assert "zc drifts from z to c" in [axes.get_title(loc="left") for axes in figure.axes]
    plt.close(figure)


def test_with_z_of_other_images_nothing_is_explained(tmp_path):
    regions = analyse(*planted(tmp_path, shuffled=True), SETTINGS, 20, 0)[0]
    found = regions[regions["name"] == "z"].set_index("region")
    assert abs(found["accuracy"]["early"]) < 0.15 and found["significant"].max() == 0
    assert accuracy(regions, "c")["higher"] > 0.6


def test_a_region_that_the_dataset_lacks_is_named(tmp_path):
    recording, components = planted(tmp_path, shuffled=False)
    settings = SETTINGS.model_copy(update={"higher": ["FFA"]})
    with pytest.raises(UserError, match="no voxels of region 'FFA'; it has V1, hV4, ventral"):
        analyse(recording, components, settings, 10, 0)


def test_kernel_predictions_are_those_of_ridge_on_standardised_features(monkeypatch):
    from sklearn.linear_model import Ridge

    rng = np.random.default_rng(1)
    features, training = rng.standard_normal((50, 7)) * [1, 2, 3, 4, 5, 6, 0], np.arange(5, 45)
    betas = rng.standard_normal((40, 3)).astype(np.float32)
    monkeypatch.setattr("fmri2img.encoding.kernels.BLOCK_VALUES", 150)  # three columns at a time
    kernel = image_kernel(features.astype(np.float16), training)
    assert np.diag(kernel[training]).mean() == pytest.approx(1, abs=1e-6)
    solved = cross_validated(kernel[None, training], betas - betas.mean(axis=0), [0.5], 4, 0)
    features = features.astype(np.float16).astype(float)[:, :6]
    features = (features - features[training].mean(axis=0)) / features[training].std(axis=0)
    ridge = Ridge(alpha=0.5 * 6).fit(features[training], betas)  # the kernel is divided by its diagonal, which is 6
    np.testing.assert_allclose(solved.predict(kernel[None])[0] + betas.mean(axis=0), ridge.predict(features), atol=1e-4)


def test_the_papers_null_is_that_of_independent_normal_numbers():
    rng = np.random.default_rng(2)
    x, y = rng.standard_normal((2, 30, 4000))
    r = np.array([stats.pearsonr(a, b)[0] for a, b in zip(x.T, y.T, strict=True)])
    assert (gaussian_p(r, 30) < 0.05).mean() == pytest.approx(0.05, abs=0.012)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"traced_noise": 0.3}, "key 'takagi.encoding.traced_noise': 0.3 is not among noise_levels"),
        ({"noise_levels": [0.5, 0.55]}, "key 'takagi.encoding.noise_levels': two levels run equally many of 4 steps"),
    ],
)
def test_levels_of_noise_must_differ_and_include_the_traced_one(changes, message):
    given = {"noise_levels": [0.5], "traced_noise": 0.5, "steps": 4} | changes
    with pytest.raises(UserError, match=message):
        EncodingSettings.read(given, key="takagi.encoding")


def test_traced_steps_are_first_middle_and_last():
    given = {"noise_levels": [0.5], "traced_noise": 0.5, "steps": 50}
    assert EncodingSettings.read(given).traced_at == [1, 13, 25]
    assert EncodingSettings.read(given | {"steps": 2}).traced_at == [1]


@pytest.mark.parametrize("guidance", [1.0, 2.0])
def test_components_are_recorded_while_a_picture_is_denoised(guidance):
    """zc at the end of each level and at steps of one level, and activations of the branch with the condition."""
    generator, autoencoder = tiny_generator(unconditional="zeros"), tiny_autoencoder()
    refiner = Refiner(generator, autoencoder)
    settings = EncodingSettings.read(
        {"noise_levels": [0.5, 1.0], "traced_noise": 1.0, "traced_steps": 2, "steps": 4, "grid": 2,
         "guidance": guidance}
    )  # fmt: skip
    rng = np.random.default_rng(0)
    pictures = rng.integers(0, 256, (3, 8, 8, 3), dtype=np.uint8)
    z, states = rng.standard_normal((3, 5)), rng.standard_normal((3, 2, WIDTH_OF_STATES)).astype(np.float32)
    negative = Prompt(np.zeros_like(states[:1]))
    tracer = Tracer(refiner, negative, settings, seed=0)
    found = tracer.trace(pictures, z, states)
    assert set(found) == {member.name for member in tracer.members}
    np.testing.assert_array_equal(found["c"], states.reshape(3, -1))
    for level, start in ((0.5, 2), (1.0, 0)):
        latents, noise = refiner.encode(pictures), tracer.noise.expand(3, -1, -1, -1)
        last = refiner.denoise(latents, noise, Prompt(states), negative, 4, start, guidance)
        np.testing.assert_allclose(found[f"zc_noise{level:g}_step{4 - start}"], last.flatten(1), atol=1e-5)

    # The first run of the network at level 1, repeated by hand with the condition alone.
    noisy = generator.scheduler.add_noise(
        refiner.encode(pictures), tracer.noise.expand(3, -1, -1, -1), generator.set_timesteps(4)[:1].repeat(3)
    )
    kept = []
    handle = generator.unet.mid_block.register_forward_hook(lambda module, inputs, output: kept.append(output))
    generator.unet(
        noisy, generator.set_timesteps(4)[0], encoder_hidden_states=torch.from_numpy(states),
        added_cond_kwargs=generator.added_conditions(3),
    )  # fmt: skip
    handle.remove()
    np.testing.assert_allclose(found["middle_step1"], kept[0].flatten(1).detach(), atol=1e-4)
    assert not generator.unet.mid_block._forward_hooks
