"""LAION-fMRI's volumes: masks of regions and noise ceilings, in the subject's T1w space at 1.8 mm, axes (X, Y, Z).

Files of one subject share a grid and its position, so voxels are matched by index and nothing is resampled; a file in
another space or resolution is refused. Inside a mask, voxels are listed in C order over (X, Y, Z).
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from fmri2img.artifacts.tables import read_json
from fmri2img.datasets.laion_fmri import layout
from fmri2img.datasets.nifti import read_affine, read_nifti
from fmri2img.datasets.own_files import renew
from fmri2img.errors import UserError
from fmri2img.settings.base import nearest

SAME_MM = 1e-2  # positions that differ by less are the same: headers are float32
PERCENT = 100


@dataclass(frozen=True)
class Volume:
    """values: (X, Y, Z), in the dtype of the file; affine: float64 (4, 4), from indices to millimetres."""

    path: Path
    values: np.ndarray
    affine: np.ndarray

    def check_grid(self, shape: tuple[int, ...], affine: np.ndarray, other: str | Path) -> None:
        """Raises UserError when the other file's grid or position differs."""
        if self.values.shape != shape or not np.allclose(self.affine, affine, atol=SAME_MM):
            raise UserError(
                f"{other}: grid {shape[:3]} is not that of {self.path} {self.values.shape}, or lies elsewhere; use "
                "files of one subject in space T1w at the resolution of the betas (res-1pt8)"
            )


def read_volume(path: str | Path) -> Volume:
    """A NIfTI file of one volume. Raises UserError when it is missing or damaged, or holds several."""
    path = Path(path)
    values = read_nifti(path, renew(path))
    if values.ndim == 4 and values.shape[3] == 1:
        values = values[..., 0]
    if values.ndim != 3:
        raise UserError(f"{path}: has shape {values.shape}, expected one volume (X, Y, Z); {renew(path)}")
    return Volume(path, values, read_affine(path, renew(path)))


class Regions:
    """A subject's region masks, by the names in PUBLISHED and UNIONS; masks of the user's own have their own names."""

    def __init__(self, listed: str | Path, root: str | Path) -> None:
        """listed: the file of layout.region_list; root: the folder of the tree."""
        self.listed, self.root = Path(listed), Path(root)
        self.keys: dict[str, str] = read_json(listed)
        if layout.GENERAL not in self.keys:
            raise UserError(f"{self.listed}: lists no mask of {layout.GENERAL}; delete it, so that it is made again")

    def mask(self, name: str) -> Volume:
        """Voxels of a region, bool. Raises UserError for an unknown one, and when the mask is empty or has NaN."""
        parts = [name] if name in self.keys else [part for part in layout.UNIONS.get(name, ()) if part in self.keys]
        if not parts:
            there = nearest(name, [*self.keys, *layout.UNIONS], "available")
            raise UserError(f"configuration: key 'laion_fmri.betas.mask': '{name}' is not a region; {there}")
        found = [read_volume(self.root / self.keys[part]) for part in parts]
        for other in found[1:]:
            found[0].check_grid(other.values.shape, other.affine, other.path)
        mask = np.any([one.values > 0 for one in found], axis=0)  # NaN, as some tools write it outside, is not inside
        if not mask.any():
            raise UserError(f"{found[0].path}: the mask of {name} is empty; {renew(found[0].path)}")
        return Volume(found[0].path, mask, found[0].affine)

    def columns(self, mask: Volume) -> dict[str, np.ndarray]:
        """Each published region and union: bool (voxels,) of the mask, all False where the subject has none.

        A union that the subject has as a mask of its own is that mask.
        """
        columns = {}
        for region in (*layout.PUBLISHED, *layout.UNIONS):
            inside = np.zeros(int(mask.values.sum()), bool)
            if region in self.keys:
                volume = read_volume(self.root / self.keys[region])
                mask.check_grid(volume.values.shape, volume.affine, volume.path)
                inside = volume.values[mask.values] > 0
            columns[region] = inside
        for name, parts in layout.UNIONS.items():
            if name not in self.keys:
                columns[name] = np.any([columns[part] for part in parts], axis=0)
        return columns


def ncsnr_of(ceiling: np.ndarray, inverse_repeats: float) -> np.ndarray:
    """Noise ceiling signal-to-noise ratio of a single trial, float32, from noise ceilings in percent.

    The authors computed  ceiling = 100 ncsnr^2 / (ncsnr^2 + mean(1/n))  with n, the repeats of each image (NSD's
    formula), so  ncsnr = sqrt(mean(1/n) ceiling / (100 - ceiling)).  inverse_repeats: mean(1/n). NaN stays NaN.
    """
    share = ceiling.astype(np.float64) / PERCENT
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.sqrt(inverse_repeats * share / (1 - share)).astype(np.float32)


def read_ncsnr(path: str | Path, mask: Volume, inverse_repeats: float) -> tuple[np.ndarray, int]:
    """ncsnr of the mask's voxels, float32, and in how many of them it was missing, which have 0 (no signal is known).

    Raises UserError when the map does not fit the mask, or does not hold percentages.
    """
    volume = read_volume(path)
    mask.check_grid(volume.values.shape, volume.affine, path)
    ceiling = volume.values[mask.values].astype(np.float64)
    known = np.isfinite(ceiling) & (ceiling < PERCENT)
    if not known.any():
        raise UserError(f"{path}: NaN or infinite in every voxel of the mask; {renew(path)}")
    lowest, highest = ceiling[np.isfinite(ceiling)].min(), ceiling[np.isfinite(ceiling)].max()
    if lowest < 0 or highest > PERCENT or 0 < highest <= 1:
        raise UserError(
            f"{path}: noise ceilings from {lowest:g} to {highest:g} are not percentages (0 to 100); {renew(path)}"
        )
    return np.where(known, ncsnr_of(np.where(known, ceiling, 0), inverse_repeats), 0), int((~known).sum())
