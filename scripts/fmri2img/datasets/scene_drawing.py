"""Pixels of a drawn scene: twelve backgrounds and twenty-one object glyphs, in polygons and ovals.

Everything is drawn three times too large and averaged down, which costs well under a millisecond and gives
smooth edges. A glyph is drawn in its own unit square, (0, 0) top left to (1, 1) bottom right.
"""

import numpy as np
from PIL import Image, ImageDraw

SUPERSAMPLING = 3

RGB = {
    "red": (214, 40, 44),
    "orange": (245, 132, 22),
    "yellow": (250, 214, 40),
    "green": (44, 164, 66),
    "blue": (38, 98, 222),
    "purple": (134, 54, 182),
    "pink": (250, 140, 186),
    "white": (246, 246, 246),
}

# Width over height of the box a glyph fills; the object's `size` is the longer side.
ASPECT = {
    "car": 1.8, "bus": 1.7, "boat": 1.1, "airplane": 1.6, "bird": 1.3, "cat": 0.85, "dog": 1.25, "cup": 1.15,
    "bottle": 0.42, "apple": 0.95, "banana": 1.3, "chair": 0.7, "bench": 1.7, "clock": 1.0, "vase": 0.65,
    "umbrella": 1.0, "kite": 0.8, "sports ball": 1.0, "traffic light": 0.45, "potted plant": 0.75, "tree": 0.8,
}  # fmt: skip

WOOD, STEEL, DARK, GLASS, SKIN = (139, 94, 52), (150, 155, 165), (42, 42, 48), (190, 226, 242), (236, 190, 120)


def mix(a, b, share):
    """Colour between `a` (share 0) and `b` (share 1)."""
    return tuple(int(p + (q - p) * share) for p, q in zip(a, b, strict=True))


def shade(colour, light):
    """`colour` made darker (light below 1) or lighter (above 1, towards white)."""
    return mix(colour, (255, 255, 255), light - 1) if light > 1 else tuple(int(c * light) for c in colour)


class Brush:
    """Draws in the unit square of one object; `flip` mirrors it left to right."""

    def __init__(self, canvas, left, top, width, height, flip):
        self.canvas, self.left, self.top, self.width, self.height, self.flip = canvas, left, top, width, height, flip

    def at(self, x, y):
        return self.left + self.width * (1 - x if self.flip else x), self.top + self.height * y

    def box(self, x0, y0, x1, y1):
        (a, b), (c, d) = self.at(x0, y0), self.at(x1, y1)
        return min(a, c), b, max(a, c), d

    def poly(self, fill, *points, edge=True):
        self.canvas.polygon(
            [self.at(*p) for p in points], fill=fill, outline=shade(fill, 0.5) if edge else None, width=2
        )

    def oval(self, fill, x0, y0, x1, y1, edge=True):
        self.canvas.ellipse(self.box(x0, y0, x1, y1), fill=fill, outline=shade(fill, 0.5) if edge else None, width=2)

    def rect(self, fill, x0, y0, x1, y1, edge=True, radius=0.0):
        outline = shade(fill, 0.5) if edge else None
        if radius:
            self.canvas.rounded_rectangle(self.box(x0, y0, x1, y1), radius * self.width, fill, outline, width=2)
        else:
            self.canvas.rectangle(self.box(x0, y0, x1, y1), fill=fill, outline=outline, width=2)

    def line(self, fill, thickness, *points):
        pixels = max(2, int(thickness * self.width))
        self.canvas.line([self.at(*p) for p in points], fill=fill, width=pixels, joint="curve")

    def arc(self, fill, thickness, x0, y0, x1, y1, start, end):
        if self.flip:
            start, end = 180 - end, 180 - start
        self.canvas.arc(self.box(x0, y0, x1, y1), start, end, fill=fill, width=max(3, int(thickness * self.width)))


def car(b, c):
    b.poly(c, (0.2, 0.45), (0.32, 0.08), (0.7, 0.08), (0.86, 0.45))
    b.poly(GLASS, (0.27, 0.43), (0.36, 0.16), (0.5, 0.16), (0.5, 0.43), edge=False)
    b.poly(GLASS, (0.55, 0.43), (0.55, 0.16), (0.67, 0.16), (0.78, 0.43), edge=False)
    b.rect(c, 0.0, 0.42, 1.0, 0.78, radius=0.07)
    for x in (0.12, 0.66):
        b.oval(DARK, x, 0.58, x + 0.22, 1.0)
        b.oval(STEEL, x + 0.07, 0.71, x + 0.15, 0.87, edge=False)


