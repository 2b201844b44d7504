"""What an unCLIP generator is trained on: latents, image tokens and sizes, from drawn scenes or from photographs."""

import re
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Protocol

import numpy as np
import torch
from PIL import Image

from demo_networks.bank import Bank, training_bank
from demo_networks.clip import GRID, tokens_of, vision_digest
from demo_networks.unet import frozen
from demo_networks.vae import encoder_digest, latent_shape, latents_of
from fmri2img.artifacts.embeddings import Embeddings
from fmri2img.artifacts.splits import Split
from fmri2img.artifacts.stimuli import Stimuli
from fmri2img.backbones.autoencoders import Autoencoder, load_autoencoder
from fmri2img.backbones.encoders import ImageTextEncoder, load_encoder
from fmri2img.backbones.registry import Backbone
from fmri2img.errors import UserError
from fmri2img.training.sources import fingerprint

STEP = 64  # sides of photographs are multiples of it, so that latents can be halved three times
WIDEST = 2.0  # ratio of the sides
READERS = 8  # threads that read and scale a batch's photographs
ALL = slice(None)
SUFFIXES = {".jpg", ".jpeg", ".png"}


class Pictures(Protocol):
    """Training pictures behind their frozen networks."""

    device: torch.device
    latent_shape: tuple[int, int, int]
    tokens: int
    token_width: int

    def __len__(self) -> int: ...

    def sources(self) -> dict[str, str]:
        """What tells the pictures, and the networks behind which they are, from others."""

    def batch(
        self, rng: np.random.Generator, size: int, rows: slice = ALL
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Pictures `rows` of a batch of `size` that is chosen by `rng` alone, float32 on the device.

        Returns latents (pictures, channels, height, width), scaled as the diffusion model wants them; tokens
        (pictures, tokens, width); and time_ids (pictures, 4): original height and width, crop top and left.
        """


class DrawnScenes:
    """The demo's bank of drawn scenes; latents and tokens are computed once and memory-mapped."""

    def __init__(self, bank: Bank, clip, vae, work: Path, device: torch.device) -> None:
        self.bank, self.device = bank, device
        self.latent_shape = latent_shape(vae)
        self.tokens, self.token_width = GRID * GRID, clip.visual.ln_post.weight.shape[0]
        self._latents = latents_of(vae, bank, work, device)
        self._tokens = tokens_of(clip, bank, work, device)
        self._sources = {"latents": encoder_digest(vae), "image tokens": vision_digest(clip)}

    def sources(self):
        return self._sources

    def __len__(self) -> int:
        return len(self.bank.images)

    def batch(self, rng, size, rows=ALL):
        chosen = np.sort(rng.choice(len(self), size, replace=False))[rows]
        arrays = (self._latents[chosen], self._tokens[chosen], self.bank.time_ids[chosen])
        return tuple(torch.from_numpy(array.astype(np.float32)).to(self.device) for array in arrays)


class Photographs:
    """Pictures of any size, cut to few shapes of at most `max_pixels` and encoded when they are drawn.

    pictures: paths, or an array (n, height, width, 3) uint8. rows: which of them to draw from, all by default.
    tokens: image tokens (n, tokens, width) of all pictures, where they are known already; then nothing may be cut off,
    so the pictures must be square.

    Shapes follow the pictures' own aspect ratio (SDXL's multi-aspect training, Podell et al. 2023): all pictures of a
    batch are drawn from the shape of its first one, so a shape is as frequent as the pictures that fit it. A picture is
    scaled to cover its shape and cropped at random, and the network is conditioned on its original size and the crop.
    Latents are the autoencoder's means.
    """

    def __init__(
        self, pictures, encoder: ImageTextEncoder, autoencoder: Autoencoder, max_pixels: int, rows=None, tokens=None
    ) -> None:
        self.pictures, self.encoder, self.autoencoder = pictures, encoder, autoencoder
        self.rows = np.arange(len(pictures)) if rows is None else rows
        self.device, self._known = autoencoder.device, tokens
        visual = encoder.model.visual
        self.tokens, self.token_width = visual.grid_size[0] * visual.grid_size[1], visual.conv1.out_channels
        side = int(max_pixels**0.5) // STEP * STEP // autoencoder.reduction
        self.latent_shape = (autoencoder.channels, side, side)
        self._threads = ThreadPoolExecutor(READERS)
        self.sizes = np.array(list(self._threads.map(self._size, self.rows)))
        self.shapes = np.array(shapes_within(max_pixels))
        ratios = np.log(self.sizes[:, 0] / self.sizes[:, 1])[:, None] - np.log(self.shapes[:, 0] / self.shapes[:, 1])
        self.shape_of = np.abs(ratios).argmin(1)
        if tokens is not None and (self.sizes[:, 0] != self.sizes[:, 1]).any():
            raise UserError("pictures: only square pictures can have tokens computed before; remove key 'embeddings'")

    def __len__(self) -> int:
        return len(self.rows)

    def _size(self, index: int) -> tuple[int, int]:
        if isinstance(self.pictures, np.ndarray):
            return self.pictures.shape[1:3]
        with Image.open(self.pictures[index]) as image:
            return image.height, image.width

    def _cut(self, drawn: int, shape: np.ndarray, where: np.ndarray) -> tuple[np.ndarray, tuple[int, int]]:
        """A picture scaled to cover `shape` (height, width) and cropped at `where` (shares of the free space)."""
        source, size = self.pictures[self.rows[drawn]], self.sizes[drawn]
        image = Image.fromarray(source) if isinstance(source, np.ndarray) else Image.open(source)
        scaled = np.maximum(np.round(size * (shape / size).max()).astype(int), shape)
        image = image.convert("RGB").resize((scaled[1], scaled[0]), Image.Resampling.BICUBIC)
        top, left = (where * (scaled - shape + 1)).astype(int)
        return np.asarray(image)[top : top + shape[0], left : left + shape[1]], (top, left)

    def sources(self):
        return {"pictures": fingerprint({"count": len(self)}, self.sizes)}

    def batch(self, rng, size, rows=ALL):
        shape_index = self.shape_of[rng.integers(len(self))]
        fitting = np.flatnonzero(self.shape_of == shape_index)
        chosen = rng.choice(fitting, size, replace=len(fitting) < size)
        chosen, where = chosen[rows], rng.random((size, 2))[rows]
        shape = self.shapes[shape_index]
        pixels, corners = zip(*self._threads.map(lambda i, w: self._cut(i, shape, w), chosen, where), strict=True)
        pixels = np.stack(pixels)
        latents = self.autoencoder.encode(pixels).clone()
        if self._known is None:
            tokens = self.encoder.encode_images(pixels)[0]
        else:
            tokens = self._known[self.rows[chosen]].astype(np.float32)
        time_ids = np.concatenate([self.sizes[chosen], np.array(corners)], axis=1).astype(np.float32)
        return latents, torch.from_numpy(tokens).to(self.device), torch.from_numpy(time_ids).to(self.device)


def shapes_within(max_pixels: int) -> list[tuple[int, int]]:
    """Heights and widths, multiples of 64, of the largest pictures of at most `max_pixels` at each aspect ratio."""
    sides = range(STEP, max_pixels // STEP + 1, STEP)
    shapes = [(height, max_pixels // height // STEP * STEP) for height in sides]
    shapes = [(h, w) for h, w in shapes if w and max(h / w, w / h) <= WIDEST]
    if not shapes:
        raise UserError(f"pictures: key 'max_pixels': {max_pixels} is less than one picture of {STEP} x {STEP}")
    return shapes


def picture_files(folder: Path, without: Path | None) -> list[Path]:
    """Picture files below `folder`, sorted, without those whose name is the COCO number of one of the stimuli.

    NSD's stimuli are pictures of COCO: a generator that has drawn the test images must not be scored on them.
    """
    paths = sorted(path for path in folder.rglob("*") if path.suffix.lower() in SUFFIXES)
    if without is not None:
        seen = set(Stimuli.open(without).table["coco_id"])
        numbers = (re.search(r"(\d+)$", path.stem) for path in paths)
        paths = [path for path, n in zip(paths, numbers, strict=True) if n is None or int(n[1]) not in seen]
    if not paths:
        raise UserError(f"pictures: {folder} holds no picture ({', '.join(sorted(SUFFIXES))}) to train on; correct it")
    return paths


def open_pictures(
    record: dict, siblings: Path, work: Path, device: torch.device, registry: dict[str, Backbone]
) -> Pictures:
    """The pictures that a recipe's section `pictures` describes, with one of these keys:

    drawn_scenes: {scenes, cropped, every}, the demo's bank under `work`; networks `clip` and `vae` lie in `siblings`.
    folder: a folder of picture files; `without`: Stimuli that are left out.
    stimuli: Stimuli of a study, its training images by `split` (a Split file); `embeddings`: their tokens, if wanted.

    The last two need `encoder` and `autoencoder` (entries of config/backbones.yaml) and `max_pixels`.
    """
    kinds = [kind for kind in ("drawn_scenes", "folder", "stimuli") if kind in record]
    if len(kinds) != 1:
        raise UserError("recipe: key 'pictures': give exactly one of drawn_scenes, folder and stimuli")
    if kinds == ["drawn_scenes"]:
        clip, vae = frozen(siblings, device)
        drawn = record["drawn_scenes"]
        bank = training_bank(work, drawn["scenes"], drawn["cropped"], context=len(clip.positional_embedding))
        return DrawnScenes(bank.thinned(drawn["every"]), clip, vae, work, device)
    needed = ("encoder", "autoencoder", "max_pixels", *(["split"] if kinds == ["stimuli"] else []))
    for key in needed:
        if key not in record:
            raise UserError(f"recipe: key 'pictures.{key}' is missing; add it")
    networks = []
    for key, load in (("encoder", load_encoder), ("autoencoder", load_autoencoder)):
        if record[key] not in registry:
            raise UserError(f"recipe: key 'pictures.{key}': {record[key]} is not an entry of config/backbones.yaml")
        networks.append(load(registry[record[key]], device))
    if kinds == ["folder"]:
        without = Path(record["without"]) if record.get("without") else None
        return Photographs(picture_files(Path(record["folder"]), without), *networks, record["max_pixels"])
    stimuli, split = Stimuli.open(record["stimuli"]), Split.open(record["split"])
    rows = np.flatnonzero(~np.isin(stimuli.ids, [*split.test_ids, *split.unused_ids]))
    tokens = None
    if record.get("embeddings"):
        embeddings = Embeddings.open(record["embeddings"])
        if not np.array_equal(embeddings.ids, stimuli.ids):
            raise UserError(f"{embeddings.path}: its ids are not those of {stimuli.path}; rerun the embedding")
        tokens = embeddings.tokens
    return Photographs(stimuli.images, *networks, record["max_pixels"], rows, tokens)
