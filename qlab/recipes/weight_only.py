"""Weight-only quantization: matrices as codes of 2 to 8 bits in blocks, everything else as it was."""

from dataclasses import dataclass, field
from typing import Literal

import numpy as np
from onnx import TensorProto, helper

from qlab.calibration.hessians import hessians
from qlab.files import ModelPath
from qlab.graph.editing import Weights, as_products
from qlab.graph.model import Model
from qlab.graph.network import graphs, reads
from qlab.graph.operators import BLOCKED_INT8_ACCURACY, CONVOLUTIONS, FLOAT_PRODUCTS, attribute
from qlab.numerics import blockwise
from qlab.numerics.dtypes import whole_number
from qlab.numerics.metrics import sqnr_db
from qlab.recipes.choice import SHOWN, excluded
from qlab.recipes.job import job
from qlab.recipes.quantized import Quantized
from qlab.runtime import Names, Reader, bar, iterate_feeds, run_operator

Method = Literal["rtn", "gptq", "hqq"]

METHODS = {"rtn": "rounded to nearest", "gptq": "GPTQ", "hqq": "HQQ"}
LEVELS = {  # MatMulNBits' accuracy_level, of those that mean something to onnxruntime's CPU
    0: "floats in every sum", 1: "floats in every sum", BLOCKED_INT8_ACCURACY: "activations int8 in each block",
}  # fmt: skip
LARGEST_BLOCK_OF_2_BITS = 256  # onnxruntime refuses more
OP_TYPES = {"Gemm", "MatMul"}
DOMAIN = "com.microsoft"  # of MatMulNBits
GROUP = 200_000_000  # bytes of Hessians that are kept at a time
NOTABLE_PADDING = 0.1  # of the codes
IN_FLOATS_DB = 80  # int8 activations leave half of that


@dataclass(frozen=True)
class Blocks:
    """What the weights become: see `weight_only`. `why` says what that means on this machine."""

    bits: int
    block_size: int
    method: Method
    symmetric: bool
    accuracy_level: int
    why: str = field(default="", compare=False)

    def __str__(self):
        zero_points = "symmetric" if self.symmetric else "with zero points"
        return f"weights of {self.bits} bits in blocks of {self.block_size}, {zero_points}, {METHODS[self.method]}"


@dataclass(frozen=True, repr=False)
class WeightOnly(Quantized):
    """A model with weights in blocks: `choice` is its Blocks."""

    def _codes(self):
        yield f"  {self.choice}"
        yield f"  accuracy level {self.choice.accuracy_level}: {self.choice.why}"
        yield f"  as codes: {', '.join(self.done) or 'nothing'}"


@dataclass
class Matrix:
    """A constant factor, the products that read it, and whether it lies as [N, K] in the file."""

    name: str
    has_rows: bool
    products: list

    @property
    def inputs(self):
        """Names of what it is multiplied by, each once."""
        return list(dict.fromkeys(node.input[0] for node in self.products))


def weight_only(
    model: ModelPath | Model,
    output: ModelPath,
    reader: Reader | None = None,
    *,
    bits: int = 4,
    block_size: int = 32,
    method: Method = "rtn",
    symmetric: bool = True,
    accuracy_level: int = 4,
    exclude: Names = (),
) -> Quantized:
    """Store the constant matrices of `model` as codes with a scale for each block: MatMulNBits. Writes `output`.

    Matrices of MatMul and Gemm, and pointwise convolutions over time, which are matrix products.

    model, output  a path or a `graph.Model`, and a path; `model` is never touched, `output` appears whole or not at all
    reader         for gptq: representative feeds, {input name: array}, or a CalibrationDataReader; read once, and kept.
                   The others need none, and try the result on its first feed
    bits           2, 3, 4 or 8. onnxruntime has no kernel for 3: those codes ride in 4 bits, as large as bits=4
    block_size     weights, along what a product sums over, that share a scale: a power of two, 16 or more. Where the
                   last block of a row is short, the file pads it
    method         "rtn"   each weight rounded to nearest
                   "gptq"  what rounding a weight spoils on the feeds is made good by those behind it
                   "hqq"   scales such that most weights err little; needs no data
    symmetric      no zero points; all codes are used, by a scale with a sign
    accuracy_level 4: activations become int8 in each block, for an integer product; 0 or 1: float arithmetic
    exclude        names of nodes that stay in float

    Returns a `Quantized`, which says what became of every product. Raises ValueError for gptq without a reader, a model
    that is quantized already or cannot be opened or written, feeds that do not fit, and settings that cannot run;
    FileNotFoundError where something is missing.
    """
    choice = _checked(Blocks(bits, block_size, method, symmetric, accuracy_level))
    if method == "gptq" and reader is None:
        raise ValueError("gptq needs a reader, an iterable of feeds {input name: array}, to see what the weights meet")
    with job("weight_only", model, output) as work:
        exclude = excluded(work, exclude)
        result = work.prepared.copy(weights=True)
        as_products(result, exclude)
        weights = Weights(result, work.prepared.path.parent)
        matrices = _matrices(result, weights, exclude)
        exclude |= _left(work.prepared.proto, matrices, weights, exclude)
        coded = list(_coded(work, result, matrices, weights, choice, reader))
        work.notes += _padding(coded)
        _put(result, coded, weights, accuracy_level)
        return work.finish(result, choice, op_types=OP_TYPES, per_channel=True, exclude=exclude, told_by=WeightOnly)


