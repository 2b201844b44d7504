"""A simulated GOD, written in both of its file formats.

The files have the names, keys, columns and number types of the published ones: an HDF5 file in bdpy's format and an
.npz for each subject, images_256.npz, and the lists of its pictures. A class is an object on a background, so that no
test class is among the training classes, as in GOD; its synset is made up (n9...). The folder `ground_truth` is not
written: the model of the voxels is `simulated_voxels`.
"""

import zlib
from pathlib import Path

import h5py
import numpy as np

from fmri2img.artifacts.atomic import atomic_file
from fmri2img.datasets.god import layout, names
from fmri2img.datasets.god.responses import IMAGERY, PERCEPTION, TRAINING
from fmri2img.datasets.god.settings import Simulation
from fmri2img.datasets.scenes import Scene, draw, sample_scene
from fmri2img.datasets.simulated_voxels import simulate_voxels

FIRST_SYNSET = 90_000_001
IMAGERY_REPEATS = 2  # trials of each test class that is imagined (GOD: 10)
VOXEL_MM = 3
OUTSIDE = 0.05  # share of further voxels, in no region
BASELINE, GAIN = 40.0, 8.0  # responses are averaged signal amplitudes, in arbitrary units


def stream(simulation: Simulation, *purpose: str) -> np.random.Generator:
    """An independent generator for each purpose."""
    return np.random.default_rng([simulation.seed, zlib.crc32("/".join(purpose).encode())])


def plan_pictures(simulation: Simulation) -> tuple[list[Scene], list[str]]:
    """Scenes and names of all pictures: training pictures in alphabetical order of names, then test pictures."""
    rng = stream(simulation, "scenes")
    groups: dict[tuple[str, str], list[Scene]] = {}
    full: list[tuple[str, str]] = []
    while len(full) < simulation.classes or len(groups) < simulation.classes + simulation.test_classes:
        scene = sample_scene(rng)
        kind = (scene.objects[0].category, scene.background)
        members = groups.setdefault(kind, [])
        members.append(scene)
        if len(members) == simulation.pictures_per_class and len(full) < simulation.classes:
            full.append(kind)
    tested = [kind for kind in groups if kind not in full][: simulation.test_classes]
    scenes = [scene for kind in full for scene in groups[kind][: simulation.pictures_per_class]]
    scenes += [groups[kind][0] for kind in tested]
    synsets = np.repeat(FIRST_SYNSET + np.arange(len(full) + len(tested)), _sizes(simulation))
    numbers = rng.choice(np.arange(1, 30_000), len(scenes), replace=False)
    named = [f"n{synset}_{number}" for synset, number in zip(synsets, numbers, strict=True)]
    order = sorted(range(len(scenes)), key=lambda k: (k >= len(scenes) - len(tested), named[k]))
    return [scenes[k] for k in order], [named[k] for k in order]


def _sizes(simulation: Simulation) -> list[int]:
    return [simulation.pictures_per_class] * simulation.classes + [1] * simulation.test_classes


def simulate(root: str | Path, simulation: Simulation) -> None:
    """Write the files of all subjects and the pictures below `root`."""
    root = Path(root)
    scenes, named = plan_pictures(simulation)
    images = np.stack([draw(scene, simulation.image_size) for scene in scenes])
    trained = simulation.classes * simulation.pictures_per_class
    _write_npz(root / layout.IMAGES, {"train_images": images[:trained], "test_images": images[trained:]})
    for part, own in (("training", named[:trained]), ("test", named[trained:])):
        with atomic_file(root / layout.LISTS[part][0]) as temporary:
            rows = (f"{names.id_of(name):.6f},{name}.JPEG\n" for name in own)
            temporary.write_text("".join(rows), encoding="utf-8")
    for subject in layout.SUBJECTS[: simulation.subjects]:
        _simulate_subject(root, simulation, subject, images, scenes, named)


