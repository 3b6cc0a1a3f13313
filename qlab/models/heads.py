"""Draw talking heads: 96 x 96 pictures of people who do not exist, from numbers, with NumPy alone.

Every shape is a signed distance in units of half a picture (x to the right, y downwards, both -1..1). A pixel's share
of a shape follows from its distance and its width, so that edges are smooth. One call draws many heads, or one in many
poses.
Source of the ellipse's distance and the smooth union: Inigo Quilez, "2D distance functions", "smooth minimum".
"""

import math
from dataclasses import dataclass, fields

import numpy as np

SIZE = 96
PIXEL = 2 / SIZE
MOUTH = ("open", "wide", "teeth", "tongue", "tuck")
MOUTH_Y = 0.42
STYLES = ("bald", "short", "fringe", "parted", "long", "bun", "curly")
SKINS = (
    (0.99, 0.87, 0.77), (0.96, 0.79, 0.66), (0.89, 0.69, 0.53), (0.78, 0.56, 0.40), (0.62, 0.43, 0.30),
    (0.50, 0.34, 0.24),
)  # fmt: skip
HAIRS = (
    (0.10, 0.08, 0.08), (0.24, 0.15, 0.10), (0.42, 0.27, 0.15), (0.62, 0.42, 0.22), (0.84, 0.68, 0.40),
    (0.62, 0.26, 0.12), (0.72, 0.72, 0.73), (0.30, 0.22, 0.36),
)  # fmt: skip
EYES = ((0.30, 0.20, 0.12), (0.22, 0.36, 0.20), (0.22, 0.42, 0.62), (0.40, 0.42, 0.45))
SHIRTS = (
    (0.16, 0.34, 0.60), (0.70, 0.22, 0.24), (0.20, 0.48, 0.40), (0.88, 0.72, 0.32), (0.36, 0.30, 0.52),
    (0.90, 0.90, 0.92), (0.22, 0.24, 0.28),
)  # fmt: skip
FRAMES = ((0.1, 0.1, 0.12), (0.45, 0.2, 0.1), (0.3, 0.32, 0.4))


@dataclass(frozen=True)
class Head:
    """What stays the same of a person and a place: colours [3] in 0..1, lengths in half pictures, a style's number.

    `stacked` makes one Head of n, whose fields have another axis in front.
    """

    skin: np.ndarray
    hair: np.ndarray
    iris: np.ndarray
    shirt: np.ndarray
    wall: np.ndarray
    floor: np.ndarray
    light: np.ndarray
    lip: np.ndarray
    style: int
    hairline: float
    part: float
    width: float
    jaw: float
    chin: float
    eye_apart: float
    eye_size: float
    brow: float
    brow_tilt: float
    nose: float
    mouth_width: float
    lips: float
    glasses: float
    frame: np.ndarray
    lamp: np.ndarray


@dataclass(frozen=True)
class Pose:
    """What moves, arrays of n frames.

    place [n, 2]: shift of the head. roll [n]: radians. yaw [n]: -1..1, to the viewer's right. size [n]: factor.
    blink [n]: 0 open, 1 closed. mouth [n, 5], see MOUTH: opening of the jaw 0..1, width -1 rounded .. 1 spread, teeth
    and tongue shown 0..1, lower lip tucked under the teeth 0..1.
    """

    place: np.ndarray
    roll: np.ndarray
    yaw: np.ndarray
    size: np.ndarray
    blink: np.ndarray
    mouth: np.ndarray