def bus(b, c):
    b.rect(c, 0.0, 0.05, 1.0, 0.85, radius=0.06)
    for x in (0.06, 0.29, 0.52, 0.75):
        b.rect(GLASS, x, 0.17, x + 0.18, 0.45, edge=False)
    b.rect(shade(c, 0.65), 0.0, 0.55, 1.0, 0.64, edge=False)
    for x in (0.14, 0.66):
        b.oval(DARK, x, 0.68, x + 0.18, 1.0)


def boat(b, c):
    b.line(WOOD, 0.05, (0.47, 0.0), (0.47, 0.75))
    b.poly((250, 250, 245), (0.52, 0.04), (0.52, 0.62), (0.95, 0.62))
    b.poly(shade(c, 1.45), (0.42, 0.12), (0.42, 0.62), (0.08, 0.62))
    b.poly(c, (0.0, 0.68), (1.0, 0.68), (0.8, 1.0), (0.18, 1.0))


def airplane(b, c):
    b.poly(c, (0.02, 0.1), (0.14, 0.1), (0.3, 0.45), (0.12, 0.5))
    b.poly(shade(c, 0.75), (0.4, 0.42), (0.52, 0.02), (0.62, 0.02), (0.62, 0.42))
    b.oval(c, 0.06, 0.34, 1.0, 0.68)
    b.poly(shade(c, 0.75), (0.35, 0.55), (0.62, 0.55), (0.42, 1.0), (0.3, 1.0))
    for x in (0.34, 0.48, 0.62):
        b.oval(GLASS, x, 0.42, x + 0.08, 0.53, edge=False)
    b.poly(GLASS, (0.8, 0.42), (0.9, 0.42), (0.95, 0.5), (0.82, 0.5), edge=False)


def bird(b, c):
    b.poly(shade(c, 0.7), (0.0, 0.5), (0.35, 0.55), (0.3, 0.78))
    b.oval(c, 0.18, 0.36, 0.76, 0.86)
    b.oval(c, 0.58, 0.16, 0.88, 0.54)
    b.poly((245, 170, 30), (0.85, 0.28), (1.0, 0.37), (0.85, 0.44))
    b.oval(DARK, 0.7, 0.26, 0.78, 0.36, edge=False)
    b.poly(shade(c, 0.7), (0.3, 0.5), (0.58, 0.46), (0.22, 0.0))
    b.line(DARK, 0.04, (0.44, 0.84), (0.44, 1.0))
    b.line(DARK, 0.04, (0.56, 0.84), (0.56, 1.0))


def cat(b, c):
    b.arc(shade(c, 0.8), 0.1, 0.62, 0.4, 1.0, 1.0, -80, 110)
    b.oval(c, 0.16, 0.42, 0.78, 1.0)
    b.poly(c, (0.12, 0.3), (0.14, 0.0), (0.38, 0.14))
    b.poly(c, (0.78, 0.3), (0.76, 0.0), (0.52, 0.14))
    b.oval(c, 0.1, 0.1, 0.8, 0.56)
    for x in (0.25, 0.53):
        b.oval((60, 150, 60), x, 0.24, x + 0.13, 0.36, edge=False)
        b.oval(DARK, x + 0.045, 0.25, x + 0.095, 0.35, edge=False)
    b.poly((240, 110, 130), (0.4, 0.4), (0.5, 0.4), (0.45, 0.47), edge=False)


def dog(b, c):
    b.line(c, 0.08, (0.12, 0.45), (0.0, 0.16))
    for x in (0.12, 0.26, 0.54, 0.66):
        b.rect(shade(c, 0.85), x, 0.6, x + 0.1, 1.0)
    b.rect(c, 0.08, 0.36, 0.76, 0.74, radius=0.12)
    b.oval(c, 0.6, 0.06, 0.92, 0.5)
    b.rect(c, 0.78, 0.24, 1.0, 0.46, radius=0.06)
    b.oval(DARK, 0.94, 0.22, 1.0, 0.32, edge=False)
    b.oval(shade(c, 0.5), 0.58, 0.08, 0.7, 0.46, edge=False)
    b.oval(DARK, 0.77, 0.17, 0.83, 0.26, edge=False)


