"""Writers of NSD's file formats: the same content always gives the same bytes.

Nothing that depends on the time or place of writing enters a file: gzip and MATLAB headers have fixed texts, and HDF5
objects have no time stamps.
"""

import gzip
import json
from pathlib import Path

import h5py
import nibabel as nib
import numpy as np
import pandas as pd
from PIL import Image
from scipy.io import savemat

from fmri2img.artifacts.atomic import atomic_file

VOXEL_MM = 1.8
REPETITION_SECONDS = 4 / 3
MATLAB_HEADER_BYTES = 116


def write_nifti(path: Path, volume: np.ndarray) -> None:
    """Write a volume (X, Y, Z) or (X, Y, Z, trials) as .nii.gz.

    As in NSD, the affine has 1.8 mm on the diagonal and the origin at the centre of the volume, so it does not say
    where the voxels are in the brain. There is no scale factor. Compression is the fastest, which still halves the
    size.
    """
    affine = np.diag([VOXEL_MM] * 3 + [1.0])
    affine[:3, 3] = -(np.array(volume.shape[:3]) - 1) / 2 * VOXEL_MM
    image = nib.Nifti1Image(volume, affine)
    image.header.set_xyzt_units("mm", "sec")
    if volume.ndim == 4:
        image.header["pixdim"][4] = REPETITION_SECONDS
    with (
        atomic_file(path) as temporary,
        open(temporary, "wb") as handle,
        gzip.GzipFile("", "wb", compresslevel=1, fileobj=handle, mtime=0) as packed,
    ):
        packed.write(image.to_bytes())


def write_betas(path: Path, betas: np.ndarray) -> None:
    """Write betas int16 (X, Y, Z, trials), percent signal change x 300, as an HDF5 file and next to it as NIfTI.

    The HDF5 dataset has the axes reversed, (trials, Z, Y, X), and one chunk per voxel.
    """
    reversed_axes = betas.T
    with (
        atomic_file(path.with_suffix(".hdf5")) as temporary,
        h5py.File(temporary, "w", libver="earliest", rdcc_nbytes=0) as file,
    ):
        shape = reversed_axes.shape
        dataset = file.create_dataset("betas", shape, "<i2", chunks=(shape[0], 1, 1, 1), track_times=False)
        by_voxel = np.ascontiguousarray(np.moveaxis(reversed_axes, 0, -1), "<i2")
        for z, y, x in np.ndindex(shape[1:]):
            dataset.id.write_direct_chunk((0, z, y, x), by_voxel[z, y, x])
    write_nifti(path.with_suffix(".nii.gz"), betas)


def write_images(path: Path, images: np.ndarray) -> None:
    """Write images uint8 (stimuli, height, width, 3) as dataset imgBrick."""
    with atomic_file(path) as temporary, h5py.File(temporary, "w", libver="earliest") as file:
        file.create_dataset("imgBrick", data=images, track_times=False)


def write_matlab(path: Path, arrays: dict[str, np.ndarray]) -> None:
    """Write a MATLAB v5 file; every array must have at least two dimensions, as MATLAB's have."""
    with atomic_file(path) as temporary:
        savemat(temporary, arrays, appendmat=False)
        with open(temporary, "rb+") as file:
            file.write(b"MATLAB 5.0 MAT-file, simulated".ljust(MATLAB_HEADER_BYTES))


def write_responses(path: Path, table: pd.DataFrame) -> None:
    """Write a tab-separated table, with NaN as text and more digits than a double has, as MATLAB printed them."""
    columns = [
        [f"{value:.20g}" if value == value else "NaN" for value in table[name].astype(float).tolist()]
        for name in table.columns
    ]
    with atomic_file(path) as temporary:
        lines = ["\t".join(table.columns), *("\t".join(row) for row in zip(*columns, strict=True))]
        temporary.write_text("\n".join(lines) + "\n")


def write_csv(path: Path, table: pd.DataFrame, index: bool = True) -> None:
    """Write a comma-separated table, with the unnamed index column first unless `index` is false."""
    with atomic_file(path) as temporary:
        table.to_csv(temporary, index=index)


def write_run(path: Path, table: pd.DataFrame) -> None:
    """Write a tab-separated table of numbers and texts, with NaN as text."""
    with atomic_file(path) as temporary:
        table.to_csv(temporary, sep="\t", index=False, na_rep="NaN")


def write_picture(path: Path, picture: np.ndarray) -> None:
    """Write uint8 (height, width, 3) as PNG."""
    with atomic_file(path) as temporary:
        Image.fromarray(picture).save(temporary, format="PNG")


def write_json(path: Path, content: dict) -> None:
    with atomic_file(path) as temporary:
        temporary.write_text(json.dumps(content))


def write_labels(path: Path, names: tuple[str, ...]) -> None:
    """Write a .ctab table: one line "number name" per label; 0 is unlabelled cortex."""
    with atomic_file(path) as temporary:
        temporary.write_text("".join(f"{number} {name}\n" for number, name in enumerate(("Unknown", *names))))


def write_arrays(path: Path, arrays: dict[str, np.ndarray]) -> None:
    with atomic_file(path) as temporary, open(temporary, "wb") as handle:
        np.savez(handle, **arrays)
