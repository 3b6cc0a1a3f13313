"""What is known of each operator: the one table that all questions about an operator's name go to.

A row is an operator as it stands in files, or in the graphs that onnxruntime makes of them. Domains are left out: the
names alone tell operators apart. What has no row is an ordinary operator, which computes on what it reads.
Sources: ONNX's operators, onnxruntime's docs/ContribOperators.md, and its CPU kernels.
"""

import re
from dataclasses import dataclass

from onnx import NodeProto, TensorProto, helper

CONVOLUTION, PRODUCT, RECURRENCE, ATTENTIVE = "convolution", "matrix product", "recurrent", "attention"
BLOCKED_INT8_ACCURACY = 4  # MatMulNBits' accuracy_level that quantizes the activations to int8

# Types of codes: what QuantizeLinear gives. SOUND, in which recordings come as well, is one in some models: `codes_of`.
SOUND = TensorProto.INT16
CODES = {
    getattr(TensorProto, name) for name in (
        "UINT16", "UINT8", "INT8", "UINT4", "INT4", "UINT2", "INT2",
        "FLOAT8E4M3FN", "FLOAT8E4M3FNUZ", "FLOAT8E5M2", "FLOAT8E5M2FNUZ", "FLOAT4E2M1",
    )
}  # fmt: skip
FLOATS = {TensorProto.FLOAT, TensorProto.FLOAT16, TensorProto.BFLOAT16, TensorProto.DOUBLE}


@dataclass(frozen=True)
class Operator:
    """One row.

    family     of a product: CONVOLUTION ...; "" for all else
    where      it computes: "integer", "float", "boundary" or "other"; "": its types decide
    quantized  whether only a quantizer writes it
    kernel     False: onnxruntime's CPU computes it on floats only, so that Q/DQ around it gain nothing
    at_run_time  it finds the scale of its activations itself, while the model runs
    gives_floats  an integer kernel, or a DequantizeLinear, whose result is a float
    moves      "all": it gives the numbers that it reads, in another order or shape; "some": some of them, or some again
               (where its attributes say so, see `moves`)
    clips      codes can do its work: their range ends where it cuts
    fuses      onnxruntime's convolution takes it in
    commutes   the order of its inputs does not matter
    meets      "sum", "concat": it puts tensors under one scale
    forgets    what it gives has lost how small it was inside, or is as large whatever went in
    at_load    what onnxruntime does around it of its own accord when it opens a model: "rounds" the weights that stand
               between Q and DQ, "passes" a Q or DQ on to its other side, or "folds" it into the product ahead
    draws      random numbers;   counts, the length of its result depends on the values that it reads
    weights    place of the right factor among the inputs, bias, that of a summand; None where it has none of its own
    scales     {place of codes among the inputs: places of their (scale, zero point)}; None where there is no such input
    writes     places of (scale, zero point) of the codes that it gives
    """

    name: str
    family: str = ""
    where: str = ""
    quantized: bool = False
    kernel: bool = True
    at_run_time: bool = False
    gives_floats: bool = False
    moves: str = ""
    clips: bool = False
    fuses: bool = False
    commutes: bool = False
    meets: str = ""
    forgets: bool = False
    at_load: str = ""
    draws: bool = False
    counts: bool = False
    weights: int | None = None
    bias: int | None = None
    scales: tuple[tuple[int, tuple[int | None, int]], ...] = ()
    writes: tuple[int, int] | None = None


def _each(names, **what):
    return [Operator(name, **what) for name in names.split()]


def _integer(name, **what):
    return Operator(name, where="integer", quantized=True, **what)


