"""Pictures from decoded latents: of a low-level head, or drawn by a generator that is a part of the decoder."""

from dataclasses import replace

import numpy as np
import torch

from fmri2img.backbones.autoencoders import Autoencoder, load_autoencoder
from fmri2img.backbones.pixels import to_uint8
from fmri2img.errors import UserError
from fmri2img.generation.drawing import Drawing, Drawn

BATCH = 32  # pictures decoded at a time


def decode_pictures(latents: np.ndarray, autoencoder: Autoencoder) -> np.ndarray:
    """Pictures uint8 (n, height, width, 3) from scaled latents (n, channels, side, side) of any float type."""
    blocks = []
    for start_row in range(0, len(latents), BATCH):
        block = torch.from_numpy(np.asarray(latents[start_row : start_row + BATCH], np.float32))
        blocks.append(to_uint8(autoencoder.decode(block.to(autoencoder.device))))
    return np.concatenate(blocks)


def draw(drawing: Drawing) -> Drawn:
    """The pipeline. Raises UserError if the decoder has no latents, or they do not fit the autoencoder."""
    latents, backbone = drawing.array("latents"), drawing.networks["autoencoder"]
    autoencoder = load_autoencoder(backbone)
    if latents.shape[1] != autoencoder.channels:
        raise UserError(
            f"{drawing.decoded.path}: its latents have {latents.shape[1]} channels, but the autoencoder "
            f"{backbone.name} has {autoencoder.channels}; name the autoencoder that the decoder was trained with"
        )
    return Drawn(drawing.disclosure("autoencoder"), images=decode_pictures(latents, autoencoder))


def draw_finetuned(drawing: Drawing) -> Drawn:
    """The pipeline of decoders that draw latents themselves, with a generator that was fine-tuned with them.

    It is disclosed as what draws. Further samples of an image are in the decoded array `samples`, (images, samples,
    channels, side, side). Raises UserError as `draw`.
    """
    drawn = replace(draw(drawing), disclosure=drawing.disclosure("generator", "autoencoder"))
    further = drawing.decoded.arrays.get("samples")
    if further is None:
        return drawn
    pictures = decode_pictures(
        further.reshape(-1, *further.shape[2:]), load_autoencoder(drawing.networks["autoencoder"])
    )
    return replace(drawn, samples=pictures.reshape(*further.shape[:2], *pictures.shape[1:]))
