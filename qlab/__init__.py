"""qlab: quantize numbers, tensors and ONNX models, and measure what it does.

Numbers and tensors, here at the front door:

    >>> import numpy as np, qlab
    >>> x = np.float32([[-1.0, 0.0, 3.0], [0.5, 1.0, 1.5]])
    >>> qparams = qlab.choose_qparams(x, "uint8")  # scale and zero point from the range of x
    >>> q = qlab.quantize(x, qparams)  # real -> codes
    >>> q
    array([[  0,  64, 255],
           [ 96, 128, 160]], dtype=uint8)
    >>> x_hat = qlab.dequantize(q, qparams)  # codes -> real; fake_quantize does both
    >>> round(qlab.sqnr_db(x, x_hat), 1)  # how much signal per noise is left
    52.0
    >>> qlab.choose_qparams(x, "int8", symmetric=True, granularity=qlab.PerAxis(0)).scale.shape  # a scale per row
    (2,)

`PerTensor()`, `PerAxis(axis)`, `PerToken()` and `PerBlock(axis, block_size)` say how many numbers share a scale.

Models, one floor above the other; `from qlab import recipes`, or `qlab.recipes`, which is loaded when it is first used:

    numerics       the mathematics: affine, granularity, codebook, blockwise, kernels, saturation, metrics
    machine        the machine card: which integer products are fast here, and which saturate
    graph          open a model, count what computes on integers, compare and draw graphs
    models         the trained and full-size models of the course, their data, WER
    calibration    watch activations and choose their ranges
    recipes        fp32 model in, quantized model out: dynamic, static, hybrid, weight_only
    measure        compare speed and quality, profile, find out why an int8 model is slow
    doctor         all of that as one command: `qlab doctor`

Nothing leaves the machine. onnxruntime's wheels start telemetry as soon as they are imported: `import qlab` switches it
off, so in a program of your own let it stand before `import onnxruntime`; afterwards no call can take it back. With
ORT_DISABLE_TELEMETRY=0 in the environment the telemetry stays on.
"""

import importlib
import os
from typing import TYPE_CHECKING, Any

from qlab.numerics.affine import QParams, choose_qparams, dequantize, fake_quantize, quantize
from qlab.numerics.granularity import PerAxis, PerBlock, PerTensor, PerToken
from qlab.numerics.metrics import sqnr_db

__version__ = "0.1.0"

_PARTS = (
    "calibration", "course", "doctor", "graph", "machine", "measure", "models", "numerics", "palette", "recipes",
)  # fmt: skip

__all__ = [
    "PerAxis",
    "PerBlock",
    "PerTensor",
    "PerToken",
    "QParams",
    "choose_qparams",
    "dequantize",
    "fake_quantize",
    "quantize",
    "sqnr_db",
]

# Here, since whatever part of qlab is imported, this file runs first, and numerics above never imports onnxruntime.
# Only an explicit 0 has it back: an empty value, or one that onnxruntime does not know, would let it send unasked.
if os.environ.get("ORT_DISABLE_TELEMETRY") != "0":
    os.environ["ORT_DISABLE_TELEMETRY"] = "1"

if TYPE_CHECKING:
    from qlab import calibration as calibration
    from qlab import course as course
    from qlab import doctor as doctor
    from qlab import graph as graph
    from qlab import machine as machine
    from qlab import measure as measure
    from qlab import models as models
    from qlab import numerics as numerics
    from qlab import palette as palette
    from qlab import recipes as recipes


def __getattr__(name: str) -> Any:
    """A part of qlab, loaded now: `import qlab` alone stays quick."""
    if name in _PARTS:
        return importlib.import_module(f"qlab.{name}")
    raise AttributeError(f"module 'qlab' has no attribute {name!r}; it has: {', '.join((*__all__, *_PARTS))}")


def __dir__() -> list[str]:
    return sorted({*globals(), *_PARTS})
