"""Observers: running statistics of one tensor, and the range that they give it.

All work alike: `.observe(x)` for each feed, `.merge(other)` for what another observer saw after this one, `.range()`.
None keeps an array that it was shown. `Joins` watches where tensors meet under one scale: whether all get codes enough;
`Inputs`, what products read.
"""

from abc import ABC, abstractmethod

import numpy as np

from qlab.calibration.clipping import least_divergence_range, least_error_range, percentile_range, symmetric_range
from qlab.calibration.histogram import Histogram, Magnitudes, as_float, extremes
from qlab.graph.operators import CONVOLUTION, NO_INTEGER_KERNEL, ROUNDED_AT_LOAD, SUMS, of
from qlab.numerics.dtypes import bit_width, check_flags, code_range, integer_name
from qlab.text import figures

BINS_PER_CODE = 4
FITTED = ROUNDED_AT_LOAD - NO_INTEGER_KERNEL  # products whose weights may get scales by what they read


class Observer(ABC):
    """What all observers share: `dtype` and `symmetric` say which codes the range is for."""

    def __init__(self, dtype="uint8", *, symmetric=False):
        check_flags(symmetric=symmetric)
        self.dtype, self.symmetric = integer_name(dtype), bool(symmetric)
        code_range(self.dtype)

    @abstractmethod
    def observe(self, x):
        """Take in the numbers of `x`, any shape. Raises ValueError if x is empty or holds NaN or infinity."""

    @abstractmethod
    def merge(self, other):
        """Take in what `other`, set up alike, has seen after this one; it stays as it is. Returns self."""

    @abstractmethod
    def _range(self):
        """(low, high) as Python floats."""

    @property
    @abstractmethod
    def empty(self):
        """Whether nothing was observed yet."""

    def range(self):
        """(low, high) to quantize with, float32. Raises ValueError if nothing was observed."""
        if self.empty:
            raise ValueError(f"{type(self).__name__} has observed nothing: call observe(x) first")
        low, high = self._range()
        return np.float32(low + 0.0), np.float32(high + 0.0)  # + 0.0 makes -0.0 a plain 0.0

    def _mirrored(self, low, high):
        return symmetric_range(max(-low, high), low, self.dtype) if self.symmetric else (low, high)

    def _settings(self):
        return {"dtype": self.dtype, "symmetric": self.symmetric}

    def _expect_alike(self, other):
        if type(self) is not type(other) or self._settings() != other._settings():
            raise ValueError(f"{self!r} cannot take in {other!r}: merge observers that are set up alike")

    def __repr__(self):
        settings = ", ".join(f"{name}={value!r}" for name, value in self._settings().items())
        return f"{type(self).__name__}({settings})"


class MinMaxObserver(Observer):
    """The lowest and the highest number ever seen.

    >>> observer = MinMaxObserver()
    >>> observer.observe([-1.0, 2.0])
    >>> observer.observe([0.0, 3.0])
    >>> observer.range()
    (np.float32(-1.0), np.float32(3.0))
    """

    def __init__(self, dtype="uint8", *, symmetric=False):
        super().__init__(dtype, symmetric=symmetric)
        self._low, self._high = np.inf, -np.inf

    def observe(self, x):
        self._widen(*extremes(as_float(x)))

    def merge(self, other):
        self._expect_alike(other)
        self._widen(other._low, other._high)
        return self

    @property
    def empty(self):
        return self._low > self._high

    def _widen(self, low, high):
        self._low, self._high = min(self._low, low), max(self._high, high)

    def _range(self):
        return self._mirrored(self._low, self._high)


class MovingAverageObserver(Observer):
    """A weighted mean of each feed's minimum, and of its maximum: the newest weighs most.

    A feed counts 1 - `constant` times as much as the one after it. The weights add up to 1 from the first feed on, so
    that it has no more say than its age gives it. 0.01 is the constant of PyTorch and onnxruntime; over a few feeds the
    result is close to their plain mean. The order of feeds matters here, and nowhere else.
    """

    def __init__(self, dtype="uint8", *, symmetric=False, constant=0.01):
        super().__init__(dtype, symmetric=symmetric)
        if not 0 < constant < 1:
            raise ValueError(f"constant is {constant!r}; expected a fraction between 0 and 1, such as 0.01")
        self.constant, self._feeds = constant, 0
        self._sums = np.zeros(3)  # of weight * low, weight * high, weight

    def observe(self, x):
        low, high = extremes(as_float(x))
        self._age(1)
        self._sums += low, high, 1

    def merge(self, other):
        self._expect_alike(other)
        sums, feeds = other._sums.copy(), other._feeds
        self._age(feeds)
        self._sums += sums
        return self

    @property
    def empty(self):
        return self._feeds == 0

    def _age(self, feeds):
        self._sums *= (1 - self.constant) ** feeds
        self._feeds += feeds

    def _range(self):
        return self._mirrored(*self._sums[:2] / self._sums[2])

    def _settings(self):
        return super()._settings() | {"constant": self.constant}


