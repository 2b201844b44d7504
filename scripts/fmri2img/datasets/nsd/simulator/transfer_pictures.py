"""Pictures of the simulated NSD-Imagery and NSD-Synthetic, and what they mean.

Names of NSD-Imagery's targets are the real ones; its photographs are shared images of the simulated NSD, so that the
real names' numbers are not theirs. Of NSD-Synthetic's 284 images the classes and their order are the real ones, and so
are the names of words, gratings and natural scenes; the others are made up in the same manner.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pandas as pd

from fmri2img.datasets.nsd import layout
from fmri2img.datasets.nsd.simulator.design import Design
from fmri2img.datasets.nsd.simulator.parameters import Simulation
from fmri2img.datasets.nsd.simulator.stimuli import scenes as scenes_of
from fmri2img.datasets.nsd.transfer_pictures import AS_PHOTOGRAPH
from fmri2img.datasets.nsd.transfer_sets import TARGETS, subject_number
from fmri2img.datasets.scenes import Scene, draw, sample_scene

SCREEN = 1360 / 714  # width over height of NSD-Synthetic's pictures
OF_A_KIND = 4  # images of each subclass
BAR = (450 / 714, 43 / 714)  # length and width, fraction of the picture
CONTRASTS, COHERENCES = (100, 50, 10, 6, 4), (75, 50, 25, 0)  # percent
WORDS, PLACES = (4, 6), (-0.75, -0.3, 0.0, 0.3, 0.75)  # letters; centres from the middle, fraction of the height
LETTER = 0.05  # width of a letter, fraction of the height
HUES = 16
SATURATION = 0.25
GREY = 0.5
MEANINGFUL = 50  # percent of phase coherence from which on a scene is recognised


@dataclass(frozen=True)
class Synthetic:
    """shown: uint8 (220, height, width, 3), and coloured: subject -> uint8 (64, ...), as stored; scenes: of the 284,
    None without meaning; information: nsdsyntheticimageinformation.csv."""

    shown: np.ndarray
    coloured: dict[str, np.ndarray]
    scenes: list[Scene | None]
    information: pd.DataFrame


def targets(simulation: Simulation, plan: Design) -> list[tuple[np.ndarray, Scene | None]]:
    """Picture uint8 (size, size, 3) and meaning of each of TARGETS."""
    rng, drawn = simulation.stream("nsdimagery", "targets"), scenes_of(simulation)
    photographs = [drawn[image_id] for image_id in plan.shared]
    found: list[tuple[np.ndarray, Scene | None]] = []
    for _, name in TARGETS:
        kind, _, angle = name.partition("_")
        if kind in ("bar", "crs"):
            found.append((_bars(simulation.image_size, float(angle[:5]), kind == "crs"), None))
        elif name == "shared0000_nsd00000":
            painting = sample_scene(rng)
            found.append((np.roll(draw(painting, simulation.image_size), 1, axis=2), painting))
        else:
            scene = photographs[sum(known.startswith("shared") for _, known in TARGETS[: len(found)])]
            found.append((draw(scene, simulation.image_size), scene))
    return found


def _bars(size: int, degrees: float, crossed: bool) -> np.ndarray:
    """A dark bar through the middle of a grey picture, or two at right angles."""
    up, across = ((size - 1) / 2 - np.mgrid[0:size, 0:size][0]) / size, (np.mgrid[0:size, 0:size][1] + 0.5) / size - 0.5
    picture = np.full((size, size), GREY)
    for turn in (0, 90) if crossed else (0,):
        angle = np.radians(degrees + turn)
        along = across * np.cos(angle) + up * np.sin(angle)
        away = up * np.cos(angle) - across * np.sin(angle)
        picture[(np.abs(along) < BAR[0] / 2) & (np.abs(away) < BAR[1] / 2)] = 0
    return _stored(picture)


def synthetic(simulation: Simulation) -> Synthetic:
    """All pictures of the simulated NSD-Synthetic, those in colour for each simulated subject."""
    rows = list(_achromatic(simulation))
    patterns = [pattern for *_, pattern, _ in rows[-OF_A_KIND:]]
    labels = [row[:3] for row in rows]
    labels += [
        (f"chromatic_hue{hue + 1}_{k + 1}", f"Chromatic noise, hue {hue + 1}", "Chromatic noise")
        for hue in range(HUES)
        for k in range(OF_A_KIND)
    ]
    coloured = {subject: _coloured(patterns, subject_number(subject)) for subject in simulation.subjects}
    shown = np.stack([_linear(_on_screen(picture)) for *_, picture, _ in rows])
    scenes = [scene for *_, scene in rows] + [None] * layout.SYNTHETIC_COLOURED
    return Synthetic(shown, coloured, scenes, _information(labels))


Row = tuple[str, str, str, np.ndarray, Scene | None]  # name, subclass, class, grey picture in 0..1, meaning


def _achromatic(simulation: Simulation) -> Iterator[Row]:
    """The 220 images that all subjects saw."""
    rng, size = simulation.stream("nsdsynthetic", "pictures"), simulation.image_size
    scenes = [sample_scene(rng) for _ in range(OF_A_KIND)]
    photographs = [draw(scene, size).mean(axis=2) / 255 for scene in scenes]

    def kind(name: str, title: str, of: str, pictures: list, meaning: bool = False) -> Iterator[Row]:
        for k, picture in enumerate(pictures):
            yield f"{name}_{k + 1}", title, of, picture, scenes[k] if meaning else None

    noises = [rng.random((size, size)) for _ in range(OF_A_KIND)]
    blocks = [np.kron(rng.random((size // 8 + 1,) * 2), np.ones((8, 8)))[:size, :size] for _ in range(OF_A_KIND)]
    yield from kind("whitenoise", "White noise", "Noise", noises)
    yield from kind("whitenoise_block", "White noise, large blocks", "Noise", blocks)
    yield from kind("pinknoise", "Pink noise", "Noise", [_pink(size, rng) for _ in range(OF_A_KIND)])
    yield from kind("natscene", "Natural scenes", "Natural scenes", photographs, True)
    manipulated = {
        "upsidedown": ("Upside-down scenes", [one[::-1] for one in photographs]),
        "mooney": ("Mooney scenes", [(one > np.median(one)).astype(float) for one in photographs]),
        "linedrawing": ("Line drawings", [_lines(one) for one in photographs]),
    }
    for name, (title, pictures) in manipulated.items():
        yield from kind(name, title, "Manipulated scenes", pictures, True)
    for percent in CONTRASTS:
        pictures = [GREY + (one - one.mean()) * percent / 100 for one in photographs]
        yield from kind(f"contrast{percent}", f"Contrast {percent} %", "Contrast modulation", pictures, True)
    for percent in COHERENCES:
        pictures = [_scrambled(one, percent / 100, rng) for one in photographs]
        of = "Phase-coherence modulation"
        yield from kind(f"coherence{percent}", f"Coherence {percent} %", of, pictures, percent >= MEANINGFUL)
    for letters in WORDS:
        words = [_word(letters, size, rng) for _ in range(OF_A_KIND)]
        for place, middle in enumerate(PLACES, start=1):
            pictures = [_placed(word, middle, size) for word in words]
            title = f"{letters} letters, position {place}"
            yield from kind(f"word{letters}_pos{place}", title, "Single words", pictures)
    spirals = [("ABCD"[turn], frequency) for turn in range(4) for frequency in range(1, 7)]
    spirals += [(letter, 4) for letter in "EFGH"]
    for letter, frequency in spirals:
        pictures = [_spiral(size, "ABCDEFGH".index(letter), frequency, phase / OF_A_KIND) for phase in range(OF_A_KIND)]
        title = f"Spiral {letter}, frequency {frequency}"
        yield from kind(f"spiral_{letter}_sf{frequency}", title, "Spiral gratings", pictures)
    yield from kind("chromatic_grey", "Pink noise in grey", "Chromatic noise", [_pink(size, rng) for _ in range(4)])


def _pink(size: int, rng: np.random.Generator) -> np.ndarray:
    frequency = np.hypot(*np.meshgrid(np.fft.fftfreq(size), np.fft.fftfreq(size)))
    frequency[0, 0] = np.inf
    noise = np.fft.ifft2(np.fft.fft2(rng.standard_normal((size, size))) / frequency).real
    return np.clip(GREY + 0.15 * noise / noise.std(), 0, 1)


def _lines(picture: np.ndarray) -> np.ndarray:
    slope = np.hypot(*np.gradient(picture))
    return 1 - (slope > np.quantile(slope, 0.85)).astype(float)


def _scrambled(picture: np.ndarray, coherence: float, rng: np.random.Generator) -> np.ndarray:
    """Phases are mixed with those of white noise."""
    own, other = np.fft.fft2(picture), np.fft.fft2(rng.standard_normal(picture.shape))
    phases = np.angle(coherence * np.exp(1j * np.angle(own)) + (1 - coherence) * np.exp(1j * np.angle(other)))
    mixed = np.fft.ifft2(np.abs(own) * np.exp(1j * phases)).real
    return np.clip(GREY + mixed - mixed.mean(), 0, 1)


def _word(letters: int, size: int, rng: np.random.Generator) -> np.ndarray:
    """Letters of 3 x 5 blocks, bool (height, width)."""
    block = max(1, round(LETTER * size / 4))
    shapes = [np.pad(rng.random((5, 3)) < 0.6, ((0, 0), (0, 1))) for _ in range(letters)]
    return np.kron(np.hstack(shapes), np.ones((block, block), bool)).astype(bool)


def _placed(word: np.ndarray, middle: float, size: int) -> np.ndarray:
    """The word on a grey screen, (size, width). Words left and right of the square do not reach into it."""
    screen, edge = np.full((size, _width(size)), GREY), (_width(size) - size) // 2
    height, width = word.shape
    top, left = (size - height) // 2, round(_width(size) / 2 + middle * size - width / 2)
    if abs(middle) > 0.5:
        left = min(left, edge - width) if middle < 0 else max(left, edge + size)
    across = np.arange(left, left + width)
    shown = (across >= 0) & (across < _width(size))
    screen[top : top + height, across[shown]] = np.where(word[:, shown], 0, GREY)
    return screen


def _spiral(size: int, turn: int, frequency: int, phase: float) -> np.ndarray:
    y, x = (np.mgrid[0:size, 0:size] + 0.5) / size - 0.5
    radius, angle = np.log(np.hypot(x, y) + 1e-3), np.arctan2(y, x)
    cycles = 2 * frequency * np.array([np.cos(turn * np.pi / 8), np.sin(turn * np.pi / 8)])
    wave = np.cos(round(cycles[0]) * angle + cycles[1] * radius + 2 * np.pi * phase)
    return np.where(np.hypot(x, y) < 0.5, GREY + 0.5 * wave, GREY)


def _coloured(patterns: list[np.ndarray], number: int) -> np.ndarray:
    """The patterns in HUES hues, whose brightness is that of grey to this subject: uint8 (64, height, width, 3)."""
    angles = 2 * np.pi * np.arange(HUES) / HUES
    # The weights of red and green in what this subject sees as brightness.
    weights = np.array([0.3 + 0.01 * number, 0.6 - 0.01 * number, 0.1])
    pictures = []
    for angle in angles:
        hue = np.array([np.cos(angle), np.cos(angle - 2.1), np.cos(angle + 2.1)])
        hue -= hue @ weights
        for pattern in patterns:
            screen = _on_screen(pattern)
            pictures.append(np.clip(GREY + (screen - GREY)[..., None] * (0.4 + SATURATION * 4 * hue), 0, 1))
    return np.stack([_linear(picture) for picture in pictures])


def _width(size: int) -> int:
    """Of the screen; as even as the height, so that the square in its middle has whole pixels."""
    return size + 2 * round(size * (SCREEN - 1) / 2)


def _on_screen(picture: np.ndarray) -> np.ndarray:
    """A square picture in the middle of the grey screen; what has the screen's width stays."""
    size = len(picture)
    if picture.shape[1] == _width(size):
        return picture
    edge = (_width(size) - size) // 2
    return np.pad(picture, ((0, 0), (edge, edge)), constant_values=GREY)


def _linear(picture: np.ndarray) -> np.ndarray:
    """Pixels as they were shown, uint8 (height, width, 3), which AS_PHOTOGRAPH turns into the picture, or nearly."""
    stored = np.searchsorted(AS_PHOTOGRAPH, np.round(255 * np.clip(picture, 0, 1)).astype(np.uint8)).astype(np.uint8)
    return stored if stored.ndim == 3 else np.repeat(stored[..., None], 3, axis=2)


def _stored(picture: np.ndarray) -> np.ndarray:
    return np.repeat(np.round(255 * picture).astype(np.uint8)[..., None], 3, axis=2)


def _information(labels: list[tuple[str, str, str]]) -> pd.DataFrame:
    names, subclasses, classes = zip(*labels, strict=True)
    return pd.DataFrame(
        {
            "Image number": np.arange(1, len(labels) + 1),
            "Image": names,
            "Image subclass number": pd.factorize(np.array(subclasses))[0] + 1,
            "Image subclass": subclasses,
            "Image class number": pd.factorize(np.array(classes))[0] + 1,
            "Image class": classes,
        }
    )
