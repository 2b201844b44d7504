"""The grid of volumes and betas, by their headers: files of one subject that differ are found before the first job."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from fmri2img.datasets.nsd.betas import grid_of_betas
from fmri2img.datasets.nsd.dataset import Dataset
from fmri2img.datasets.nsd.volumes import grid_of_volume
from fmri2img.datasets.own_files import is_there
from fmri2img.errors import UserError


def check_files(dataset: Dataset, study: Any) -> None:
    """Volumes and betas of a subject that are the user's are in one grid. Raises UserError."""
    if not dataset.has_recordings or dataset.simulated:
        return
    for subject in study.recorded:
        keys = [*dataset.subject_keys(subject, study.available_sessions[subject])]
        paths = [folder / key for key in keys for folder in (dataset.copied, dataset.root) if folder]
        check_grids([path for path in paths if is_there(path)], dataset.settings.betas.mask)


def check_grids(paths: Iterable[Path], mask: str) -> None:
    """Raise UserError when a file of a subject has another grid than the one that most of them have.

    paths: volumes (.nii.gz) and sessions of betas; others are passed over. mask: of the configuration, for the message.
    """
    grids = {path: grid_of(path) for path in paths if path.name.endswith((".nii.gz", ".hdf5"))}
    counts = [*grids.values()]
    common = max(counts, key=counts.count, default=None)
    for path, grid in grids.items():
        if grid != common:
            other = next(path for path, found in grids.items() if found == common)
            of_mask = "; or choose another nsd.betas.mask" if path.name == f"{mask}.nii.gz" else ""
            raise UserError(
                f"{path}: {_written(grid)} voxels, but {other} has {_written(common)}; take all files of a subject "
                f"from its func1pt8mm folder, and make your own masks in that grid{of_mask}"
            )


def grid_of(path: Path) -> tuple[int, ...]:
    """Voxels along X, Y and Z. Raises UserError when the header cannot be read."""
    return grid_of_betas(path) if path.name.startswith("betas_session") else grid_of_volume(path)


def _written(grid: tuple[int, ...]) -> str:
    return " x ".join(map(str, grid))
