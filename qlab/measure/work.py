"""What a node has to do: multiply-adds, bytes it must move, and the sign pair of an integer product."""

import math
from dataclasses import dataclass

from onnx import TensorProto, helper

from qlab.graph.operators import ATTENTION, CONVOLUTIONS, DYNAMIC, RECURRENT, attribute, factors, is_product
from qlab.graph.operators import MATRIX_PRODUCTS as MATRIX_PRODUCTS  # lesson 09 looks for it here

SIGNS = {TensorProto.UINT8: "u8", TensorProto.INT8: "s8"}
PROFILER_TYPES = {name.lower(): number for name, number in TensorProto.DataType.items()}


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
        return math.prod(result.shape) * attribute(node, "K", 0)
    if right is None:
        return 0
    if node.op_type == "Einsum":
        return _einsum_macs(node, [tensors.get(name) for name in node.input])
    if node.op_type in CONVOLUTIONS:
        moving = left if "Transpose" in node.op_type else result
        return math.prod(moving.shape) * math.prod(right.shape[1:])
    if node.op_type in RECURRENT:  # input [time, batch, features]; weights [directions, gates * hidden, features]
        hidden = attribute(node, "hidden_size", 0)
        gates = max(right.shape[1:]) if node.op_type.startswith("Dynamic") else right.shape[1]
        return math.prod(left.shape[:2]) * right.shape[0] * gates * (left.shape[-1] + hidden)
    if node.op_type in ATTENTION:
        return math.prod(left.shape) * right.shape[-1] if len(right.shape) == 2 else 0
    if not left.shape:
        return 0
    depth = left.shape[-2 if attribute(node, "transA", 0) and len(left.shape) > 1 else -1]
    return math.prod(result.shape) * depth


def _einsum_macs(node, inputs):
    """The product of the sizes of all its indices; what "..." stands for is as long as the longest."""
    terms = attribute(node, "equation", b"").decode().replace(" ", "").split("->")[0].split(",")
    if None in inputs:
        return 0
    sizes, rest = {}, [1]
    for term, tensor in zip(terms, inputs, strict=True):
        before, _, behind = term.partition("...")
        shape, end = tensor.shape, len(tensor.shape) - len(behind)
        rest.append(math.prod(shape[len(before) : end]))
        sizes |= zip(before + behind, shape[: len(before)] + shape[end:], strict=True)
    return math.prod(sizes.values()) * max(rest)


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


def is_depthwise(node, tensors):
    """Whether `node` is a convolution that makes one channel of each, by itself: many of each are work like any."""
    weights = tensors.get(node.input[factors(node)[1]]) if node.op_type in CONVOLUTIONS else None
    return weights is not None and weights.shape[:2] == (attribute(node, "group", 1), 1) and weights.shape[0] > 1
