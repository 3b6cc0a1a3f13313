"""The mathematics of quantization in NumPy, readable beside the equations; it needs no model and no runtime.

Read in this order:

    affine        choose_qparams, quantize, dequantize: evenly spaced codes
    granularity   how many numbers share a scale, what that costs, and which scales an integer product can use
    clipping      mse_range: give up a few large values for a finer scale
    codebook      unevenly spaced codes: k-means, powers of two, NormalFloat, fp8, fp4, bfloat16
    kernels       ONNX's quantization operators, equal to the standard and to onnxruntime
    saturation    int16 and int32 overflow, made visible on any computer
    metrics       SQNR and other errors, and the bootstrap interval of a difference

`qparams` and `dtypes` hold what these share.
"""

from qlab.numerics import affine, codebook, granularity, kernels, metrics, saturation
from qlab.numerics import affine as clipping

__all__ = ["affine", "clipping", "codebook", "granularity", "kernels", "metrics", "saturation"]