def random_head(rng):
    """One head, drawn by a NumPy generator: the same seed gives the same person."""

    def mixed(colours, spread):
        first, second = np.array(colours)[rng.choice(len(colours), 2)]
        return np.clip(first + rng.uniform(0, 0.5) * (second - first) + rng.normal(0, spread, 3), 0.04, 1)

    between = rng.uniform(0, len(SKINS) - 1)
    low = np.array(SKINS[int(between)])
    skin = low + (between - int(between)) * (np.array(SKINS[min(int(between) + 1, len(SKINS) - 1)]) - low)
    skin = np.clip(skin + rng.normal(0, 0.012, 3), 0.15, 1)
    rose = np.array([0.78, 0.30, 0.32]) + rng.normal(0, 0.04, 3)
    wall = np.clip(rng.uniform(0.35, 0.85) + rng.normal(0, 0.09, 3), 0.1, 0.95)
    angle = rng.uniform(-1.0, 1.0)
    light = np.array([math.sin(angle), -0.45, math.cos(angle)])
    return Head(
        skin=skin, hair=mixed(HAIRS, 0.015), iris=mixed(EYES, 0.02), shirt=mixed(SHIRTS, 0.02),
        wall=wall, floor=np.clip(wall * rng.uniform(0.55, 0.9) + rng.normal(0, 0.03, 3), 0.05, 0.95),
        light=light / np.linalg.norm(light), lip=np.clip(skin * 0.45 + rose * 0.5, 0, 1),
        style=int(rng.integers(len(STYLES))), hairline=rng.uniform(-0.56, -0.42), part=rng.uniform(-0.25, 0.25),
        width=rng.uniform(0.50, 0.58), jaw=rng.uniform(0.41, 0.50), chin=rng.uniform(0.70, 0.78),
        eye_apart=rng.uniform(0.215, 0.265), eye_size=rng.uniform(0.095, 0.125), brow=rng.uniform(0.020, 0.040),
        brow_tilt=rng.uniform(-0.12, 0.14), nose=rng.uniform(0.075, 0.115), mouth_width=rng.uniform(0.235, 0.285),
        lips=rng.uniform(0.045, 0.075), glasses=float(rng.random() < 0.3), frame=mixed(FRAMES, 0.02),
        lamp=rng.uniform((-0.9, -0.9, 0.3, 0.05), (0.9, -0.2, 0.8, 0.22)),
    )  # fmt: skip


def stacked(heads):
    """A list of heads as one Head with arrays [n, ...], for `draw`."""
    return Head(*(np.array([getattr(head, field.name) for head in heads]) for field in fields(Head)))


def taken(head, numbers):
    """Of a stacked Head, those with these numbers."""
    return Head(*(getattr(head, field.name)[numbers] for field in fields(Head)))


def at_rest(count=1):
    """The pose of a reference picture: straight ahead, eyes open, mouth closed."""
    zero = np.zeros(count)
    return Pose(np.zeros((count, 2)), zero, zero, zero + 1, zero, np.zeros((count, len(MOUTH))))


def moments(pose, numbers):
    """Of a pose, the frames with these numbers."""
    return Pose(*(getattr(pose, field.name)[numbers] for field in fields(Pose)))


def random_pose(mouth, rng):
    """A sway and blinks for the mouth [n, 5] of 25 frames a second: slow sums of sines, a blink every few seconds."""
    count = len(mouth)
    seconds = np.arange(count) / 25

    def sway(size):
        turns = (rng.uniform(0.12, 0.35) * k * seconds + rng.uniform(0, 1) for k in (1, 2))
        return sum(size / k * np.sin(2 * np.pi * turn) for k, turn in zip((1, 2), turns, strict=True))

    blink, at = np.zeros(count), rng.uniform(0, 3)
    while at < count / 25 + 0.2:
        blink = np.maximum(blink, np.exp(-(((seconds - at) / 0.06) ** 2)))
        at += rng.uniform(1.5, 4)
    place = np.stack([sway(0.022), sway(0.014)], axis=1)
    return Pose(place, sway(0.035), np.clip(sway(0.5), -1, 1), 1 + sway(0.012), blink, mouth)