def _checked(choice):
    """The Blocks again, with what they mean here; ValueError for what MatMulNBits cannot compute."""
    blockwise.check_blocks(choice.bits, choice.block_size, choice.symmetric)
    if choice.bits == 2 and choice.block_size > LARGEST_BLOCK_OF_2_BITS:
        raise ValueError(
            f"block_size is {choice.block_size}; for 2 bits onnxruntime takes {LARGEST_BLOCK_OF_2_BITS} at most"
        )
    if not isinstance(choice.method, str) or choice.method not in METHODS:
        raise ValueError(f"method is {choice.method!r}; expected one of {', '.join(METHODS)}")
    if whole_number(choice.accuracy_level, "accuracy_level") not in LEVELS:
        raise ValueError(
            f"accuracy_level is {choice.accuracy_level}; expected 4, activations as int8, or 0 or 1, floats: 2 and 3 "
            "(float16, bfloat16) are none of the CPU's"
        )
    why = LEVELS[choice.accuracy_level]
    if choice.accuracy_level == BLOCKED_INT8_ACCURACY and not on_integers(choice):
        why = "floats in every sum nevertheless: onnxruntime has no integer kernel for such blocks here"
    if blockwise.STORED[choice.bits] != choice.bits:
        why += f"; codes of {choice.bits} bits ride in {blockwise.STORED[choice.bits]}, and are no smaller"
    return Blocks(choice.bits, choice.block_size, choice.method, choice.symmetric, choice.accuracy_level, why)


def on_integers(choice):
    """Whether onnxruntime computes with such Blocks on integers here: tried, on one small product."""
    rng = np.random.default_rng(0)
    w, x = (rng.standard_normal((rows, choice.block_size)).astype(np.float32) for rows in (16, 1))
    codes = blockwise.round_to_nearest(w, bits=choice.bits, block_size=choice.block_size, symmetric=choice.symmetric)
    stored = [codes.packed(), codes.scales, codes.packed_zero_points()]
    inputs = [array for array in stored if array is not None]
    found = run_operator("MatMulNBits", x, *inputs, domain=DOMAIN, **_attributes(codes, choice.accuracy_level))
    return sqnr_db(x @ codes.dequantize().T, found) < IN_FLOATS_DB


def _attributes(codes, accuracy_level):
    rows, depth = codes.codes.shape
    sizes = {"N": rows, "K": depth, "bits": codes.stored_bits, "block_size": codes.block_size}
    return sizes | {"accuracy_level": accuracy_level}


def _matrices(model, weights, exclude):
    """The Matrix of each constant float matrix that MatMul and Gemm nodes of the main graph multiply by; tied, once."""
    found = {}
    for node in model.graph.node:
        right = node.input[1] if node.op_type in OP_TYPES and node.domain in ("", "ai.onnx") else ""
        if right in weights and node.name not in exclude and _is_matrix(weights, right):
            has_rows = bool(attribute(node, "transB", 0))
            found.setdefault((right, has_rows), Matrix(right, has_rows, [])).products.append(node)
    return list(found.values())


def _is_matrix(weights, name):
    return len(weights.shape(name)) == 2 and weights.kind(name) == TensorProto.FLOAT and min(weights.shape(name)) > 0


def _left(model, matrices, weights, exclude):
    """{name: why} of the products of the prepared ModelProto that are none of `matrices`, where that needs a word."""
    taken = {node.name for matrix in matrices for node in matrix.products} | set(exclude)
    main, *bodies = graphs(model)
    reasons = {node.name: "inside If, Loop or Scan" for body in bodies for node in body.node}
    for node in main.node:
        if node.op_type in CONVOLUTIONS:
            reasons[node.name] = "a convolution that is no matrix product"
        elif node.op_type in OP_TYPES and node.input[1] in weights:
            kind = TensorProto.DataType.Name(weights.kind(node.input[1])).lower()
            reasons[node.name] = f"weights of shape {weights.shape(node.input[1])}, {kind}: no float32 matrix"
    products = {node.name for one in (main, *bodies) for node in one.node if node.op_type in FLOAT_PRODUCTS}
    return {name: why for name, why in reasons.items() if name in products - taken}