class HistogramObserver(Observer):
    """An observer that keeps a `Histogram`, as `.histogram`, and chooses its range from it when asked."""

    def __init__(self, dtype="uint8", *, symmetric=False, bins=2048):
        super().__init__(dtype, symmetric=symmetric)
        self.histogram = Histogram(bins)

    def observe(self, x):
        self.histogram.add(x)

    def merge(self, other):
        self._expect_alike(other)
        self.histogram.merge(other.histogram)
        return self

    @property
    def empty(self):
        return self.histogram.low > self.histogram.high

    def _settings(self):
        return super()._settings() | {"bins": self.histogram.bins}


class PercentileObserver(HistogramObserver):
    """The range that keeps `percentile` percent of all numbers: see `clipping.percentile_range`."""

    def __init__(self, dtype="uint8", *, symmetric=False, bins=2048, percentile=99.99):
        super().__init__(dtype, symmetric=symmetric, bins=bins)
        if not 50 <= percentile <= 100:
            raise ValueError(f"percentile is {percentile!r}; expected percent to keep, 50 to 100, such as 99.99")
        self.percentile = percentile

    def _range(self):
        return percentile_range(self.histogram, self.percentile, self.dtype, symmetric=self.symmetric)

    def _settings(self):
        return super()._settings() | {"percentile": self.percentile}


class MseObserver(HistogramObserver):
    """The range whose codes err least: see `clipping.least_error_range`."""

    def _range(self):
        return least_error_range(self.histogram, self.dtype, symmetric=self.symmetric)


class EntropyObserver(HistogramObserver):
    """The range whose codes tell most about the numbers' distribution: see `clipping.least_divergence_range`."""

    def __init__(self, dtype="uint8", *, symmetric=False, bins=2048):
        super().__init__(dtype, symmetric=symmetric, bins=bins)
        bits = bit_width(self.dtype)
        if bits > 8:
            raise ValueError(f"entropy weighs codes of up to 8 bits, not {self.dtype}: use minmax, which clips nothing")
        if bins < BINS_PER_CODE * 2**bits:
            raise ValueError(
                f"bins is {bins}: entropy joins bins into the {2**bits} codes of {self.dtype}, and has nothing to "
                f"choose unless there are several for each; expected at least {BINS_PER_CODE * 2**bits}"
            )

    def _range(self):
        return least_divergence_range(self.histogram, self.dtype, symmetric=self.symmetric)


CONCAT = "Concat"
CODES = 255
FEWEST = {CONCAT: 32, "sum": 16}  # codes: below, an input of a Concat keeps less than about 30 dB; half of the channels


class Joins:
    """Watches what a ModelProto's Concats and sums put together: the range of each input, of each channel.

    One scale for the result is set by the largest of them. SQNR of the whole does not show what that costs the others,
    since the large numbers carry nearly all of its energy: boxes in pixels beside scores up to 1, a residual stream
    with three channels a hundred times the rest.

    magnitudes  the same question where small numbers count for what they are, with nothing beside them: a Magnitudes
    """

    def __init__(self, model):
        self.magnitudes = Magnitudes(model)
        nodes = [node for node in model.graph.node if node.op_type in (*SUMS, CONCAT)]
        self._inputs = {node.output[0]: list(node.input) if node.op_type == CONCAT else [] for node in nodes}
        parts = {name for inputs in self._inputs.values() for name in inputs}
        self._channels = {name: _Channels() for name in [*self._inputs, *parts]}

    def observe(self, name, x):
        """Take in the array `x` of one tensor."""
        if name in self._channels and x.size:
            self._channels[name].observe(x)
        self.magnitudes.observe(name, x)

    def merge(self, other):
        """Take in what `other`, of the same model, has seen."""
        for name, channels in self._channels.items():
            channels.merge(other._channels[name])
        self.magnitudes.merge(other.magnitudes)

    def crowded(self, name, low, high):
        """Who gets too few codes in the tensor `name` if they reach from `low` to `high`, in words; "" if nobody.

        Of a Concat an input, which is told with its range; of a sum half of its channels, on axis 1 or the last.
        """
        if name not in self._inputs or not (width := max(high, 0.0) - min(low, 0.0)):
            return ""
        inputs = [one for one in self._inputs[name] if self._channels[one].ends]
        for one in sorted(inputs, key=lambda one: self._channels[one].width):
            codes = CODES * self._channels[one].width / width
            if 0 < codes < FEWEST[CONCAT]:
                from_, to = self._channels[one].ends
                return f"{one!r} ({figures(from_)} to {figures(to)}) gets {_count(codes)} of 256 codes"
        count, widths = min(self._channels[name].typical(), key=lambda found: found[1], default=(0, width))
        codes = CODES * widths / width
        return f"half of its {count} channels get at most {_count(codes)} of 256 codes" if codes < FEWEST["sum"] else ""


