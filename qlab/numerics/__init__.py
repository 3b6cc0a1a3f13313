"""The mathematics of quantization in NumPy, readable beside the equations; it needs no model and no runtime.

Read in this order:

    affine        choose_qparams, quantize, dequantize: evenly spaced codes; mse_range: clipped for a finer scale
    granularity   how many numbers share a scale, what that costs, and which scales an integer product can use
    codebook      unevenly spaced codes: k-means, powers of two, NormalFloat, fp8, fp4, bfloat16
    blockwise     codes of 2 to 8 bits with a scale for each block of a matrix: rounding, HQQ, GPTQ; how they are packed
    kernels       ONNX's quantization operators, equal to the standard and to onnxruntime
    rounding      up or down: codes for which a layer's output errs least
    saturation    int16 and int32 overflow, made visible on any computer
    fitting       scales of weights with which no sum of two products saturates
    metrics       SQNR, and the bootstrap interval of a difference

`dtypes` holds what these share.
"""

from qlab.numerics import affine, blockwise, codebook, fitting, granularity, kernels, metrics, rounding, saturation

__all__ = ["affine", "blockwise", "codebook", "fitting", "granularity", "kernels", "metrics", "rounding", "saturation"]
