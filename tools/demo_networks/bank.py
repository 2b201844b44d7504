"""The training bank: drawn scenes and their captions on disk, shared by all recipes.

Seeds. Scene `i` of a bank comes from `numpy.random.default_rng((stream, i))`. Stream 7001 is for training. Scenes of
7002 are for decisions: which recipe, how long, whether a change helped. Those of 7003 are for the fidelity table of a
network's card and for nothing else, so that no decision was made on them. Nothing else in the project draws from these
three streams.
"""

import json
import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from demo_networks.vocabulary import build_tokenizer, encode
from fmri2img.artifacts.arrays import new_array
from fmri2img.artifacts.atomic import atomic_file
from fmri2img.datasets.scenes import Scene, captions, draw, sample_scene

TRAINING_STREAM, DEVELOPMENT_STREAM, FINAL_STREAM = 7001, 7002, 7003
SIDE = 64


@dataclass(frozen=True)
class Bank:
    """images: (scenes, 64, 64, 3) uint8; text_ids: (scenes, 5, context) int16, five captions each;
    time_ids: (scenes, 4) int16, the original height and width and the crop's top and left, as SDXL's size
    conditioning wants them; whole: number of uncropped scenes, which come first."""

    images: np.ndarray
    text_ids: np.ndarray
    time_ids: np.ndarray
    whole: int

    def thinned(self, every: int) -> "Bank":
        """Every `every`-th scene, for networks that need the costly latents or tokens of each."""
        return Bank(
            self.images[::every], self.text_ids[::every], self.time_ids[::every], len(range(0, self.whole, every))
        )


def training_bank(work: Path, scenes: int, cropped: int, context: int) -> Bank:
    """Bank of `scenes` training scenes, of which the last `cropped` are cut out of larger drawings.

    It is drawn once, under `work`, and memory-mapped.
    """
    folder = work / f"bank-{scenes}-{cropped}-{context}"
    if not (folder / "bank.json").exists():
        folder.mkdir(parents=True, exist_ok=True)
        images = new_array(folder / "images.npy", np.uint8, (scenes, SIDE, SIDE, 3))
        time_ids = np.tile(np.array([SIDE, SIDE, 0, 0], np.int16), (scenes, 1))
        sentences = []
        for index in range(scenes):
            rng = np.random.default_rng((TRAINING_STREAM, index))
            scene = sample_scene(rng)
            sentences += captions(scene, rng)
            if index < scenes - cropped:
                images[index] = draw(scene)
            else:
                side = int(rng.integers(SIDE + 8, 2 * SIDE))
                top, left = (int(rng.integers(side - SIDE + 1)) for _ in range(2))
                images[index] = draw(scene, size=side)[top : top + SIDE, left : left + SIDE]
                time_ids[index] = (side, side, top, left)
        images.flush()
        text_ids = encode(build_tokenizer(), sentences, context).reshape(scenes, 5, context)
        np.save(folder / "text_ids.npy", text_ids)
        np.save(folder / "time_ids.npy", time_ids)
        with atomic_file(folder / "bank.json") as part:
            part.write_text(json.dumps({"scenes": scenes, "cropped": cropped, "stream": TRAINING_STREAM}))
    arrays = {name: np.load(folder / f"{name}.npy", mmap_mode="r") for name in ("images", "text_ids", "time_ids")}
    return Bank(**arrays, whole=scenes - cropped)


def unseen_scenes(count: int, stream: int) -> tuple[list[Scene], np.ndarray, list[list[str]]]:
    """`count` scenes that no network was trained on, their pictures (count, 64, 64, 3) uint8 and five captions each.

    stream: DEVELOPMENT_STREAM, or FINAL_STREAM for a card's table.
    """
    scenes, sentences = [], []
    for index in range(count):
        rng = np.random.default_rng((stream, index))
        scenes.append(sample_scene(rng))
        sentences.append(captions(scenes[-1], rng))
    return scenes, np.stack([draw(scene) for scene in scenes]), sentences


def precomputed(work: Path, name: str, key: str, images: np.ndarray, shape: tuple, compute) -> np.ndarray:
    """float16 array (images, *shape) of `compute(block of images)`, made once under `work` and memory-mapped.

    `key` stands for the weights behind it, so that a retrained network never meets another one's arrays.
    """
    path = work / f"{name}-{len(images)}-{key}.npy"
    if not path.exists():
        # Two recipes may want the same array at once: each writes its own, the last to finish stays.
        part = path.with_suffix(f".{os.getpid()}.part")
        out = new_array(part, np.float16, (len(images), *shape))
        for start in range(0, len(images), 1024):
            out[start : start + 1024] = compute(images[start : start + 1024])
        out.flush()
        part.rename(path)
    return np.load(path, mmap_mode="r")
