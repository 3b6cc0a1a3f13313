"""Ranges: what calibration has found, ready for a quantizer."""

from collections import Counter
from collections.abc import Mapping

import numpy as np

from qlab.files import check_target, scratch


class Ranges(Mapping):
    """A mapping from tensor name to (min, max), NumPy scalars of the tensor's own type, float32 or float16.

    feeds     how many feeds were watched
    left_out  {name: reason} of tensors without a range: they cannot be quantized statically
    joins     what meets under one scale, and whether it gets codes enough: `.crowded(name, low, high)`

    `merge` takes in the ranges of another shard of the feeds; `save` writes what onnxruntime's quantizer reads. The
    statistics behind the ranges are kept, the activations are not. A range is as wide as what was seen, after clipping:
    that 0 must be inside is the quantizer's to see to.
    """

    def __init__(self, observers, dtypes, left_out, joins):
        self.feeds, self.joins = 0, joins
        self._observers, self._dtypes, self._left_out = dict(observers), dict(dtypes), dict(left_out)
        self._found = {}

    def __getitem__(self, name):
        if name not in self:
            reason = self.left_out.get(name, "the model has no such tensor, or it is a weight")
            raise KeyError(f"no range of tensor {name!r}: {reason}")
        if name not in self._found:
            to_dtype = self._dtypes[name]
            self._found[name] = tuple(to_dtype(end) for end in self._observers[name].range())
        return self._found[name]

    def __contains__(self, name):
        return name in self._observers and not self._observers[name].empty

    def __iter__(self):
        return (name for name in self._observers if name in self)

    def __len__(self):
        return sum(1 for _ in self)

    @property
    def left_out(self):
        """{name: reason} of every tensor that was met and has no range."""
        empty = {name: "empty in every feed" for name in self._observers if name not in self}
        return self._left_out | empty

    def observe(self, name, x):
        """Take in the array `x` of one tensor. Raises ValueError, with the tensor's name, if it holds NaN.

        Empty arrays (the cache of a streaming model, at its start) say nothing. A tensor that holds infinity is left
        out from now on: integer codes have no infinity, and a mask cut to a finite number would mask no more.
        """
        if name not in self._observers or x.size == 0:
            return
        try:
            self._observers[name].observe(x)
        except ValueError as error:
            if count := np.count_nonzero(np.isnan(x)):
                raise ValueError(
                    f"tensor {name!r} holds {count} NaN of {x.size} values, the first on the way through the model; "
                    "calibrate a float model that answers this feed with finite numbers, or leave the feed out"
                ) from error
            self._leave_out(name, "holds infinity, such as a mask: no code means that")
        else:
            self.joins.observe(name, x)
        self._found.pop(name, None)

    def merge(self, other):
        """Take in what `other`, collected alike from more feeds of the same model, has seen. Returns self.

        >>> functools.reduce(Ranges.merge, shards)  # doctest: +SKIP
        """
        differs = set(self._observers) | set(self._left_out)
        differs ^= set(other._observers) | set(other._left_out)
        if differs:
            raise ValueError(
                f"ranges of different models: {min(differs)!r} and {len(differs) - 1} more tensors are in one only"
            )
        for name, reason in other._left_out.items():
            self._leave_out(name, reason)
        for name, observer in self._observers.items():
            observer.merge(other._observers[name])
        self.joins.merge(other.joins)
        self.feeds += other.feeds
        self._found.clear()
        return self

    def save(self, path):
        """Write a file that quantize_static(..., calibration_cache_path=path) reads instead of a data reader.

        The file says MinMax, whatever the method was: so onnxruntime takes the ranges as they are. It is written
        beside `path` and renamed, so that no half file is left if writing fails. Quantize the very model that the
        ranges were collected on: pre-processing renames tensors. Returns the path.
        """
        from onnxruntime.quantization import calibrate  # slow to import, and needed here only

        path = check_target(path)
        path.parent.mkdir(parents=True, exist_ok=True)
        data = {name: (np.array(low), np.array(high)) for name, (low, high) in self.items()}
        with scratch(path.parent) as folder:
            beside = folder / "ranges"
            calibrate.save_tensors_data(calibrate.TensorsData(calibrate.CalibrationMethod.MinMax, data), beside)
            return beside.replace(path)

    def _leave_out(self, name, reason):
        self._observers.pop(name, None)
        self._found.pop(name, None)
        self._left_out.setdefault(name, reason)

    def __repr__(self):
        how = next(iter(self._observers.values()), "no observer")
        lines = [f"Ranges of {len(self)} tensors from {self.feeds} feeds, {how!r}"]
        lines += [f"  left out: {count}, {reason}" for reason, count in Counter(self.left_out.values()).items()]
        return "\n".join(lines)
