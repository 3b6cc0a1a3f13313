"""The error of several arrays together, and of the channel or slice that lost most."""

import math
from collections import Counter
from dataclasses import dataclass

import numpy as np

from qlab.text import decibels

MASK = -9_000  # attention masks write -10000, or far lower, where softmax is to see nothing
FEWEST = 8  # numbers of a part that can be told from luck
HARMLESS = 20  # softmax gives what lies this far below all others less than 3e-9 of their weight
MISPLACED = "has NaN or infinity where the reference has not, or the reverse"
NOTHING_FINITE = "has no finite value"
BLOCK = 8_192  # numbers widened at a time: they stay in the processor's cache, and BLAS in one thread


@dataclass(frozen=True)
class Part:
    """One channel of a tensor, or one slice along its last axis, and how much of it is left.

    >>> str(Part("detections", 2, 4, 3, 0.0))
    'detections[:, :, 4] 0.0 dB'
    """

    tensor: str
    axis: int
    index: int
    dimensions: int
    sqnr_db: float

    def __str__(self):
        place = ", ".join(str(self.index) if axis == self.axis else ":" for axis in range(self.dimensions))
        return f"{self.tensor}[{place}] {decibels(self.sqnr_db)} dB"


class PooledError:
    """The error of several arrays together: sums of squares, so that it is that of all of them laid end to end.

    >>> error = PooledError()
    >>> error.add(np.float32([3, 4]), np.float32([3, 4.5]))
    >>> error.db
    20.0

    Infinite or NaN values that both have alike (masked positions) are left out; where they differ, there is no SQNR.
    parts   whether `worst_part` will be asked for: without, large arrays are added several times as fast
    size    how many numbers were compared, left out or not
    remark  why there is no SQNR, or the empty text
    """

    def __init__(self, *, parts=True):
        self._with_parts = parts
        self.size, self._misplaced = 0, False
        self._sums = np.zeros(3)  # how many numbers were compared, energies of their signal and noise
        self._parts = {}  # {(axis, dimensions): energies of each part's signal and noise, or None}
        self._numbers = Counter()  # {(axis, dimensions): how many numbers each of these parts has}

    def add(self, reference, approximation, *, masks=False, counted=True):
        """Count two arrays of one shape; with `masks`, positions that a finite attention mask fills are left out.

        counted  True, or an array of booleans that fits: positions that do not count are left out as well
        """
        self.size += reference.size
        if counted is True and not self._with_parts and not (masks and reference.min(initial=0) <= MASK):
            signal, noise = _energies(reference.ravel(), approximation.ravel())
            if math.isfinite(signal + noise):  # so every number is finite, and counts
                self._sums += (reference.size, signal, noise)
                return
        reference, approximation = reference.astype(np.float64), approximation.astype(np.float64)
        finite = np.isfinite(reference)
        outside = counted & ~finite
        self._misplaced |= not np.array_equal(reference[outside], approximation[outside], equal_nan=True)
        counted = counted & finite
        if masks:
            counted &= ~_masked(reference, approximation)
        if self._with_parts:
            error = np.subtract(reference, approximation, where=counted, out=np.zeros_like(reference))
            self._add_parts(np.where(counted, reference, 0), error)
        reference, approximation = reference[counted], approximation[counted]
        self._misplaced |= not np.isfinite(approximation).all()
        self._sums += (reference.size, *_energies(reference, approximation))

    def _add_parts(self, signal, error):
        for axis in {1, signal.ndim - 1} if signal.ndim > 1 else ():
            others = tuple(other for other in range(signal.ndim) if other != axis)
            sums = np.stack([np.square(x).sum(axis=others) for x in (signal, error)])
            self._numbers[axis, signal.ndim] += signal.size // max(signal.shape[axis], 1)
            known = self._parts.setdefault((axis, signal.ndim), np.zeros_like(sums))
            fits = known is not None and known.shape == sums.shape
            self._parts[axis, signal.ndim] = known + sums if fits else None  # an axis that changes length is time

    def worst_part(self, tensor):
        """The Part of `tensor` that lost most, along axis 1 or the last, or None.

        A part of zeros is none, nor one of so few numbers that all may be small by luck.
        """
        found = []
        if self.remark:
            return None
        for (axis, dimensions), sums in self._parts.items():
            few = self._numbers[axis, dimensions] < FEWEST
            if sums is None or few or not (told := sums[0] > 0).any():
                continue
            with np.errstate(divide="ignore"):
                db = np.where(told, 10 * np.log10(np.divide(*sums, where=told, out=np.ones_like(sums[0]))), np.inf)
            found.append(Part(tensor, axis, int(np.argmin(db)), dimensions, float(db.min())))
        return min(found, key=lambda part: part.sqnr_db, default=None)

    @property
    def remark(self):
        if self._misplaced:
            return MISPLACED
        return "" if self._sums[0] else NOTHING_FINITE

    @property
    def db(self):
        """SQNR in dB: inf where nothing differs, -inf for an error on a reference of zeros, NaN where `remark` is."""
        return math.nan if self.remark else sqnr(*self._sums[1:])


def sqnr(signal, noise):
    """dB of two energies: inf where nothing differs, -inf for an error on a reference of zeros."""
    if not noise:
        return math.inf
    return 10 * math.log10(signal / noise) if signal else -math.inf


def energy(x):
    """The sum of the squares of a flat array."""
    return sum(float(part @ part) for part in _blocks(x))


def _energies(reference, approximation):
    """The same of an array, and of what the other one errs."""
    signal = noise = 0.0
    with np.errstate(invalid="ignore", over="ignore"):
        for part, other in zip(_blocks(reference), _blocks(approximation), strict=True):
            error = part - other
            signal, noise = signal + float(part @ part), noise + float(error @ error)
    return signal, noise


def _blocks(x):
    for start in range(0, x.size, BLOCK):
        yield x[start : start + BLOCK].astype(np.float64)


def is_float(array):
    """Whether an array holds floats, bfloat16 included."""
    return array.dtype.kind == "f" or array.dtype.name == "bfloat16"


def _masked(reference, approximation):
    """Where both hold what softmax turns into 0: a mask's -10000 would otherwise drown the scores beside it."""
    masked = reference <= MASK
    rest = reference[~masked & np.isfinite(reference)]
    if not masked.any() or not rest.size or np.abs(rest).max() > -MASK / 10:  # large numbers throughout: no mask
        return np.zeros_like(masked)
    return masked & (approximation <= rest.min() - HARMLESS)
