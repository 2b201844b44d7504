"""A simulated MOSAIC in the layout of its bucket, with the pictures that its users have to get elsewhere.

Files have the names, keys, attributes and number types that the authors' code writes. Each dataset has stimuli of its
own form of file name. What makes MOSAIC's split differ from the datasets' own is planted: DOUBLES training pictures of
each dataset show the same as a test picture, and NSD trains on SHARED pictures that BOLD5000 tests; the lists of the
filtered split leave out both. MISSING vertices are NaN, one of them in a single trial. Artificial images are negatives.
The model of the vertices is `simulated_voxels`.
"""

import json
import zlib
from dataclasses import dataclass
from pathlib import Path

import h5py
import numpy as np
import pandas as pd
from PIL import Image

from fmri2img.artifacts.atomic import atomic_directory, atomic_file
from fmri2img.datasets.mosaic import layout
from fmri2img.datasets.mosaic.settings import Simulation
from fmri2img.datasets.mosaic.tables import ARTIFICIAL, COLUMNS
from fmri2img.datasets.scenes import Scene, draw, sample_scene
from fmri2img.datasets.simulated_voxels import simulate_voxels

DOUBLES, SHARED, MISSING = 5, 4, 3
QUALITY = 95  # of the JPEG files
CORTEX_WITHOUT_VISION = ("L_4", "R_4", "L_A1", "R_A1")
SUBCORTICAL = ("hippocampus_left", "hippocampus_right")
FRAMES = 74  # of a video


@dataclass(frozen=True)
class Stimulus:
    """filename, alias, source, part (train, naturalistic, artificial): as in the table; scene: what it shows."""

    filename: str
    alias: str
    source: str
    part: str
    scene: Scene


def stream(simulation: Simulation, *purpose: str) -> np.random.Generator:
    """An independent generator for each purpose."""
    return np.random.default_rng([simulation.seed, zlib.crc32("/".join(purpose).encode())])


def plan(simulation: Simulation) -> dict[str, list[Stimulus]]:
    """Constituent -> its stimuli, training before test before artificial ones."""
    planned: dict[str, list[Stimulus]] = {}
    for constituent in layout.constituents_of(simulation.subjects):
        # Deeprecon has GOD's stimuli.
        rng = stream(simulation, "scenes", "GOD" if constituent == "deeprecon" else constituent)
        tests = [sample_scene(rng) for _ in range(simulation.tested)]
        own = [sample_scene(rng) for _ in range(simulation.training - DOUBLES)]
        scenes = {"train": [*tests[:DOUBLES], *own], "naturalistic": tests}
        if layout.CONSTITUENTS[constituent].artificial:
            scenes["artificial"] = [sample_scene(rng) for _ in range(simulation.tested)]
        stimuli, number = [], 0
        for part, shown in scenes.items():
            for scene in shown:
                stimuli.append(Stimulus(*_names(constituent, part, number), part, scene))
                number += 1
        planned[constituent] = stimuli
    if {"NSD", "BOLD5000"} <= planned.keys():
        tested = [one for one in planned["BOLD5000"] if one.part == "naturalistic"][:SHARED]
        for place, one in enumerate(tested, start=DOUBLES):
            planned["NSD"][place] = Stimulus(one.filename, str(place), "COCO", "train", one.scene)
    return planned


def _names(constituent: str, part: str, number: int) -> tuple[str, str, str]:
    """File name, alias and source of the stimulus of this number, in the dataset's own form."""
    if part == "artificial":
        form = f"{number + 1:03d}.jpg" if constituent == "NSD" else f"shape{number:02d}.tiff"
        return form, str(number + 1), ARTIFICIAL[constituent != "NSD"]
    coco, imagenet = f"{number + 1:012d}.jpg", f"n9{number % 50:07d}_{number + 1}.JPEG"
    return {
        "NSD": (coco, str(number), "COCO"),
        "BOLD5000": (f"9{coco[1:]}", f"COCO_train2014_9{coco[1:]}", "COCO"),
        "GOD": (imagenet, f"9{number % 50:06d}.{number + 1:06d}", "ImageNet"),
        "deeprecon": (imagenet, f"9{number % 50:06d}.{number + 1:06d}", "ImageNet"),
        "THINGS": (f"object_{number:03d}_01b.jpg", "n/a", "behavior"),
        "NOD": (imagenet, "n/a", "ImageNet"),
        "BMD": (f"flickr-1-2-3-{number:04d}_7.mp4", f"{number + 1:04d}.mp4", "MomentsInTime"),
        "HAD": (f"v_Action_id_x{number:03d}_start_1.5_label_{number}.mp4", "n/a", "HumanActionClipsAndSegments"),
    }[constituent]