def draw(head, pose, dtype=np.float64):
    """Pictures [n, 3, 96, 96] in 0..1, red, green, blue: what `stacked` returned, of one head or of n, in n poses.

    In float64 the 8 bits of a picture are the same on every machine: libraries differ in the last of 53.
    """
    h = {field.name: _over_pixels(getattr(head, field.name), dtype) for field in fields(Head)}
    p = {field.name: _over_pixels(getattr(pose, field.name), dtype) for field in fields(Pose)}
    steps = (np.arange(SIZE, dtype=dtype) + dtype(0.5)) * dtype(PIXEL) - 1
    page_x, page_y = steps[None, None, None, :], steps[None, None, :, None]
    # The head's own axes: shifted, turned, sized.
    x, y = page_x - p["place"][:, :1], page_y - p["place"][:, 1:]
    cosine, sine = np.cos(p["roll"]), np.sin(p["roll"])
    x, y = (x * cosine + y * sine) / p["size"], (y * cosine - x * sine) / p["size"]
    front = x - dtype(0.07) * p["yaw"]  # what lies in front moves farther when the head turns
    jaw = p["mouth"][:, :1]
    skull = _skull(h, x, y, jaw)
    canvas = _background(h, page_x, page_y)
    _body(canvas, h, (page_x - dtype(0.4) * p["place"][:, :1], page_y), (x, y), jaw)
    _hair_behind(canvas, h, x, y)
    _ears(canvas, h, x + dtype(0.02) * p["yaw"], y)
    _skin(canvas, h, x, y, front, skull)
    _nose(canvas, h, front, y)
    _eyes(canvas, h, front, y, p["blink"])
    _mouth(canvas, h, front, y, p["mouth"])
    _hair_in_front(canvas, h, x, y, skull)
    _brows(canvas, h, front, y)
    _glasses(canvas, h, front, y)
    return np.clip(canvas.pixels, 0, 1)


def _over_pixels(value, dtype):
    """[n] or [n, c] -> [n, c, 1, 1]."""
    value = np.asarray(value, dtype)
    return value.reshape(len(value), -1, 1, 1)


def _ellipse(x, y, rx, ry):
    """Signed distance to an ellipse, exact at the edge and good near it."""
    k0 = np.sqrt((x / rx) ** 2 + (y / ry) ** 2 + 1e-9)
    k1 = np.sqrt((x / rx**2) ** 2 + (y / ry**2) ** 2 + 1e-9)
    return k0 * (k0 - 1) / k1


def _capsule(x, y, start, stop, radius):
    """Signed distance to a thick line."""
    (ax, ay), (bx, by) = start, stop
    along = np.clip(((x - ax) * (bx - ax) + (y - ay) * (by - ay)) / ((bx - ax) ** 2 + (by - ay) ** 2), 0, 1)
    return np.sqrt((x - ax - along * (bx - ax)) ** 2 + (y - ay - along * (by - ay)) ** 2 + 1e-9) - radius


def _union(a, b, blend):
    """The smooth union of two distances."""
    h = np.clip(0.5 + 0.5 * (b - a) / blend, 0, 1)
    return b + h * (a - b) - blend * h * (1 - h)


def _cover(distance, soft=1.0):
    """Share of each pixel inside, 0..1; `soft` pixels wide at the edge."""
    return np.clip(0.5 - distance / (soft * PIXEL), 0, 1)


def _glow(x, y, rx, ry):
    return np.exp(-((x / rx) ** 2) - (y / ry) ** 2)


def _colour(*values):
    """A colour for every picture. Python's numbers would lift float32 pictures to float64."""
    return np.array(values, np.float32)[None, :, None, None]


class _Canvas:
    """Pictures [n, 3, 96, 96] onto which shapes are painted, one above the other."""

    def __init__(self, pixels):
        self.pixels = pixels

    def paint(self, colour, share):
        self.pixels = self.pixels + share * (colour - self.pixels)

    def shade(self, factor, share):
        self.pixels = self.pixels * (1 + share * (factor - 1))


def _background(h, x, y):
    down = np.clip(0.5 + 0.5 * y + 0 * x, 0, 1)
    canvas, lamp = _Canvas(h["wall"] + down * (h["floor"] - h["wall"])), h["lamp"]
    canvas.paint(1, lamp[:, 3:] * _glow(x - lamp[:, :1], y - lamp[:, 1:2], lamp[:, 2:3], lamp[:, 2:3]))
    return canvas


