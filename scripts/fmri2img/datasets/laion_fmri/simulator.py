"""A simulated LAION-fMRI in its published layout: names, columns, number types, axes and what real files hold besides.

It writes the files of every subject that the workflow reads: betas (float32, some voxels with NaN), tables of trials
(one image a repeat short), noise ceilings in percent, explained variance and region masks. For all of them it writes
the pictures (JPEG, and PNG with transparent pixels), their list, captions by people and by a model, four models'
embeddings, and the splits. The model of the voxels is `simulated_voxels`: early visual areas respond to what is at a
place, the others to meaning; further voxels in the brain respond to nothing.
"""

import gzip
import io
import zlib
from dataclasses import dataclass
from pathlib import Path

import h5py
import nibabel
import numpy as np
import pandas as pd
from PIL import Image
from sklearn.cluster import KMeans

from fmri2img.artifacts.atomic import atomic_file
from fmri2img.datasets.laion_fmri import layout
from fmri2img.datasets.laion_fmri.names import is_ood, read_name
from fmri2img.datasets.laion_fmri.settings import Simulation
from fmri2img.datasets.laion_fmri.splits import written
from fmri2img.datasets.laion_fmri.volumes import PERCENT
from fmri2img.datasets.scenes import Scene, captions, describe, draw, sample_scene
from fmri2img.datasets.simulated_voxels import SimulatedVoxels, simulate_voxels

VOXEL_MM = 1.778
BASELINE, GAIN = 0.5, 1.2  # percent signal change
EARLY_SHARE, VISUAL_SHARE = 0.4, 0.5  # of the visual voxels, of the brain's
TRANSPARENT = ("cropped", "shape")  # types of OOD images that are PNG files with an alpha channel
QUALITY = 95  # of the JPEG files
FOLDS = 5
CATEGORIES = {
    "retinotopy": layout.RETINOTOPIC,
    "localiser": layout.LOCALISED,
    "general": (layout.GENERAL, *layout.SECTORS),
}
WORDS = ("laptop", "spring_roll", "mitten", "walker1", "taco", "oil_lamp", "whisk", "zebra")


@dataclass(frozen=True)
class Plan:
    """names: of all images, ascending; scenes: of each."""

    names: list[str]
    scenes: list[Scene]


def stream(simulation: Simulation, *purpose: str) -> np.random.Generator:
    """An independent generator for each purpose."""
    return np.random.default_rng([simulation.seed, zlib.crc32("/".join(purpose).encode())])


def subjects_of(simulation: Simulation) -> tuple[str, ...]:
    return layout.SUBJECTS[: simulation.subjects]


def plan_images(simulation: Simulation) -> Plan:
    """Names in all of the published forms, and a scene for each."""
    rng = stream(simulation, "names")
    names = []
    for k, cluster in enumerate(rng.choice(5_500, simulation.shared_12rep, replace=False)):
        things = k % 4 == 3
        names.append(
            f"shared_12rep_THINGS+_kmeans_{k}_{WORDS[k % len(WORDS)]}.jpg" if things
            else f"shared_12rep_LAION_cluster_{cluster}_i{k % 8}.jpg"
        )  # fmt: skip
    names += [f"shared_4rep_NSD_special{(100, 1000)[k % 2]}_{k}.jpg" for k in range(simulation.shared_4rep)]
    for k in range(simulation.ood):
        kind = layout.OOD_TYPES[k % len(layout.OOD_TYPES)]
        names.append(f"shared_4rep_OOD_{kind}_{k:03d}-one.{'png' if kind in TRANSPARENT else 'jpg'}")
    owners = {subject: suffix for suffix, subject in layout.OWNERS.items()}
    for subject in subjects_of(simulation):
        for k, cluster in enumerate(rng.choice(5_500, simulation.unique, replace=False)):
            kind = {8: f"THINGS+_{WORDS[k % len(WORDS)]}{k}", 9: f"THINGS_{WORDS[k % len(WORDS)]}{k}"}.get(
                k % 10, f"LAION_{('initial', 'new', 'fillup')[k % 3]}_cluster_{cluster}_i{k % 50}"
            )
            names.append(f"unique_{kind}_{owners[subject]}.jpg")
    rng = stream(simulation, "scenes")
    return Plan(sorted(names), [sample_scene(rng) for _ in names])


