"""Where tensors meet under one scale: whether all that is in there gets codes enough."""

import numpy as np

from qlab.calibration.magnitudes import Magnitudes
from qlab.text import figures

SUMS, CONCAT = ("Add", "Sub", "Sum", "Where"), "Concat"  # Where puts together as an Add does: a mask, a default
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
