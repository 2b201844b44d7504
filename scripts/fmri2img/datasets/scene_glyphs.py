"""Pixels of the objects in drawn scenes: twenty-one glyphs made of polygons and ovals.

A glyph is drawn in its own unit square, (0, 0) top left to (1, 1) bottom right, on a canvas three times too large,
which is averaged down afterwards so that edges are smooth.
"""

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


def extent(category, size):
    """Width and height of an object, as fractions of the picture."""
    aspect = ASPECT[category]
    return (size, size / aspect) if aspect >= 1 else (size * aspect, size)