def cup(b, c):
    b.arc(c, 0.09, 0.6, 0.2, 1.0, 0.72, -90, 90)
    b.poly(c, (0.0, 0.1), (0.78, 0.1), (0.68, 1.0), (0.1, 1.0))
    b.oval(shade(c, 1.4), 0.0, 0.0, 0.78, 0.22)
    b.oval((92, 56, 30), 0.08, 0.05, 0.7, 0.18, edge=False)


def bottle(b, c):
    b.rect(c, 0.34, 0.1, 0.66, 0.4)
    b.rect(c, 0.0, 0.32, 1.0, 1.0, radius=0.25)
    b.rect(DARK, 0.3, 0.0, 0.7, 0.1, edge=False)
    b.rect((250, 244, 226), 0.04, 0.52, 0.96, 0.8, edge=False)


def apple(b, c):
    b.oval(c, 0.0, 0.22, 0.62, 1.0)
    b.oval(c, 0.38, 0.22, 1.0, 1.0)
    b.oval(c, 0.12, 0.26, 0.88, 0.97, edge=False)
    b.oval(shade(c, 1.5), 0.14, 0.36, 0.3, 0.58, edge=False)
    b.line(WOOD, 0.07, (0.5, 0.32), (0.55, 0.06))
    b.poly((70, 160, 60), (0.56, 0.18), (0.74, 0.0), (0.9, 0.1), (0.74, 0.22))


def banana(b, c):
    b.poly(c, (0.06, 0.12), (0.16, 0.1), (0.26, 0.4), (0.5, 0.6), (0.8, 0.56), (0.96, 0.36), (1.0, 0.5), (0.9, 0.82),
           (0.58, 1.0), (0.26, 0.86), (0.08, 0.52))  # fmt: skip
    b.line(shade(c, 0.7), 0.03, (0.16, 0.44), (0.34, 0.7), (0.62, 0.8), (0.88, 0.66))
    b.rect(DARK, 0.05, 0.0, 0.16, 0.14, edge=False)


def chair(b, c):
    for x in (0.06, 0.78):
        b.rect(WOOD, x, 0.55, x + 0.14, 1.0)
    b.rect(c, 0.06, 0.0, 0.3, 0.6, radius=0.08)
    b.rect(c, 0.06, 0.5, 0.98, 0.68, radius=0.06)


def bench(b, c):
    for x in (0.1, 0.82):
        b.rect(DARK, x, 0.1, x + 0.08, 1.0, edge=False)
    for y in (0.02, 0.26):
        b.rect(c, 0.0, y, 1.0, y + 0.18)
    b.poly(shade(c, 0.85), (0.06, 0.54), (0.94, 0.54), (1.0, 0.76), (0.0, 0.76))


def clock(b, c):
    b.oval(c, 0.0, 0.0, 1.0, 1.0)
    b.oval((252, 250, 240), 0.14, 0.14, 0.86, 0.86)
    b.line(DARK, 0.08, (0.5, 0.24), (0.5, 0.52), (0.7, 0.62))


def vase(b, c):
    for x, y, petal in ((0.2, 0.16, (240, 90, 120)), (0.5, 0.06, (250, 220, 70)), (0.8, 0.16, (235, 235, 250))):
        b.line((60, 130, 60), 0.06, (0.5, 0.5), (x, y))
        b.oval(petal, x - 0.17, y - 0.07, x + 0.17, y + 0.13)
    b.rect(c, 0.34, 0.36, 0.66, 0.5)
    b.oval(c, 0.06, 0.44, 0.94, 0.94)
    b.rect(shade(c, 0.7), 0.28, 0.9, 0.72, 1.0, edge=False)
    b.oval(shade(c, 1.45), 0.2, 0.54, 0.38, 0.74, edge=False)


def umbrella(b, c):
    b.line(DARK, 0.06, (0.5, 0.3), (0.5, 0.9))
    b.arc(DARK, 0.06, 0.3, 0.78, 0.53, 1.0, 0, 180)
    b.canvas.pieslice(b.box(0.0, 0.04, 1.0, 1.06), 180, 360, fill=c, outline=shade(c, 0.5), width=2)
    b.canvas.pieslice(b.box(0.32, 0.04, 0.68, 1.06), 180, 360, fill=shade(c, 1.4))
    b.line(DARK, 0.05, (0.5, 0.0), (0.5, 0.06))