OPERATORS = {one.name: one for one in (
    # Products of floats
    Operator("Conv", CONVOLUTION, weights=1, bias=2, at_load="rounds"),
    Operator("ConvTranspose", CONVOLUTION, weights=1, bias=2, kernel=False, at_load="rounds"),
    Operator("FusedConv", CONVOLUTION, weights=1, bias=2),
    Operator("MatMul", PRODUCT, weights=1, at_load="rounds"),  # with an Add behind it, which makes it a Gemm
    Operator("FusedMatMul", PRODUCT, weights=1),
    Operator("Gemm", PRODUCT, weights=1, bias=2, at_load="rounds"),
    Operator("FusedGemm", PRODUCT, weights=1, bias=2),
    Operator("Einsum", PRODUCT, kernel=False),
    Operator("LSTM", RECURRENCE, weights=1, forgets=True),
    *_each("GRU RNN", family=RECURRENCE, weights=1, kernel=False, forgets=True),
    Operator("Attention", ATTENTIVE),
    *_each("MultiHeadAttention GroupQueryAttention", family=ATTENTIVE, kernel=False),

    # Products of codes
    _integer("ConvInteger", family=CONVOLUTION, weights=1, scales=((1, (None, 3)),)),
    _integer("QLinearConv", family=CONVOLUTION, weights=3, scales=((0, (1, 2)), (3, (4, 5))), writes=(6, 7)),
    _integer("MatMulInteger", family=PRODUCT, weights=1, scales=((1, (None, 3)),)),
    _integer("MatMulIntegerToFloat", family=PRODUCT, weights=1, scales=((0, (2, 4)), (1, (3, 5))),
             gives_floats=True),
    _integer("DynamicQuantizeMatMul", family=PRODUCT, weights=1, scales=((1, (2, 3)),), at_run_time=True,
             gives_floats=True),
    _integer("QLinearMatMul", family=PRODUCT, weights=3, scales=((0, (1, 2)), (3, (4, 5))), writes=(6, 7)),
    _integer("QGemm", family=PRODUCT, weights=3, scales=((0, (1, 2)), (3, (4, 5))), writes=(7, 8)),
    _integer("DynamicQuantizeLSTM", family=RECURRENCE, weights=1, scales=((1, (8, 9)),), at_run_time=True,
             gives_floats=True),
    # Fed codes: a DynamicQuantizeLinear stands before it.
    _integer("QAttention", family=ATTENTIVE, weights=1, scales=((0, (3, 6)), (1, (4, 7))), gives_floats=True),
    # Whether it computes on integers, its accuracy level says.
    Operator("MatMulNBits", PRODUCT, quantized=True, weights=1, scales=((1, (2, 3)),), gives_floats=True),

    # Other operators on codes. QOrderedMatMul needs a GPU, but a file with it is quantized nevertheless.
    *[_integer(name, scales=((0, (1, 2)), (3, (4, 5))), writes=(6, 7)) for name in ("QLinearAdd", "QLinearMul")],
    *[_integer(f"QLinear{name}", scales=((0, (1, 2)),), writes=(3, 4))
      for name in ("AveragePool", "GlobalAveragePool", "LeakyRelu", "ReduceMean", "Sigmoid", "Softmax")],
    _integer("QLinearConcat", writes=(0, 1)),
    _integer("QLinearWhere", scales=((1, (2, 3)), (4, (5, 6))), writes=(7, 8)),
    *[_integer(name, gives_floats=True) for name in ("QEmbedLayerNormalization", "QMoE")],
    *[_integer(name) for name in ("MulInteger", "QOrderedMatMul")],
    # Codes in the file, floats in every sum
    *_each("GatherBlockQuantized MatMulBnb4 MatMulFpQ4", where="float", quantized=True, gives_floats=True),

    # Between floats and codes
    Operator("QuantizeLinear", where="boundary", quantized=True, writes=(1, 2)),
    Operator("DequantizeLinear", where="boundary", quantized=True, scales=((0, (1, 2)),), gives_floats=True),
    Operator("DynamicQuantizeLinear", where="boundary", quantized=True, at_run_time=True),
    Operator("Cast", where="boundary"),

    # What moves numbers. ReorderInput and ReorderOutput are onnxruntime's own, around its blocked (NCHWc) convolutions.
    *_each("Flatten Identity Reshape Squeeze Transpose Unsqueeze", moves="all", at_load="passes"),
    *_each("ReorderInput ReorderOutput", moves="all"),
    *_each("MaxPool Slice", moves="some", at_load="passes"),
    *_each("DepthToSpace Expand Gather GatherElements GatherND Pad Resize ReverseSequence SpaceToDepth Split Tile "
           "Trilu Upsample", moves="some"),
    Operator("Concat", meets="concat"),

    # Control flow, constants, and questions for a shape
    *_each("If Scan Constant Shape Size", where="other"),

    # How many results there are depends on what they read. The first of them that is found is named.
    *_each("NonMaxSuppression NonZero Unique", counts=True),
    Operator("Compress", moves="some", counts=True),
    *_each("BeamSearch GreedySearch Sampling", counts=True),
    Operator("Loop", where="other", counts=True),

    *_each("Clip Relu", clips=True, fuses=True, at_load="folds"),
    *_each("HardSwish LeakyRelu", fuses=True),
    *_each("HardSigmoid Sigmoid Tanh", fuses=True, forgets=True),
    *_each("Elu Erf Exp Gelu LogSoftmax Selu Softmax Softplus Softsign", forgets=True),
    Operator("Add", commutes=True, meets="sum", at_load="folds"),
    Operator("Sum", commutes=True, meets="sum"),
    *_each("Sub Where", meets="sum"),  # Where puts together as an Add does: a mask, a default
    Operator("Mul", commutes=True, at_load="folds"),
    *_each("And Equal Max Min Or Xor", commutes=True),
    *_each("Bernoulli Multinomial RandomNormal RandomNormalLike RandomUniform RandomUniformLike", draws=True),
    *_each("InstanceNormalization LayerNormalization", kernel=False, forgets=True),
    Operator("BatchNormalization", kernel=False, at_load="folds"),
    *_each("CumSum EmbedLayerNormalization TopK", kernel=False),
)}  # fmt: skip


