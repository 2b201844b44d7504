"""A simulated BOLD5000 in its published layout: betas by region, presentation lists, pictures and labels.

As in BOLD5000 all subjects see the same pictures, each in its own order, the repeated ones (marked rep_ from their
second presentation on) spread over all sessions. File names, number types and axes are those of the release; the model
of the voxels is `simulated_voxels`. Early visual cortex responds to what is at a place, the other regions to meaning.
"""

import zlib
from pathlib import Path

import numpy as np
from PIL import Image

from fmri2img.artifacts.atomic import atomic_file
from fmri2img.datasets.bold5000 import layout
from fmri2img.datasets.bold5000.settings import Simulation
from fmri2img.datasets.bold5000.stimuli import source_of
from fmri2img.datasets.scenes import Scene, draw, sample_scene
from fmri2img.datasets.simulated_voxels import simulate_voxels

FIRST_SYNSET = 90_000_001
BASELINE, GAIN = 1.0, 1.5  # percent signal change
EARLY_SHARE = 0.4
QUALITY = 95  # of the JPEG files


def stream(simulation: Simulation, *purpose: str) -> np.random.Generator:
    """An independent generator for each purpose."""
    return np.random.default_rng([simulation.seed, zlib.crc32("/".join(purpose).encode())])


def plan_pictures(simulation: Simulation) -> tuple[list[Scene], list[str], dict[str, str]]:
    """Scenes, file names of the three sources in turn, and the label of each class of the ImageNet ones."""
    rng = stream(simulation, "scenes")
    count = simulation.trials - simulation.repeated * (simulation.repeats - 1)
    scenes = [sample_scene(rng) for _ in range(count)]
    objects = sorted({scene.objects[0].category for scene in scenes})
    synsets = {name: f"n{FIRST_SYNSET + number}" for number, name in enumerate(objects)}
    names = []
    for number, scene in enumerate(scenes, start=1):
        coco, imagenet = f"COCO_train2014_{number:012d}.jpg", f"{synsets[scene.objects[0].category]}_{number}.JPEG"
        place = f"{scene.background.replace(' ', '')}{number}.jpg"
        names.append((coco, imagenet, place)[number % 3])
    return scenes, names, {synset: name for name, synset in synsets.items()}


def simulate(root: str | Path, simulation: Simulation) -> None:
    """Write the files of all subjects and the pictures below `root`."""
    root = Path(root)
    stimuli = root / layout.STIMULI
    scenes, names, labels = plan_pictures(simulation)
    images = np.stack([draw(scene, simulation.image_size) for scene in scenes])
    for name, image in zip(names, images, strict=True):
        path = stimuli / layout.PICTURES / source_of(name) / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image).save(path, "JPEG", quality=QUALITY, subsampling=0)
    _write_lines(stimuli / layout.LABELS, [f"{synset} {name}" for synset, name in labels.items()])
    repeated = np.sort(stream(simulation, "repeated").choice(len(names), simulation.repeated, replace=False))
    _write_lines(stimuli / layout.REPEATED[0], [names[k] for k in repeated])
    for subject in layout.SUBJECTS[: simulation.subjects]:
        _simulate_subject(root, simulation, subject, images, scenes, names, repeated)


def _simulate_subject(root, simulation, subject, images, scenes, names, repeated) -> None:
    rng = stream(simulation, subject)
    early = np.arange(simulation.voxels) < EARLY_SHARE * simulation.voxels
    voxels = simulate_voxels(images, scenes, early, simulation.ncsnr, rng, BASELINE, GAIN)
    shown = rng.permutation(np.concatenate([np.arange(len(names)), np.repeat(repeated, simulation.repeats - 1)]))
    _write_lists(root / layout.STIMULI, simulation, subject, [names[k] for k in shown])
    betas = voxels.trials(shown, rng)
    others = np.array_split(np.flatnonzero(~early), 2 * (len(layout.REGIONS) - 1))
    parts = [*np.array_split(np.flatnonzero(early), 2), *others]
    places = [(region, hemisphere) for region in layout.REGIONS for hemisphere in layout.HEMISPHERES]
    for (region, hemisphere), own in zip(places, parts, strict=True):
        with atomic_file(root / layout.betas(subject, region, hemisphere)) as temporary, open(temporary, "wb") as file:
            np.save(file, betas[:, own])


def _write_lists(stimuli: Path, simulation: Simulation, subject: str, shown: list[str]) -> None:
    seen: set[str] = set()
    lines = []
    for name in shown:
        lines.append(f"rep_{name}" if name in seen else name)
        seen.add(name)
    for number in range(simulation.sessions * simulation.runs_per_session):
        session, run = number // simulation.runs_per_session + 1, number % simulation.runs_per_session + 1
        own = lines[number * simulation.trials_per_run : (number + 1) * simulation.trials_per_run]
        folder = stimuli / layout.LISTS / subject / f"{subject}_sess{session:02d}"
        _write_lines(folder / f"CSI_sess{session:02d}_run{run:02d}.txt", own)


def _write_lines(path: Path, lines: list[str]) -> None:
    with atomic_file(path) as temporary:
        temporary.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
