"""A histogram that is filled as data come, widens without forgetting, and merges with others.

How large the numbers are on the way to a logarithm, a root or a quotient, where the small ones count as well."""

import math

import numpy as np
from onnx import numpy_helper
from onnx.external_data_helper import uses_external_data

from qlab.graph.network import Links
from qlab.graph.operators import FORGETFUL
from qlab.numerics.dtypes import finite_float32, plain_array

BLOCK = 2**16  # numbers counted at a time: temporaries stay in the processor's cache, and small
FINEST = -149  # the least binary exponent of a bin's width: every float32 is a multiple of 2**-149


class Histogram:
    """Counts of numbers in at most `bins` bins, whose width is a power of two and whose edges are multiples of it.

    >>> histogram = Histogram(bins=16)
    >>> histogram.add([0.25, 0.5, 0.5])
    >>> histogram.width
    0.0625
    >>> histogram.add([-1.0, 3.0])  # wider now: neighbouring bins were added up, pair by pair
    >>> histogram.width, histogram.count, histogram.low, histogram.high
    (0.5, 5, -1.0, 3.0)

    Bin i holds i * width <= x < (i + 1) * width. On this grid a wider bin is two narrower ones exactly: no count is
    ever divided, estimated or lost. The width is the least that lets the bins reach from the lowest to the highest
    number and to 0, so it depends on what was added, not on the order: shards merge into the histogram of one pass.
    Holds `bins` counts of 8 bytes, whatever is added.
    """

    def __init__(self, bins=2048):
        if isinstance(bins, bool) or not isinstance(bins, int | np.integer) or bins < 4:
            raise ValueError(f"bins is {bins!r}; expected a whole number from 4 up, such as 2048")
        self.bins = int(bins)
        self.low, self.high = math.inf, -math.inf
        self._exponent, self._first = FINEST, 0
        self._counts = np.zeros(self.bins, np.int64)

    @property
    def width(self):
        """Width of every bin, a power of two."""
        return math.ldexp(1.0, self._exponent)

    @property
    def first(self):
        """Number of the first bin in use: it begins at first * width. At most 0, since 0 is always covered."""
        return self._first

    @property
    def counts(self):
        """Counts of the bins in use, int64: from the lowest number (or 0) to the highest (or 0)."""
        return self._counts[: self._bin(max(self.high, 0.0)) - self._first + 1]

    @property
    def edges(self):
        """Edges of the bins in use, float64: one more than there are counts."""
        return (self._first + np.arange(self.counts.size + 1)) * self.width

    @property
    def count(self):
        """How many numbers were added."""
        return int(self._counts.sum())

    def add(self, x):
        """Count the numbers in `x`. Raises ValueError if x is empty or holds NaN or infinity."""
        x = as_float(x)
        self._cover(*extremes(x))
        flat, scale = x.reshape(-1), math.ldexp(1.0, -self._exponent)
        for start in range(0, flat.size, BLOCK):
            # In float64 the quotient is exact: float32 would lose -1e-44 / 2**20, and with it the sign.
            bin_of = flat[start : start + BLOCK].astype(np.float64)
            bin_of *= scale
            np.floor(bin_of, out=bin_of)
            bin_of -= self._first
            self._counts += np.bincount(bin_of.astype(np.intp), minlength=self.bins)

    def merge(self, other):
        """Take in what `other` has counted; it stays as it is. Returns self."""
        if other.bins != self.bins:
            raise ValueError(f"a histogram of {self.bins} bins cannot take in one of {other.bins}: use the same bins")
        if other.count:
            self._cover(other.low, other.high)
            self._counts += _regrouped(other, self._exponent, self._first)
        return self

    def _cover(self, low, high):
        """Widen the bins, and move them, so that they hold `low` and `high` too."""
        low, high = min(low, self.low), max(high, self.high)
        exponent = _least_exponent(min(low, 0.0), max(high, 0.0), self.bins)
        first = math.floor(math.ldexp(min(low, 0.0), -exponent))
        if (exponent, first) != (self._exponent, self._first):
            self._counts = _regrouped(self, exponent, first)
            self._exponent, self._first = exponent, first
        self.low, self.high = low, high

    def _bin(self, value):
        return math.floor(math.ldexp(value, -self._exponent))


def as_float(x):
    """`x` as it is if it holds float32 or float16, else as float32; ValueError if it is empty or not real."""
    x = plain_array(x)
    return x if x.size and x.dtype in (np.float32, np.float16) else finite_float32(x)


def extremes(x):
    """The lowest and the highest number of the float array `x`; ValueError if it holds NaN or infinity."""
    low, high = float(x.min()), float(x.max())
    if not (math.isfinite(low) and math.isfinite(high)):  # NaN is the minimum and the maximum of what it is in
        finite_float32(x)
    return low, high


