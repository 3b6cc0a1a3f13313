"""Calibrate a model: watch its activations on real inputs, and give each tensor a range."""

from collections.abc import Mapping
from operator import length_hint

from qlab.calibration.observers import (
    EntropyObserver,
    MinMaxObserver,
    MovingAverageObserver,
    MseObserver,
    PercentileObserver,
)
from qlab.calibration.ranges import Ranges
from qlab.calibration.watching import WatchedModel
from qlab.graph.feeds import iterate_feeds
from qlab.machine.bars import bar
from qlab.types import DType, Method, ModelPath, Reader

METHODS = ("minmax", "moving_average", "percentile", "mse", "entropy")


def collect(
    model: ModelPath,
    reader: Reader,
    *,
    method: Method = "minmax",
    dtype: DType = "uint8",
    symmetric: bool = False,
    percentile: float = 99.99,
    bins: int = 2048,
) -> Ranges:
    """Run the model file `model` on every feed of `reader`, and choose a range for each float tensor in it.

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
        raise ValueError(f"{model} has no float32 or float16 tensor to watch: there is nothing to calibrate")
    ranges = Ranges({name: observer() for name in watched.tensors}, watched.tensors, watched.left_out, watched.joins)
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