def _names(test):
    return frozenset(name for name, one in OPERATORS.items() if test(one))


CONVOLUTIONS = _names(lambda one: one.family == CONVOLUTION)
MATRIX_PRODUCTS = _names(lambda one: one.family == PRODUCT)
RECURRENT = _names(lambda one: one.family == RECURRENCE)
ATTENTION = _names(lambda one: one.family == ATTENTIVE)
PRODUCTS = CONVOLUTIONS | MATRIX_PRODUCTS | RECURRENT | ATTENTION
FLOAT_PRODUCTS = _names(lambda one: one.family and not one.quantized)  # what a recipe may find in a model
NO_INTEGER_KERNEL = _names(lambda one: not one.kernel)
QUANTIZERS = _names(lambda one: one.where == "boundary" and one.quantized)  # what making codes and floats of them costs
Q_AND_DQ = frozenset({"QuantizeLinear", "DequantizeLinear"})  # what carries a scale from the file
DYNAMIC = _names(lambda one: one.at_run_time)
STATIC = _names(lambda one: one.where == "integer" and one.writes)  # from codes to codes, with scales from the file
MOVERS = _names(lambda one: one.moves)
KEEP_THE_TYPE = MOVERS | {"Concat"}
LAYOUT = frozenset({"ReorderInput", "ReorderOutput"})
# A Slice or Gather chooses, and is no mere move, where places in a graph are told apart, or named in a picture.
REARRANGING = _names(lambda one: one.moves == "all")
CLIPS = _names(lambda one: one.clips)
FUSED_ACTIVATIONS = _names(lambda one: one.fuses)
COMMUTATIVE = _names(lambda one: one.commutes)
FORGETFUL = _names(lambda one: one.forgets)
ROUNDED_AT_LOAD, PASSED_AT_LOAD, FOLDED_AT_LOAD = (
    _names(lambda one, what=what: one.at_load == what) for what in ("rounds", "passes", "folds")
)
SUMS = _names(lambda one: one.meets == "sum")
DRAWS = _names(lambda one: one.draws)
COUNTING = tuple(name for name, one in OPERATORS.items() if one.counts)
RENAMED = {"Gemm": "MatMul", "Upsample": "Resize"}

# What fusing and quantizing put around a node's name: "conv_token_12", "fused fc0", "qk/MatMulScaleFusion/". A node
# without a name is told by its output's, hence the last.
ADDED = tuple(map(re.compile, (
    r"_token_\d+$", "_nchwc$", "/duplicated$", "/MatMulScaleFusion/$", "_quant$", "_MatMul$", "^fused ",
    "_output_quantized$", "_quantized$",
)))  # fmt: skip


def of(op_type: str) -> Operator:
    """The row of an operator; an empty one, or a QLinear operator's, for those that the table lacks."""
    if op_type in OPERATORS:
        return OPERATORS[op_type]
    return _integer(op_type) if op_type.startswith("QLinear") else Operator(op_type)


def core(op_type):
    """The operator that a quantized or fused one stands for: QLinearConv, ConvInteger, NhwcFusedConv -> Conv."""
    if of(op_type).where == "boundary":
        return op_type
    bare = re.sub(r"^(QLinear|DynamicQuantize|Nhwc|Fused|Skip|Q(?=[A-Z]))+", "", op_type)
    bare = re.sub(r"(Integer|IntegerToFloat|NBits|Bnb4|FpQ4)$", "", bare)
    return RENAMED.get(bare, bare) or op_type


# Only these can a rewrite turn into each other: a pointwise Conv is a MatMul, an Einsum may be one. No rewrite makes
# anything else of an LSTM or of attention, which stay themselves in a diff, and as heavy as other nodes in a picture.
LAYERS = frozenset(core(name) for name in FLOAT_PRODUCTS & (CONVOLUTIONS | MATRIX_PRODUCTS))


