"""Calibrate a model: watch every float tensor in it on real inputs, and give each a range: `Ranges`."""

from collections import Counter
from collections.abc import Mapping
from operator import length_hint
from typing import Any, Literal, get_args

import numpy as np

from qlab.calibration.observers import (
    EntropyObserver,
    Inputs,
    Joins,
    MinMaxObserver,
    MovingAverageObserver,
    MseObserver,
    PercentileObserver,
)
from qlab.files import ModelPath, check_target, scratch
from qlab.graph.model import Model, opened
from qlab.numerics.dtypes import DType
from qlab.runtime import Reader, bar, check_feed, iterate_feeds, run

Method = Literal["minmax", "moving_average", "percentile", "mse", "entropy"]
RangesOf = Mapping[str, tuple[Any, Any]]  # {tensor: (min, max)}

METHODS = get_args(Method)
WATCHED = {"tensor(float)": np.float32, "tensor(float16)": np.float16}  # what onnxruntime's quantizer takes
OTHER_FLOATS = {"tensor(double)", "tensor(bfloat16)"}


class Ranges(Mapping):
    """A mapping from tensor name to (min, max), NumPy scalars of the tensor's own type, float32 or float16.

    feeds     how many feeds were watched
    left_out  {name: reason} of tensors without a range: they cannot be quantized statically
    joins     what meets under one scale, and whether it gets codes enough: `.crowded(name, low, high)`
    inputs    mean and variance of what each product reads, by channel: `.moments(node)`; None where not looked at

    `merge` takes in the ranges of another shard of the feeds; `save` writes what onnxruntime's quantizer reads. The
    statistics behind the ranges are kept, the activations are not. A range is as wide as what was seen, after clipping:
    that 0 must be inside is the quantizer's to see to.
    """

    def __init__(self, observers, dtypes, left_out, joins, inputs=None):
        self.feeds, self.joins, self.inputs = 0, joins, inputs
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
            if self.inputs is not None:
                self.inputs.observe(name, x)
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
        if self.inputs is not None and other.inputs is not None:
            self.inputs.merge(other.inputs)
        self.feeds += other.feeds
        self._found.clear()
        return self

    def save(self, path):
        """Write a file that quantize_static(..., calibration_cache_path=path) reads instead of a data reader.

        The file says MinMax, whatever the method was: so onnxruntime takes the ranges as they are. It is written
        beside `path` and renamed, so that no half file is left if writing fails. Quantize the very model that the
        ranges were collected on: pre-processing renames tensors. Returns the path.
        """
        from onnxruntime.quantization.calibrate import save_tensors_data  # slow to import, and needed here only

        path = check_target(path)
        path.parent.mkdir(parents=True, exist_ok=True)
        with scratch(path.parent) as folder:
            beside = folder / "ranges"
            save_tensors_data(self.as_tensors_data(), beside)
            return beside.replace(path)

    def as_tensors_data(self):
        """The ranges as onnxruntime's quantizers take them; labelled MinMax, so that they are taken as they are."""
        from onnxruntime.quantization.calibrate import CalibrationMethod, TensorsData

        data = {name: (np.array(low), np.array(high)) for name, (low, high) in self.items()}
        return TensorsData(CalibrationMethod.MinMax, data)

    def _leave_out(self, name, reason):
        self._observers.pop(name, None)
        self._found.pop(name, None)
        self._left_out.setdefault(name, reason)

    def __repr__(self):
        how = next(iter(self._observers.values()), "no observer")
        lines = [f"Ranges of {len(self)} tensors from {self.feeds} feeds, {how!r}"]
        lines += [f"  left out: {count}, {reason}" for reason, count in Counter(self.left_out.values()).items()]
        return "\n".join(lines)