def kite(b, c):
    b.line((250, 250, 250), 0.05, (0.5, 0.66), (0.34, 0.8), (0.56, 0.9), (0.4, 1.0))
    b.poly(c, (0.5, 0.0), (1.0, 0.28), (0.5, 0.72), (0.0, 0.28))
    b.poly(shade(c, 1.5), (0.5, 0.0), (1.0, 0.28), (0.5, 0.28), edge=False)
    b.poly(shade(c, 1.5), (0.0, 0.28), (0.5, 0.72), (0.5, 0.28), edge=False)


def sports_ball(b, c):
    b.oval(c, 0.0, 0.0, 1.0, 1.0)
    b.poly(DARK, (0.5, 0.3), (0.7, 0.45), (0.62, 0.68), (0.38, 0.68), (0.3, 0.45), edge=False)
    for p, q in (((0.5, 0.3), (0.5, 0.04)), ((0.7, 0.45), (0.95, 0.36)), ((0.62, 0.68), (0.78, 0.9)),
                 ((0.38, 0.68), (0.22, 0.9)), ((0.3, 0.45), (0.05, 0.36))):  # fmt: skip
        b.line(DARK, 0.05, p, q)


def traffic_light(b, c):
    b.rect(STEEL, 0.4, 0.6, 0.6, 1.0)
    b.rect(c, 0.0, 0.0, 1.0, 0.68, radius=0.2)
    for y, lamp in ((0.04, (255, 40, 40)), (0.25, (255, 200, 30)), (0.46, (50, 220, 90))):
        b.oval(lamp, 0.27, y, 0.73, y + 0.18)


def potted_plant(b, c):
    green = (54, 140, 62)
    for x, y in ((0.08, 0.2), (0.3, 0.02), (0.5, 0.0), (0.72, 0.03), (0.92, 0.22)):
        b.poly(green, (0.42, 0.62), (x - 0.06, y + 0.1), (x, y), (x + 0.08, y + 0.08), (0.58, 0.62))
    b.rect(c, 0.14, 0.56, 0.86, 0.7)
    b.poly(c, (0.2, 0.7), (0.8, 0.7), (0.7, 1.0), (0.3, 1.0))


def tree(b, c):
    b.rect(WOOD, 0.4, 0.55, 0.6, 1.0)
    b.oval(shade(c, 0.85), 0.0, 0.28, 0.6, 0.74)
    b.oval(shade(c, 0.85), 0.4, 0.28, 1.0, 0.74)
    b.oval(c, 0.16, 0.0, 0.84, 0.58)
    b.oval(shade(c, 1.3), 0.28, 0.1, 0.48, 0.28, edge=False)


GLYPHS = {
    "car": car, "bus": bus, "boat": boat, "airplane": airplane, "bird": bird, "cat": cat, "dog": dog, "cup": cup,
    "bottle": bottle, "apple": apple, "banana": banana, "chair": chair, "bench": bench, "clock": clock, "vase": vase,
    "umbrella": umbrella, "kite": kite, "sports ball": sports_ball, "traffic light": traffic_light,
    "potted plant": potted_plant, "tree": tree,
}  # fmt: skip

# Sky (or wall) at the top and at the horizon, ground (or floor) at the horizon and at the bottom.
PALETTE = {
    "beach": ((70, 160, 236), (190, 228, 250), (246, 224, 164), (222, 186, 118)),
    "desert": ((236, 150, 80), (252, 214, 150), (226, 150, 74), (176, 96, 42)),
    "meadow": ((96, 178, 246), (206, 234, 252), (134, 206, 70), (62, 146, 40)),
    "forest": ((120, 170, 150), (178, 206, 160), (56, 92, 42), (30, 56, 26)),
    "city street": ((170, 182, 198), (214, 218, 224), (104, 104, 112), (66, 66, 74)),
    "snowy mountains": ((78, 128, 204), (196, 220, 246), (240, 246, 254), (206, 222, 242)),
    "sea": ((120, 200, 244), (214, 240, 250), (22, 112, 168), (8, 52, 110)),
    "night sky": ((8, 8, 34), (40, 36, 92), (22, 30, 44), (10, 14, 24)),
    "kitchen": ((250, 240, 206), (240, 224, 178), (178, 108, 62), (138, 78, 44)),
    "living room": ((160, 90, 100), (178, 108, 112), (120, 84, 62), (84, 56, 42)),
    "sunset": ((86, 40, 120), (255, 150, 70), (72, 36, 62), (34, 16, 38)),
    "autumn park": ((188, 206, 214), (236, 232, 214), (196, 132, 44), (140, 78, 26)),
}


