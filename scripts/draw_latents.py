"""Draw blurry pictures: decode the latents of a low-level head with their autoencoder."""

import numpy as np
import torch

from fmri2img import job
from fmri2img.artifacts.decoded import Decoded
from fmri2img.artifacts.prediction import IDENTITY, save_prediction
from fmri2img.backbones.autoencoders import Autoencoder, load_autoencoder
from fmri2img.backbones.pixels import to_uint8
from fmri2img.backbones.registry import Backbone
from fmri2img.errors import UserError

BATCH = 32  # pictures decoded at a time


def decode_pictures(latents: np.ndarray, autoencoder: Autoencoder) -> np.ndarray:
    """Pictures uint8 (n, height, width, 3) from scaled latents (n, channels, side, side) of any float type."""
    blocks = []
    for start_row in range(0, len(latents), BATCH):
        block = torch.from_numpy(np.asarray(latents[start_row : start_row + BATCH], np.float32))
        blocks.append(to_uint8(autoencoder.decode(block.to(autoencoder.device))))
    return np.concatenate(blocks)


def draw_latents(decoded: Decoded, backbone: Backbone, method: str, output: str) -> None:
    """Write the Prediction `method` of a Decoded with latents. Raises UserError if they are missing or do not fit."""
    latents, autoencoder = decoded.array("latents"), load_autoencoder(backbone)
    if latents.shape[1] != autoencoder.channels:
        raise UserError(
            f"{decoded.path}: its latents have {latents.shape[1]} channels, but the autoencoder {backbone.name} has "
            f"{autoencoder.channels}; name the autoencoder that the decoder of {method} was trained with"
        )
    disclosure = decoded.disclosure.but(generator=f"{backbone.name} ({backbone.revision})")
    metadata = {key: decoded.metadata[key] for key in IDENTITY}
    metadata |= {"method": method, "of": decoded.metadata["method"], "disclosure": disclosure.record()}
    save_prediction(output, decoded.ids, metadata, images=decode_pictures(latents, autoencoder))


def main(snakemake) -> None:
    draw_latents(
        Decoded.open(snakemake.input.decoded),
        Backbone(*snakemake.params.autoencoder),
        snakemake.wildcards.method,
        snakemake.output[0],
    )


if __name__ == "__main__":
    job.run(main)