def _is(h, style):
    return h["style"] == STYLES.index(style)


def _skull(h, x, y, jaw):
    cranium = _ellipse(x, y + 0.20, h["width"], h["width"] + 0.06)
    return _union(cranium, _ellipse(x, y - (h["chin"] + 0.075 * jaw - 0.48), h["jaw"], 0.48), 0.22)


def _lit(h, x, y):
    """Brightness of a ball of the head's size under the light, about 1 where it faces it."""
    nx, ny = x / 0.66, (y - 0.02) / 0.86
    nz = np.sqrt(np.clip(1 - nx**2 - ny**2, 0.02, 1))
    return 0.68 + 0.42 * np.clip(nx * h["light"][:, :1] + ny * h["light"][:, 1:2] + nz * h["light"][:, 2:], 0, 1)


def _warm(h, strength):
    """Skin in shadow turns warm, not grey."""
    return h["skin"] ** (1 + strength * _colour(0.35, 0.7, 0.85))


def _body(canvas, h, page, own, jaw):
    (page_x, page_y), (x, y) = page, own
    shoulders = _ellipse(page_x, page_y - 1.22, 0.92, 0.42)
    neck = np.maximum(np.abs(page_x) - 0.25, 0.3 - page_y)
    canvas.paint(h["skin"] * 0.72, _cover(_union(neck, shoulders + 0.06, 0.1)))
    cloth = h["shirt"] * (0.8 + 0.3 * _glow(page_x - 0.3 * h["light"][:, :1], page_y - 0.9, 0.7, 0.4))
    canvas.paint(cloth, _cover(np.maximum(shoulders, -_ellipse(page_x, page_y - 0.80, 0.34, 0.22))))
    canvas.shade(0.6, 0.7 * _glow(x, y - h["chin"] - 0.06 - 0.07 * jaw, 0.4, 0.13))


def _hair(h, x, y):
    """Hair's colour with a sheen."""
    return h["hair"] * (0.85 + 0.5 * _glow(x - 0.35 * h["light"][:, :1], y + 0.62, 0.34, 0.2))


def _hair_behind(canvas, h, x, y):
    curtain = np.maximum(np.abs(x) - (h["width"] + 0.07), np.abs(y - 0.35) - 0.42) - 0.06
    long = _union(_ellipse(x, y + 0.2, h["width"] + 0.13, h["width"] + 0.16), curtain, 0.2)
    canvas.paint(_hair(h, x, y) * 0.8, _cover(long) * _is(h, "long"))
    canvas.paint(_hair(h, x, y + 0.25), _cover(_ellipse(x, y + 0.86, 0.2, 0.16)) * _is(h, "bun"))


def _ears(canvas, h, x, y):
    lit = 0.82 + 0.14 * np.sign(x) * h["light"][:, :1]
    out = np.abs(x) - h["width"]
    canvas.paint(h["skin"] * lit, _cover(_ellipse(out + 0.015, y - 0.02, 0.075, 0.13)))
    canvas.paint(h["skin"] * lit * _colour(0.86, 0.74, 0.72), _cover(_ellipse(out - 0.005, y - 0.02, 0.035, 0.075), 2))


def _skin(canvas, h, x, y, front, skull):
    lit = _lit(h, x, y)
    canvas.paint(np.clip(_warm(h, 1.2 * np.clip(1 - lit, 0, 1)) * lit, 0, 1), _cover(skull))
    for side in (-1, 1):
        cheek = 0.28 * _glow(front - side * 0.3, y - 0.2, 0.13, 0.1)
        canvas.paint(_colour(0.93, 0.46, 0.42) * h["skin"], cheek * _cover(skull))