def tinted(colour, variation):
    """Palette colour under the scene's light (0.75 to 1.2) and warmth (-1 cold to 1 warm)."""
    warm, light = variation.warmth, variation.light
    gains = (light * (1 + 0.1 * warm), light, light * (1 - 0.14 * warm))
    return tuple(min(255, int(c * g)) for c, g in zip(colour, gains, strict=True))


def gradient(top, bottom, height):
    share = np.linspace(0, 1, height)[:, None]
    return (np.array(top) * (1 - share) + np.array(bottom) * share).astype(np.uint8)


def background(name, variation, side):
    """Image and its canvas, (side, side), with the scenery of background `name`."""
    sky_top, sky_low, ground_far, ground_near = (tinted(c, variation) for c in PALETTE[name])
    horizon = int(side * variation.horizon)
    column = np.concatenate([gradient(sky_top, sky_low, horizon), gradient(ground_far, ground_near, side - horizon)])
    image = Image.fromarray(np.broadcast_to(column[:, None], (side, side, 3)).copy())
    canvas = ImageDraw.Draw(image)
    rng = np.random.default_rng(variation.seed)
    SCENERY[name](canvas, rng, side, horizon, lambda colour: tinted(colour, variation))
    return image, canvas


def sun(canvas, side, x, y, radius, colour):
    canvas.ellipse((x - radius, y - radius, x + radius, y + radius), fill=colour)


def clouds(canvas, rng, side, horizon, colour):
    for x, y, s in zip(
        rng.uniform(0, side, 3), rng.uniform(0.05, 0.6, 3) * horizon, rng.uniform(0.06, 0.13, 3), strict=True
    ):
        r = s * side
        for dx, dr in ((-1.0, 0.6), (0.0, 1.0), (1.0, 0.7)):
            cx, cr = x + dx * r, r * dr * 0.7
            canvas.ellipse((cx - cr * 1.3, y - cr * 0.7, cx + cr * 1.3, y + cr * 0.7), fill=colour)


def ridge(canvas, rng, side, base, rise, n, colour):
    """A chain of `n` peaks that stand on `base`; returns their tips."""
    xs = np.linspace(-0.1, 1.1, n) * side + rng.uniform(-0.06, 0.06, n) * side
    ys = base - rng.uniform(0.45, 1.0, n) * rise * side
    half = side * 0.75 / n
    for x, y in zip(xs, ys, strict=True):
        canvas.polygon([(x - half * 1.4, base), (x, y), (x + half * 1.4, base)], fill=colour)
    return xs, ys, half


def beach(canvas, rng, side, horizon, tint):
    sea_bottom = horizon + int(side * rng.uniform(0.08, 0.16))
    canvas.rectangle((0, horizon, side, sea_bottom), fill=tint((32, 146, 190)))
    canvas.line((0, sea_bottom, side, sea_bottom), fill=(250, 250, 250), width=4)
    sun(canvas, side, rng.uniform(0.1, 0.9) * side, 0.18 * side, 0.09 * side, (255, 238, 120))


def desert(canvas, rng, side, horizon, tint):
    for share, colour in ((0.1, (238, 176, 100)), (0.28, (206, 128, 60))):
        y, bump = horizon + share * (side - horizon), rng.uniform(0.2, 0.8) * side
        width, height = rng.uniform(0.5, 0.8) * side, rng.uniform(0.1, 0.2) * side
        canvas.ellipse((bump - width, y - height, bump + width, y + 2.2 * height), fill=tint(colour))
    x, y = rng.uniform(0.08, 0.92) * side, horizon + 0.1 * side
    green = tint((60, 130, 70))
    canvas.rounded_rectangle((x - 7, y - 0.26 * side, x + 7, y), 6, fill=green)
    canvas.line([(x - 18, y - 0.18 * side), (x - 18, y - 0.1 * side), (x, y - 0.1 * side)], fill=green, width=8)


