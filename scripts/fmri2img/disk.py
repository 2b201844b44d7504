"""How much disk a study fills: a rough count of its largest files, so that a run which cannot end does not begin."""

import math
import os
import shutil
from pathlib import Path

from fmri2img.errors import UserError
from fmri2img.study import Study

SESSION_BYTES = 1_300_000_000  # the largest betas_sessionNN.hdf5 (subject 6)
IN_FLIGHT = 8  # sessions that lie in the tree at once, before they are masked and deleted (slurm/config.yaml)
VOXELS = 18_000  # of a subject's nsdgeneral, at most
STIMULUS_BYTES = 3 * 425**2


def check_space(study: Study) -> None:
    """Raise UserError when what the study has yet to write does not fit on the disks of its tree and its results."""
    results = Path("results") / study.name
    needed = {study.root: tree_bytes(study), results: results_bytes(study)}
    disks: dict[int, list[Path]] = {}
    for folder in needed:
        disks.setdefault(_on_disk(folder).stat().st_dev, []).append(folder)
    for folders in disks.values():
        free = shutil.disk_usage(_on_disk(folders[0])).free
        wanted = sum(needed[folder] for folder in folders)
        # Reading the size of every file takes a while on a network disk, so only where it may matter.
        if wanted > free:
            wanted = sum(max(0, needed[folder] - _bytes_in(folder)) for folder in folders)
        if wanted > free:
            raise UserError(
                f"disk: study {study.name} needs about {wanted / 1e9:.0f} GB more for "
                f"{' and '.join(map(str, folders))}, {free / 1e9:.0f} GB are free there; free some space, set "
                "nsd.root to another disk, or run elsewhere with `snakemake --directory`"
            )


def tree_bytes(study: Study) -> int:
    """Bytes of the dataset's tree: what is simulated, or betas in flight.

    Files that are downloaded to stay are not counted: each download begins by asking for the room that it needs.
    """
    if study.simulated:
        simulation = study.config["nsd"]["simulation"]
        trials = 6 * sum(simulation["trials_per_run"])
        volumes = [(s["sessions"], *s["dims"]) for s in simulation["subjects"].values()]
        # int16 in HDF5, and compressed in NIfTI, of b2 and of b3.
        betas = sum(6 * sessions * trials * x * y * z for sessions, x, y, z in volumes)
        return betas + simulation["stimuli"] * 3 * simulation["image_size"] ** 2
    if not study.recorded_brains:
        return 0
    return IN_FLIGHT * SESSION_BYTES


def results_bytes(study: Study) -> int:
    """Bytes of results/<study>: recordings, targets, networks, decoded tokens and predictions."""
    config, backbones, methods = study.config, study.registries["backbones"], study.registries["methods"]
    encoder = backbones[config["encoder"]]
    tokens = encoder["tokens"] * encoder["token_width"]
    picture = 3 * backbones[config["generator"]]["image_size"] ** 2
    if study.simulated:
        simulation = config["nsd"]["simulation"]
        images, stimulus = simulation["stimuli"], 3 * simulation["image_size"] ** 2
        tested = images // 10
        session_trials = 6 * sum(simulation["trials_per_run"])
        voxels = {s: math.prod(p["dims"]) for s, p in simulation["subjects"].items()}
    else:
        images, stimulus, tested = 1000 + 9000 * len(study.recorded), STIMULUS_BYTES, 1000
        session_trials, voxels = 750, dict.fromkeys(study.available_sessions, VOXELS)
    total = images * stimulus
    if study.recorded_brains:
        # Betas as float32 in the recording, and as int16 in the masked sessions; tokens as float16.
        betas = (study.available_sessions[s] * session_trials * voxels[s] for s in study.recorded)
        total += 6 * sum(betas) + 2 * images * tokens
    if study.trained:
        low_level, hidden = config["mindeye2"]["low_level"], config["mindeye2"]["model"]["hidden"]
        if low_level:
            teacher = backbones[low_level["teacher"]]
            maps = 2 * teacher["tokens"] * teacher["token_width"]
            total += images * maps * (low_level["augmentations"] + 1)
        # float32. The layer that makes tokens is four fifths of a network; a running one keeps two moments beside it.
        network = 5 * hidden * tokens
        pretrained = [m for m in study.trained if methods[m]["training"]["pretrained"]]
        trained = sum(len(study.cells(method)) for method in study.trained)
        total += network * (trained + len(pretrained) * len(study.subjects) + 2)
    made = {(method, study.made_at(method, cell)) for method in study.methods for cell in study.cells(method)}
    for method, _ in made:
        entry = methods[method]
        vectors = ("retrieval" in entry["outputs"]) + 2 * (entry["kind"] == "decoder")
        total += tested * (2 * tokens * vectors + picture * ("images" in entry["outputs"]))
    return total


def _on_disk(folder: Path) -> Path:
    """The folder, or the nearest one above it that is there."""
    folder = folder.absolute()
    return next(path for path in (folder, *folder.parents) if path.exists())


def _bytes_in(folder: Path) -> int:
    return sum(os.lstat(os.path.join(parent, name)).st_size for parent, _, names in os.walk(folder) for name in names)
