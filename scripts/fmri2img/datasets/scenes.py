"""Drawn captioned scenes: the stimuli of the simulated NSD, and the training data of the demo's frozen networks.

A scene is a background and one to four objects, each with a category, a colour, a size and a position. Scenes come from
a seeded generator and are never stored: `sample_scene` draws the description, `draw` its pixels, `captions` five
English sentences about it and `describe` its meaning as a vector.
"""

from dataclasses import dataclass

import numpy as np
from PIL import Image

from fmri2img.datasets.scene_backgrounds import PALETTE, background
from fmri2img.datasets.scene_glyphs import GLYPHS, RGB, Brush, extent

__all__ = ["BACKGROUNDS", "CATEGORIES", "COLOURS", "Scene", "SceneObject", "Variation", "captions", "describe", "draw",
           "named_in", "sample_scene"]  # fmt: skip

BACKGROUNDS = tuple(PALETTE)
COLOURS = tuple(RGB)

# COCO category -> supercategory ("tree" is from COCO-Stuff).
CATEGORIES = {
    "car": "vehicle", "bus": "vehicle", "boat": "vehicle", "airplane": "vehicle",
    "bird": "animal", "cat": "animal", "dog": "animal",
    "cup": "kitchen", "bottle": "kitchen", "apple": "food", "banana": "food",
    "chair": "furniture", "potted plant": "furniture", "bench": "outdoor", "traffic light": "outdoor",
    "clock": "indoor", "vase": "indoor", "umbrella": "accessory", "kite": "sports", "sports ball": "sports",
    "tree": "plant",
}  # fmt: skip

# Objects match their surroundings, as in photographs; a third of all objects are out of place.
AT_HOME = {
    "beach": ("umbrella", "boat", "sports ball", "kite", "dog", "chair"),
    "desert": ("car", "airplane", "bird", "bottle", "bus", "tree"),
    "meadow": ("kite", "dog", "tree", "sports ball", "bird", "bench"),
    "forest": ("bird", "tree", "dog", "bench", "cat", "car"),
    "city street": ("car", "bus", "traffic light", "clock", "bench", "bird"),
    "snowy mountains": ("airplane", "bus", "bird", "dog", "tree", "car"),
    "sea": ("boat", "airplane", "bird", "sports ball", "kite", "bottle"),
    "night sky": ("airplane", "car", "cat", "traffic light", "tree", "bus"),
    "kitchen": ("cup", "bottle", "apple", "banana", "clock", "cat"),
    "living room": ("chair", "clock", "vase", "potted plant", "cat", "cup"),
    "sunset": ("boat", "tree", "bird", "airplane", "umbrella", "bench"),
    "autumn park": ("bench", "tree", "dog", "umbrella", "sports ball", "kite"),
}
AT_HOME_SHARE = 2 / 3
AIRBORNE = ("airplane", "kite", "bird", "clock")

# Phrases for each background; every one contains its name, which is what `named_in` looks for.
SETTINGS = {
    "beach": ("on a beach", "at a sandy beach", "on the beach by the water"),
    "desert": ("in a desert", "in the hot desert", "among the dunes of a desert"),
    "meadow": ("in a meadow", "in a green meadow", "in a meadow with flowers"),
    "forest": ("in a forest", "in a dark forest", "in front of a forest"),
    "city street": ("on a city street", "in a city street with buildings", "on the city street"),
    "snowy mountains": ("in front of snowy mountains", "near snowy mountains", "in the snowy mountains"),
    "sea": ("at sea", "on the blue sea", "out on the sea"),
    "night sky": ("under a night sky", "beneath the night sky", "under the night sky with stars"),
    "kitchen": ("in a kitchen", "in a bright kitchen", "in the kitchen"),
    "living room": ("in a living room", "in a living room with a rug", "in the living room"),
    "sunset": ("at sunset", "in front of a sunset", "during a sunset"),
    "autumn park": ("in an autumn park", "in a colorful autumn park", "in the autumn park"),
}
SUPERSAMPLING = 3
SMALLEST, LARGEST = 0.2, 0.55
SMALL_BELOW, LARGE_ABOVE = 0.27, 0.42
LEFT_BELOW, RIGHT_ABOVE = 0.36, 0.64
NUMBERS = {2: "two", 3: "three", 4: "four"}