def codes_of(nodes, types):
    """The element types that are codes in a model of these nodes: SOUND only where a Q or DQ makes or takes it."""
    edges = (node for node in nodes if node.op_type in Q_AND_DQ)
    return (
        CODES | {SOUND}
        if any(types.get(name) == SOUND for one in edges for name in (*one.input, *one.output))
        else CODES
    )


def kind_of(node, types, codes=CODES):
    """Where `node` computes: "integer", "float", "boundary" or "other". `types` maps tensor names to element types.

    codes  what `codes_of` gives for the whole model
    1. Q, DQ, dynamic Q and Cast are the boundary; control flow, constants and questions for a shape compute nothing.
    2. Integer kernels are known by name: onnxruntime's optimized graph leaves some tensors without a type.
    3. MatMulNBits computes on integers only where it may quantize its activations.
    4. Otherwise the types decide: codes in, integer; a float or something unknown in or out, float.
    """
    if where := of(node.op_type).where:
        return where
    if node.op_type == "MatMulNBits":
        return "integer" if attribute(node, "accuracy_level", 0) == BLOCKED_INT8_ACCURACY else "float"
    inputs = {types.get(name, 0) for name in node.input if name}
    outputs = {types.get(name, 0) for name in node.output if name}
    if inputs & codes:
        return "integer"
    return "float" if (inputs | outputs) & (FLOATS | {TensorProto.UNDEFINED}) else "other"


def is_quantized(node: NodeProto) -> bool:
    """Whether `node` is one that a quantizer writes: it computes on integers or packed weights, or makes codes."""
    return of(node.op_type).quantized


def is_product(node):
    """Whether `node` is a convolution, a matrix product, a recurrent layer or attention, with two factors."""
    return node.op_type in PRODUCTS and len(node.input) > max(factors(node))


def factors(node):
    """Where the activations and the weights of a product stand among its inputs."""
    return 0, of(node.op_type).weights or 1


def summed_rows(node, weights):
    """The array `weights` of a product as rows (outputs, K) whose neighbours an integer kernel adds first.

    None of a product whose kernel adds no two products of u8 x s8 in 16 bits.
    1. Convolutions read their input channels last: places of the kernel, and in each the channels of the group.
    2. One channel by itself (depthwise, one output each) has a kernel of its own; ConvInteger has its weights on the
       left.
    3. An LSTM's weights lie as rows in the file; those of a quantized one, as K before outputs, like matrices.
    4. Matrices, several of them, or a vector, which is one output's.
    Source: measured on onnxruntime 1.32's AVX2 kernels (tests/graph/test_summed_rows.py).
    """
    if of(node.op_type).family == CONVOLUTION:
        by_itself = weights.shape[1] == 1 and attribute(node, "group", 1) == len(weights)
        if by_itself or node.op_type == "ConvInteger":
            return None
        return weights.reshape(*weights.shape[:2], -1).swapaxes(1, 2).reshape(len(weights), -1)
    if weights.ndim < 2:
        return weights.reshape(1, -1)
    if node.op_type != "LSTM" and not attribute(node, "transB", 0):
        weights = weights.swapaxes(-2, -1)
    return weights.reshape(-1, weights.shape[-1])


def scale_places(node, place):
    """Where the (scale, zero point) of the codes that `node` reads at `place` stand among its inputs, or None.

    Operators of the table have their own places; all other QLinear ones read codes, scale and zero point in a row.
    """
    if place in (known := dict(of(node.op_type).scales)):
        return known[place]
    return (place + 1, place + 2) if node.op_type.startswith("QLinear") else None


def gives_floats(node):
    """Whether an integer `node` gives floats: by its kind, or since it has no scale for what it gives (QGemm)."""
    row = of(node.op_type)
    return row.gives_floats or bool(row.writes and not any(node.input[row.writes[0] :][:1]))


def moves(node):
    """Whether every number that `node` gives is one that it reads, or a constant that it fills in (Pad, Trilu, Resize).

    Only as its attributes tell: a Resize to the nearest moves, a linear one computes.
    """
    if node.op_type in ("Resize", "Upsample"):
        return attribute(node, "mode", b"nearest") == b"nearest"
    return node.op_type in MOVERS


def originals(name):
    """`name`, then what is left of it as one thing after the other that fusing or quantizing added is taken off.

    >>> list(originals("fc1_MatMul_quant"))
    ['fc1_MatMul_quant', 'fc1_MatMul', 'fc1']
    """
    while name:
        yield name
        name = next((cut for cut in (added.sub("", name) for added in ADDED) if cut != name), "")


def attribute(node, name, default):
    """The value of an attribute of `node`; `default` where it has none."""
    return next((helper.get_attribute_value(one) for one in node.attribute if one.name == name), default)
