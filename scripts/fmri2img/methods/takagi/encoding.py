"""Voxel-wise encoding of one subject from components of the diffusion model (section 3.5 of the paper).

Each voxel is a ridge regression on one component, fitted to the training images' mean betas, with its own penalty from
cross-validation over training images. Its accuracy is the Pearson correlation of predicted with measured betas over the
test images, each the mean of its repeats. Three things are added to accuracy:

- zc next to z. A second model has two bands, z and zc: its accuracy less z's is what zc explains beyond z.
- drift. The correlation over test images of zc's predictions with z's and with c's, voxel by voxel: what zc has become.
- significance by permutation of the test images. The paper compares with correlations of independent normal numbers;
  its count of voxels is tabled next to ours.
"""

from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from scipy import stats

from fmri2img.artifacts.atomic import atomic_directory
from fmri2img.artifacts.recording import Recording
from fmri2img.encoding.kernels import cross_validated, image_kernel
from fmri2img.errors import UserError
from fmri2img.integrity import again
from fmri2img.methods.takagi.components import EARLY, HIGHER, Components
from fmri2img.methods.takagi.settings import EncodingSettings
from fmri2img.metrics.brain import MeasuredBrain
from fmri2img.metrics.brain import regions as brain_regions
from fmri2img.stats.correlation import column_correlations, correlation_test, group_intervals
from fmri2img.stats.multiplicity import discoveries


@dataclass(frozen=True)
class Groups:
    """Regions and the two groups of regions: names, and bool (groups, voxels)."""

    names: list[str]
    inside: np.ndarray

    @classmethod
    def of(cls, recording: Recording, settings: EncodingSettings) -> "Groups":
        """Raises UserError for a region that the recording lacks, and for one without voxels."""
        voxels = recording.voxels
        members = {name: [name] for name in settings.regions}
        members |= {EARLY: settings.early, HIGHER: settings.higher}
        for names in members.values():
            for name in names:
                if name not in voxels or not voxels[name].any():
                    held = [column for column in voxels if voxels[column].dtype == bool and voxels[column].any()]
                    raise UserError(
                        f"configuration: key 'takagi.encoding': {recording.path} has no voxels of region '{name}'; it "
                        f"has {', '.join(held)}"
                    )
        inside = np.stack([voxels[names].any(axis=1).to_numpy() for names in members.values()])
        return cls(list(members), inside)

    def means(self, values: np.ndarray) -> np.ndarray:
        """Means over the voxels of each group, float64 (groups,). values: (voxels,), numbers or bool."""
        return np.array([values[voxels].mean() for voxels in self.inside])


class Encoder:
    """Fits models of one subject. All arrays are in memory but the components, which are read once each."""

    def __init__(self, recording: Recording, components: Components, settings: EncodingSettings, seed: int) -> None:
        self.settings, self.seed, self.components = settings, seed, components
        training_ids, betas = recording.averaged(recording.training_rows(recording.n_sessions))
        self.brain = MeasuredBrain.of(recording, lambda images: images, recording.test_sets[0])
        self.training = rows_of(training_ids, components)
        self.test = rows_of(self.brain.ids, components)
        self.betas = betas - betas.mean(axis=0)

    def kernel(self, name: str) -> np.ndarray:
        """Float32 (images, training images)."""
        return image_kernel(self.components.values(name), self.training)

    def predictions(self, kernels: list[np.ndarray]) -> tuple[np.ndarray, float]:
        """Parts of the bands in the predicted betas of the test images, float32 (bands, images, voxels); at_edge."""
        settings, stacked = self.settings, np.stack(kernels)
        solved = cross_validated(stacked[:, self.training], self.betas, settings.alphas, settings.folds, self.seed)
        return solved.predict(stacked[:, self.test]), solved.at_edge(settings.alphas)


