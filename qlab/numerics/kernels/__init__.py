"""ONNX's quantization operators in NumPy: their names, input order, broadcasting and element types.

Each function is named after its operator in snake_case, takes the inputs in ONNX's order and the attributes by keyword,
and returns what the operator outputs. They are strict where ONNX is (codes and zero points of one type) and say what is
wrong.
"""

from qlab.numerics.kernels.convolution import conv_integer, qlinear_conv
from qlab.numerics.kernels.linear import dequantize_linear, dynamic_quantize_linear, quantize_linear
from qlab.numerics.kernels.products import matmul_integer, qlinear_matmul, requantize

__all__ = [
    "conv_integer",
    "dequantize_linear",
    "dynamic_quantize_linear",
    "matmul_integer",
    "qlinear_conv",
    "qlinear_matmul",
    "quantize_linear",
    "requantize",
]