def simulate(root: str | Path, pictures: str | Path, simulation: Simulation) -> None:
    """Write all files below `root`, and the pictures into the folder `pictures`."""
    root, planned = Path(root), plan(simulation)
    areas = _write_parcels(root / layout.PARCELS, simulation.grayordinates)
    images = {name: _images(stimuli, simulation.image_size) for name, stimuli in planned.items()}
    with atomic_directory(pictures) as folder:
        for name, stimuli in planned.items():
            _write_pictures(folder / name, name, stimuli, images[name])
    for name, stimuli in planned.items():
        _write_table(root / layout.table(name), name, stimuli, simulation)
    _write_lists(root, planned, simulation)
    for subject in simulation.subjects:
        name = layout.constituent_of(subject)
        _simulate_subject(root, simulation, subject, planned[name], images[name], areas)


def _images(stimuli: list[Stimulus], size: int) -> np.ndarray:
    drawn = np.stack([draw(one.scene, size) for one in stimuli])
    negative = np.array([one.part == "artificial" for one in stimuli])
    drawn[negative] = 255 - drawn[negative]
    return drawn


def _write_parcels(path: Path, grayordinates: int) -> np.ndarray:
    """Write the parcellation; return the area of each grayordinate: the first half visual, the end subcortical."""
    visual = [side + area for side in ("L_", "R_") for area in layout.VISUAL]
    names = ["", *visual, *CORTEX_WITHOUT_VISION, *SUBCORTICAL]
    half, rest = grayordinates // 2, grayordinates - grayordinates // 2
    others = np.sort(np.arange(rest) % (len(names) - 1 - len(visual))) + 1 + len(visual)
    numbers = np.concatenate([np.sort(np.arange(half) % len(visual)) + 1, others])
    with atomic_file(path) as temporary, open(temporary, "wb") as file:
        np.savez(
            file,
            map_all=numbers,
            labels=np.array(names),
            rgba=np.zeros((len(names), 4)),
            ids=np.arange(len(names)),
        )
    return np.array([names[number][2:] for number in numbers])


def _write_pictures(folder: Path, constituent: str, stimuli: list[Stimulus], images: np.ndarray) -> None:
    folder.mkdir(parents=True)
    natural = [k for k, one in enumerate(stimuli) if one.part != "artificial"]
    if constituent == "NSD":
        with h5py.File(folder / layout.NSD_BRICK, "w", libver="earliest") as file:
            file.create_dataset("imgBrick", data=images[natural], track_times=False)
    for k, one in enumerate(stimuli):
        name = one.alias if one.alias.endswith(".jpg") else one.filename
        if name.endswith(".mp4"):
            name = f"{one.filename.removesuffix('.mp4')}_frame-{FRAMES // 2:04d}_{FRAMES:04d}.jpg"
        if constituent == "NSD" and one.part != "artificial":
            continue
        options = {} if name.endswith(".tiff") else {"quality": QUALITY, "subsampling": 0}
        Image.fromarray(images[k]).save(folder / name, **options)


def _shown(one: Stimulus, simulation: Simulation) -> int:
    return 1 if one.part == "train" else simulation.repeats


def _write_table(path: Path, constituent: str, stimuli: list[Stimulus], simulation: Simulation) -> None:
    rows = [(one.filename, one.alias, one.source, "train" if one.part == "train" else "test") for one in stimuli]
    table = pd.DataFrame(rows, columns=COLUMNS)
    for number in range(1, len(layout.CONSTITUENTS[constituent].trials) + 1):
        subject = f"sub-{number:02d}"
        seen = f"{subject}_{constituent}" in simulation.subjects
        table[f"{subject}_reps"] = [_shown(one, simulation) * seen for one in stimuli]
    with atomic_file(path) as temporary:
        table.to_csv(temporary, sep="\t", index=False)


