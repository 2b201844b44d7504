"""GLMsingle betas of one subject: an .npy file (trials, voxels) for each region and hemisphere."""

from pathlib import Path

import numpy as np
import pandas as pd

from fmri2img.datasets.bold5000 import layout
from fmri2img.datasets.numpy_files import read_numbers
from fmri2img.errors import UserError


def read_betas(files: list[str | Path], trials: int) -> tuple[np.ndarray, pd.DataFrame]:
    """All voxels of a subject: float32 (trials, voxels), and x, y, z with a boolean column per region.

    files: in the order in which voxels are concatenated; trials: how many the presentation lists name. Positions of
    voxels are not published, so x is their number. Raises UserError naming a file that is damaged, or of other trials.
    """
    blocks, regions = [], []
    for path in map(Path, files):
        block = read_numbers(path, (None, None))
        if len(block) != trials:
            raise UserError(
                f"{path}: {len(block)} trials, but the presentation lists name {trials}; replace the file, or the lists"
            )
        name = path.stem.rpartition("_allses_")[2][2:]
        blocks.append(block.astype(np.float32))
        regions += [layout.SPELLINGS.get(name, name)] * block.shape[1]
    betas = np.concatenate(blocks, axis=1)
    number, labels = np.arange(betas.shape[1]), np.array(regions)
    places = {"x": number, "y": np.zeros_like(number), "z": np.zeros_like(number)}
    return betas, pd.DataFrame(places | {name: labels == name for name in layout.REGIONS})