def meadow(canvas, rng, side, horizon, tint):
    clouds(canvas, rng, side, horizon, (252, 252, 252))
    x = rng.uniform(0, 1) * side
    canvas.ellipse(
        (x - side * 0.6, horizon - 0.1 * side, x + side * 0.6, horizon + 0.3 * side), fill=tint((112, 188, 62))
    )
    petals = ((255, 255, 255), (250, 220, 60), (240, 100, 130))
    for x, y, k in zip(
        rng.uniform(0, side, 14), rng.uniform(horizon + 8, side, 14), rng.integers(0, 3, 14), strict=True
    ):
        canvas.ellipse((x - 3, y - 3, x + 3, y + 3), fill=petals[k])


def forest(canvas, rng, side, horizon, tint):
    for layer, colour in ((0.0, (70, 120, 70)), (0.07, (36, 84, 44))):
        base = horizon + layer * side
        for x, h in zip(np.linspace(0, side, 7) + rng.uniform(-8, 8, 7), rng.uniform(0.3, 0.52, 7) * side, strict=True):
            w = side * 0.11
            canvas.polygon([(x - w, base), (x, base - h), (x + w, base)], fill=tint(colour))
            canvas.polygon(
                [(x - w * 0.8, base - h * 0.4), (x, base - h * 1.1), (x + w * 0.8, base - h * 0.4)], fill=tint(colour)
            )


def city_street(canvas, rng, side, horizon, tint):
    x = -rng.uniform(0, 0.1) * side
    walls = ((170, 96, 78), (128, 136, 150), (196, 172, 134), (98, 112, 136))
    while x < side:
        width, height = rng.uniform(0.16, 0.28) * side, rng.uniform(0.5, 0.95) * horizon
        canvas.rectangle((x, horizon - height, x + width, horizon), fill=tint(walls[rng.integers(4)]))
        lit = tint((250, 230, 150))
        for row in np.arange(horizon - height + 7, horizon - 10, 18):
            for col in np.arange(x + 6, x + width - 9, 14):
                canvas.rectangle((col, row, col + 6, row + 8), fill=lit)
        x += width
    canvas.rectangle((0, horizon, side, horizon + 0.05 * side), fill=tint((176, 176, 180)))
    y = horizon + 0.55 * (side - horizon)
    for x in np.arange(rng.uniform(-0.2, 0) * side, side, 0.27 * side):
        canvas.rectangle((x, y, x + 0.14 * side, y + 5), fill=(244, 240, 220))


def snowy_mountains(canvas, rng, side, horizon, tint):
    ridge(canvas, rng, side, horizon, 0.35, 5, tint((150, 172, 206)))
    xs, ys, half = ridge(canvas, rng, side, horizon, 0.42, 4, tint((96, 112, 142)))
    for x, y in zip(xs, ys, strict=True):
        slope = 1.4 * half / (horizon - y)
        cap = 0.42 * (horizon - y)
        canvas.polygon(
            [(x, y), (x + slope * cap, y + cap), (x, y + cap * 0.75), (x - slope * cap, y + cap)], fill=(250, 252, 255)
        )


def sea(canvas, rng, side, horizon, tint):
    clouds(canvas, rng, side, horizon, (250, 252, 255))
    for y in np.arange(horizon + 14, side, 20):
        start = rng.uniform(-0.2, 0) * side
        for x in np.arange(start, side, 0.22 * side):
            canvas.arc((x, y, x + 0.12 * side, y + 10), 0, 180, fill=tint((96, 180, 220)), width=3)


def night_sky(canvas, rng, side, horizon, tint):
    for x, y, r in zip(rng.uniform(0, side, 30), rng.uniform(0, horizon, 30), rng.uniform(1, 2.6, 30), strict=True):
        canvas.ellipse((x - r, y - r, x + r, y + r), fill=(255, 255, 230))
    x, y, r = rng.uniform(0.12, 0.88) * side, 0.16 * side, 0.09 * side
    sun(canvas, side, x, y, r, (250, 246, 210))
    sun(canvas, side, x + 0.5 * r, y - 0.2 * r, 0.85 * r, tinted_night(tint))
    ridge(canvas, rng, side, horizon + 2, 0.16, 4, tint((18, 24, 50)))


def tinted_night(tint):
    return tint((14, 14, 46))


