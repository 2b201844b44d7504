"""The very deep VAE: the release's tensors, decoding by an independent formula, the mixture's probabilities."""

import itertools
from types import SimpleNamespace

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import save_file

import encode_latents
from fmri2img.artifacts.embeddings import Embeddings
from fmri2img.backbones.pixels import Preprocessing
from fmri2img.backbones.registry import Backbone, load_registry
from fmri2img.backbones.vdvae import LatentHierarchy, Layout, Mixture, Vdvae, load_vdvae, uniform
from fmri2img.errors import UserError
from fmri2img.generation.noise import batch_noise

TINY = {"image_size": 8, "width": 8, "zdim": 2, "enc_blocks": "8x2,8d2,4x1,4d4,1x1", "dec_blocks": "1x1,4m1,4x1,8m4",
        "num_mixtures": 3, "widths": {4: 12, 1: 12}, "no_bias_above": 4}  # fmt: skip
PIXELS = {"image_size": 8, "interpolation": "bilinear", "antialias": True, "mean": [0.4] * 3, "std": [0.3] * 3}
IMAGES = np.random.default_rng(0).integers(0, 256, (3, 11, 11, 3), dtype=np.uint8)


@pytest.fixture(scope="module")
def network() -> Vdvae:
    torch.manual_seed(0)
    network = Vdvae(Layout(**TINY))
    for parameter in network.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    return network.requires_grad_(False)


def hierarchy(network, levels=3, posterior="mean") -> LatentHierarchy:
    return LatentHierarchy(network, Preprocessing(**PIXELS), levels, posterior, image_size=8)


def record(folder, **changes) -> dict:
    return {
        "kind": "vdvae", "source": {"folder": str(folder)}, "files": {"w.safetensors": None, "w.th": None},
        "checkpoint": "w.safetensors", "vdvae": TINY, "levels": 3, "posterior": "mean", "image_size": 8,
        "preprocessing": PIXELS,
    } | changes  # fmt: skip


def test_every_tensor_of_the_imagenet64_release_has_its_place():
    """Names and shapes spelled out from the release's configuration: width 512, 4 x fewer inside, 16 latents."""
    entry = load_registry()["vdvae_imagenet64"].record
    with torch.device("meta"):
        found = {name: tuple(tensor.shape) for name, tensor in Vdvae(Layout(**entry["vdvae"])).state_dict().items()}

    def block(name, side, into, out):
        kernel = 3 if side > 2 else 1
        maps = [(128, into, 1), (128, 128, kernel), (128, 128, kernel), (out, 128, 1)]
        return {
            f"{name}.c{number}.{part}": (a, b, k, k) if part == "weight" else (a,)
            for number, (a, b, k) in enumerate(maps, 1)
            for part in ("weight", "bias")
        }

    expected = {"encoder.in_conv.weight": (512, 3, 3, 3), "encoder.in_conv.bias": (512,)}
    counts = {64: 12, 32: 21, 16: 10, 8: 9, 4: 8, 1: 5}
    for index, side in enumerate(itertools.chain(*([side] * count for side, count in counts.items()))):
        expected |= block(f"encoder.enc_blocks.{index}", side, 512, 512)
    counts = {1: 2, 4: 4, 8: 8, 16: 16, 32: 32, 64: 13}
    for index, side in enumerate(itertools.chain(*([side] * count for side, count in counts.items()))):
        name = f"decoder.dec_blocks.{index}"
        expected |= block(f"{name}.enc", side, 1024, 32) | block(f"{name}.prior", side, 512, 544)
        expected |= block(f"{name}.resnet", side, 512, 512)
        expected |= {f"{name}.z_proj.weight": (512, 16, 1, 1), f"{name}.z_proj.bias": (512,)}
    expected |= {f"decoder.bias_xs.{index}": (1, 512, side, side) for index, side in enumerate(sorted(counts))}
    expected |= {f"decoder.{name}": (1, 512, 1, 1) for name in ("gain", "bias")}
    expected |= {"decoder.out_net.out_conv.weight": (100, 512, 1, 1), "decoder.out_net.out_conv.bias": (100,)}
    assert found == expected and len(found) == 2482
    assert sum(np.prod(shape) for shape in found.values()) == 125_005_860


