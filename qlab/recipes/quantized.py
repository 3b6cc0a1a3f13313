"""What a recipe hands back: where the model is, what became of every product and why, and why a file grew."""

import re
from collections import Counter, defaultdict
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from qlab import graph
from qlab.graph.editing import narrow_types
from qlab.graph.operators import FLOAT_PRODUCTS, MATRIX_PRODUCTS, NO_INTEGER_KERNEL, PRODUCTS
from qlab.recipes.choice import DYNAMIC, IN_BLOCKS, STATIC, WAYS, Choice
from qlab.text import figures, listed

FEW = 10_000  # bytes of nodes and scales, which a small model adds to its small file
NOTABLE = 0.1  # of the growth
CODES, COPY = "_quantized", re.compile(r"/copy\d+$")  # of a weight's name, and of those that different uses get


@dataclass(frozen=True)
class Fate:
    """One product: `how` it is quantized ("dynamic", "static", "in blocks") or "float", and then `why`."""

    name: str
    op_type: str
    how: str
    why: str = ""


@dataclass(frozen=True, repr=False)
class Quantized:
    """A quantized model on disk. Printing it says what was done to how many nodes, what stayed float, and why.

    path, recipe          where it is, and the name of its recipe, as in RECIPES
    choice                the dtypes and why these: a Choice
    per_channel           whether weights have a scale per output channel
    size_mb, original_mb  10^6 bytes, with external data
    products              the fate of every convolution, matrix product and recurrent layer: name, op_type, how, why
    census                where the nodes of the graph compute that onnxruntime runs here
    notes                 what did not go as usual
    """

    path: Path
    recipe: str
    choice: Choice
    per_channel: bool
    size_mb: float
    original_mb: float
    products: tuple[Fate, ...]
    census: graph.Census
    notes: tuple[str, ...] = ()

    @property
    def stayed_float(self):
        """{(op_type, why): [names of nodes]} of the products that compute in float."""
        reasons = {}
        for fate in self.products:
            if fate.how == "float":
                reasons.setdefault((fate.op_type, fate.why), []).append(fate.name)
        return reasons

    @property
    def done(self):
        """["38 of 38 Conv (static)", ...]: per way and operator, how many products are quantized."""
        total = Counter(fate.op_type for fate in self.products)
        done = Counter((fate.op_type, fate.how) for fate in self.products)
        return [f"{done[one, how]} of {total[one]} {one} ({how})" for how in WAYS for one in total if done[one, how]]

    def __fspath__(self):
        return str(self.path)

    def __repr__(self):
        totals = Counter(fate.op_type for fate in self.products)
        lines = [
            f"{self.recipe}: {self.path}, {figures(self.size_mb)} MB (before: {figures(self.original_mb)} MB)",
            *self._codes(),
            *(
                f"  in float: {len(names)} of {totals[op_type]} {op_type}: {why}"
                for (op_type, why), names in self.stayed_float.items()
            ),
            *self._rest(),
            *(f"  note: {note}" for note in self.notes),
        ]
        return "\n".join(lines)

    def _codes(self):
        """Two lines: what the codes are and why, and which products have them."""
        scales = "a weight scale per output channel" if self.per_channel else "one weight scale per tensor"
        yield f"  {self.choice}, {scales}: {self.choice.why}"
        yield f"  on integers: {', '.join(self.done) or 'nothing'}"

    def _rest(self):
        """One line on the float nodes that are no products."""
        rest = Counter()
        for (_, op_type), count in self.census.float.items():
            if op_type not in PRODUCTS:
                rest[op_type] += count
        return [f"  in float besides, no products: {listed(rest)}"] if rest else []


def fates(before, after, optimized, op_types, exclude):
    """The Fate of every product in the ModelProto `before`, in graph order.

    after      the quantized model: a node that is still a product between DequantizeLinear nodes is static, one that
               was replaced is dynamic, one that a product of codes took the name of is in blocks
    optimized  the graph that onnxruntime makes of it: a static product that is still float there was not fused
    op_types   what the recipe quantizes; exclude, {name: why} of nodes that are to stay in float
    """
    constants = {tensor.name: len(tensor.dims) for one in graph.graphs(before) for tensor in one.initializer}
    inner = {node.name for one in list(graph.graphs(before))[1:] for node in one.node}
    dequantized = {name for node in graph.nodes(after) if node.op_type == "DequantizeLinear" for name in node.output}
    remaining = {node.name: node for node in graph.nodes(after)}
    floats = {node.name for node in graph.nodes(optimized) if node.op_type in FLOAT_PRODUCTS}
    for node in graph.nodes(before):
        if node.op_type not in FLOAT_PRODUCTS:
            continue
        left = remaining.get(node.name) or remaining.get(f"{node.name}_MatMul")
        if left is None:
            yield Fate(node.name, node.op_type, DYNAMIC)
        elif graph.is_quantized(left):
            yield Fate(node.name, node.op_type, IN_BLOCKS)
        elif left.input[0] not in dequantized or left.input[1] not in dequantized:
            yield Fate(node.name, node.op_type, "float", _why(node, op_types, exclude, constants, node.name in inner))
        elif left.name in floats:
            yield Fate(
                node.name, node.op_type, "float", "between Q and DQ, but onnxruntime has no integer kernel for it here"
            )
        else:
            yield Fate(node.name, node.op_type, STATIC)


