"""GOD's files as others write them: independent of the simulator, with everything in which real files vary."""

import h5py
import numpy as np
from PIL import Image

CLASSES = [1443537, 1518878, 2084071]  # trained; synset 7734744 is tested
TRAINING = [f"n{synset:08d}_{number}" for synset in CLASSES for number in (12, 2044)]
TEST = ["n07734744_8647", "n12582231_44661"]
REGIONS = {"V1": [0, 1, 2], "V2": [3, 4], "LOC": [5], "VC": [0, 1, 2, 3, 4, 5]}
VOXELS = 8  # the last two are in no region


def stimulus_id(name):
    synset, number = name[1:].split("_")
    return float(f"{int(synset)}.{int(number):06d}")


def design(repeats=3, imagery=2):
    """Rows of a subject: (DataType, Run, stimulus_id); every training picture once, in two runs."""
    order = [4, 1, 0, 5, 3, 2]
    rows = [(1, 1 + position // 3, stimulus_id(TRAINING[k])) for position, k in enumerate(order)]
    rows += [(2, 1 + repeat, stimulus_id(name)) for repeat in range(repeats) for name in TEST]
    return rows + [(3, 1, float(int(stimulus_id(TEST[k % 2])))) for k in range(imagery)]


def betas(trials, seed=0):
    return np.random.default_rng(seed).normal(100, 5, (trials, VOXELS))


def write_bdpy(path, rows, values, spelling="new", text=str, seed=1, dtype=np.float64, leave_out=(), compressed=False):
    """A file in bdpy's format, columns and metadata rows in a random order, coordinates in millimetres."""
    rng = np.random.default_rng(seed)
    columns = {f"voxel {k}": values[:, k] for k in range(VOXELS)}
    design_columns = list(zip(*rows, strict=True))
    columns |= dict(zip(("DataType", "Run", "stimulus_id"), map(np.array, design_columns), strict=True))
    names = list(columns)
    # The voxels stay in their order, but the columns of the design may stand anywhere.
    for name in ("stimulus_id", "Run"):
        names.remove(name)
        names.insert(int(rng.integers(len(names) + 1)), name)
    position = {name: k for k, name in enumerate(names)}

    def row(marks):
        line = np.full(len(names), np.nan)
        for name, value in marks.items():
            line[position[name]] = value
        return line

    metadata = {name: row({name: 1}) for name in ("DataType", "Run", "stimulus_id")}
    metadata["VoxelData"] = row({f"voxel {k}": 1 for k in range(VOXELS)})
    for region, own in REGIONS.items():
        metadata[f"ROI_{region}"] = row({f"voxel {k}": float(k in own) for k in range(VOXELS)})
    for axis, step in zip("xyz", (3.0, -3.0, 6.0), strict=True):
        metadata[f"voxel_{axis}"] = row({f"voxel {k}": -40.5 + step * k for k in range(VOXELS)})
    metadata["category_index"] = row({})
    keys = [key for key in rng.permutation(list(metadata)) if key not in leave_out]
    with h5py.File(path, "w") as file:
        data, group = ("dataset", "metadata") if spelling == "new" else ("dataSet", "metaData")
        options = {"compression": "gzip", "chunks": True} if compressed else {}
        file.create_dataset(data, data=np.column_stack([columns[name] for name in names]).astype(dtype), **options)
        written = [key.encode() for key in keys] if text is bytes else np.array(keys, h5py.string_dtype())
        file.create_dataset(f"{group}/key", data=written)
        file.create_dataset(f"{group}/value", data=np.stack([metadata[key] for key in keys]))
    return path


def write_npz(path, rows, values, with_labels=True, **changes):
    """A subject's .npz; test trials grouped by picture, as MinD-Vis expects them."""
    kind = np.array([row[0] for row in rows])
    stimuli = [row[2] for row in rows]
    training = np.flatnonzero(kind == 1)
    tests = [[k for k in np.flatnonzero(kind == 2) if stimuli[k] == stimulus_id(name)] for name in TEST]
    arrays = {
        "arr_0": values[training].astype(np.float32),
        "arr_1": values[np.concatenate(tests)].astype(np.float32),
        "arr_2": np.stack([values[own].mean(axis=0) for own in tests]).astype(np.float32),
        "arr_3": np.array([[stimulus_id(name) for name in sorted(TRAINING)].index(stimuli[k]) for k in training]),
        "arr_5": np.ones(VOXELS),
        "arr_6": np.ones(VOXELS),
    } | {region: np.isin(np.arange(VOXELS), own) for region, own in REGIONS.items()}
    if with_labels:
        arrays["arr_4"] = np.repeat(np.arange(len(TEST)), len(tests[0])).astype(float)
    arrays |= changes
    np.savez(path, **{name: array for name, array in arrays.items() if array is not None})
    return path


def pictures(size=20):
    """One picture of its own colour for each training and test picture, uint8 (pictures, size, size, 3)."""
    number = len(TRAINING) + len(TEST)
    return np.stack([np.full((size, size, 3), (20 * k, 255 - 10 * k, 7 * k), np.uint8) for k in range(number)])


def write_folder(folder):
    """The pictures as ImageNet's files, of various sizes, in a folder for each part."""
    for k, name in enumerate([*sorted(TRAINING), *TEST]):
        path = folder / ("training" if k < len(TRAINING) else "test") / f"{name}.JPEG"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pictures(30)[k]).resize((30 + k, 30)).save(path, quality=95)
    return folder
