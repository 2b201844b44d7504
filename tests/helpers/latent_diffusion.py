"""Names and shapes of the tensors of CompVis's class-conditional latent diffusion model, written down from its layout.

Independent of the converter under test: this walks the blocks as latent-diffusion's UNetModel builds them (MinD-Vis's
adds `time_embed_condtion`), and names the tensors of its VQ-f4 autoencoder.
"""

import torch
from diffusers.models.autoencoders.vq_model import VQModel
from sgm_vae import sgm_autoencoder


def unet_shapes(
    channels: int, multipliers: tuple[int, ...] = (1, 2, 3, 5), context: int = 512, latent: int = 3
) -> dict[str, tuple[int, ...]]:
    """Tensor name -> shape; all levels but the first have attention, two residual blocks each."""
    shapes: dict[str, tuple[int, ...]] = {}

    def weights(name, *shape, bias=True):
        shapes[f"{name}.weight"] = shape
        if bias:
            shapes[f"{name}.bias"] = shape[:1]

    def resnet(name, n_in, n_out):
        weights(f"{name}.in_layers.0", n_in)
        weights(f"{name}.in_layers.2", n_out, n_in, 3, 3)
        weights(f"{name}.emb_layers.1", n_out, 4 * channels)
        weights(f"{name}.out_layers.0", n_out)
        weights(f"{name}.out_layers.3", n_out, n_out, 3, 3)
        if n_in != n_out:
            weights(f"{name}.skip_connection", n_out, n_in, 1, 1)

    def transformer(name, n):
        weights(f"{name}.norm", n)
        weights(f"{name}.proj_in", n, n, 1, 1)
        weights(f"{name}.proj_out", n, n, 1, 1)
        block = f"{name}.transformer_blocks.0"
        for attention, width in (("attn1", n), ("attn2", context)):
            weights(f"{block}.{attention}.to_q", n, n, bias=False)
            weights(f"{block}.{attention}.to_k", n, width, bias=False)
            weights(f"{block}.{attention}.to_v", n, width, bias=False)
            weights(f"{block}.{attention}.to_out.0", n, n)
        weights(f"{block}.ff.net.0.proj", 8 * n, n)
        weights(f"{block}.ff.net.2", n, 4 * n)
        for number in (1, 2, 3):
            weights(f"{block}.norm{number}", n)

    weights("time_embed.0", 4 * channels, channels)
    weights("time_embed.2", 4 * channels, 4 * channels)
    weights("input_blocks.0.0", channels, latent, 3, 3)
    skips, n, index = [channels], channels, 1
    for level, multiplier in enumerate(multipliers):
        for _ in range(2):
            resnet(f"input_blocks.{index}.0", n, channels * multiplier)
            n = channels * multiplier
            if level:
                transformer(f"input_blocks.{index}.1", n)
            skips.append(n)
            index += 1
        if level < len(multipliers) - 1:
            weights(f"input_blocks.{index}.0.op", n, n, 3, 3)
            skips.append(n)
            index += 1
    resnet("middle_block.0", n, n)
    transformer("middle_block.1", n)
    resnet("middle_block.2", n, n)
    index = 0
    for level in reversed(range(len(multipliers))):
        for position in range(3):
            resnet(f"output_blocks.{index}.0", n + skips.pop(), channels * multipliers[level])
            n = channels * multipliers[level]
            if level:
                transformer(f"output_blocks.{index}.1", n)
            if level and position == 2:
                weights(f"output_blocks.{index}.2.conv", n, n, 3, 3)
            index += 1
    weights("out.0", n)
    weights("out.2", latent, n, 3, 3)
    return {f"model.diffusion_model.{name}": shape for name, shape in shapes.items()}


def vq_tensors(config: dict) -> dict[str, torch.Tensor]:
    """The tensors of an untrained VQModel of this layout under latent-diffusion's names."""
    return sgm_autoencoder(VQModel(**config))
