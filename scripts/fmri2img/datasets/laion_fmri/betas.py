"""One session of single-trial betas inside a mask, and the table of its trials.

`..._desc-SingletrialBetas_statmap.nii.gz` is float32 (143, 143, 143, trials): 12.3 GB uncompressed. The volumes of a
compressed file can only be read in their order, so one volume at a time is decompressed and masked. Betas are
GLMsingle's TYPED (b4), shrunk by its ridge regression, so their size means nothing between voxels; they are z-scored.
Voxels near the edge of the brain may have NaN, which is kept here; `datasets.normalise` says what becomes of it.

`..._desc-SingletrialBetas_trials.tsv` has one row per volume: session, run, beta_index (from 0 in the session), and
label, the file name of the image.
"""

from pathlib import Path

import numpy as np
import pandas as pd

from fmri2img.artifacts.arrays import read_array
from fmri2img.datasets.laion_fmri.volumes import Volume
from fmri2img.datasets.nifti import NIFTI, open_nifti, read_affine
from fmri2img.datasets.own_files import renew
from fmri2img.errors import UserError
from fmri2img.integrity import ABSENT
from fmri2img.reading import readable

COLUMNS = ("session", "run", "beta_index", "label")


def read_session_trials(path: str | Path, session: int) -> pd.DataFrame:
    """Trials of a session in the order of its volumes: session, run (1-based), beta_index, name (of the image).

    session: the number that the file is of. Raises UserError when the table is damaged, is of another session, or does
    not number its volumes from 0.
    """
    with readable(path, "a table of trials", renew(path), ABSENT):
        table = pd.read_csv(path, sep="\t", dtype=str, keep_default_na=False, encoding="utf-8-sig")
        lacking = [name for name in COLUMNS if name not in table]
        if lacking:
            raise UserError(f"{path}: no column {lacking[0]}; {renew(path)}")
        # "ses-01", "run-01" and plain numbers, also those that another program wrote as 1.0.
        numbers = {name: table[name].str.extract(r"(\d+)(?:\.0)?$")[0].astype(int) for name in COLUMNS[:3]}
    found = pd.DataFrame({**numbers, "name": table["label"].str.rpartition("/")[2]})
    if not len(found) or (found["session"] != session).any():
        listed = ", ".join(map(str, found["session"].unique()[:3])) or "no session"
        raise UserError(f"{path}: has trials of session {listed}, expected {session}; {renew(path)}")
    if sorted(found["beta_index"]) != list(range(len(found))):
        raise UserError(f"{path}: beta_index does not count the {len(found)} trials from 0; {renew(path)}")
    return found.sort_values("beta_index", ignore_index=True)


def read_masked_session(path: str | Path, mask: Volume, n_trials: int) -> np.ndarray:
    """Betas of one session: float32 (trials, voxels of the mask in C order), NaN where the file has it.

    Memory: the result and one volume. Raises UserError when the file is truncated, or does not fit the mask or the
    number of trials in its table.
    """
    with readable(path, NIFTI, renew(path), ABSENT):
        proxy = open_nifti(path, renew(path))
        if len(proxy.shape) != 4 or proxy.dtype.kind != "f":
            raise UserError(
                f"{path}: {proxy.dtype} of shape {proxy.shape}, expected floats (X, Y, Z, trials); {renew(path)}"
            )
        mask.check_grid(proxy.shape[:3], read_affine(path, renew(path)), path)
        if proxy.shape[3] != n_trials:
            raise UserError(
                f"{path}: {proxy.shape[3]} trials, but the session's table lists {n_trials}; take both from one "
                f"release; {renew(path)}"
            )
        # Voxels of the mask in C order, by their places in a volume of the file, whose first axis is the fastest.
        places = np.ravel_multi_index(np.nonzero(mask.values), mask.values.shape, order="F")
        masked = np.empty((n_trials, len(places)), np.float32)
        for trial in range(n_trials):
            masked[trial] = np.asanyarray(proxy[..., trial]).ravel(order="F")[places]
    return masked


def open_masked_session(path: str | Path, shape: tuple[int, int]) -> np.ndarray:
    """A masked session: read-only memory map float32 (trials, voxels). Raises UserError when it has another shape."""
    block = read_array(path)
    if block.shape != shape or block.dtype != np.float32:
        raise UserError(f"{path}: {block.shape} {block.dtype}, expected {shape} float32; delete it and rerun")
    return block