class _Channels:
    """The ends of one tensor, and of its channels along axis 1 and the last; an axis that changes length has none."""

    def __init__(self):
        self.ends, self._by_axis = None, {}

    @property
    def width(self):
        """From the lowest to the highest number, 0 counted in."""
        return max(self.ends[1], 0.0) - min(self.ends[0], 0.0)

    def observe(self, x):
        self._widen({axis: _ends(x, axis % x.ndim) for axis in (1, -1) if x.ndim > 1}, _ends(x, None))

    def merge(self, other):
        if other.ends is not None:
            self._widen(other._by_axis, other.ends)

    def typical(self):
        """[(channels, median of their widths), ...], one for each axis."""
        for ends in self._by_axis.values():
            if ends is not None:
                low, high = ends
                yield low.size, float(np.median(np.maximum(high, 0) - np.minimum(low, 0)))

    def _widen(self, by_axis, ends):
        known = self._by_axis if self.ends is not None else by_axis
        self._by_axis = {axis: _wider(known.get(axis), by_axis.get(axis)) for axis in known.keys() | by_axis}
        self.ends = ends if self.ends is None else _wider(self.ends, ends)


def _ends(x, axis):
    others = None if axis is None else tuple(other for other in range(x.ndim) if other != axis)
    return x.min(axis=others), x.max(axis=others)


def _wider(one, other):
    if one is None or other is None or one[0].shape != other[0].shape:
        return None
    return np.minimum(one[0], other[0]), np.maximum(one[1], other[1])


def _count(codes):
    return max(1, round(codes))


class Inputs:
    """What the products of a ModelProto read: mean and variance of each channel, over all feeds.

    Channels are along axis 1 of what a convolution reads, the last of what a matrix product does.
    """

    def __init__(self, model):
        self._axes = {(node.input[0], _axis_read(node)) for node in model.graph.node if node.op_type in FITTED}
        self._names = {name for name, _ in self._axes}
        self._seen = {}

    def observe(self, name, x):
        """Take in the array `x` of one tensor."""
        if name not in self._names or not x.size:
            return
        for axis in (axis for one, axis in self._axes if one == name and x.ndim > axis):
            others = tuple(place for place in range(x.ndim) if place != axis % x.ndim)
            mean = x.mean(axis=others, dtype=np.float64)
            self._add((name, axis), x.size // len(mean), mean, x.var(axis=others, dtype=np.float64))

    def merge(self, other):
        """Take in what `other`, of the same model, has seen."""
        for key, seen in other._seen.items():
            if seen is None:
                self._seen[key] = None
            else:
                self._add(key, *seen)

    def moments(self, node):
        """(mean, variance), each [channels], of what `node` reads; None if that was not seen, or changes its size."""
        seen = self._seen.get((node.input[0], _axis_read(node)))
        return None if seen is None else seen[1:]

    def _add(self, key, count, mean, variance):
        known = self._seen.get(key, (0, np.zeros_like(mean), np.zeros_like(mean)))
        if known is None or known[1].shape != mean.shape:
            self._seen[key] = None
            return
        total = known[0] + count
        share, apart = count / total, mean - known[1]
        variance = known[2] + share * (variance - known[2]) + share * (1 - share) * np.square(apart)
        self._seen[key] = total, known[1] + share * apart, variance


def _axis_read(node):
    return 1 if of(node.op_type).family == CONVOLUTION else -1