def _simulate_subject(root, simulation, subject, images, scenes, named) -> None:
    rng = stream(simulation, subject)
    masks = _regions(simulation.voxels)
    early = masks["LVC"]
    voxels = simulate_voxels(images, scenes, early, simulation.ncsnr, rng, BASELINE, GAIN)
    trained = simulation.classes * simulation.pictures_per_class
    tests = np.arange(trained, len(images))

    # A training picture is shown once, in any run; a test run shows every test picture once.
    order = rng.permutation(trained)
    runs = np.sort(np.arange(trained) * simulation.training_runs // trained) + 1
    shown = np.concatenate([rng.permutation(tests) for _ in range(simulation.repeats)])
    test_runs = np.repeat(np.arange(simulation.repeats) + 1, len(tests))
    training, perception = voxels.trials(order, rng), voxels.trials(shown, rng)
    imagined = np.repeat(tests, IMAGERY_REPEATS)
    imagery = voxels.trials(imagined, rng) - GAIN * voxels.ncsnr * voxels.signal[imagined] * 0.7

    columns = {
        "DataType": [TRAINING] * trained + [PERCEPTION] * len(shown) + [IMAGERY] * len(imagined),
        "Run": [*runs, *test_runs, *(np.arange(len(imagined)) % IMAGERY_REPEATS + 1)],
        "Block": np.arange(trained + len(shown) + len(imagined)) + 1,
        "stimulus_id": [
            *(names.id_of(named[k]) for k in (*order, *shown)),
            *(float(int(names.id_of(named[k]))) for k in imagined),
        ],
    }
    betas = np.concatenate([training, perception, imagery])
    _write_bdpy(root / layout.responses(subject, layout.BDPY), betas, masks, columns)
    averaged = np.stack([perception[shown == k].mean(axis=0) for k in tests])
    arrays = {
        "arr_0": training, "arr_1": perception, "arr_2": averaged, "arr_3": order, "arr_4": shown - trained,
        "arr_5": voxels.ncsnr**2 / (voxels.ncsnr**2 + 1), "arr_6": voxels.ncsnr**2, **masks,
    }  # fmt: skip
    _write_npz(root / layout.responses(subject, layout.NPZ), arrays)


def _regions(n_voxels: int) -> dict[str, np.ndarray]:
    """Region -> bool (voxels,): early and higher regions of equal size, their unions, and a few voxels in none."""
    parts = (*layout.EARLY, *layout.HIGHER)
    inside = n_voxels - max(1, round(OUTSIDE * n_voxels))
    numbers = np.full(n_voxels, -1)
    numbers[:inside] = np.arange(inside) * len(parts) // inside
    masks = {name: numbers == number for number, name in enumerate(parts)}
    masks |= {name: np.any([masks[part] for part in own], axis=0) for name, own in layout.UNIONS.items()}
    return {name: masks[name] for name in layout.REGIONS}


def _write_bdpy(path: Path, betas: np.ndarray, masks: dict, columns: dict) -> None:
    """Write bdpy's format: voxels first, then the columns of the design, each marked by a row of metadata."""
    n_voxels, n_columns = betas.shape[1], betas.shape[1] + len(columns)
    side = int(np.ceil(n_voxels ** (1 / 3)))
    x, y, z = np.unravel_index(np.arange(n_voxels), (side, side, side))

    def marked(values, start=0):
        row = np.full(n_columns, np.nan)
        row[start : start + len(values)] = values
        return row

    rows = {"VoxelData": ("1 = voxel", marked(np.ones(n_voxels)))}
    rows |= {f"ROI_{name}": (f"1 = in {name}", marked(mask.astype(float))) for name, mask in masks.items()}
    for axis, places in zip("xyz", (x, y, z), strict=True):
        rows[f"voxel_{axis}"] = (f"{axis} of the voxel, mm", marked(VOXEL_MM * (places - side / 2)))
    for number, name in enumerate(columns):
        rows[name] = (f"1 = {name}", marked([1.0], n_voxels + number))
    data = np.column_stack([betas.astype(np.float64), *columns.values()])
    with atomic_file(path) as temporary, h5py.File(temporary, "w", libver="earliest") as file:
        file.create_dataset("dataset", data=data, track_times=False)
        metadata = file.create_group("metadata", track_order=False)
        metadata.create_dataset("key", data=[key.encode() for key in rows], track_times=False)
        metadata.create_dataset("description", data=[text.encode() for text, _ in rows.values()], track_times=False)
        metadata.create_dataset("value", data=np.stack([row for _, row in rows.values()]), track_times=False)


def _write_npz(path: Path, arrays: dict) -> None:
    with atomic_file(path) as temporary, open(temporary, "wb") as file:
        np.savez(file, **arrays)
