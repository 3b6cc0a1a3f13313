"""What a node has to do: multiply-adds, bytes it must move, and the sign pair of an integer product."""

import math
from dataclasses import dataclass

from onnx import TensorProto, helper

CONVOLUTIONS = {"Conv", "FusedConv", "ConvInteger", "QLinearConv", "ConvTranspose", "QLinearConvTranspose"}
MATRIX_PRODUCTS = {
    "MatMul", "FusedMatMul", "Gemm", "FusedGemm", "MatMulInteger", "MatMulIntegerToFloat", "DynamicQuantizeMatMul",
    "QLinearMatMul", "QGemm", "MatMulNBits",
}  # fmt: skip
RECURRENT = {"LSTM", "GRU", "RNN", "DynamicQuantizeLSTM"}
ATTENTION = {"Attention", "QAttention", "MultiHeadAttention", "GroupQueryAttention"}
PRODUCTS = CONVOLUTIONS | MATRIX_PRODUCTS | RECURRENT | ATTENTION
QUANTIZERS = {"QuantizeLinear", "DequantizeLinear", "DynamicQuantizeLinear"}  # between floats and codes

# Where the two factors stand among the inputs: (activations, weights); (0, 1) if not listed.
FACTORS = {"QLinearConv": (0, 3), "QLinearMatMul": (0, 3), "QGemm": (0, 3)}
SIGNS = {TensorProto.UINT8: "u8", TensorProto.INT8: "s8"}
# These quantize their float activations to uint8 themselves.
DYNAMIC = {"DynamicQuantizeMatMul", "DynamicQuantizeLSTM", "QAttention"}
PROFILER_TYPES = {
    "float": TensorProto.FLOAT, "double": TensorProto.DOUBLE, "float16": TensorProto.FLOAT16,
    "bfloat16": TensorProto.BFLOAT16, "bool": TensorProto.BOOL, "string": TensorProto.STRING,
    "int4": TensorProto.INT4, "uint4": TensorProto.UINT4,
    **{f"{sign}int{bits}": getattr(TensorProto, f"{sign.upper()}INT{bits}")
       for sign in ("", "u") for bits in (8, 16, 32, 64)},
}  # fmt: skip


@dataclass(frozen=True)
class Tensor:
    """What is known of a tensor: its element type (a TensorProto number), shape, and whether it is a constant."""

    dtype: int
    shape: tuple[int, ...]
    constant: bool = False

    @property
    def bytes(self):
        """Its size. Types narrower than a byte are packed."""
        return math.ceil(math.prod(self.shape) * bits(self.dtype) / 8)


def bits(dtype):
    """Bits of one element of the type; 0 for text, which has no fixed size."""
    name = TensorProto.DataType.Name(dtype).lower()
    if name in ("uint4", "int4", "float4e2m1", "uint2", "int2"):
        return 2 if name.endswith("2") else 4
    if name in ("undefined", "string"):
        return 0
    return 8 * helper.tensor_dtype_to_np_dtype(dtype).itemsize


def macs(node, tensors):
    """Multiply-adds of one execution of `node`, 0 for what is no product or of unknown shape.

    `tensors` maps names to Tensors. Convolutions and matrix products are exact; the products inside attention operators
    are left out, their projections are counted.
    """
    left, right = (tensors.get(node.input[place]) for place in factors(node)) if is_product(node) else (None, None)
    result = tensors.get(node.output[0])
    if left is None or result is None:
        return 0
    if node.op_type == "MatMulNBits":
        return math.prod(result.shape) * _attribute(node, "K", 0)
    if right is None:
        return 0
    if node.op_type in CONVOLUTIONS:
        moving = left if "Transpose" in node.op_type else result
        return math.prod(moving.shape) * math.prod(right.shape[1:])
    if node.op_type in RECURRENT:  # input [time, batch, features]; weights [directions, gates * hidden, features]
        hidden = _attribute(node, "hidden_size", 0)
        gates = max(right.shape[1:]) if node.op_type.startswith("Dynamic") else right.shape[1]
        return math.prod(left.shape[:2]) * right.shape[0] * gates * (left.shape[-1] + hidden)
    if node.op_type in ATTENTION:
        return math.prod(left.shape) * right.shape[-1] if len(right.shape) == 2 else 0
    if not left.shape:
        return 0
    depth = left.shape[-2 if _attribute(node, "transA", 0) and len(left.shape) > 1 else -1]
    return math.prod(result.shape) * depth


def sign_pair(node, tensors):
    """ "u8s8" and the like: the left factor's and the right factor's sign in the product that `node` computes, or "".

    ConvInteger hands its weights over as the left factor, so there the weights' sign comes first.
    """
    if not is_product(node):
        return ""
    left, right = (SIGNS.get(getattr(tensors.get(node.input[place]), "dtype", 0), "") for place in factors(node))
    if node.op_type in DYNAMIC:
        left = "u8"
    if not left or not right:
        return ""
    return right + left if node.op_type == "ConvInteger" else left + right


def moved_bytes(node, tensors):
    """Bytes that one execution of `node` reads and writes at the least: each of its tensors once."""
    names = dict.fromkeys([*node.input, *node.output])
    return sum(tensors[name].bytes for name in names if name in tensors)


def factors(node):
    """Where the activations and the weights of a product stand among its inputs."""
    return FACTORS.get(node.op_type, (0, 1))


def is_product(node):
    """Whether `node` is a convolution, a matrix product, a recurrent layer or attention, with two factors."""
    return node.op_type in PRODUCTS and len(node.input) > max(factors(node))


def is_depthwise(node, tensors):
    """Whether `node` is a convolution that makes one channel of each, by itself: many of each are work like any."""
    weights = tensors.get(node.input[factors(node)[1]]) if node.op_type in CONVOLUTIONS else None
    return weights is not None and weights.shape[:2] == (_attribute(node, "group", 1), 1) and weights.shape[0] > 1


def _attribute(node, name, default):
    return next((one.i for one in node.attribute if one.name == name), default)
