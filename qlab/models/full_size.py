"""Full-size models for latency only: shipped as graphs without weights, filled here with noise from a seed.

The noise preserves variance: a layer of fan-in K gets weights of variance gain / K, so that activations neither die out
nor grow, whatever the depth (He et al. 2015, arXiv 1502.01852). It is made of integers and one float32 multiplication,
which round alike everywhere: the same seed gives the same bytes on every platform.
"""

import hashlib
import math

import numpy as np
import onnx
from onnx import TensorProto, numpy_helper

from qlab.files import checked
from qlab.models.catalog import kept
from qlab.numerics.dtypes import Array
from qlab.runtime import bar

SEED = 2024
NOTE = "random weights: latency only"
# 1 / E[f(z)^2] for a standard normal z: what a nonlinearity takes from the power, the weights behind it give back.
GAINS = {"Relu": 2.0, "SiLU": 2.8, "GLU": 3.4}
# What a convolution adds to a residual: less power than the residual has, or a chain of them would grow without end.
# With 0.65 the U-Net keeps its power from end to end, since its bilinear upsampling takes some.
RESIDUAL_GAIN = 0.65
# Sum of four uniform int16 numbers: nearly normal, and exact in float32.
FOUR_UNIFORM_STD = math.sqrt(4 * (2**32 - 1) / 12)


def fill(model, seed):
    """Give every initializer of `model` that has no values its noise, in place, and mark the model as random.

    Matrices of MatMul and Gemm and kernels of Conv get variance gain / fan-in; scales of LayerNormalization are one;
    what is added (biases, positions) gets noise of standard deviation 0.02.
    Raises ValueError for a tensor that no node reads: its scale would be a guess.
    """
    from qlab.graph.network import Links  # here, since with qlab.graph comes matplotlib, which writes a list of fonts

    links = Links(model.graph.node)
    stream = np.random.PCG64(seed)
    bare = [tensor for tensor in model.graph.initializer if _is_bare(tensor)]
    for tensor in bar(bare, "filling with noise", unit="tensor"):
        if tensor.name not in links.readers:
            raise ValueError(f"no node reads the initializer {tensor.name!r}, so its scale is unknown")
        node = links.readers[tensor.name][-1]
        place = list(node.input).index(tensor.name)
        if node.op_type == "LayerNormalization" and place == 1:
            values = np.ones(tensor.dims, np.float32)
        elif fan_in := _fan_in(node, place, tensor.dims):
            gain = GAINS.get(_nonlinearity(links.maker(node), links), 1.0)
            if node.op_type == "Conv" and [one.op_type for one in links.behind(node)][-1:] == ["Add"]:
                gain *= RESIDUAL_GAIN
            values = _noise(tensor.dims, math.sqrt(gain / fan_in), stream)
        else:
            values = _noise(tensor.dims, 0.02, stream)
        tensor.CopyFrom(numpy_helper.from_array(values, tensor.name))
    del model.metadata_props[:]
    model.metadata_props.add(key="qlab.weights", value="random")
    model.metadata_props.add(key="qlab.note", value=NOTE)


def _is_bare(tensor):
    has_values = tensor.raw_data or tensor.float_data
    return tensor.data_type == TensorProto.FLOAT and math.prod(tensor.dims) > 0 and not has_values


def _fan_in(node, place, dims):
    """How many products a layer's output sums, or 0 where the tensor is no layer's matrix or kernel."""
    if place != 1 or node.op_type not in {"Conv", "Gemm", "MatMul"}:
        return 0
    if node.op_type == "Conv":
        return math.prod(dims[1:])
    transposed = any(attribute.name == "transB" and attribute.i for attribute in node.attribute)
    return dims[-1 if transposed else -2]


def _nonlinearity(node, links):
    """The function in front of a layer, seen through transposes and reshapes: "Relu", "SiLU", "GLU" or another."""
    from qlab.graph.operators import REARRANGING

    while node is not None and node.op_type in REARRANGING:
        node = links.maker(node)
    if node is None or node.op_type != "Mul":
        return node.op_type if node is not None else None
    for gated, gate in (node.input, reversed(node.input)):
        sigmoid = links.producers.get(gate)
        if sigmoid is not None and sigmoid.op_type == "Sigmoid":
            return "SiLU" if sigmoid.input[0] == gated else "GLU"
    return "Mul"


def _noise(shape, deviation, stream):
    count = math.prod(shape)
    raw = stream.random_raw(count).astype("<u8").view("<i2").reshape(count, 4)
    noise = raw.sum(axis=1, dtype=np.int32).astype(np.float32) * np.float32(deviation / FOUR_UNIFORM_STD)
    return noise.reshape(shape)


def filled_path(name):
    """Path of the skeleton `name` with its weights, made once (a second or two) and cached outside the repository.

    The cached file's name holds the hash of skeleton and seed.
    """
    bare = checked(f"models/{name}.onnx").read_bytes()
    key = hashlib.sha256(bare + f"seed {SEED}, format 1".encode()).hexdigest()[:16]

    def make():
        model = onnx.load_from_string(bare)
        fill(model, SEED)
        return model.SerializeToString(deterministic=True)

    return kept(f"{name}-{key}.onnx", make)


def example_feed(name: str, *, frames: int = 250) -> dict[str, Array]:
    """A feed of the right shapes for a full-size model, {input: array}: noise, the same every time.

    "conformer_full": speech [1, frames, 80], one frame every 10 ms. "face_unet_full": audio and face.
    """
    rng = np.random.default_rng(SEED)
    if name == "conformer_full":
        speech = rng.standard_normal((1, frames, 80)).astype(np.float32)
        return {"speech": speech, "speech_lengths": np.array([frames], np.int64)}
    if name == "face_unet_full":
        shapes = {"audio": (1, 128, 16, 32), "face": (1, 6, 160, 160)}
        return {key: rng.random(shape, np.float32) for key, shape in shapes.items()}
    raise ValueError(f"expected 'conformer_full' or 'face_unet_full', got {name!r}")
