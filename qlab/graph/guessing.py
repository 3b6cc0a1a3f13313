"""What an input of a model probably wants, told from its name, its type and the names of its sizes."""

import re
from dataclasses import dataclass

import numpy as np
import onnx
from onnx import helper

from qlab.graph.operators import REARRANGING

# What a symbolic size is for, by the words in its name. Nothing is in a cache before the first step.
MEANINGS = {
    "batch": ({"batch", "bs", "b", "n"}, 1),
    "past": ({"past", "cache", "history", "prev"}, 0),
    "wave": ({"sample", "wav", "wave", "waveform", "audio"}, 16_000),
    "time": ({"time", "frame", "seq", "sequence", "len", "length", "token", "step", "t", "l"}, 128),
    "space": ({"height", "width", "h", "w"}, 224),
    "channels": ({"channel", "c"}, 3),
}
BATCH, TIME, SPACE, CHANNELS = (MEANINGS[key][1] for key in ("batch", "time", "space", "channels"))
UNNAMED = 16
LENGTHS = {"len", "length", "size"}
STARTS_AT_ZERO = {"type", "segment", "position", "offset", "start", "past", "cache", "index", "step"}
PASSED_ON = REARRANGING | {"Cast"}


@dataclass(frozen=True)
class Input:
    """One input that must be fed.

    dtype  NumPy's; sizes, one for each dimension: a number, or the symbol that stands for it
    table  how many rows the constant table has that this input looks up, None for all else
    """

    name: str
    dtype: np.dtype
    sizes: tuple[int | str, ...]
    table: int | None = None

    def __str__(self):
        return f"{self.name}: {self.dtype} [{', '.join(map(str, self.sizes))}]"

    @property
    def words(self):
        """The words of its name."""
        return words(self.name)

    @property
    def is_mask(self):
        """Whether it says what to look at: booleans, or "mask" in its name."""
        return self.dtype.kind == "b" or "mask" in self.words

    @property
    def time_symbols(self):
        """Its symbolic lengths."""
        return [size for size in self.sizes if isinstance(size, str) and meaning(size) in ("time", "wave")]


def inputs_of(model, path):
    """The Inputs of the ModelProto in the file `path`; those with a default value need not be fed.

    Raises ValueError if one is no tensor.
    """
    defaults = {tensor.name for tensor in model.graph.initializer}
    declared = [value for value in model.graph.input if value.name not in defaults]
    other = {value.name: value.type.WhichOneof("value") for value in declared if not value.type.HasField("tensor_type")}
    if other:
        raise ValueError(f"{path} takes inputs that are no tensors, {other}: no feed can be invented; give real ones")
    tables = _tables(model.graph)
    return [_input(value, tables.get(value.name)) for value in declared]


def guessed_size(symbol, axis, one):
    """A size for `symbol`, dimension `axis` of the Input `one`: by its name, otherwise by where it stands."""
    if key := meaning(symbol):
        return MEANINGS[key][1]
    if axis == 0:
        return BATCH
    if len(one.sizes) == 4 and one.dtype.kind == "f":
        return SPACE if axis > 1 else CHANNELS
    return TIME if axis == 1 and len(one.sizes) < 4 else UNNAMED


def guessed_values(one, shape, length, rng):
    """An array of `shape` for the Input `one`, where a sequence in the same feed is `length` long.

    Floats are standard normal noise; pictures (4 dimensions, 3 channels) uniform in 0..1; a lone number 1.
    Integers: within their table; ones for a mask, zeros for offsets and types, the length; bytes; small ids.
    """
    if one.dtype.kind == "b":
        return np.ones(shape, bool)
    if one.dtype.kind in "OSU":
        return np.full(shape, "a", object)
    if one.table is not None:
        values = rng.integers(0, max(1, one.table), shape)
    elif "mask" in one.words:
        values = np.ones(shape)
    elif one.dtype.kind in "iu":
        values = _integers(one, shape, length, rng)
    elif not shape:
        values = 1.0
    else:
        values = rng.random(shape) if len(shape) == 4 and 3 in (shape[1], shape[3]) else rng.standard_normal(shape)
    return np.asarray(values).astype(one.dtype)


def meaning(symbol):
    """The key of MEANINGS that a word of `symbol` belongs to, or None: "past_seq_len" is past before it is time."""
    found = set() if "@" in symbol else words(symbol)
    return next((key for key, (known, _) in MEANINGS.items() if found & known), None)


def words(name):
    """The words of a name, without a plural's s: {"speech", "length"} of "speechLengths" or "speech_lengths"."""
    return {word.lower().removesuffix("s") or "s" for word in re.findall(r"[A-Z]?[a-z]+|[A-Z]+(?![a-z])", name)}


def _integers(one, shape, length, rng):
    if one.words & STARTS_AT_ZERO:
        return np.zeros(shape)
    if one.words & LENGTHS:
        return np.full(shape, length)
    if one.dtype.itemsize == 1:
        limits = np.iinfo(one.dtype)
        return rng.integers(limits.min, limits.max, shape, endpoint=True)
    return rng.integers(0, 10, shape) if shape else 1


def _input(value, table):
    kind = value.type.tensor_type
    sizes = [_size(size, f"{value.name}@{axis}") for axis, size in enumerate(kind.shape.dim)]
    if not kind.HasField("shape"):  # any rank: a matrix is the likeliest
        sizes = [f"{value.name}@0", f"{value.name}@1"]
    return Input(value.name, helper.tensor_dtype_to_np_dtype(kind.elem_type), tuple(sizes), table)


def _size(size, unnamed):
    if size.HasField("dim_value") and size.dim_value >= 0:
        return size.dim_value
    return size.dim_param or unnamed


def _tables(graph):
    """{input: rows} of the inputs that are indices into a constant table, directly or through a change of shape."""
    stored = {tensor.name: tensor.dims for tensor in graph.initializer}
    origin, tables = {value.name: value.name for value in graph.input}, {}
    for node in graph.node:
        attributes = {one.name: helper.get_attribute_value(one) for one in node.attribute}
        if node.op_type == "Constant" and isinstance(attributes.get("value"), onnx.TensorProto):
            stored[node.output[0]] = attributes["value"].dims
        elif node.op_type in PASSED_ON and node.input and node.input[0] in origin:
            origin[node.output[0]] = origin[node.input[0]]
        elif node.op_type == "Gather" and node.input[0] in stored and node.input[1] in origin:
            name, rows = origin[node.input[1]], stored[node.input[0]][attributes.get("axis", 0)]
            tables[name] = min(rows, tables.get(name, rows))
    return tables