def _why(node, op_types, exclude, constants, inside):
    if node.name in exclude:
        return exclude[node.name]
    if node.op_type in NO_INTEGER_KERNEL:
        return "onnxruntime has no integer kernel for it"
    if node.op_type not in op_types and not (node.op_type == "Gemm" and "MatMul" in op_types):
        return "not among the operators that this recipe quantizes"
    if node.input[1] not in constants:
        left = node.op_type in MATRIX_PRODUCTS and node.input[0] in constants
        return "the weights are its left factor" if left else "no constant weights: both factors move with the input"
    if node.op_type == "MatMul" and constants[node.input[1]] != 2:
        return f"weights of {constants[node.input[1]]} dimensions: only per_channel=False takes them"
    if inside:
        return "inside If, Loop or Scan, where onnxruntime's quantizer does not reach"
    return "onnxruntime's quantizer left it out"


def grown(model, prepared, quantized):
    """[A note], if the file of the Model `quantized` grew notably, made of `model` by way of `prepared`; otherwise [].

    1. Pre-processing computes what is constant (a table that is transposed in each branch of an If, once more for
       each), and makes float32 of numbers of 16 bits.
    2. A weight that somebody reads as floats as well stays beside its codes.
    3. Otherwise the model is so small, or so little of it was quantized, that scales and nodes take more than it saves.
    """
    before, between, after = (one.bytes for one in (model, prepared, quantized))
    if after < before + FEW:
        return []
    text = f"the file grew from {_mb(before)} to {_mb(after)} MB"
    stored = _stored(model, prepared, after - before) if between > before else ""
    if stored:
        return [f"{text}, to {_mb(between)} MB before anything was quantized: pre-processing stores {stored}"]
    both = _beside_codes(quantized, after - before)
    if both:
        return [f"{text}: {max(both, key=both.get)!r} stays in it as floats beside its codes, for what else reads it"]
    return [f"{text}: the nodes, scales and shapes that were added take more than codes save"]


def _stored(model, prepared, growth):
    """What pre-processing stored that makes for most of the growth, in words; empty where nothing does."""
    before, after = (sum(one.array(tensor).nbytes for tensor in graph.tensors(one.proto)) for one in (model, prepared))
    if after - before < growth / 2:
        return ""
    if narrow_types(model.proto):
        return "as float32 what was of 16 bits"
    have, more = (_by_values(one, NOTABLE * growth) for one in (model, prepared))
    copies = {key: len(names) - len(have.get(key, ())) for key, names in more.items()}
    most = max(copies, key=lambda key: copies[key] * key[0], default=None)
    if most is None or copies[most] < 1:
        return ""
    if most not in have:
        return f"{more[most][0]!r}, which the model computes from constants"
    name = have[most][0] or more[most][0]
    return f"{name!r} {len(more[most])} times, once for each use of it or of what it is transposed to"


def _by_values(model, least):
    """{(bytes, hash of the sorted values): [names]} of constants of `least` bytes: transposed ones are alike."""
    found = defaultdict(list)
    for tensor in graph.tensors(model.proto):
        array = model.array(tensor)
        if array.nbytes >= least and array.dtype.kind in "fiu":
            found[array.nbytes, hash(np.sort(array, axis=None).tobytes())].append(tensor.name)
    return found


def _beside_codes(quantized, growth):
    """{name: bytes} of notable float constants whose codes are stored as well, by the names that quantizing gives."""
    stored = {tensor.name: tensor for one in graph.graphs(quantized.proto) for tensor in one.initializer}
    coded = {COPY.sub("", name.removesuffix(CODES)) for name in stored if name.endswith(CODES)}
    floats = {COPY.sub("", name): 4 * np.prod(tensor.dims) for name, tensor in stored.items()}
    return {name: size for name, size in floats.items() if name in coded and size >= NOTABLE * growth}


def _mb(number):
    return figures(number / 1e6)