def collect(
    model: ModelPath | Model,
    reader: Reader,
    *,
    method: Method = "minmax",
    dtype: DType = "uint8",
    symmetric: bool = False,
    percentile: float = 99.99,
    bins: int = 2048,
) -> Ranges:
    """Run `model`, a path or a graph.Model, on every feed of `reader`, and choose a range for each float tensor in it.

    >>> ranges = collect("model.onnx", feeds, method="percentile")  # doctest: +SKIP
    >>> ranges["conv1.out"]  # doctest: +SKIP
    (np.float32(-0.27), np.float32(6.31))
    >>> ranges.save("ranges.json")  # quantize_static(..., calibration_cache_path="ranges.json")  # doctest: +SKIP

    reader      feeds ({input name: array}), or an onnxruntime CalibrationDataReader: read once, one feed in memory at
                a time; inputs may have another length in each
    method      minmax          lowest and highest number ever seen
                moving_average  of each feed's lowest and highest, the newest weighing most
                percentile      keeps `percentile` percent of the numbers
                mse             least squared error of the codes
                entropy         least KL divergence between the numbers and their codes
    dtype, symmetric            the codes that the ranges are for
    bins        of the histogram that the last three keep of each tensor, in place of its activations

    Returns `Ranges`. Tensors inside the bodies of If, Loop and Scan have none, nor have tensors that hold infinity:
    `.left_out` says which. Quantize the very file that was calibrated: pre-processing renames tensors.
    Raises ValueError for a reader without feeds, a feed that does not fit the model, and NaN in a feed or a tensor.
    """

    def observer():
        return _observer(method, dtype=dtype, symmetric=symmetric, percentile=percentile, bins=bins)

    observer()  # a wrong setting is refused before a large model is opened
    watched = WatchedModel(model)
    if not watched.tensors:
        raise ValueError(f"{watched.path} has no float32 or float16 tensor to watch: there is nothing to calibrate")
    observers = {name: observer() for name in watched.tensors}
    ranges = Ranges(observers, watched.tensors, watched.left_out, watched.joins, watched.inputs)
    with bar(iterate_feeds(reader), "calibrating", total=_length(reader), unit="feed") as feeds:
        for feed in feeds:
            try:
                for name, x in watched.run(feed):
                    ranges.observe(name, x)
            except ValueError as error:
                raise ValueError(f"feed {ranges.feeds} of the reader: {error}") from error
            ranges.feeds += 1
    if not ranges.feeds:
        raise ValueError(
            "the reader gave no feed; expected at least one {input name: array}. Was it read before? "
            "A generator or a CalibrationDataReader gives its feeds once: make a new one"
        )
    return ranges


def _observer(method, *, percentile, bins, **codes):
    match method:
        case "minmax":
            return MinMaxObserver(**codes)
        case "moving_average":
            return MovingAverageObserver(**codes)
        case "percentile":
            return PercentileObserver(**codes, bins=bins, percentile=percentile)
        case "mse":
            return MseObserver(**codes, bins=bins)
        case "entropy":
            return EntropyObserver(**codes, bins=bins)
    raise ValueError(f"method is {method!r}; expected one of {', '.join(METHODS)}")


def _length(reader):
    """How many feeds the reader says it has, or None: onnxruntime's own base class raises at the question."""
    if isinstance(reader, Mapping):  # a single feed, whose length is that of its inputs
        return 1
    try:
        return length_hint(reader) or None
    except (NotImplementedError, TypeError):
        return None


class WatchedModel:
    """A model opened so that `run` shows the tensors inside: the inputs and what the nodes compute.

    Graph optimizations are off: they fuse nodes and rename tensors, and a quantizer works on the names in the file.
    The model is not changed, and weights stored outside its file are read where they lie.
    tensors   {name: np.float32 or np.float16} of all that is watched, in graph order
    left_out  {name: reason} of the tensors that cannot be
    joins, inputs  Joins and Inputs of the model, which have seen nothing yet
    Raises what `graph.load` raises, and ValueError if onnxruntime cannot run the model.
    """

    def __init__(self, model):
        model = opened(model)
        self.path, network = model.path, model.network
        computed = [name for node in network.items for name in node.output if name]
        self.session = model.unoptimized(shown=computed)
        self.joins = Joins(model.proto)  # of a model that runs: each node has the inputs and outputs that it needs
        self.inputs = Inputs(model.proto)
        types = {value.name: value.type for value in (*self.session.get_inputs(), *self.session.get_outputs())}
        types = {name: types[name] for name in (*network.inputs, *computed)}
        self.tensors = {name: WATCHED[kind] for name, kind in types.items() if kind in WATCHED}
        self.left_out = {name: f"holds {kind}" for name, kind in types.items() if kind in OTHER_FLOATS}
        self.left_out |= dict.fromkeys(network.inside - {"", *types}, "inside the body of an If, Loop or Scan")
        self._fetched = [name for name in computed if name in self.tensors]

    def run(self, feed):
        """Yield (name, array) of every watched tensor for one feed, which is checked first."""
        check_feed(self.session, feed, self.path.name)
        try:
            arrays = run(self.session, feed, self._fetched) if self._fetched else []
        except Exception as error:  # onnxruntime's exceptions share no base class
            raise ValueError(f"onnxruntime could not run {self.path.name!r} on this feed ({error})") from error
        yield from ((name, feed[name]) for name in self.tensors if name in feed)
        yield from zip(self._fetched, arrays, strict=True)
