"""Calibration: watch a model's activations on real inputs, and choose the range that each tensor's codes shall cover.

collect      the whole of it, model and feeds in, `Ranges` out: what onnxruntime's quantizer reads
observers    running statistics of one tensor: observe, merge, range
histogram    counts that widen without forgetting
hessians     X^T X of what matrix products read: how much an error of each weight matters
clipping     from a histogram to a range: percentile, least squared error, least KL divergence
fitting      scales of weights for kernels whose sums saturate in 16 bits
rounding     weights of a quantized file up or down, by what its layers read
"""

from qlab.calibration.collect import Ranges, collect
from qlab.calibration.histogram import Histogram
from qlab.calibration.observers import (
    EntropyObserver,
    MinMaxObserver,
    MovingAverageObserver,
    MseObserver,
    PercentileObserver,
)

__all__ = [
    "EntropyObserver",
    "Histogram",
    "MinMaxObserver",
    "MovingAverageObserver",
    "MseObserver",
    "PercentileObserver",
    "Ranges",
    "collect",
]
