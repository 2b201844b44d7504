"""Disk space of a study: a rough count of its largest files, so that a run that cannot finish does not start."""

import os
import shutil
from pathlib import Path

from fmri2img import plugins
from fmri2img.artifacts.cells import Cell
from fmri2img.backbones.targets import target_path
from fmri2img.datasets.dataset import Sizes
from fmri2img.errors import UserError
from fmri2img.study import Study


def check_space(study: Study) -> None:
    """Raise UserError when what the study has yet to write does not fit on the disks of its tree and its results."""
    needed = bytes_by_folder(study)
    disks: dict[int, list[Path]] = {}
    for folder in needed:
        disks.setdefault(_on_disk(folder).stat().st_dev, []).append(folder)
    for folders in disks.values():
        free = shutil.disk_usage(_on_disk(folders[0])).free
        wanted = sum(needed[folder] for folder in folders)
        # Reading the size of every file is slow on a network disk, so it is done only if it may matter.
        if wanted > free:
            wanted = sum(max(0, needed[folder] - _bytes_in(folder)) for folder in folders)
        if wanted > free:
            raise UserError(
                f"disk: study {study.name} needs about {wanted / 1e9:.0f} GB more for "
                f"{' and '.join(map(str, folders))}, {free / 1e9:.0f} GB are free there; free some space, put the "
                "dataset's folder on another disk, or run elsewhere with `snakemake --directory FOLDER`"
            )


def bytes_by_folder(study: Study) -> dict[Path, int]:
    """Folder -> bytes that the study writes into it: results/<study>, and other folders of the dataset's rules."""
    results = Path("results") / study.name
    needed: dict[Path, int] = {results: results_bytes(study)}
    for dataset in (study.dataset, *study.pools.values()):
        for folder, size in dataset.bytes_of(study).items():
            needed[folder] = needed.get(folder, 0) + size
    return needed


def results_bytes(study: Study) -> int:
    """Bytes of results/<study> without the dataset's files."""
    return sum(results_parts(study).values())


def results_parts(study: Study) -> dict[str, int]:
    """The same by what it is: targets, networks, decoded tokens and predictions."""
    config, backbones, methods = study.config, study.registries["backbones"], study.registries["methods"]
    encoder, sizes = backbones[config["encoder"]], study.dataset.sizes(study)
    tokens = encoder["tokens"] * encoder["token_width"]
    predictions = 0
    made = {(method, study.made_at(method, cell)) for method in study.methods for cell in study.cells(method)}
    for method, _ in made:
        entry = methods[method]
        vectors = ("retrieval" in entry["outputs"]) + 2 * (entry["kind"] == "decoder")
        pictures = picture_bytes(study, method) * ("images" in entry["outputs"])
        predictions += sizes.test_images * (2 * tokens * vectors + pictures)
    return {
        "image tokens": 2 * sizes.images * tokens if study.dataset.has_recordings else 0,  # float16
        "trained networks with their targets": training_bytes(study, sizes.images),
        "linear decoders with their targets": linear_bytes(study, sizes),
        "decoded arrays and predictions": predictions,
    }


def picture_bytes(study: Study, method: str) -> int:
    """Bytes of what a method draws of one image: all its samples, of the size of its own generator or the study's."""
    entry, backbones = study.registries["methods"][method], study.registries["backbones"]
    if entry.get("made_by", {}).get("of") == "predictions":
        return picture_bytes(study, entry["source"])
    drawing = study.drawing(method) if "drawing" in entry else {"networks": {}, "samples": 1}
    generator = drawing["networks"].get("generator") or study.config["generator"]
    return drawing["samples"] * 3 * backbones[generator]["image_size"] ** 2


def linear_bytes(study: Study, sizes: Sizes) -> int:
    """Bytes of what linear methods add: targets other than the encoder's tokens, of all images and decoded, and what is
    fitted, float32 (voxels, training images) for each regression."""
    made: dict[str, set[Cell]] = {}
    for method in study.methods:
        entry = study.registries["methods"][method]
        if "linear" in entry:
            made.setdefault(entry["decoder"], set()).update(study.made_at(method, c) for c in study.cells(method))
    total, stored = 0, {target_path("tokens", study.config["encoder"]): 0}
    for decoder, cells in made.items():
        values = study.target_values(decoder)
        others = sum(count for target, count in values.items() if target not in stored)
        stored |= values
        total += 2 * (others * sizes.images + sum(values.values()) * sizes.test_images * len(cells))
        for cell in {cell._replace(test_set="") for cell in cells}:
            sessions = cell.sessions if isinstance(cell.sessions, int | float) else 1
            images = min(sizes.images, round(sessions * sizes.session_trials))
            total += 4 * len(study.decoders[decoder]["linear"]) * sizes.voxels * images
    return total


def training_bytes(study: Study, images: int) -> int:
    """Bytes of what trained methods add: further targets of all images, and their networks."""
    total, by_folder = 0, {}
    for method in study.trained:
        by_folder.setdefault(study.registries["methods"][method]["folder"], []).append(method)
    for folder, methods in by_folder.items():
        total += plugins.load("methods", folder, "workflow:target_bytes")(study, images)
        decoders = [study.registries["methods"][method]["decoder"] for method in methods]
        networks = sum(len(study.cells(method)) for method in methods) + len(study.pretrainings_of(decoders))
        # A running training also keeps the two moments of its optimiser.
        total += (networks + 2) * plugins.load("methods", folder, "workflow:network_bytes")(study)
    return total


def _on_disk(folder: Path) -> Path:
    """The folder, or its nearest parent that exists."""
    folder = folder.absolute()
    return next(path for path in (folder, *folder.parents) if path.exists())


def _bytes_in(folder: Path) -> int:
    return sum(os.lstat(os.path.join(parent, name)).st_size for parent, _, names in os.walk(folder) for name in names)
