"""Pixels of the backgrounds of drawn scenes: twelve places, each with its own horizon, light and scenery."""

import numpy as np
from PIL import Image, ImageDraw

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
    """An image (side, side) with the scenery of background `name`, and its canvas."""
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
