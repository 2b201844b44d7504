"""Brain correlation: betas that an encoding model predicts from a reconstruction against betas the stimulus evoked.

Two scores that are easily confused:

    pattern     for each image, the correlation over the voxels of a region (MindEye2's brain correlation)
    voxel       for each voxel, the correlation over images; a region's score is the mean over its voxels

Measured betas are noisy, so even a perfect reconstruction and a perfect model stay below 1. The noise ceiling is the
correlation that the noiseless response would reach. With s = ncsnr^2 / (ncsnr^2 + 1), the share of signal in the
variance of a z-scored single trial, a mean of n trials has signal s and noise (1 - s) / n, hence the ceiling

    of a voxel over images          sqrt(s / (s + (1 - s) mean(1 / n)))
    of an image over voxels         sqrt(sum s / sum (s + (1 - s) / n)), sums over the voxels of the region

The second formula assumes that the signals of all voxels have the same scale, which z-scoring ensures. ncsnr comes
from repeated presentations, of which some or all are of test images (NSD's own values, or datasets.normalise).
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pandas as pd

from fmri2img.artifacts.atomic import atomic_directory
from fmri2img.artifacts.recording import Recording
from fmri2img.artifacts.regions import EARLY, EVERYWHERE, HIGHER
from fmri2img.errors import UserError
from fmri2img.metrics.similarity import paired_correlations


def regions(voxels: pd.DataFrame) -> dict[str, np.ndarray]:
    """Region -> bool (voxels,), for the regions whose columns the table has.

    visual_cortex: all voxels of the mask; higher: those outside V1 to hV4.
    """
    early = {name: voxels[column].to_numpy(bool) for name, column in EARLY.items() if column in voxels}
    found = {EVERYWHERE: np.ones(len(voxels), bool), **early}
    return found | ({HIGHER: ~np.any(list(early.values()), axis=0)} if len(early) == len(EARLY) else {})


@dataclass(frozen=True)
class MeasuredBrain:
    """A subject's responses to the test images, and the encoding model that predicts responses to pictures.

    ids: int64 (images,) ascending; betas: float32 (images, voxels), means over repeats; repeats: int (images,); voxels:
    the Recording's table; predict: pictures uint8 (n, height, width, 3) -> betas float32 (n, voxels).
    """

    ids: np.ndarray
    betas: np.ndarray
    repeats: np.ndarray
    voxels: pd.DataFrame
    predict: Callable[[np.ndarray], np.ndarray]

    @classmethod
    def of(cls, recording: Recording, predict: Callable[[np.ndarray], np.ndarray], test_set: str) -> "MeasuredBrain":
        rows = recording.test_rows(test_set)
        ids, betas = recording.averaged(rows)
        repeats = np.unique(recording.trials["image_id"].to_numpy()[rows], return_counts=True)[1]
        return cls(ids, betas, repeats, recording.voxels, predict)

    def on(self, ids: np.ndarray) -> "MeasuredBrain":
        """The same for the images `ids` only, in that order. Raises UserError for an image without test responses."""
        rows = np.minimum(np.searchsorted(self.ids, ids), len(self.ids) - 1)
        missing = np.asarray(ids)[self.ids[rows] != ids]
        if len(missing):
            raise UserError(
                f"recording: image_id {missing[0]} is not among its test images; score it with its own subject"
            )
        return replace(self, ids=self.ids[rows], betas=self.betas[rows], repeats=self.repeats[rows])

    def signal(self) -> np.ndarray:
        """Share of signal in a single trial's variance, float64 (voxels,)."""
        squared = self.voxels["ncsnr"].to_numpy(np.float64) ** 2
        return squared / (squared + 1)

    def voxel_ceiling(self) -> np.ndarray:
        """Float64 (voxels,); 0 for a voxel without signal."""
        signal = self.signal()
        return np.sqrt(signal / (signal + (1 - signal) * (1 / self.repeats).mean()))

    def pattern_ceiling(self, inside: np.ndarray) -> np.ndarray:
        """Float64 (images,), for the voxels `inside`, bool (voxels,)."""
        signal, noise = self.signal()[inside].sum(), (1 - self.signal()[inside]).sum()
        return np.sqrt(signal / (signal + noise / self.repeats))