def test_brain_diffusers_31_levels_have_91168_values():
    entry = load_registry()["vdvae_imagenet64"].record
    with torch.device("meta"):
        network = Vdvae(Layout(**entry["vdvae"]))
    shapes = network.layout.latent_shapes()
    sides = [1] * 2 + [4] * 4 + [8] * 8 + [16] * 16 + [32] * 32 + [64] * 13
    assert shapes == [(16, side, side) for side in sides] and len(shapes) == 75
    assert sum(np.prod(shape) for shape in shapes[:31]) == 2 * 16 + 4 * 256 + 8 * 1024 + 16 * 4096 + 16384 == 91168


def reference_features(tensors, layout, latents, noise, temperature) -> torch.Tensor:
    """The decoder from its equations alone, on tensors by name."""

    def block(name, x, side):
        for number in "1234":
            kernel = tensors[f"{name}.c{number}.weight"]
            x = F.conv2d(F.gelu(x), kernel, tensors[f"{name}.c{number}.bias"], padding=kernel.shape[-1] // 2)
        return x

    n, states = len(latents[0]), {}
    for name, tensor in tensors.items():
        if "bias_xs" in name:
            states[tensor.shape[-1]] = tensor.expand(n, -1, -1, -1)
    for index, (side, below) in enumerate(layout.decoder_blocks()):
        name = f"decoder.dec_blocks.{index}"
        x = states.get(side, torch.zeros(n, layout.width_at(side), side, side))
        if below:
            times = side // below
            lower = states[below][:, : x.shape[1]].repeat_interleave(times, 2).repeat_interleave(times, 3)
            x = x + lower
        prior = block(f"{name}.prior", x, side)
        z = prior[:, : layout.zdim] + temperature * prior[:, layout.zdim : 2 * layout.zdim].exp() * noise[index]
        if index < len(latents):
            z = latents[index]
        x = x + prior[:, 2 * layout.zdim :]
        x = x + F.conv2d(z, tensors[f"{name}.z_proj.weight"], tensors[f"{name}.z_proj.bias"])
        states[side] = x + block(f"{name}.resnet", x, side)
    return states[layout.image_size] * tensors["decoder.gain"] + tensors["decoder.bias"]


@pytest.mark.parametrize("temperature", [None, 0.6])
def test_decoding_is_that_of_the_equations(network, temperature):
    layout = network.layout
    noise = batch_noise(0, range(3), *layout.latent_shapes())
    latents = [2 * torch.randn_like(part) for part in noise[:3]]
    found = network.features(latents, noise[3:], temperature)
    torch.testing.assert_close(
        found,
        reference_features(network.state_dict(), layout, latents, noise, temperature or 1.0),
        rtol=1e-4,
        atol=1e-4,
    )


def test_inferred_latents_draw_what_the_network_inferred(network):
    """Decoding all levels gives the state that inference ended with, and the divergence is the closed form."""
    pixels = torch.randn(3, 3, 8, 8, generator=torch.Generator().manual_seed(1))
    noise = batch_noise(0, range(3), *network.layout.latent_shapes())
    states, latents, divergences = network.infer(pixels, noise)
    torch.testing.assert_close(network.features(latents, []), network.decoder.finished(states))
    first = network.decoder.dec_blocks[0]
    x = first.entered(network.decoder.states(3))
    mean, log_deviation = first.prior(x)[:, :2], first.prior(x)[:, 2:4]
    found, log_found = first.posterior(x, network.encoder(pixels)[1])
    exact = torch.distributions.kl_divergence(
        torch.distributions.Normal(found, log_found.exp()), torch.distributions.Normal(mean, log_deviation.exp())
    )
    torch.testing.assert_close(divergences[0], exact, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(latents[0], found + log_found.exp() * noise[0])
    short = network.infer(pixels, noise, levels=2)[1]
    assert len(short) == 2 and torch.equal(short[1], latents[1])


def test_probabilities_of_a_channel_sum_to_one():
    torch.manual_seed(0)
    parameters = torch.randn(1, 1, 1, 10)
    parameters[..., [3, 6, 9]] = 0  # one component, no coefficients: the channels are independent
    mixture = Mixture.of(parameters)
    values = torch.arange(256) / 127.5 - 1
    middle = torch.full((256, 1, 1, 3), values[100])
    total = 1.0
    for channel in range(3):
        pixels = middle.clone()
        pixels[:, 0, 0, channel] = values
        total = total * mixture.log_likelihood(pixels).exp().sum()
    joint = mixture.log_likelihood(middle[:1]).exp().item()
    assert total / joint**2 == pytest.approx(1, rel=1e-3)


def test_sampled_channels_follow_the_chosen_component():
    """By hand: the second component is certain, green follows red, blue both; the median is the mean."""
    parameters = torch.zeros(1, 1, 1, 20)
    parameters[..., 1] = 50.0
    by_channel = parameters[..., 2:].unflatten(-1, (3, 3, 2))
    by_channel[0, 0, 0, :, 0, 1] = torch.tensor([0.5, -0.1, 0.2])  # means
    by_channel[0, 0, 0, :, 1, 1] = -9.0  # log scales, below the smallest
    by_channel[0, 0, 0, :, 2, 1] = torch.tensor([1.0, -0.5, 2.0])  # coefficients, before tanh
    mixture = Mixture.of(parameters)
    assert (mixture.log_scales[..., 1] == -7).all()
    half = torch.full((1, 1, 1, 3), 0.5)
    red, green = 0.5, -0.1 + np.tanh(1.0) * 0.5
    blue = 0.2 + np.tanh(-0.5) * red + np.tanh(2.0) * green
    np.testing.assert_allclose(mixture.sample(half[..., :2], half)[0, 0, 0], [red, green, blue], atol=1e-6)
    above = torch.full((1, 1, 1, 3), 0.9)
    shifted = mixture.sample(half[..., :2], above)[0, 0, 0, 0]
    assert float(shifted) == pytest.approx(0.5 + np.exp(-7) * np.log(9), abs=1e-6)


def test_uniform_numbers_are_uniform():
    numbers = uniform(torch.randn(20000, generator=torch.Generator().manual_seed(0)))
    assert numbers.min() >= 1e-5 and numbers.max() <= 1 - 1e-5
    shares = np.histogram(numbers, bins=10, range=(0, 1))[0] / 20000
    np.testing.assert_allclose(shares, 0.1, atol=0.01)


def test_latents_come_back_as_a_flat_row_and_pictures_belong_to_their_noise(network):
    frozen = hierarchy(network)
    assert frozen.size == 2 + 32 + 32 and frozen.shapes == [(2, 1, 1), (2, 4, 4), (2, 4, 4)]
    latents = frozen.encode(IMAGES)
    assert latents.shape == (3, 66) and latents.dtype == np.float32
    np.testing.assert_allclose(frozen.encode(IMAGES[1:2]), latents[1:2], atol=1e-5)
    ids = [5, 6, 7]
    whole = frozen.decode(latents.astype(np.float64), batch_noise(0, ids, *frozen.noise_shapes))
    single = frozen.decode(latents[2:], batch_noise(0, ids[2:], *frozen.noise_shapes))
    assert whole.shape == (3, 8, 8, 3) and np.abs(whole[2:].astype(int) - single).max() <= 1
    other = frozen.decode(latents, batch_noise(1, ids, *frozen.noise_shapes))
    assert (whole != other).mean() > 0.5
    with pytest.raises(UserError, match=r"\(65,\) values per picture, but the first 3 levels have 66"):
        frozen.decode(latents[:, 1:], batch_noise(0, ids, *frozen.noise_shapes))


def test_sampled_latents_scatter_around_the_mean(network):
    sampled, mean = hierarchy(network, levels=1, posterior="sampled"), hierarchy(network, levels=1)
    draws = [sampled.encode(IMAGES[:1], batch_noise(0, [k], *sampled.shapes)) for k in range(300)]
    deviation = network.decoder.dec_blocks[0].posterior
    x = network.decoder.dec_blocks[0].entered(network.decoder.states(1))
    pixels = mean.preprocessing(IMAGES[:1])
    log = deviation(x, network.encoder(pixels)[1])[1].flatten().exp()
    np.testing.assert_allclose(np.mean(draws, 0), mean.encode(IMAGES[:1]), atol=4 * float(log.max()) / 300**0.5)


def test_checkpoints_load_whole_or_not_at_all(tmp_path, network):
    tensors = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    save_file(tensors, tmp_path / "w.safetensors")
    torch.save({f"module.{name}": tensor for name, tensor in tensors.items()}, tmp_path / "w.th")
    noise = batch_noise(0, range(3), *hierarchy(network).noise_shapes)
    expected = hierarchy(network).decode(hierarchy(network).encode(IMAGES), noise)
    for name in ("w.safetensors", "w.th"):
        loaded = load_vdvae(Backbone("tiny", record(tmp_path, checkpoint=name)), "cpu")
        np.testing.assert_array_equal(loaded.decode(loaded.encode(IMAGES), noise), expected)
    torch.save(tensors | {"decoder.extra": torch.zeros(1)}, tmp_path / "w.th")
    with pytest.raises(UserError, match=r'backbone tiny: Unexpected key.*"decoder.extra"'):
        load_vdvae(Backbone("tiny", record(tmp_path, checkpoint="w.th")))
    tensors.pop("decoder.gain")
    torch.save(tensors, tmp_path / "w.th")
    with pytest.raises(UserError, match=r'Missing key.*"decoder.gain"'):
        load_vdvae(Backbone("tiny", record(tmp_path, checkpoint="w.th")))
    torch.save({"decoder.gain": Layout(**TINY)}, tmp_path / "w.th")
    with pytest.raises(UserError, match=r"w\.th: holds Python objects other than tensors"):
        load_vdvae(Backbone("tiny", record(tmp_path, checkpoint="w.th")))


def test_latents_of_the_stimuli_belong_to_their_image_ids(tmp_path, network, monkeypatch):
    """Sampled with noise of the image, so it does not depend on the other images."""
    save_file(network.state_dict(), tmp_path / "w.safetensors")
    backbone = Backbone("tiny", record(tmp_path, posterior="sampled", trained_on="x", files={"w.safetensors": None}))
    monkeypatch.setattr(encode_latents, "BLOCK", 2)
    arrays = []
    for name, order in (("whole", [0, 1, 2]), ("part", [0, 2])):
        stimuli = SimpleNamespace(images=IMAGES[order], ids=np.array([7, 8, 9])[order])
        monkeypatch.setattr(encode_latents.Stimuli, "open", lambda path, stimuli=stimuli: stimuli)
        encode_latents.encode_latents(backbone, "stimuli", 8, tmp_path / name)
        arrays.append(Embeddings.open(tmp_path / name))
    whole, part = arrays
    assert whole.tokens.shape == (3, 1, 66) and whole.axes.shape == (66,)
    assert whole.axes.runs == {"level": (2, 32, 32)} and whole.metadata["posterior"] == "sampled"
    np.testing.assert_allclose(part.tokens, whole.tokens[[0, 2]], atol=2e-3)
    with pytest.raises(UserError, match="takes pictures of 8 pixels, not 16; correct `size`"):
        encode_latents.encode_latents(backbone, "stimuli", 16, tmp_path / "wrong")