def simulate(root: str | Path, simulation: Simulation) -> None:
    """Write the files of all subjects below `root`."""
    root, plan = Path(root), plan_images(simulation)
    pictures = np.stack([draw(scene, simulation.image_size) for scene in plan.scenes])
    meaning = np.stack([describe(scene) for scene in plan.scenes])
    _write_pictures(root, simulation, plan, pictures)
    _write_captions(root, simulation, plan)
    _write_embeddings(root, simulation, plan, meaning)
    _write_splits(root, simulation, plan, meaning)
    for subject in subjects_of(simulation):
        _simulate_subject(root, simulation, subject, plan, pictures)


def encoded(name: str, pixels: np.ndarray) -> bytes:
    """A picture as a file: JPEG, or PNG in which the upper left corner is transparent."""
    file = io.BytesIO()
    if name.endswith(".png"):
        alpha = np.full(pixels.shape[:2], 255, np.uint8)
        alpha[: len(alpha) // 4, : len(alpha) // 4] = 0
        Image.fromarray(np.dstack([pixels, alpha])).save(file, "PNG")
    else:
        Image.fromarray(pixels).save(file, "JPEG", quality=QUALITY, subsampling=0)
    return file.getvalue()


def _write_pictures(root: Path, simulation: Simulation, plan: Plan, pictures: np.ndarray) -> None:
    # The rows of the published list are in another order than the names.
    order = stream(simulation, "rows").permutation(len(plan.names))
    rows = [plan.names[k] for k in order]
    with atomic_file(root / layout.PICTURES) as temporary, h5py.File(temporary, "w", libver="earliest") as file:
        stored = file.create_dataset("images", (len(rows),), h5py.vlen_dtype(np.uint8), track_times=False)
        for row, k in enumerate(order):
            stored[row] = np.frombuffer(encoded(plan.names[k], pictures[k]), np.uint8)
    read = [read_name(name) for name in rows]
    table = pd.DataFrame(
        {
            "image_name": rows,
            "dataset": ["OOD" if one.source.startswith("OOD") else one.source for one in read],
            "participant": [one.owner or "" for one in read],
            "unique_or_shared": ["unique" if one.owner else "shared" for one in read],
            "n_reps": [one.repeats for one in read],
        }
    )
    _write_table(root / layout.METADATA, table, ",")


def _write_captions(root: Path, simulation: Simulation, plan: Plan) -> None:
    rng, rows = stream(simulation, "captions"), []
    for name, scene in zip(plan.names, plan.scenes, strict=True):
        texts, read = captions(scene, rng), read_name(name)
        human = texts if read.owner is None else texts[:3]
        # Ranks are not in order in the published file.
        numbered = [(rank, text) for rank, text in enumerate(human, start=1)][::-1]
        rows += [(name, rank, "human", text, "main1", f"P{rank}", "") for rank, text in numbered]
        if read.owner is None and not is_ood(name):
            rows.append((name, 0, "ai", f"This picture shows {texts[-1]}", "gpt-5.1", "", "gpt-5.1"))
    columns = ["image_name", "caption_idx", "source", "caption", "origin_collection", "participant_id", "ai_model"]
    _write_table(root / layout.CAPTIONS, pd.DataFrame(rows, columns=columns), ",")


def _write_embeddings(root: Path, simulation: Simulation, plan: Plan, meaning: np.ndarray) -> None:
    order = stream(simulation, "embedded").permutation(len(plan.names))
    text = h5py.string_dtype()
    for model in layout.EMBEDDINGS:
        rng = stream(simulation, "embeddings", model)
        vectors = meaning @ rng.standard_normal((meaning.shape[1], simulation.width))
        vectors = vectors - vectors.mean(axis=0)
        if model != "DINOv2":
            vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
        path = root / layout.embeddings(model)
        with atomic_file(path) as temporary, h5py.File(temporary, "w", libver="earliest") as file:
            names = np.array([plan.names[k] for k in order], object)
            file.create_dataset("embedding", data=vectors[order].astype(np.float16), track_times=False)
            file.create_dataset("image_ids", data=names, dtype=text, track_times=False)
            file.create_dataset("valid", data=np.ones(len(order), bool), track_times=False)


def _write_splits(root: Path, simulation: Simulation, plan: Plan, meaning: np.ndarray) -> None:
    by_name = dict(zip(plan.names, meaning, strict=True))
    tested = [name for name in plan.names if is_ood(name)]
    for pool in (layout.SHARED, *subjects_of(simulation)):
        own = [name for name in plan.names if not is_ood(name) and read_name(name).owner in (None, pool)]
        folds = np.array_split(stream(simulation, "folds", pool).permutation(own), FOLDS)
        clusters = KMeans(FOLDS, n_init=1, random_state=simulation.seed).fit_predict([by_name[name] for name in own])
        made = {"ood": tested, "tau": sorted(stream(simulation, "tau", pool).choice(own, len(own) // FOLDS, False))}
        made |= {f"random_{k}": list(map(str, fold)) for k, fold in enumerate(folds)}
        made |= {
            f"cluster_k5_{k}": [name for name, c in zip(own, clusters, strict=True) if c == k] for k in range(FOLDS)
        }
        for split, test in made.items():
            train = [name for name in own if name not in set(test)]
            text = written(split, f"{pool} (simulated)", "simulated", {}, train, list(map(str, test)))
            with atomic_file(root / layout.split(pool, split)) as temporary:
                temporary.write_text(text, encoding="utf-8")


def _simulate_subject(root: Path, simulation: Simulation, subject: str, plan: Plan, pictures: np.ndarray) -> None:
    rng = stream(simulation, subject)
    brain, visual, early = _anatomy(simulation)
    voxels = simulate_voxels(pictures, plan.scenes, early, simulation.ncsnr, rng, BASELINE, GAIN)
    shown, lacking = _order(simulation, subject, plan)
    shape = brain.shape
    at = np.flatnonzero(visual)
    for session, images in enumerate(np.array_split(shown, simulation.sessions), start=1):
        # Sessions differ in their number of trials.
        volume = np.zeros((brain.size, len(images)), np.float32)
        volume[brain.ravel()] = GAIN * rng.standard_normal((int(brain.sum()), len(images)), np.float32)
        volume[at] = voxels.trials(images, rng).T
        volume[at[-1]] = np.nan  # at the edge of the brain
        if session == 1:
            volume[at[-2], 0] = np.nan
        _write_nifti(root / layout.betas(subject, session), volume.reshape(*shape, len(images)))
        runs = np.arange(len(images)) * layout.RUNS // len(images) + 1
        table = pd.DataFrame(
            {
                "session": layout.ses(session),
                "run": [f"run-{run:02d}" for run in runs],
                "beta_index": range(len(images)),
                "label": [plan.names[k] for k in images],
            }
        )
        _write_table(root / layout.trials(subject, session), table, "\t")
    explained = np.where(brain, 5, 0).astype(np.float32)
    explained[visual] = 25
    _write_nifti(root / layout.r2mean(subject), explained)
    _write_ceilings(root, simulation, subject, plan, voxels, visual, lacking)
    _write_regions(root, subject, visual, early)


def _anatomy(simulation: Simulation) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """brain: bool (X, Y, Z), an ellipsoid; visual: its posterior part; early: bool (visual voxels,)."""
    grid = np.stack(np.meshgrid(*(np.linspace(-1, 1, n) for n in simulation.dims), indexing="ij"))
    brain = (grid**2).sum(axis=0) < 1
    posterior = grid[1] <= np.quantile(grid[1][brain], VISUAL_SHARE)
    visual = brain & posterior
    order = np.argsort(np.argsort(grid[1][visual], kind="stable"), kind="stable")
    return brain, visual, order < EARLY_SHARE * visual.sum()


def _order(simulation: Simulation, subject: str, plan: Plan) -> tuple[np.ndarray, dict[str, int]]:
    """Row numbers of the images in the order of their presentation, and the repeats of the one that lacks one."""
    rng = stream(simulation, subject, "order")
    own = [k for k, name in enumerate(plan.names) if read_name(name).owner in (None, subject)]
    repeats = {k: read_name(plan.names[k]).repeats for k in own}
    short = next(k for k in own if read_name(plan.names[k]).owner == subject)
    repeats[short] -= 1
    # Two presentations of each image follow each other within a session, the others are anywhere.
    first = rng.permutation(own)
    rest = rng.permutation(np.repeat(own, [repeats[k] - 2 for k in own]))
    shown = np.insert(np.repeat(first, 2), np.sort(rng.integers(0, 2 * len(own) + 1, len(rest))), rest)
    return shown, {plan.names[short]: repeats[short]}


def _write_ceilings(
    root: Path, simulation: Simulation, subject: str, plan: Plan, voxels: SimulatedVoxels, visual: np.ndarray,
    lacking: dict[str, int],
) -> None:  # fmt: skip
    own = [name for name in plan.names if read_name(name).owner in (None, subject)]
    every = np.mean([1 / lacking.get(name, read_name(name).repeats) for name in own])
    for kind, repeats in layout.CEILING_REPEATS.items():
        power = voxels.ncsnr.astype(np.float64) ** 2
        values = np.zeros(visual.shape, np.float32)
        values[visual] = PERCENT * power / (power + (every if repeats is None else 1 / repeats))
        values.reshape(-1)[np.flatnonzero(visual)[-1]] = np.nan
        _write_nifti(root / layout.noise_ceiling(subject, kind), values)


def _write_regions(root: Path, subject: str, visual: np.ndarray, early: np.ndarray) -> None:
    places = np.flatnonzero(visual)
    own = {layout.GENERAL: places, "laion-EVC": places[early], "EVC": places[early]}
    retinotopic = [name for name in layout.RETINOTOPIC if name != "EVC"]
    first = np.array_split(places[early], 7)  # V1v to V3d and hV4
    later = np.array_split(places[~early], len(retinotopic) - 7)
    ordered = [name for name in retinotopic if name[:2] in ("V1", "V2")] + ["V3v", "V3d", "hV4"]
    own |= dict(zip(ordered, first, strict=True))
    own |= dict(zip([name for name in retinotopic if name not in ordered], later, strict=True))
    own |= dict(zip(layout.SECTORS[1:], np.array_split(places[~early], 3), strict=True))
    # A region that is not found in every subject has no file.
    localised = [name for name in layout.LOCALISED if name != "mfs-words"]
    own |= dict(zip(localised, np.array_split(places[~early], len(localised)), strict=True))
    for region, at in own.items():
        mask = np.zeros(visual.size, np.uint8)
        mask[at] = 1
        category = next(name for name, regions in CATEGORIES.items() if region in regions)
        folder = layout.REGION_FOLDERS[0].format(subject=subject)
        name = f"{subject}_space-T1w_res-1pt8_label-{region}_mask.nii.gz"
        _write_nifti(root / folder / category / name, mask.reshape(visual.shape))


def _write_nifti(path: Path, values: np.ndarray) -> None:
    affine = np.diag([VOXEL_MM] * 3 + [1.0])
    affine[:3, 3] = -VOXEL_MM * (np.array(values.shape[:3]) - 1) / 2
    path.parent.mkdir(parents=True, exist_ok=True)
    image = nibabel.Nifti1Image(values, affine)
    image.header["descrip"] = "simulated"
    with atomic_file(path) as temporary:
        # Gzip files would differ by the time of their writing.
        temporary.write_bytes(gzip.compress(image.to_bytes(), compresslevel=1, mtime=0))


def _write_table(path: Path, table: pd.DataFrame, separator: str) -> None:
    with atomic_file(path) as temporary:
        table.to_csv(temporary, sep=separator, index=False)