@dataclass(frozen=True)
class Variation:
    """The properties in which two pictures of one background differ.

    horizon: height of the horizon, fraction of the picture from its top; light: 0.75 dim to 1.2 bright; warmth: -1 cold
    to 1 warm; seed: positions of clouds, buildings, stars and so on.
    """

    horizon: float
    light: float
    warmth: float
    seed: int


@dataclass(frozen=True)
class SceneObject:
    """One object; `size` is its longer side, `x` and `y` its centre, all as fractions of the picture."""

    category: str
    colour: str
    size: float
    x: float
    y: float


@dataclass(frozen=True)
class Scene:
    background: str
    variation: Variation
    objects: tuple[SceneObject, ...]


def sample_scene(rng: np.random.Generator) -> Scene:
    """One random scene, which depends only on the generator's state."""
    background = BACKGROUNDS[rng.integers(len(BACKGROUNDS))]
    variation = Variation(
        horizon=float(rng.uniform(0.42, 0.66)),
        light=float(rng.uniform(0.75, 1.2)),
        warmth=float(rng.uniform(-1, 1)),
        seed=int(rng.integers(2**31)),
    )
    wanted = int(rng.choice(4, p=(0.3, 0.35, 0.22, 0.13))) + 1
    objects: list[SceneObject] = []
    for _ in range(wanted):
        placed = _place(rng, background, variation.horizon, objects, crowded=wanted > 2)
        if placed is not None:
            objects.append(placed)
    return Scene(background, variation, tuple(objects))


def _place(rng, background, horizon, others, crowded):
    """A random object that hides little of `others`, or None if no free position was found."""
    choice = AT_HOME[background] if rng.random() < AT_HOME_SHARE else tuple(CATEGORIES)
    category = choice[rng.integers(len(choice))]
    colour = COLOURS[rng.integers(len(COLOURS))]
    for attempt in range(12):
        largest = 0.42 if crowded else LARGEST
        # The largest size shrinks with each attempt, so that a full picture gets a small object.
        size = float(rng.uniform(SMALLEST, SMALLEST + (largest - SMALLEST) * (1 - attempt / 16)))
        width, height = extent(category, size)
        x = float(rng.uniform(width / 2 + 0.01, 0.99 - width / 2))
        if category in AIRBORNE:
            y = float(rng.uniform(0.03, max(0.06, horizon - height))) + height / 2
        else:
            foot = float(rng.uniform(max(horizon + 0.05, height + 0.02), 0.98))
            y = foot - height / 2
        candidate = SceneObject(category, colour, size, x, y)
        if all(_hidden(candidate, other) < 0.12 for other in others):
            return candidate
    return None


def _hidden(a, b):
    """Share of the smaller box of two objects that the other covers."""
    (aw, ah), (bw, bh) = extent(a.category, a.size), extent(b.category, b.size)
    across = min(a.x + aw / 2, b.x + bw / 2) - max(a.x - aw / 2, b.x - bw / 2)
    down = min(a.y + ah / 2, b.y + bh / 2) - max(a.y - ah / 2, b.y - bh / 2)
    return max(across, 0) * max(down, 0) / min(aw * ah, bw * bh)


def draw(scene: Scene, size: int = 64) -> np.ndarray:
    """Picture of `scene`: (size, size, 3) uint8. The same scene always gives the same pixels."""
    side = 64 * SUPERSAMPLING
    image, canvas = background(scene.background, scene.variation, side)
    # Objects lower in the picture are nearer, so they are drawn later.
    for item in sorted(scene.objects, key=lambda item: item.y + extent(item.category, item.size)[1] / 2):
        width, height = (side * f for f in extent(item.category, item.size))
        brush = Brush(canvas, side * item.x - width / 2, side * item.y - height / 2, width, height, flip=item.x > 0.5)
        GLYPHS[item.category](brush, RGB[item.colour])
    image = image.reduce(SUPERSAMPLING) if size == 64 else image.resize((size, size), Image.Resampling.BOX)
    return np.asarray(image)