def _least_exponent(low, high, bins):
    """The least k such that bins of width 2**k, at multiples of it, reach from `low` to `high` with at most `bins`."""
    if low == high:
        return FINEST
    exponent = max(FINEST, math.frexp((high - low) / bins)[1] - 1)  # 2**exponent * bins <= high - low: never too wide
    while math.floor(math.ldexp(high, -exponent)) - math.floor(math.ldexp(low, -exponent)) >= bins:
        exponent += 1
    return exponent


def _regrouped(histogram, exponent, first):
    """Counts of `histogram` in bins of width 2**exponent, not narrower than its own, from bin `first` on."""
    counts = histogram.counts
    numbers = (histogram.first + np.arange(counts.size)) >> (exponent - histogram._exponent)
    regrouped = np.zeros(histogram.bins, np.int64)
    np.add.at(regrouped, numbers - first, counts)
    return regrouped


CODES_OF_MAGNITUDES = 255
FEWEST_OF_MAGNITUDES = (
    16  # codes, for the median number: 16 steps are off by 2 % of themselves, one by 29 %; noise has about 20
)
SAMPLED = 4096  # numbers of one array that stand for all
EXPONENTS = np.arange(-160, 130)  # to base 2, of every float32


class Magnitudes:
    """Watches the tensors of a ModelProto from which a Log, a root, or the divisor of a quotient is computed.

    To these a tenth of a number matters as much whether the number is large or small, but the steps of codes are as
    wide for both: of a spectrum of speech, 60 dB from its loudest to its faintest, codes keep the loudest only.
    """

    def __init__(self, model):
        self._producers = Links(model.graph.node).producers
        stored = {tensor.name: tensor for tensor in model.graph.initializer}
        self._stored = {name: _scalar(tensor) for name, tensor in stored.items()}
        self._ends = [(node, name, power) for node in model.graph.node for name, power in self._started(node)]
        self._counts = dict.fromkeys(self._reached(lambda name: True), 0)

    def observe(self, name, x):
        """Take in the array `x` of one tensor; what leads to none of these operators is let pass."""
        if name in self._counts:
            some = x.reshape(-1)[:: max(1, x.size // SAMPLED) | 1]  # odd, so that it meets every row of a square array
            exponents = np.frexp(np.abs(some[some != 0]))[1]
            self._counts[name] = self._counts[name] + np.bincount(exponents - EXPONENTS[0], minlength=EXPONENTS.size)

    def merge(self, other):
        """Take in what `other`, of the same model, has seen."""
        for name, counts in other._counts.items():
            self._counts[name] = self._counts[name] + counts

    def lost(self, ranges):
        """{tensor: the operator that it leads to, in words} of those whose numbers get too few codes from `ranges`."""
        return self._reached(lambda name: name in ranges and 0 < self._codes(name, ranges[name]) < FEWEST_OF_MAGNITUDES)

    def _codes(self, name, ends):
        """How many codes lie between 0 and the median of the numbers that are not 0; 0 if there are none."""
        counts = np.cumsum(self._counts[name])
        width = max(float(ends[1]), 0.0) - min(float(ends[0]), 0.0)
        if not counts.size or not counts[-1] or not width:
            return 0.0
        return CODES_OF_MAGNITUDES * 0.75 * 2.0 ** EXPONENTS[np.searchsorted(counts, counts[-1] / 2)] / width

    def _reached(self, passes):
        """{tensor: the operator that it leads to, in words}, followed back as far as `passes(tensor)`.

        power  to which the operator raises the tensor: a Log and a quotient count as 0. A root's half becomes 1 where a
               square stands ahead of it: there small numbers count as little as anywhere.
        """
        found, powers = {}, {}
        todo = [(name, power, node) for node, name, power in self._ends]
        while todo:
            name, power, end = todo.pop()
            if power >= powers.get(name, 1.0) or name in self._stored or not passes(name):
                continue
            powers[name] = power
            found.setdefault(name, f"{end.name or end.output[0]!r} ({end.op_type})")
            node = self._producers.get(name)
            if node is not None and node.op_type not in FORGETFUL:
                todo += [(each, power * self._raised(node), end) for each in node.input if each]
        return found

    def _started(self, node):
        """(tensor, power) for each input of `node` of which small numbers count."""
        match node.op_type:
            case "Log":
                yield node.input[0], 0.0
            case "Reciprocal":
                yield node.input[0], 0.0
            case "Div":
                yield node.input[1], 0.0
            case "Sqrt" | "Pow":
                yield node.input[0], max(self._raised(node), 0.0)

    def _raised(self, node):
        """The power to which a node raises its input; 1 for most."""
        if node.op_type == "Sqrt":
            return 0.5
        if node.op_type == "Mul" and node.input[0] == node.input[1]:
            return 2.0
        return (self._stored.get(node.input[1]) or 1.0) if node.op_type == "Pow" else 1.0


def _scalar(tensor):
    known = np.prod(tensor.dims) == 1 and not uses_external_data(tensor)
    return float(numpy_helper.to_array(tensor).reshape(-1)[0]) if known else None