def kitchen(canvas, rng, side, horizon, tint):
    grout = tint((226, 206, 156))
    for y in np.arange(0.1 * side, horizon, 0.1 * side):
        canvas.line((0, y, side, y), fill=grout, width=2)
    for x in np.arange(rng.uniform(0, 0.1) * side, side, 0.1 * side):
        canvas.line((x, 0, x, horizon), fill=grout, width=2)
    left = rng.uniform(0.02, 0.55) * side
    canvas.rectangle(
        (left, 0.0, left + 0.4 * side, 0.2 * side), fill=tint((206, 138, 84)), outline=tint((140, 86, 50)), width=3
    )
    canvas.line((left + 0.2 * side, 0, left + 0.2 * side, 0.2 * side), fill=tint((140, 86, 50)), width=3)
    canvas.rectangle((0, horizon, side, horizon + 0.07 * side), fill=tint((232, 232, 228)))


def living_room(canvas, rng, side, horizon, tint):
    left = rng.uniform(0.06, 0.6) * side
    canvas.rectangle(
        (left, 0.06 * side, left + 0.32 * side, 0.36 * side),
        fill=tint((176, 216, 240)),
        outline=(250, 246, 236),
        width=6,
    )
    canvas.line((left + 0.16 * side, 0.06 * side, left + 0.16 * side, 0.36 * side), fill=(250, 246, 236), width=5)
    canvas.rectangle((0, horizon - 6, side, horizon), fill=tint((240, 228, 210)))
    rug = horizon + 0.5 * (side - horizon)
    centre, half = rng.uniform(0.35, 0.65) * side, rng.uniform(0.3, 0.42) * side
    canvas.ellipse((centre - half, rug - 0.1 * side, centre + half, rug + 0.14 * side), fill=tint((56, 110, 120)))
    canvas.ellipse(
        (centre - 0.7 * half, rug - 0.06 * side, centre + 0.7 * half, rug + 0.1 * side), fill=tint((214, 196, 160))
    )


def sunset(canvas, rng, side, horizon, tint):
    sun(canvas, side, rng.uniform(0.2, 0.8) * side, horizon - 0.02 * side, 0.17 * side, (255, 226, 110))
    for x in (rng.uniform(0, 0.4), rng.uniform(0.6, 1)):
        canvas.ellipse(((x - 0.5) * side, horizon - 0.06 * side, (x + 0.5) * side, side * 1.3), fill=tint((66, 32, 58)))


def autumn_park(canvas, rng, side, horizon, tint):
    crowns = ((222, 96, 30), (238, 164, 40), (190, 58, 34))
    for x, k in zip(np.linspace(0.06, 0.94, 5) * side + rng.uniform(-9, 9, 5), rng.integers(0, 3, 5), strict=True):
        top = horizon - rng.uniform(0.3, 0.42) * side
        canvas.rectangle((x - 4, top + 0.15 * side, x + 4, horizon), fill=tint((90, 58, 36)))
        canvas.ellipse((x - 0.12 * side, top, x + 0.12 * side, top + 0.25 * side), fill=tint(crowns[k]))
    for x, y, k in zip(
        rng.uniform(0, side, 16), rng.uniform(horizon + 6, side, 16), rng.integers(0, 3, 16), strict=True
    ):
        canvas.ellipse((x - 4, y - 3, x + 4, y + 3), fill=tint(crowns[k]))


SCENERY = {
    "beach": beach, "desert": desert, "meadow": meadow, "forest": forest, "city street": city_street,
    "snowy mountains": snowy_mountains, "sea": sea, "night sky": night_sky, "kitchen": kitchen,
    "living room": living_room, "sunset": sunset, "autumn park": autumn_park,
}  # fmt: skip


def extent(category, size):
    """Width and height of an object, as fractions of the picture."""
    aspect = ASPECT[category]
    return (size, size / aspect) if aspect >= 1 else (size * aspect, size)


def draw(scene, size=64):
    """Picture of `scene`: (size, size, 3) uint8. The same scene always gives the same pixels."""
    side = 64 * SUPERSAMPLING
    image, canvas = background(scene.background, scene.variation, side)
    # What stands lower in the picture is nearer, so it is drawn later.
    for item in sorted(scene.objects, key=lambda item: item.y + extent(item.category, item.size)[1] / 2):
        width, height = (side * f for f in extent(item.category, item.size))
        brush = Brush(canvas, side * item.x - width / 2, side * item.y - height / 2, width, height, flip=item.x > 0.5)
        GLYPHS[item.category](brush, RGB[item.colour])
    image = image.reduce(SUPERSAMPLING) if size == 64 else image.resize((size, size), Image.Resampling.BOX)
    return np.asarray(image)
