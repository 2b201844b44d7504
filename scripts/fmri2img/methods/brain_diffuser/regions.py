"""Pictures of single regions: what the decoder draws from a synthetic response of one region.

As in Brain-Diffuser's region analysis, the response is one in every voxel of a region and zero in all others. Each
array's deviation from the mean of the training images is brought to the typical length of true deviations, so that the
picture does not depend on the number of voxels. The published code scales to fixed lengths instead, standardises the
latents over its thirteen regions, and reads V1 to V4 from the file of face-selective regions (its README admits a bug
that it does not name).

The table also has the weights themselves: how much of what is decoded rests on a voxel of a region. A large weight is
not a large response: weights also cancel noise that voxels share (Haufe et al., NeuroImage 87, 96 (2014)).
"""

from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd

from fmri2img.artifacts.embeddings import Embeddings, token_blocks
from fmri2img.artifacts.recording import Recording
from fmri2img.errors import UserError
from fmri2img.linear.decode import voxels_of
from fmri2img.linear.decoder import LinearDecoder, token_gram

INCHES = 1.1  # side of a picture in the figure


def region_masks(recording: Recording, names: list[str]) -> tuple[list[str], np.ndarray]:
    """Names of the regions that have voxels, and float32 (regions, voxels) that is 1 inside. Raises UserError if none.

    A region that holds all voxels is left out: it is the mask of the recording.
    """
    columns = {name: recording.voxels[name].to_numpy() for name in names if name in recording.voxels}
    found = {name: inside for name, inside in columns.items() if inside.any() and not inside.all()}
    if not found:
        raise UserError(f"{recording.path}: no region of {', '.join(names)} has voxels; correct brain_diffuser.regions")
    return list(found), np.stack(list(found.values())).astype(np.float32)


def region_arrays(decoder: LinearDecoder, embeddings: Embeddings, masks: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Targets float32 (regions, ...) of synthetic responses, and the lengths (regions,) of their unscaled deviations.

    masks: float32 (regions, voxels) of the voxels that the decoder reads. A deviation is W' x for weights W and a
    response x; it is scaled to the root of the summed variances of the true targets of the training images.
    """
    rows = embeddings.rows(decoder.ids)
    weights = [masks @ readout for readout in decoder.readouts]
    size = embeddings.axes.size
    deviation, mean, variance = np.empty((len(masks), size), np.float32), np.empty(size, np.float32), 0.0
    for columns, block in token_blocks(embeddings.tokens, rows):
        mean[columns] = block.mean(axis=0)
        variance += float(block.var(axis=0, dtype=np.float64).sum())
        for penalty in np.unique(decoder.choice[columns]):
            taken = np.flatnonzero(decoder.choice[columns] == penalty)
            deviation[:, columns.start + taken] = weights[penalty] @ block[:, taken]
    lengths = np.linalg.norm(deviation, axis=1)
    scaled = deviation * (np.sqrt(variance) / np.maximum(lengths, 1e-12))[:, None]
    return embeddings.axes.arranged(mean + scaled), lengths


def voxel_weights(decoder: LinearDecoder, embeddings: Embeddings) -> np.ndarray:
    """Length of the weights of each voxel over all targets, float64 (voxels,), from products of the images' targets."""
    rows, total = embeddings.rows(decoder.ids), np.zeros(len(decoder.voxel_mean))
    for penalty, readout in enumerate(decoder.readouts):
        parts = (
            block[:, decoder.choice[columns] == penalty] for columns, block in token_blocks(embeddings.tokens, rows)
        )
        total += np.einsum("vi,vi->v", readout @ token_gram(parts), readout, dtype=np.float64)
    return np.sqrt(total)


def decoded_regions(
    path: str | Path, recording: Recording, targets: dict[str, Embeddings], names: list[str]
) -> tuple[list[str], dict[str, np.ndarray], pd.DataFrame]:
    """Regions of a subject, arrays (regions, ...) of its decoder for them, and a table with a row for each region.

    path: the fitted decoder, a folder for each array; targets: name -> Embeddings. Columns of the table: region, voxels
    response_<array>, how far the array moves per unit of response, in units of the typical length, and weight_<array>,
    the root mean square of the weights of the region's voxels over that of all voxels.
    """
    regions, masks = region_masks(recording, names)
    table = pd.DataFrame({"region": regions, "voxels": masks.sum(axis=1).astype(int)})
    arrays = {}
    for folder in sorted(folder for folder in Path(path).iterdir() if folder.is_dir()):
        decoder = LinearDecoder.open(folder)
        embeddings = targets[decoder.metadata["target"]]
        columns = voxels_of(recording, decoder.metadata["regions"])
        arrays[folder.name], lengths = region_arrays(decoder, embeddings, masks[:, columns])
        table[f"response_{folder.name}"] = lengths / np.sqrt(masks.sum(axis=1))
        squares = voxel_weights(decoder, embeddings) ** 2
        inside = masks[:, columns]
        means = np.divide(inside @ squares, inside.sum(axis=1), out=np.zeros(len(inside)), where=inside.any(axis=1))
        table[f"weight_{folder.name}"] = np.sqrt(means / squares.mean())
    return regions, arrays, table


def picture_grid(pictures: dict[str, dict[str, np.ndarray]]):
    """Figure of pictures uint8 (side, side, 3): subject -> region -> picture, subjects in rows, regions in columns."""
    regions = list(dict.fromkeys(region for row in pictures.values() for region in row))
    size = (INCHES * len(regions) + 0.6, INCHES * len(pictures) + 0.4)
    figure, axes = plt.subplots(len(pictures), len(regions), figsize=size, squeeze=False, layout="constrained")
    for subject, line in zip(pictures, axes, strict=True):
        line[0].set_ylabel(subject)
        for region, axis in zip(regions, line, strict=True):
            axis.set(xticks=[], yticks=[])
            axis.set_frame_on(False)
            if region in pictures[subject]:
                axis.imshow(pictures[subject][region], interpolation="nearest")
    for region, axis in zip(regions, axes[0], strict=True):
        axis.set_title(region)
    return figure
