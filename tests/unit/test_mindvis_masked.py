"""Masked brain modelling: names and sizes of the released weights, the masking, the loss, positions and padding."""

import numpy as np
import pytest
import torch
from timm.models.vision_transformer import VisionTransformer

from fmri2img.methods.mindvis.masked import (
    BrainEncoder,
    MaskedAutoencoder,
    masking,
    padded,
    resized_positions,
    whole_patches,
)
from fmri2img.methods.mindvis.network import start_from
from fmri2img.methods.mindvis.settings import DecoderConfig, EncoderConfig, ModelConfig

SMALL = ModelConfig(width=64, depth=3, heads=4, decoder=DecoderConfig(width=32, depth=2, heads=4))
PATCHES = 20


@pytest.fixture(scope="module")
def model() -> MaskedAutoencoder:
    torch.manual_seed(0)
    return MaskedAutoencoder(SMALL, PATCHES).eval()


def block_names(prefix: str, depth: int) -> set[str]:
    parts = ("norm1", "attn.qkv", "attn.proj", "norm2", "mlp.fc1", "mlp.fc2")
    return {f"{prefix}.{n}.{part}.{kind}" for n in range(depth) for part in parts for kind in ("weight", "bias")}


def test_weights_are_named_and_sized_as_released(model):
    """Published: 24 blocks of width 1024, 8 of width 512, hidden layers of a block as wide as the block."""
    shapes = {name: tuple(tensor.shape) for name, tensor in model.state_dict().items()}
    expected = block_names("blocks", 3) | block_names("decoder_blocks", 2)
    expected |= {"cls_token", "pos_embed", "mask_token", "decoder_pos_embed"}
    parts = ("patch_embed.proj", "norm", "decoder_embed", "decoder_norm", "decoder_pred")
    expected |= {f"{part}.{kind}" for part in parts for kind in ("weight", "bias")}
    assert set(shapes) == expected
    assert shapes["patch_embed.proj.weight"] == (64, 1, 16) and shapes["decoder_pred.weight"] == (16, 32)
    assert shapes["pos_embed"] == (1, 21, 64) and shapes["blocks.0.mlp.fc1.weight"] == (64, 64)
    with torch.device("meta"):
        full = MaskedAutoencoder(ModelConfig(), 280)
    of_decoder = sum(p.numel() for name, p in full.named_parameters() if name.startswith(("decoder", "mask_token")))
    assert (sum(p.numel() for p in full.parameters()) - of_decoder, of_decoder) == (151_548_928, 13_302_288)


@pytest.mark.parametrize(("ratio", "kept"), [(0.75, 5), (0.65, 7), (0.0, 20), (0.99, 0)])
def test_patches_with_the_smallest_noise_are_kept_in_its_order(ratio, kept):
    noise = torch.rand(6, PATCHES, generator=torch.manual_seed(3))
    keep, restore, mask = masking(noise, ratio)
    assert keep.shape == (6, kept)
    for row in range(6):
        order = sorted(range(PATCHES), key=lambda patch: noise[row, patch].item())
        assert keep[row].tolist() == order[:kept]
        assert [order[place] for place in restore[row]] == list(range(PATCHES))
        assert mask[row].tolist() == [float(patch not in order[:kept]) for patch in range(PATCHES)]


def test_the_prediction_of_a_removed_patch_does_not_depend_on_it_and_the_loss_on_it_alone(model):
    betas = torch.randn(2, 1, 320, generator=torch.manual_seed(1))
    noise = torch.rand(2, PATCHES, generator=torch.manual_seed(2))
    with torch.no_grad():
        found = model(betas, noise)
        changed = betas.clone()
        changed[0, 0, torch.repeat_interleave(found.mask[0], 16).bool()] += 5
        again = model(changed, noise)
        other = betas.clone()
        other[0, 0, torch.repeat_interleave(1 - found.mask[0], 16).bool()] += 5
    torch.testing.assert_close(again.prediction, found.prediction)
    assert not torch.allclose(model(other, noise).prediction[0], found.prediction[0], atol=1e-3)
    squared = (found.prediction.reshape(2, 320) - betas[:, 0]) ** 2
    removed = torch.repeat_interleave(found.mask, 16, dim=1).bool()
    torch.testing.assert_close(found.loss, squared[removed].mean())
    assert again.loss > found.loss + 1