def _write_lists(root: Path, planned: dict[str, list[Stimulus]], simulation: Simulation) -> None:
    """The lists of the filtered split: without doubles of test pictures, and without what another dataset tests."""
    tested = {one.filename for stimuli in planned.values() for one in stimuli if one.part != "train"}
    lists: dict[str, list[dict]] = {part: [] for part in layout.FILTERED}
    for subject in simulation.subjects:
        for place, one in enumerate(planned[layout.constituent_of(subject)]):
            if one.part == "train" and (place < DOUBLES or one.filename in tested):
                continue
            keys = [f"{_key(subject, one, repeat)}.npz" for repeat in range(_shown(one, simulation))]
            lists[one.part].append({f"{subject}_stimulus-{one.filename}": keys})
    for part, entries in lists.items():
        with atomic_file(root / layout.filtered(part)) as temporary:
            temporary.write_text(json.dumps(entries), encoding="utf-8")


def _key(subject: str, one: Stimulus, repeat: int) -> str:
    phase = "train" if one.part == "train" else "test"
    return f"{subject}_stimulus-{Path(one.filename).stem}_phase-{phase}_rep-{repeat}"


def _simulate_subject(root, simulation, subject, stimuli, images, areas) -> None:
    rng = stream(simulation, subject)
    early = np.isin(areas, layout.EARLY)
    voxels = simulate_voxels(images, [one.scene for one in stimuli], early, simulation.ncsnr, rng)
    shown = np.concatenate([np.full(_shown(one, simulation), k) for k, one in enumerate(stimuli)])
    repeats = np.concatenate([np.arange(_shown(one, simulation)) for one in stimuli])
    part = np.array([stimuli[k].part for k in shown])
    betas = voxels.trials(shown, rng).astype(np.float64)
    betas = _normalised(betas, part, layout.CONSTITUENTS[layout.constituent_of(subject)].own_statistics)
    missing = np.sort(rng.choice(len(areas) // 2, MISSING, replace=False))
    betas[:, missing[1:]] = np.nan
    betas[int(np.flatnonzero(part == "train")[7]), missing[0]] = np.nan
    percent = 100 * voxels.ncsnr.astype(np.float64) ** 2 / (1 + voxels.ncsnr.astype(np.float64) ** 2)
    percent[missing] = np.nan
    trials = [(_key(subject, stimuli[k], n), stimuli[k], n) for k, n in zip(shown, repeats, strict=True)]
    _write_subject(root / layout.betas(subject), subject, trials, betas, percent, missing)


def _normalised(betas: np.ndarray, part: np.ndarray, own_statistics: bool) -> np.ndarray:
    """Z-scores by training trials; artificial images, and all of Deeprecon's parts, by their own."""
    z = np.empty_like(betas)
    for name in np.unique(part):
        here = part == name
        fitted = betas[here if own_statistics or name == "artificial" else part == "train"]
        z[here] = (betas[here] - fitted.mean(axis=0)) / fitted.std(axis=0, ddof=1)
    return z


def _write_subject(path: Path, subject: str, trials: list, betas: np.ndarray, percent: np.ndarray, missing) -> None:
    number, _, constituent = subject.partition("_")
    one = layout.CONSTITUENTS[constituent]
    with atomic_file(path) as temporary, h5py.File(temporary, "w", libver="earliest") as file:
        attributes = {
            "visual_angle": 8.4,
            "sex": "n/a",
            "age": "n/a",
            "publication_url": "",
            "github_url": "",
            "owner_name": "simulated",
            "owner_email": "",
            "dataset_name": one.also_called or one.folder,
            "subjectID": number,
            "preprocessing_pipeline": "simulated",
            "beta_pipeline": "simulated",
        }
        for name, value in attributes.items():
            file.attrs.create(name, value)
        ceilings = file.create_group("noiseceilings", track_order=True)
        for n, values in (("1", percent), ("avg", 100 * percent / (percent + (100 - percent) / 4))):
            array = ceilings.create_dataset(f"{subject}_phase-test_n-{n}_noiseceiling", data=values, track_times=False)
            array.attrs.create("nan_indices", missing)
            array.attrs.create("n", n)
            array.attrs.create("phase", "test")
        group = file.create_group("betas", track_order=True)
        for (key, stimulus, repeat), values in zip(trials, betas, strict=True):
            array = group.create_dataset(key, data=values, track_times=False)
            array.attrs.create("nan_indices", np.flatnonzero(~np.isfinite(values)))
            array.attrs.create("phase", "train" if stimulus.part == "train" else "test")
            array.attrs.create("repetition", repeat)
            array.attrs.create("presented_stimulus_filename", stimulus.filename)
        file.create_dataset("nan_indices_all", data=missing, track_times=False)