def _nose(canvas, h, front, y):
    side, width = np.sign(h["light"][:, :1]), h["nose"]
    canvas.paint(_warm(h, 1.0) * 0.8, 0.45 * _glow(front + side * width * 0.75, y - 0.07, width * 0.42, 0.16))
    canvas.paint(_warm(h, 1.0) * 0.72, 0.75 * _glow(front, y - 0.215, width * 1.05, 0.032))
    canvas.paint(1, 0.22 * _glow(front - side * 0.015, y - 0.12, width * 0.4, 0.07))
    for at in (-1, 1):
        nostril = _ellipse(front - at * width * 0.55, y - 0.205, 0.026, 0.016)
        canvas.paint(_warm(h, 1.6) * 0.45, 0.75 * _cover(nostril, 1.6))


def _eyes(canvas, h, front, y, blink):
    size, v = h["eye_size"], y + 0.10
    upper = 0.62 * size * (1 - 1.86 * blink)  # how far above the middle the lid stands
    for side in (-1, 1):
        x = front - side * h["eye_apart"]
        canvas.paint(_warm(h, 1.0) * 0.82, 0.55 * _glow(x, v + 0.01, size * 1.35, size * 0.95))
        seen = _cover(np.maximum(_ellipse(x, v, size, 0.62 * size), -v - upper))
        canvas.paint(_colour(0.96, 0.96, 0.96), seen)
        canvas.paint(h["iris"], seen * _cover(_ellipse(x, v, 0.56 * size, 0.56 * size)))
        canvas.paint(h["iris"] * 0.15, seen * _cover(_ellipse(x, v, 0.27 * size, 0.27 * size)))
        canvas.paint(1, seen * _cover(_ellipse(x - 0.2 * size, v + 0.2 * size, 0.15 * size, 0.15 * size)))
        arch = -upper * (1 - np.clip(x / (1.12 * size), -1, 1) ** 2)
        lash = np.maximum(np.abs(v - arch) - 0.017, np.abs(x) - 1.08 * size)
        canvas.paint(h["hair"] * 0.35, 0.9 * _cover(lash))


def _brows(canvas, h, front, y):
    for side in (-1, 1):
        arched = y + 0.315 - 1.6 * (front - side * h["eye_apart"]) ** 2
        inner, outer = side * (h["eye_apart"] - 0.1), side * (h["eye_apart"] + 0.13)
        brow = _capsule(front, arched, (inner, 0.12 * h["brow_tilt"]), (outer, -0.1 * h["brow_tilt"]), h["brow"])
        canvas.paint(h["hair"] * 0.75 + 0.05, 0.9 * _cover(brow, 1.5))


def _hair_in_front(canvas, h, x, y, skull):
    cap = np.minimum(skull, _ellipse(x, y + 0.24, h["width"] + 0.02, h["width"] + 0.07)) - 0.045
    curls = cap - 0.05 - 0.025 * np.cos(9 * np.arctan2(x, -(y + 0.2)))
    low, colour = h["hairline"], _hair(h, x, y)
    lines = {
        "short": low + 0.55 * x**2,
        "fringe": low + 0.17 + 0.03 * np.cos(14 * x),
        "parted": low - 0.06 + 0.9 * np.abs(x - h["part"]) ** 1.3,
        "long": low + 1.05 * (x - 0.5 * h["part"]) ** 2,
        "bun": low - 0.03 + 0.75 * x**2,
        "curly": low + 0.5 * x**2 + 0.025 * np.cos(22 * x),
    }
    for style, line in lines.items():
        region = np.maximum(curls if style == "curly" else cap, y - np.minimum(line, 0.02))
        canvas.paint(colour, _cover(region, 1.3) * _is(h, style))
    for side in (-1, 1):  # long hair falls in front of the ears
        strand = _ellipse(x - side * (h["width"] + 0.02), y - 0.22, 0.10, 0.62)
        canvas.paint(colour * 0.92, _cover(strand, 1.3) * _is(h, "long"))
    gleam = 0.16 * _glow(x - 0.3 * h["light"][:, :1], y + 0.55, 0.16, 0.1)
    canvas.paint(1, gleam * _is(h, "bald") * _cover(skull))