def rows_of(ids: np.ndarray, components: Components) -> np.ndarray:
    """Rows of `ids` in the components. Raises UserError for an image that they lack."""
    rows = np.minimum(np.searchsorted(components.ids, ids), len(components.ids) - 1)
    missing = np.asarray(ids)[components.ids[rows] != ids]
    if len(missing):
        raise UserError(f"{components.path}: lacks image_id {missing[0]}; {again(components.path)}")
    return rows


def analyse(
    recording: Recording, components: Components, settings: EncodingSettings, resamples: int, seed: int
) -> tuple[pd.DataFrame, pd.DataFrame, np.ndarray]:
    """Fit all models of a subject.

    Returns (regions, voxels, draws). regions: one row for each model and region, with the component's fields, voxels,
    images (of the test), accuracy, its share of the noise ceiling, significant and significant_gaussian (shares of the
    region's voxels), like_z and like_c (drift), beyond_z, and at_edge. voxels: x, y, z, one boolean column for each
    scored region, ceiling, and `accuracy <name>` of every component. draws: float32 (resamples, rows of regions),
    bootstrap draws of accuracy over test images.
    """
    groups, encoder = Groups.of(recording, settings), Encoder(recording, components, settings, seed)
    measured, ceiling = encoder.brain.betas, encoder.brain.voxel_ceiling()
    means, sizes = groups.means, groups.inside.sum(axis=1)
    kernel_z, predicted, accuracies, rows, draws = None, {}, {}, [], []
    for member in components.members:
        kernel = encoder.kernel(member.name)
        kernel_z = kernel if member.kind == "z" else kernel_z
        (predicted[member.name],), at_edge = encoder.predictions([kernel])
        here = predicted[member.name]
        accuracy = accuracies[member.name] = column_correlations(here, measured)
        p = correlation_test(here, measured, settings.permutations, seed)
        found = pd.DataFrame({"region": groups.names, "voxels": sizes}).assign(
            **asdict(member),
            images=len(measured),
            accuracy=means(accuracy),
            normalised=means(accuracy) / means(ceiling),
            significant=means(discoveries(p, settings.false_discoveries)),
            significant_gaussian=means(discoveries(gaussian_p(accuracy, len(measured)), settings.false_discoveries)),
            at_edge=at_edge,
        )
        if member.kind != "z":
            found["like_z"] = means(column_correlations(here, predicted["z"]))
        if member.kind not in ("z", "c"):
            found["like_c"] = means(column_correlations(here, predicted["c"]))
        if member.kind == "zc":
            both = encoder.predictions([kernel_z, kernel])[0].sum(axis=0)
            found["beyond_z"] = means(column_correlations(both, measured) - accuracies["z"])
        rows.append(found)
        draws.append(group_intervals(here, measured, groups.inside, resamples, seed))
        print(f"{member.name}: accuracy {dict(zip(groups.names, means(accuracy).round(3).tolist(), strict=True))}")
    voxels = pd.concat(
        [
            recording.voxels[["x", "y", "z"]],
            pd.DataFrame({region: inside for region, inside in brain_regions(recording.voxels).items()}),
            pd.DataFrame({"ceiling": ceiling} | {f"accuracy {name}": found for name, found in accuracies.items()}),
        ],
        axis=1,
    )
    return pd.concat(rows, ignore_index=True), voxels, np.concatenate(draws, axis=1).astype(np.float32)


def gaussian_p(accuracy: np.ndarray, n: int) -> np.ndarray:
    """One-sided p-value of a correlation over n images under the paper's null, two independent normal variables."""
    bounded = np.clip(accuracy, -1 + 1e-12, 1 - 1e-12)
    return stats.t.sf(bounded * np.sqrt((n - 2) / (1 - bounded**2)), n - 2)


def save(path: str | Path, regions: pd.DataFrame, voxels: pd.DataFrame, draws: np.ndarray) -> None:
    """Write the directory `path`: regions.parquet, voxels.parquet and draws.npy."""
    with atomic_directory(path) as directory:
        regions.to_parquet(directory / "regions.parquet", index=False)
        voxels.to_parquet(directory / "voxels.parquet", index=False)
        np.save(directory / "draws.npy", draws)
