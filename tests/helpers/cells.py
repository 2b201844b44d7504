"""A subject's cell with everything that functions of methods may need, small and random."""

from pathlib import Path

import numpy as np
import pandas as pd

from fmri2img.artifacts.cells import ALL, Cell
from fmri2img.artifacts.embeddings import save_embeddings
from fmri2img.artifacts.interfaces import Given
from fmri2img.artifacts.recording import Recording
from fmri2img.artifacts.splits import Split
from fmri2img.artifacts.stimuli import save_stimuli

TOKENS = (4, 6)
VOXELS = 30
SPLIT = Split("shared1000", "planted", {"shared1000": list(range(100, 112))})
UNSEEN = 111  # a test image that the subject was not shown
PLANTED = {"encoder": "planted", "revision": "1", "trained_on": "pictures"}
CELL = Cell("subj01", 1, 0, "shared1000")


def small_cell(path: Path) -> dict[str, str]:
    """Write the artifacts of one subject: what a function may need -> path.

    Two sessions of 20 training images each (0 to 19, 20 to 39), shown once, and 11 test images, shown twice. Betas are
    a linear map of the images' tokens with noise; V1 is the first ten voxels, V2 the next ten. Image i is a flat grey
    of level i.
    """
    rng = np.random.default_rng(0)
    ids = np.concatenate([np.arange(40), SPLIT.test_sets["shared1000"]])
    tokens = rng.standard_normal((len(ids), *TOKENS))
    save_embeddings(path / "embeddings", ids, tokens + 5, PLANTED)
    images = np.broadcast_to(ids.astype(np.uint8)[:, None, None, None], (len(ids), 4, 4, 3))
    table = pd.DataFrame({"image_id": ids, "name": ids.astype(str), "source": "planted", "cluster": "a"})
    table["captions"] = [[f"image {i}"] for i in ids]
    table["categories"] = [["planted"]] * len(ids)
    save_stimuli(path / "stimuli", np.ascontiguousarray(images), table, {})
    SPLIT.save(path / "split.json")
    seen = [i for i in SPLIT.test_sets["shared1000"] if i != UNSEEN]
    shown = np.concatenate([np.arange(20), seen, np.arange(20, 40), seen])
    n = len(shown)
    trials = pd.DataFrame({"trial": np.arange(n), "session": np.repeat([1, 2], n // 2), "run": 1, "image_id": shown})
    trials["repeat"] = trials.groupby("image_id").cumcount()
    trials["part"] = np.where(shown < 100, "train", "shared1000")
    voxels = pd.DataFrame({"x": np.arange(VOXELS), "y": 0, "z": 0, "ncsnr": 1.0})
    voxels["V1"], voxels["V2"], voxels["empty"] = voxels["x"] < 10, voxels["x"].between(10, 19), False
    with Recording.writer(path / "recording") as writer:
        flat = tokens.reshape(len(ids), -1)[np.searchsorted(ids, shown)]
        betas = flat @ rng.standard_normal((flat.shape[1], VOXELS)) / 5
        writer.betas(n, VOXELS)[:] = betas + 0.3 * rng.standard_normal(betas.shape)
        writer.finish(trials, voxels, {"subject": CELL.subject, **SPLIT.identity})
    captioned = pd.DataFrame({"image_id": [5, *SPLIT.test_sets["shared1000"]]})
    captioned["caption"] = [f"seen {i}" for i in captioned["image_id"]]
    captioned.to_parquet(path / "captioned.parquet", index=False)
    return {
        "split": str(path / "split.json"),
        "captioned": str(path / "captioned.parquet"),
        **{name: str(path / name) for name in ("recording", "embeddings", "stimuli")},
    }


def given(paths: dict[str, str], **changes) -> Given:
    """What a function gets of `small_cell`; changes: of the cell, and `source`, `of`, `captioner` of the paths."""
    own = {name: changes.pop(name) for name in ("source", "of", "captioner") if name in changes}
    return Given(CELL._replace(**changes), paths | own)


def of_all(paths: dict[str, str], **changes) -> Given:
    """The same of a control that does not vary with the subject; no recording is there to be opened."""
    known = {name: path for name, path in paths.items() if name != "recording"}
    return given(known, **{"subject": ALL, "sessions": ALL, "seed": ALL} | changes)
