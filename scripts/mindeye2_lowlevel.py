"""The blurry pictures of MindEye2's low-level head: its latents through the autoencoder they belong to."""

import numpy as np
import torch

from fmri2img.artifacts.decoded import Decoded
from fmri2img.artifacts.prediction import IDENTITY, save_prediction
from fmri2img.backbones.autoencoders import Autoencoder, load_autoencoder
from fmri2img.backbones.pixels import to_uint8
from fmri2img.backbones.registry import Backbone
from fmri2img.errors import UserError
from fmri2img.job import start

BATCH = 32  # pictures decoded at a time


def decode_pictures(latents: np.ndarray, autoencoder: Autoencoder) -> np.ndarray:
    """Pictures uint8 (n, height, width, 3) of scaled latents (n, channels, side, side) of any float type."""
    blocks = []
    for start_row in range(0, len(latents), BATCH):
        block = torch.from_numpy(np.asarray(latents[start_row : start_row + BATCH], np.float32))
        blocks.append(to_uint8(autoencoder.decode(block.to(autoencoder.device))))
    return np.concatenate(blocks)


def mindeye2_lowlevel(decoded_path: str, backbone: Backbone, method: str, output: str) -> None:
    """Write the Prediction `method` of a Decoded with latents. Raises UserError where there are none, or others."""
    decoded = Decoded.open(decoded_path)
    if decoded.latents is None:
        raise UserError(
            f"{decoded_path}: holds no latents.npy; train with mindeye2.low_level, or leave {method} out of 'methods'"
        )
    autoencoder = load_autoencoder(backbone)
    if decoded.latents.shape[1] != autoencoder.channels:
        raise UserError(
            f"configuration: key 'mindeye2.low_level.autoencoder': {backbone.name} has {autoencoder.channels} latent "
            f"channels, {decoded_path} holds {decoded.latents.shape[1]}; name the one the decoder was trained with"
        )
    disclosure = decoded.metadata["disclosure"] | {
        "samples_per_image": 1,
        "selector": "none",
        "generator": f"{backbone.name} ({backbone.revision})",
    }
    metadata = {key: decoded.metadata[key] for key in IDENTITY}
    metadata |= {"method": method, "of": decoded.metadata["method"], "disclosure": disclosure}
    save_prediction(output, decoded.ids, metadata, images=decode_pictures(decoded.latents, autoencoder))


if __name__ == "__main__":
    start(snakemake)
    mindeye2_lowlevel(
        snakemake.input.decoded,
        Backbone(*snakemake.params.autoencoder),
        snakemake.params.method,
        snakemake.output[0],
    )