def _coded(work, model, matrices, weights, choice, reader):
    """Yield (Matrix, BlockCodes), one by one; for GPTQ some are weighed at a time, so that memory stays bounded."""
    settings = {"bits": choice.bits, "block_size": choice.block_size, "symmetric": choice.symmetric}
    with bar(description="choosing codes", total=len(matrices), unit="matrix") as done:
        if choice.method != "gptq":
            by = blockwise.half_quadratic if choice.method == "hqq" else blockwise.round_to_nearest
            work.feed = next(iterate_feeds(reader), None) if reader is not None else None
            for matrix in matrices:
                yield matrix, by(_rows(matrix, weights), **settings)
                done.update()
            return
        feeds = _feeds(reader)
        work.feed = feeds[0]
        for group in _groups(matrices, weights):
            names = [name for matrix in group for name in matrix.inputs]
            weighed = hessians(work.prepared.unoptimized(model, names), names, feeds, work.model.path.name)
            for matrix in group:
                w = _rows(matrix, weights)
                total = sum((weighed[name] for name in matrix.inputs if name in weighed), np.zeros([w.shape[1]] * 2))
                yield matrix, blockwise.gptq(w, total, **settings)
                done.update()


def _feeds(reader):
    feeds = list(iterate_feeds(reader))
    if not feeds:
        raise ValueError(
            "the reader gave no feed; expected at least one {input name: array}. Was it read before? "
            "A generator or a CalibrationDataReader gives its feeds once: make a new one"
        )
    return feeds


def _groups(matrices, weights):
    """Lists of matrices whose inputs' Hessians fit in GROUP bytes together, or of one matrix."""
    group, sizes = [], {}
    for matrix in matrices:
        depth = weights.shape(matrix.name)[1 if matrix.has_rows else 0]
        more = dict.fromkeys(matrix.inputs, 8 * depth**2)
        if group and sum((sizes | more).values()) > GROUP:
            yield group
            group, sizes = [], {}
        group.append(matrix)
        sizes |= more
    if group:
        yield group


def _rows(matrix, weights):
    array = weights[matrix.name]
    return array if matrix.has_rows else array.T


def _padding(coded):
    """[a note], if short blocks at the ends of rows make the file notably larger."""
    stored = sum(codes.scales.size * codes.block_size for _, codes in coded)
    padding = stored - sum(codes.codes.size for _, codes in coded)
    if padding <= NOTABLE_PADDING * stored:
        return []
    depths = {codes.codes.shape[1] for _, codes in coded if codes.codes.shape[1] % codes.block_size}
    rows = ", ".join(map(str, sorted(depths)[:SHOWN]))
    size = coded[0][1].block_size
    return [f"{padding / stored:.0%} of the codes are padding: blocks of {size} do not divide rows of {rows}"]


def _put(model, coded, weights, accuracy_level):
    """Make a MatMulNBits of each product, with the codes of a matrix stored once, and drop floats that nothing reads.

    The bias of what was a Gemm is added behind it.
    """
    by_product = {node.output[0]: codes for matrix, codes in coded for node in matrix.products}
    stored, nodes = {id(codes): _stored(matrix, codes, weights) for matrix, codes in coded}, []
    for node in model.graph.node:
        codes = by_product.get(node.output[0]) if node.output else None
        if codes is None:
            nodes.append(node)
            continue
        result, bias = node.output[0], node.input[2] if len(node.input) > 2 else ""
        product = weights.free(f"{result}/product") if bias else result
        inputs, sizes = [node.input[0], *stored[id(codes)]], _attributes(codes, accuracy_level)
        nodes.append(helper.make_node("MatMulNBits", inputs, [product], node.name, domain=DOMAIN, **sizes))
        if bias:
            nodes.append(helper.make_node("Add", [product, bias], [result], f"{node.name}/add"))
    del model.graph.node[:]
    model.graph.node.extend(nodes)
    used = {name for node in nodes for name in reads(node)} | {value.name for value in model.graph.output}
    for place in reversed(range(len(model.graph.initializer))):
        if model.graph.initializer[place].name not in used:
            del model.graph.initializer[place]
    if coded and DOMAIN not in {one.domain for one in model.opset_import}:
        model.opset_import.append(helper.make_opsetid(DOMAIN, 1))


def _stored(matrix, codes, weights):
    """Names of the constants that hold the BlockCodes `codes`, in the order of MatMulNBits' inputs."""
    name = f"{matrix.name}/rows" if matrix.has_rows else matrix.name
    parts = {"codes": codes.packed(), "scales": codes.scales, "zero_points": codes.packed_zero_points()}
    return [weights.add(f"{name}/{what}", array) for what, array in parts.items() if array is not None]
