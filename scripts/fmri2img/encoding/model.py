"""Voxel-wise encoding: from features of a picture to the betas it evokes, by banded ridge.

An encoding model is the opposite of a decoder and is used to judge one: betas predicted from a reconstruction are
compared with those that the stimulus evoked. It is fitted to training images only, as everything that scores a test
image must be.

Features come in bands (a low stage of a network, a high one, an image-text vector). Each is standardised over the
training images and divided by the square root of its width, so that wide bands do not dominate. Each voxel then has its
own kernel weights and penalty, chosen by cross-validation over images (Dupre la Tour et al., Feature-space selection
with banded ridge regression, NeuroImage 2022; package himalaya): early voxels select the low band and higher ones the
high band, although the fit knows no regions.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from safetensors.numpy import save

from fmri2img.artifacts.atomic import atomic_directory
from fmri2img.artifacts.tables import read_json, write_json
from fmri2img.encoding.kernels import cross_validated
from fmri2img.weights import read_fields


@dataclass(frozen=True)
class EncodingModel:
    """A fitted model. Bands are concatenated, in the order of `metadata["bands"]`.

    weights: float32 (features, voxels); feature_mean, feature_scale: float32 (features,), where a constant feature has
    scale 0; voxel_mean: float32 (voxels,); cv_r2: float32 (voxels,), held-out R2 of the chosen penalty, for means over
    the repeats of a training image; metadata: bands, penalties and training data.
    """

    weights: np.ndarray
    feature_mean: np.ndarray
    feature_scale: np.ndarray
    voxel_mean: np.ndarray
    cv_r2: np.ndarray
    metadata: dict

    @classmethod
    def open(cls, path: str | Path) -> "EncodingModel":
        path = Path(path)
        arrays = read_fields(path / "encoding.safetensors", cls)
        return cls(**arrays, metadata=read_json(path / "metadata.json"))

    def save(self, path: str | Path) -> None:
        arrays = {name: np.ascontiguousarray(a) for name, a in vars(self).items() if isinstance(a, np.ndarray)}
        with atomic_directory(path) as directory:
            (directory / "encoding.safetensors").write_bytes(save(arrays))
            write_json(directory / "metadata.json", self.metadata)

    def predict(self, features: list[np.ndarray]) -> np.ndarray:
        """Betas float32 (images, voxels) of pictures' features, one (images, width) array for each band.

        If a feature of a picture is not finite, neither are its betas. Raises ValueError for features of another width.
        """
        columns = np.concatenate(features, axis=1)
        if columns.shape[1] != len(self.weights):
            raise ValueError(f"{columns.shape[1]} features, but the encoding model was fitted to {len(self.weights)}")
        return ((columns - self.feature_mean) * self.feature_scale) @ self.weights + self.voxel_mean


def fit(features: list[np.ndarray], betas: np.ndarray, alphas: list[float], folds: int, seed: int) -> EncodingModel:
    """Fit an encoding model to the training images of one subject.

    features: one float32 (images, width) array for each band; betas: float32 (images, voxels), means over the repeats
    of each image; alphas: penalties to choose from, in units of a kernel whose diagonal averages 1; folds: of the
    cross-validation over images; seed: of the assignment of images to folds. The caller adds the bands to the metadata.

    Memory: one float32 (images, images) matrix for each band and a few more, 0.3 GB each for 9,000 images.
    Raises UserError when there are fewer images than folds, and ValueError for features that are not finite.
    """
    columns = np.concatenate(features, axis=1, dtype=np.float32)
    if not np.isfinite(columns).all():
        raise ValueError("features of the training images are not finite")
    mean, sd = columns.mean(axis=0, dtype=np.float64), columns.std(axis=0, dtype=np.float64)
    widths = np.concatenate([np.full(band.shape[1], band.shape[1]) for band in features])
    varies = sd > 1e-6 * (np.abs(mean) + 1e-30)
    scale = np.divide(1, sd * np.sqrt(widths), out=np.zeros_like(sd), where=varies).astype(np.float32)
    columns = (columns - mean.astype(np.float32)) * scale
    bands = np.split(columns, np.cumsum([band.shape[1] for band in features])[:-1], axis=1)
    kernels = np.stack([band @ band.T for band in bands])
    voxel_mean = betas.mean(axis=0, dtype=np.float64).astype(np.float32)

    solved = cross_validated(kernels, betas - voxel_mean, alphas, folds, seed)
    weights = np.concatenate([band.T @ duals for band, duals in zip(bands, solved.duals, strict=True)])
    metadata = {
        "alphas": list(alphas),
        "folds": folds,
        "fold_seed": seed,
        "training_images": len(betas),
        "widths": [band.shape[1] for band in features],
        "median_alpha": float(np.median(solved.alphas)),
        "at_edge": solved.at_edge(alphas),
        "band_share": [float(share) for share in solved.band_share.mean(axis=1)],
        "median_cv_r2": float(np.median(solved.cv_r2)),
    }
    arrays = weights, mean, scale, voxel_mean, solved.cv_r2
    return EncodingModel(*(np.asarray(array, np.float32) for array in arrays), metadata=metadata)
