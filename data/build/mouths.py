"""From phonemes to mouths: what a jaw, lips and a tongue do while a sentence is spoken, 25 times a second."""

import numpy as np

from data.build import phonemes
from qlab.models.heads import MOUTH

# Shapes as (open, wide, teeth, tongue, tuck), see heads.Pose. A diphthong is two shapes, one after the other.
REST = (0.0, 0.0, 0.0, 0.0, 0.0)
_OPEN, _BACK, _FLAT = (0.95, 0.05, 0.4, 0.15, 0), (0.85, -0.35, 0.1, 0.1, 0), (0.85, 0.40, 0.7, 0.2, 0)
_MIDDLE, _NEUTRAL, _R = (0.60, 0.35, 0.7, 0.2, 0), (0.38, 0.0, 0.4, 0.15, 0), (0.30, -0.50, 0.4, 0.1, 0)
_SMALL, _SPREAD = (0.36, 0.45, 0.9, 0.2, 0), (0.26, 0.90, 1.0, 0.2, 0)
_ROUND, _PUCKER, _HOOK = (0.65, -0.70, 0.0, 0.0, 0), (0.17, -1.0, 0.0, 0.0, 0), (0.30, -0.60, 0.0, 0.0, 0)
_LIPS, _BITE, _LISP = REST, (0.12, 0.1, 1.0, 0.0, 1), (0.24, 0.1, 0.8, 1.0, 0)
_HISS, _HUSH, _LIFT = (0.14, 0.45, 1.0, 0.0, 0), (0.20, -0.55, 0.9, 0.0, 0), (0.40, 0.1, 0.6, 0.8, 0)
_BEHIND = (0.34, 0.1, 0.4, 0.1, 0)
SHAPES = {
    # flite's symbols, the ARPAbet
    "aa": [_OPEN], "ae": [_FLAT], "ah": [_MIDDLE], "ao": [_BACK], "aw": [_OPEN, _PUCKER], "ax": [_NEUTRAL],
    "ay": [_OPEN, _SPREAD], "eh": [_MIDDLE], "er": [_R], "ey": [_MIDDLE, _SPREAD], "ih": [_SMALL], "iy": [_SPREAD],
    "ow": [_ROUND, _PUCKER], "oy": [_ROUND, _SPREAD], "uh": [_HOOK], "uw": [_PUCKER],
    "ch": [_HUSH], "dh": [_LISP], "hh": [_NEUTRAL], "jh": [_HUSH], "ng": [_BEHIND], "sh": [_HUSH], "th": [_LISP],
    "y": [_SPREAD], "zh": [_HUSH],
    # espeak-ng's own, where they differ; variants such as "I2" or "t#" are those of "I" and "t"
    "a": [_FLAT], "A": [_OPEN], "A@": [_OPEN], "0": [_BACK], "V": [_MIDDLE], "@": [_NEUTRAL], "3": [_R],
    "E": [_MIDDLE], "e@": [_MIDDLE], "I": [_SMALL], "i": [_SPREAD], "i@": [_SPREAD, _NEUTRAL], "O": [_BACK],
    "O@": [_BACK], "o@": [_BACK], "U": [_HOOK], "U@": [_HOOK], "u": [_PUCKER], "aI": [_OPEN, _SPREAD],
    "aI@": [_OPEN, _SPREAD], "eI": [_MIDDLE, _SPREAD], "OI": [_ROUND, _SPREAD], "aU": [_OPEN, _PUCKER],
    "oU": [_ROUND, _PUCKER],
    "VR": [_R], "IR": [_R], "@L": [_LIFT], "T": [_LISP], "D": [_LISP], "S": [_HUSH], "Z": [_HUSH], "tS": [_HUSH],
    "dZ": [_HUSH], "N": [_BEHIND], "j": [_SPREAD], "h": [_NEUTRAL], "x": [_BEHIND], "C": [_SPREAD], "?": [_BEHIND],
    # both
    "p": [_LIPS], "b": [_LIPS], "m": [_LIPS], "f": [_BITE], "v": [_BITE], "t": [_HISS], "d": [_HISS], "n": [_HISS],
    "s": [_HISS], "z": [_HISS], "l": [_LIFT], "r": [_R], "w": [_PUCKER], "k": [_BEHIND], "g": [_BEHIND],
    phonemes.SILENCE: [REST],
}  # fmt: skip
LIPS_CLOSED = ("p", "b", "m")
PALATALIZED = ";"  # espeak-ng marks it as a sound of its own, which no lip shows: the sound before goes on
# Standard deviations in seconds of how long each part takes to follow: a jaw is heavy, a tongue quick.
INERTIA = dict(zip(MOUTH, (0.045, 0.055, 0.040, 0.035, 0.030), strict=True))
LIPS_INERTIA = 0.015
STRESS = 1.35  # an actor's jaw: it makes up for what smoothing takes
RATE = 200  # steps a second in between


def shapes(symbol):
    """The mouths of one sound. Raises ValueError for one that is not listed."""
    bare = symbol
    while bare and bare not in SHAPES:
        bare = bare[:-1]
    if not bare:
        raise ValueError(f"no mouth is known for the phoneme {symbol!r}: list it in SHAPES")
    return SHAPES[bare]


def _smooth(signal, deviation):
    """Follow the signal [n] as a mass would: a Gaussian of that standard deviation, in seconds."""
    reach = np.arange(-round(3 * deviation * RATE), round(3 * deviation * RATE) + 1) / RATE
    weights = np.exp(-0.5 * (reach / deviation) ** 2)
    padded = np.pad(signal, len(reach) // 2, mode="edge")
    return np.convolve(padded, weights / weights.sum(), mode="valid")


def track(clip):
    """float32 [n, 5]: the mouth (heads.Pose) at each vector of the conformer's output for this corpus.Clip.

    Vector i sums features 4 i to 4 i + 6, windows of 25 ms every 10 ms: its middle lies at 0.04 i + 0.0425 s.
    """
    vectors = ((1 + (len(clip.samples) - 400) // 160) - 3) // 4
    steps = np.arange(round(len(clip.samples) / 16_000 * RATE) + 1) / RATE
    wanted, closed = np.zeros((len(steps), len(MOUTH))), np.zeros(len(steps))
    shown = REST
    for symbol, start, end in phonemes.timed(clip.voice, clip.text, clip.manner):
        start, end = (second * clip.speed - clip.cut for second in (start, end))
        parts = [shown] if symbol == PALATALIZED else shapes(symbol)
        edges = np.linspace(start, end, len(parts) + 1)
        for shape, low, high in zip(parts, edges[:-1], edges[1:], strict=True):
            wanted[(steps >= low) & (steps < high)] = shape
        closed[(steps >= start) & (steps < end)] = symbol in LIPS_CLOSED
        shown = parts[-1]
    smooth = np.stack([_smooth(wanted[:, i], INERTIA[name]) for i, name in enumerate(MOUTH)], axis=1)
    smooth[:, 0] = (STRESS * smooth[:, 0]).clip(0, 1) * (1 - _smooth(closed, LIPS_INERTIA))
    middle = 0.04 * np.arange(vectors) + 0.0425
    return np.stack([np.interp(middle, steps, column) for column in smooth.T], axis=1).astype(np.float32)