def captions(scene: Scene, rng: np.random.Generator) -> list[str]:
    """Five differently worded lower-case sentences, each true of the scene and naming its background."""
    full = [_phrase(group, rng, colour=True, size=False, place=False) for group in _groups(scene)]
    rich = [_phrase(group, rng, colour=True, size=True, place=True) for group in _groups(scene)]
    plain = [_phrase(group, rng, colour=False, size=True, place=False) for group in _groups(scene)]
    placed = [_phrase(group, rng, colour=True, size=False, place=True) for group in _groups(scene)]
    here, there, again = (SETTINGS[scene.background][k] for k in rng.permutation(3))
    any_setting = SETTINGS[scene.background][rng.integers(3)]
    verb = "is" if len(full) == 1 and full[0].startswith(("a ", "an ")) else "are"
    kind = ("picture", "photo", "drawing", "view")[rng.integers(4)]
    return [
        f"{_joined(full)} {here}.",
        f"there {verb} {_joined(rich)} {there}.",
        f"a {kind} of {_joined(_shuffled(full, rng))} {again}.",
        f"{any_setting} {verb} {_joined(_shuffled(placed, rng))}.",
        f"we see {_joined(_shuffled(plain, rng))} {here}.",
    ]


def _shuffled(items, rng):
    return [items[k] for k in rng.permutation(len(items))]


def _joined(items):
    return items[0] if len(items) == 1 else ", ".join(items[:-1]) + " and " + items[-1]


def _groups(scene):
    """Objects by category, in the order of their first appearance."""
    groups: dict[str, list[SceneObject]] = {}
    for item in scene.objects:
        groups.setdefault(item.category, []).append(item)
    return list(groups.values())


def _phrase(group, rng, *, colour, size, place):
    first = group[0]
    words = []
    if size and all(item.size > LARGE_ABOVE for item in group):
        words.append(("large", "big")[rng.integers(2)])
    elif size and all(item.size < SMALL_BELOW for item in group):
        words.append(("small", "little")[rng.integers(2)])
    if colour and len({item.colour for item in group}) == 1:
        words.append(first.colour)
    if len(group) > 1:
        plural = first.category + ("es" if first.category.endswith(("s", "ch")) else "s")
        words = [NUMBERS[len(group)], *words, plural]
    else:
        words.append(first.category)
        words.insert(0, "an" if words[0][0] in "aeiou" else "a")
    if place and len(group) == 1:
        side = "left" if first.x < LEFT_BELOW else "right" if first.x > RIGHT_ABOVE else None
        words.append(f"on the {side}" if side else "in the middle")
    return " ".join(words)


def named_in(caption: str) -> tuple[set[str], set[str]]:
    """Backgrounds and categories that a caption names, as two sets."""
    text = f" {caption.lower().rstrip('.').replace(',', ' ')} "
    places = {name for name in BACKGROUNDS if f" {name} " in text}
    # Whole words only: "tree" is not in "street".
    things = {name for name in CATEGORIES if any(f" {name}{end} " in text for end in ("", "s", "es"))}
    return places, things


def describe(scene: Scene) -> np.ndarray:
    """Meaning of a scene as a vector, (74,) float32.

    In this order: background (one of 12), horizon, light, warmth, then for each category its presence (0 or 1) and the
    share of the picture that it covers, each colour's share, and the share covered in each cell of a 3 x 3 grid by
    objects whose centre is there.
    """
    place = np.zeros(len(BACKGROUNDS))
    place[BACKGROUNDS.index(scene.background)] = 1
    presence, area = np.zeros(len(CATEGORIES)), np.zeros(len(CATEGORIES))
    colour, grid = np.zeros(len(COLOURS)), np.zeros((3, 3))
    names = list(CATEGORIES)
    for item in scene.objects:
        covered = float(np.prod(extent(item.category, item.size)))
        presence[names.index(item.category)] = 1
        area[names.index(item.category)] += covered
        colour[COLOURS.index(item.colour)] += covered
        grid[min(int(item.y * 3), 2), min(int(item.x * 3), 2)] += covered
    look = (scene.variation.horizon, scene.variation.light, scene.variation.warmth)
    return np.concatenate([place, look, presence, area, colour, grid.ravel()]).astype(np.float32)