def brain_correlation(brain: MeasuredBrain, predicted: np.ndarray, region: str, normalised: bool) -> np.ndarray:
    """For each image, the Pearson correlation of measured and predicted betas over the voxels of `region`.

    predicted: float (images, voxels). normalised: divided by the noise ceiling of that image and region. The value is 0
    where a pattern is constant or not finite, and NaN for a region of fewer than two voxels or, if normalised, without
    any signal. Returns float64 (images,).
    """
    inside = regions(brain.voxels)[region]
    if inside.sum() < 2:
        return np.full(len(predicted), np.nan)
    values = np.nan_to_num(paired_correlations(brain.betas[:, inside], predicted[:, inside]), nan=0.0)
    if not normalised:
        return values
    ceiling = brain.pattern_ceiling(inside)
    return np.divide(values, ceiling, out=np.full(len(values), np.nan), where=ceiling > 0)


def voxel_correlations(brain: MeasuredBrain, predicted: np.ndarray) -> np.ndarray:
    """For each voxel, the Pearson correlation of measured and predicted betas over images, float64 (voxels,).

    It is 0 where a voxel's betas are constant or not finite.
    """
    columns = np.ascontiguousarray(brain.betas.T), np.ascontiguousarray(predicted.T)
    return np.nan_to_num(paired_correlations(*columns), nan=0.0)


def voxel_correlation(brain: MeasuredBrain, predicted: np.ndarray, region: str, normalised: bool) -> float:
    """Mean of `voxel_correlations` over the voxels of `region`: one value for all images.

    normalised: divided by the mean noise ceiling of these voxels (the noisiest voxels would dominate a mean of ratios).
    It is NaN for fewer than three images, for a region without voxels and, if normalised, without any signal.
    """
    inside = regions(brain.voxels)[region]
    if len(predicted) < 3 or not inside.any():
        return np.nan
    value = voxel_correlations(brain, predicted)[inside].mean()
    if not normalised:
        return float(value)
    ceiling = brain.voxel_ceiling()[inside].mean()
    return float(value / ceiling) if ceiling > 0 else np.nan


def voxel_table(brain: MeasuredBrain, predicted: np.ndarray) -> pd.DataFrame:
    """One row per voxel, for maps: x, y, z, ncsnr, one boolean column per region, correlation and ceiling."""
    inside = {name: mask for name, mask in regions(brain.voxels).items() if name != EVERYWHERE}
    columns = {"correlation": voxel_correlations(brain, predicted), "ceiling": brain.voxel_ceiling()}
    return brain.voxels[["x", "y", "z", "ncsnr"]].assign(**inside, **columns)


def region_table(brain: MeasuredBrain, predicted: np.ndarray) -> pd.DataFrame:
    """One row per region: its number of voxels and both scores, raw and normalised, as means over images and voxels."""
    scores = {"pattern": brain_correlation, "voxel": voxel_correlation}
    return pd.DataFrame(
        {
            "region": region,
            "voxels": int(inside.sum()),
            **{
                f"{name}{suffix}": float(np.mean(score(brain, predicted, region, normalised)))
                for name, score in scores.items()
                for suffix, normalised in (("", False), ("_normalised", True))
            },
        }
        for region, inside in regions(brain.voxels).items()
    )


def save_brain_tables(path: str | Path, brain: MeasuredBrain, predicted: np.ndarray) -> None:
    """Write the directory `path`: voxels.parquet and regions.parquet."""
    with atomic_directory(path) as directory:
        voxel_table(brain, predicted).to_parquet(directory / "voxels.parquet", index=False)
        region_table(brain, predicted).to_parquet(directory / "regions.parquet", index=False)