def _glasses(canvas, h, front, y):
    apart, worn = h["eye_apart"], h["glasses"]
    for side in (-1, 1):
        x, v = front - side * (apart + 0.01), y + 0.09
        corner = np.maximum(np.abs(x) - 0.075, 0) ** 2 + np.maximum(np.abs(v) - 0.045, 0) ** 2
        lens = np.sqrt(corner + 1e-9) - 0.085
        canvas.paint(1, 0.10 * _cover(lens) * worn)
        canvas.paint(h["frame"], _cover(np.abs(lens) - 0.013) * worn)
        arm = _capsule(front, v, (side * (apart + 0.17), -0.03), (side * h["width"], -0.05), 0.012)
        canvas.paint(h["frame"], _cover(arm) * worn)
    bridge = _capsule(front, y + 0.11, (0.15 - apart, 0.0), (apart - 0.15, 0.0), 0.012)
    canvas.paint(h["frame"], _cover(bridge) * worn)


def _mouth(canvas, h, front, y, mouth):
    jaw, wide, teeth, tongue, tuck = (mouth[:, i : i + 1] for i in range(len(MOUTH)))
    rounded = np.maximum(-wide, 0)
    half = h["mouth_width"] * (1 + 0.22 * np.maximum(wide, 0) - 0.42 * rounded) * (1 - 0.08 * jaw)
    across = np.clip(front / half, -1, 1)
    bulge = np.clip(1 - across**2, 0, 1)
    middle = MOUTH_Y - 0.035 * across**2 * (1 - jaw) + 0.3 * np.maximum(np.abs(front) - half, 0)
    upper = middle - 0.045 * jaw * bulge**0.7
    lower = middle + (0.21 * jaw + 0.012 * rounded) * bulge**0.6
    thick = h["lips"] * (1 + 0.3 * rounded)
    top = upper - thick * 0.85 * (1 - 0.28 * np.exp(-((across / 0.22) ** 2))) * bulge**0.7
    bottom = lower + thick * 1.15 * (1 - 0.55 * tuck) * bulge**0.6
    within = _cover(np.abs(front) - half)
    canvas.shade(0.8, 0.5 * _glow(front, y - bottom - 0.05, half * 0.8, 0.035))
    lip = h["lip"] * (0.78 + 0.3 * _lit(h, front, y))
    canvas.paint(lip * 0.88, _cover(np.maximum(top - y, y - middle)) * within)
    canvas.paint(lip, _cover(np.maximum(middle - y, y - bottom)) * within)
    gleam = _glow(front - 0.06 * h["light"][:, :1], y - lower - 0.5 * thick, half * 0.45, 0.02)
    canvas.paint(1, 0.16 * gleam)
    gap = _cover(np.maximum(upper - y, y - lower)) * within
    canvas.paint(_colour(0.20, 0.05, 0.06), gap)
    rise = lower - (0.05 + 0.09 * tongue) * np.maximum(jaw, 0.25) - 0.05 * tongue + 0.10 * across**2
    flesh = _cover(rise - y, 1.5) * (0.35 + 0.65 * tongue) * _cover(np.abs(front) - 0.72 * half, 2)
    canvas.paint(_colour(0.78, 0.36, 0.36), gap * flesh)
    ivory = _cover(y - upper - 0.06, 1.5) * teeth * _cover(np.abs(front) - 0.8 * half, 3)
    canvas.paint(_colour(0.95, 0.94, 0.90), gap * ivory)
    seam = _cover(np.abs(y - 0.5 * (upper + lower)) - 0.007) * np.clip(1 - jaw / 0.08, 0, 1)
    canvas.paint(h["lip"] * 0.45, 0.85 * seam * within)
    for side in (-1, 1):
        canvas.shade(0.72, 0.5 * _glow(front - side * half * 1.04, y - MOUTH_Y + 0.015, 0.03, 0.03))
