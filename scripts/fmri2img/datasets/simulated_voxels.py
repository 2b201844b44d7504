"""Voxels of a simulated subject: some respond to what is at a place of the picture, the others to its meaning.

This is the model for datasets that are published as lists of voxels. (NSD's simulator, which writes volumes, has one of
its own with an anatomy.) A trial of voxel v that shows image i is

    gain * (ncsnr_v * signal_v(i) + noise) + baseline_v,    sd(signal_v) = 1 over the images, sd(noise) = 1

so ncsnr_v is the true noise ceiling signal-to-noise ratio.
"""

from dataclasses import dataclass

import numpy as np

from fmri2img.datasets import scene_features
from fmri2img.datasets.scene_features import CHANNELS, standardised
from fmri2img.datasets.scenes import Scene

FIELD = (0.05, 0.2)  # standard deviation of receptive fields, fraction of the picture
SPECTRUM = 1.0  # variance of the meaning's latent k falls as k ** -SPECTRUM, as for responses in visual cortex
SPREAD = 0.25  # of ncsnr over voxels, relative


@dataclass(frozen=True)
class SimulatedVoxels:
    """signal: float32 (images, voxels), standardised; ncsnr, baseline: (voxels,); gain: one number, in data units."""

    signal: np.ndarray
    ncsnr: np.ndarray
    baseline: np.ndarray
    gain: float

    def trials(self, images: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """Responses float32 (trials, voxels) to the images with these row numbers."""
        noise = rng.standard_normal((len(images), len(self.ncsnr)), np.float32)
        return (self.baseline + self.gain * (self.ncsnr * self.signal[images] + noise)).astype(np.float32)


def simulate_voxels(
    images: np.ndarray, scenes: list[Scene], early: np.ndarray, ncsnr: float, rng: np.random.Generator,
    baseline: float = 0.0, gain: float = 1.0,
) -> SimulatedVoxels:  # fmt: skip
    """Draw the voxels of one subject.

    images: uint8 (images, height, width, 3) of `scenes`; early: bool (voxels,), those that respond to what is at a
    place; ncsnr: median over voxels; baseline: standard deviation over voxels.
    """
    signal = np.empty((len(images), len(early)), np.float32)
    signal[:, early] = _local(scene_features.pixel_features(images), int(early.sum()), rng)
    signal[:, ~early] = _meaning(scene_features.semantic_latents(scenes), int((~early).sum()), rng)
    each = ncsnr * np.exp(SPREAD * rng.standard_normal(len(early)))
    return SimulatedVoxels(
        standardised(signal), each.astype(np.float32), baseline * rng.standard_normal(len(early)), gain
    )


def _local(pixels: np.ndarray, voxels: int, rng: np.random.Generator) -> np.ndarray:
    """Receptive fields anywhere in the picture, each with random weights of the channels (energies and colours)."""
    fields = np.column_stack([rng.random((voxels, 2)), rng.uniform(*FIELD, voxels)])
    places = scene_features.receptive_fields(fields)
    channels = rng.standard_normal((voxels, CHANNELS))
    weights = places[:, :, None] * channels[:, None, :]
    return pixels @ weights.reshape(voxels, pixels.shape[1]).T.astype(np.float32)


def _meaning(latents: np.ndarray, voxels: int, rng: np.random.Generator) -> np.ndarray:
    spectrum = np.arange(1, latents.shape[1] + 1) ** (-SPECTRUM / 2)
    return latents @ (rng.standard_normal((voxels, latents.shape[1])) * spectrum).T.astype(np.float32)