def test_without_masking_the_encoder_is_timms_vision_transformer(model):
    """Same blocks in the same order; only the patches are those of a line instead of a picture."""
    vit = VisionTransformer(img_size=(16, 320), patch_size=16, in_chans=1, embed_dim=64, depth=3, num_heads=4,
                            mlp_ratio=1.0, num_classes=0, norm_layer=torch.nn.LayerNorm).eval()  # fmt: skip
    vit.load_state_dict(
        {k: v for k, v in model.state_dict().items() if k.startswith(("blocks.", "norm."))}, strict=False
    )
    betas = torch.randn(2, 1, 320)
    with torch.no_grad():
        tokens = model.patch_embed(betas) + model.pos_embed[:, 1:]
        start = (model.cls_token + model.pos_embed[:, :1]).expand(2, -1, -1)
        wanted = vit.norm(vit.blocks(torch.cat([start, tokens], 1)))
        order = torch.linspace(0, 1, PATCHES).expand(2, -1)
        model.config = SMALL.model_copy(update={"mask_ratio": 0.0})
        found, mask, _ = model.encode(betas, order)
    model.config = SMALL
    torch.testing.assert_close(found, wanted)
    assert not mask.any()


def test_positions_are_sines_then_cosines_of_the_patch_number(model):
    table = model.pos_embed[0].double()
    assert (table[0] == 0).all() and not model.pos_embed.requires_grad
    for patch, column in ((0, 0), (7, 3), (19, 31)):
        angle = patch / 10000 ** (column / 32)
        assert table[1 + patch, column] == pytest.approx(np.sin(angle), abs=1e-6)
        assert table[1 + patch, 32 + column] == pytest.approx(np.cos(angle), abs=1e-6)


def test_positions_are_resized_between_neighbours_or_copied_as_released(model):
    same = resized_positions(model.pos_embed, PATCHES, "linear")
    assert same is model.pos_embed
    linear, nearest = (resized_positions(model.pos_embed, 40, how)[0] for how in ("linear", "nearest"))
    assert (linear[0] == 0).all()
    torch.testing.assert_close(nearest[1::2], nearest[2::2])  # the released code's defect: two patches at one place
    torch.testing.assert_close(linear[2], 0.75 * model.pos_embed[0, 1] + 0.25 * model.pos_embed[0, 2])


def test_the_encoder_starts_from_the_masked_autoencoder_whatever_its_number_of_patches(model):
    encoder = BrainEncoder(SMALL.encoder, 30)
    start_from(encoder, model.state_dict(), "linear")
    torch.testing.assert_close(encoder.pos_embed, resized_positions(model.pos_embed, 30, "linear"))
    for name, tensor in encoder.state_dict().items():
        if name not in ("pos_embed", "mask_token"):
            torch.testing.assert_close(tensor, model.state_dict()[name])
    assert {name for name, p in encoder.named_parameters() if not p.requires_grad} == {
        "cls_token", "pos_embed", "mask_token",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("voxels", "patches"), [(4466, 280), (4404, 276), (4643, 291), (4133, 259), (4370, 274), (32, 2)]
)
def test_patterns_are_repeated_up_to_whole_patches(voxels, patches):
    """The visual voxels of GOD's subjects have 280, 276, 291, 259 and 274 patches, as published."""
    assert whole_patches(voxels, 16) == patches
    betas = np.arange(voxels, dtype=np.float32)[None]
    whole = padded(betas, patches * 16)
    assert whole.shape == (1, patches * 16)
    np.testing.assert_array_equal(whole[0, voxels:], np.arange(patches * 16 - voxels))
    np.testing.assert_array_equal(padded(betas[:, :5], 13)[0], [0, 1, 2, 3, 4, 0, 1, 2, 3, 4, 0, 1, 2])


def test_widths_that_heads_do_not_divide_are_refused():
    with pytest.raises(ValueError, match="not an even multiple of heads"):
        EncoderConfig(width=66, heads=4)
