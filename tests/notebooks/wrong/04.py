"""Wrong answers to the exercises of notebook 04: name, code in the stub's place, what the refusal must say."""

SHAPE = "def scale_shape(shape, axis, block_size=None):\n"
PER_AXIS = "    axis = axis % len(shape)\n    if block_size is None:\n        return (shape[axis],)\n"
CUT = "    return (*shape[:axis], {blocks}, *shape[axis + 1 :])\n"

BLOCKS = """\
def quantize_blocks(x, block_size):
    starts = range(0, x.shape[1], block_size)
    largest = np.stack([{size} for start in starts], axis=1)
    scales = {scales}.astype(np.float32)
    each = np.repeat(scales, block_size, axis=1)[:, : x.shape[1]]
    return {codes}, scales
"""
SIZE = "np.abs(x[:, start : start + block_size]).max(axis=1)"
SCALES = "np.where(largest == 0, 1, largest / np.float32(127))"
CODES = "np.rint(x / each).astype(np.int8)"


def blocks(size=SIZE, scales=SCALES, codes=CODES):
    return BLOCKS.format(size=size, scales=scales, codes=codes)


BITS = "def effective_bits(shape, bits, granularity, scale_bits=16):\n    return {cost}\n\n\n"
COST = "bits + scale_bits * np.prod(granularity.scale_shape(shape)) / np.prod(shape)"
BEST = """\
def best_within(x, budget, candidates):
    affordable = [(bits, each) for bits, each in candidates if {affordable}]
    return {best}
"""
AFFORDABLE = "effective_bits(x.shape, bits, each) <= budget"
MEASURED = "max(affordable, key=lambda candidate: sqnr_db(x, shared(x, candidate[1], candidate[0])))"


def budget(cost=COST, affordable=AFFORDABLE, best=MEASURED):
    return BITS.format(cost=cost) + BEST.format(affordable=affordable, best=best)


LEAVES = {
    "x ()": True,
    "x (T, 1)": True,
    "x (1, K)": False,
    "x (T, K/32)": False,
    "w ()": True,
    "w (1, N)": True,
    "w (K, 1)": False,
    "w (K/32, N)": False,
    "conv w (out, 1, 1, 1)": True,
    "conv w (1, in, 1, 1)": False,
    "conv x (1, in, 1, 1)": False,
    "depthwise x (1, C, 1, 1)": True,
}


def leaves(**_changes):
    return f"leaves = {LEAVES | _changes}"


CHOICES = {"04.4"}
PRODUCT = """\
def build(x, w):
    qx = choose_qparams(x, "uint8"{how_x})
    qw = choose_qparams(w, "{w_dtype}", symmetric=True, granularity={shares})
    held = {{"x_scale": qx.scale, "x_zero": qx.zero_point, "w_scale": qw.scale, "w_codes": quantize(w, qw)}}
    nodes = [
        helper.make_node("QuantizeLinear", {quantized}, ["x_codes"]),
        helper.make_node("DequantizeLinear", {quantized}.__class__(["x_codes", *{quantized}[1:]]), ["x_real"]),
        helper.make_node("DequantizeLinear", ["w_codes", "w_scale"], ["w_real"]{axis}),
        helper.make_node("MatMul", {multiplied}, ["y"]),
    ]
    held |= {{"w": w}}
    ends = [helper.make_tensor_value_info(n, 1, ["T", size]) for n, size in zip("xy", w.shape)]
    held = [numpy_helper.from_array(array, name) for name, array in held.items()]
    graph = helper.make_graph(nodes, "product", ends[:1], ends[1:], held)
    return {returned}


"""
MODEL = 'helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=10)'
Q = '["x", "x_scale", "x_zero"]'


def product(shares="PerAxis(1)", axis=", axis=1", w_dtype="int8", quantized=Q, multiplied='["x_real", "w_real"]',
            returned=MODEL, how_x=""):  # fmt: skip
    return PRODUCT.format(shares=shares, axis=axis, w_dtype=w_dtype, quantized=quantized, multiplied=multiplied,
                          returned=returned, how_x=how_x)  # fmt: skip


READ = """\
def read(model):
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    options.optimized_model_filepath = f"{{folder.name}}/tried.onnx"
    onnxruntime.InferenceSession(model.SerializeToString(), options)
    graph = {graph}
    held = {{tensor.name: numpy_helper.to_array(tensor) for tensor in graph.initializer}}
    node = next(node for node in graph.node if {which})
    first = next(node for node in graph.node if node.op_type == "QuantizeLinear")
    return {returned}
"""
OPTIMIZED = "onnx.load(options.optimized_model_filepath).graph"
READ_ALL = "node.op_type, held[first.input[2]].dtype.name, held[node.input[1]].dtype.name, held[node.input[3]].shape"


def reads(graph=OPTIMIZED, which='"MatMul" in node.op_type', returned=READ_ALL):
    return READ.format(graph=graph, which=which, returned=returned)


ANY = "np.stack([(lambda b: {})(x[:, start : start + block_size]) for start in starts], axis=1)"
PADDED = """\
def quantize_blocks(x, block_size):
    blocks = np.pad(x, [(0, 0), (0, -x.shape[1] % block_size)]).reshape(len(x), -1, block_size)
    largest = np.abs(blocks).max(axis=2)
    scales = np.where(largest == 0, 1, largest / 127).astype(np.float32)
    codes = np.rint(blocks / scales[..., None]).astype(np.int8)
    return {returned}, scales
"""
WRONG_ANSWERS = {
    "04.1": [
        (
            "the short last block forgotten",
            SHAPE + PER_AXIS + CUT.format(blocks="shape[axis] // block_size"),
            "the last block may be short, and it needs a scale as well",
        ),
        (
            "one more block, always",
            SHAPE + PER_AXIS + CUT.format(blocks="shape[axis] // block_size + 1"),
            "there is a block more than the numbers need",
        ),
        (
            "the axis taken away instead of kept",
            SHAPE
            + PER_AXIS.replace("(shape[axis],)", "shape[:axis] + shape[axis + 1 :]")
            + CUT.format(blocks="-(-shape[axis] // block_size)"),
            "`axis` is the one that is kept, not the one that goes",
        ),
        (
            "axes of length 1 left in",
            SHAPE
            + PER_AXIS.replace("(shape[axis],)", "tuple(n if i == axis else 1 for i, n in enumerate(shape))")
            + CUT.format(blocks="-(-shape[axis] // block_size)"),
            "PerAxis scales are one-dimensional",
        ),
        (
            "blocks that share the other axes",
            SHAPE + PER_AXIS + "    return (-(-shape[axis] // block_size),)\n",
            "the other axes are not shared",
        ),
        (
            "a negative axis never found",
            SHAPE
            + "    if block_size is None:\n        return tuple(n for i, n in enumerate(shape) if i == axis)\n"
            + "    return tuple(-(-n // block_size) if i == axis else n for i, n in enumerate(shape))\n",
            "a negative axis counts from the end",
        ),
        (
            "rounded up in floating point",
            SHAPE + PER_AXIS + CUT.format(blocks="np.ceil(shape[axis] / block_size)"),
            "expected whole numbers",
        ),
        (
            "a negative axis used as it is",
            SHAPE
            + "    if block_size is None:\n        return (shape[axis],)\n"
            + CUT.format(blocks="-(-shape[axis] // block_size)"),
            "axis + 1 is no place behind it",
        ),
        ("the other axes as 1", SHAPE + PER_AXIS + "    return tuple(-(-n // block_size) if i == axis else 1 "
         "for i, n in enumerate(shape))\n", "the other axes keep their length"),
        ("blocks through all numbers", SHAPE + PER_AXIS + "    return (int(np.prod(shape)) // block_size,)\n",
         "not through all numbers"),
        ("always the first axis", SHAPE + PER_AXIS.replace("(shape[axis],)", "(shape[0],)")
         + CUT.format(blocks="-(-shape[axis] // block_size)"), "this is the length of axis 0"),
        ("always the last axis", SHAPE + PER_AXIS + "    return (*shape[:-1], -(-shape[-1] // block_size))\n",
         "axis 2 was cut, and axis 1 is asked for"),
        ("all axes cut but one", SHAPE + PER_AXIS + "    return tuple(n if i == axis else -(-n // block_size) "
         "for i, n in enumerate(shape))\n", "here all others were"),
        ("the rest counted number by number", SHAPE + PER_AXIS
         + CUT.format(blocks="shape[axis] // block_size + shape[axis] % block_size"),
         "the short last block is one block"),
        ("per token", SHAPE + PER_AXIS.replace("(shape[axis],)", "(*shape[:-1], 1)")
         + CUT.format(blocks="-(-shape[axis] // block_size)"), "that is per token"),
        ("one scale", SHAPE + PER_AXIS.replace("(shape[axis],)", "(1,)")
         + CUT.format(blocks="-(-shape[axis] // block_size)"), "one scale for all would have the shape ()"),
        ("divided in floating point", SHAPE + PER_AXIS + CUT.format(blocks="shape[axis] / block_size"),
         "round up, in integers"),
        ("abs(axis)", SHAPE + PER_AXIS.replace("axis % len(shape)", "abs(axis)")
         + CUT.format(blocks="-(-shape[axis] // block_size)"), "abs(axis) counts from the wrong end"),
        ("abs(axis) in blocks only", SHAPE
         + "    if block_size is None:\n        return (shape[axis],)\n    axis = abs(axis)\n"
         + "    return tuple(-(-n // block_size) if i == axis else n for i, n in enumerate(shape))\n",
         "counts from the"),
        ("the cut axis dropped", SHAPE + PER_AXIS + "    return (*shape[:axis], *shape[axis + 1 :])\n",
         "the number of its blocks stands in its place"),
        ("what is behind the axis dropped", SHAPE + PER_AXIS
         + "    return (*shape[:axis], -(-shape[axis] // block_size))\n", "the axes behind `axis` were dropped"),
        ("what is before the axis dropped", SHAPE + PER_AXIS
         + "    return (-(-shape[axis] // block_size), *shape[axis + 1 :])\n", "the axes before `axis` were dropped"),
        ("the number of blocks in front", SHAPE + PER_AXIS
         + "    return (-(-shape[axis] // block_size), *shape[:axis], *shape[axis + 1 :])\n", "not in front"),
        ("block_size in the place of their number", SHAPE + PER_AXIS + CUT.format(blocks="block_size"),
         "that is block_size itself"),
        ("blocks and their length", SHAPE + PER_AXIS
         + CUT.format(blocks="-(-shape[axis] // block_size), block_size"), "both stand there"),
        ("rounded to the nearest", SHAPE + PER_AXIS + CUT.format(blocks="round(shape[axis] / block_size)"),
         "the last block may be short"),
        ("how many share", SHAPE + PER_AXIS.replace("(shape[axis],)", "(int(np.prod(shape)) // shape[axis],)")
         + CUT.format(blocks="-(-shape[axis] // block_size)"), "this is how many numbers share a scale"),
        ("block_size ignored", SHAPE + "    return (shape[axis],)\n", "this is PerAxis's shape"),
        ("every axis cut", SHAPE + PER_AXIS + "    return tuple(-(-n // block_size) for n in shape)\n",
         "every axis was cut"),
        ("a number instead of a tuple", SHAPE + PER_AXIS.replace("(shape[axis],)", "shape[axis]")
         + CUT.format(blocks="-(-shape[axis] // block_size)"), "expected a tuple, seen 64"),
        (
            "a list",
            SHAPE + PER_AXIS.replace("(shape[axis],)", "[shape[axis]]") + CUT.format(blocks="1"),
            "expected a tuple, seen [64], a `list`",
        ),
    ],
    "04.2": [
        ("127.5", blocks(scales=SCALES.replace("127", "127.5")), "this is largest / 127.5"),
        ("126", blocks(scales=SCALES.replace("127", "126")), "this is largest / 126"),
        ("255 codes on one side", blocks(scales=SCALES.replace("127", "255")), "int8 has 127 codes on one side"),
        ("1 / scale", blocks(scales="np.where(largest == 0, 1, 127 / largest)"), "this is 1 / scale"),
        (
            "1 / scale, and multiplied with it",
            blocks(scales="np.where(largest == 0, 1, 127 / largest)", codes="np.rint(x * each).astype(np.int8)"),
            "this is 1 / scale",
        ),
        ("swapped", blocks().replace("astype(np.int8), scales", "astype(np.int8), scales)[::-1]").replace(
            "return ", "return ("), "the two are swapped"),
        ("asymmetric", blocks(size="np.ptp(x[:, start : start + block_size], axis=1)", scales="(largest / 255)"),
         "divided by 255 steps"),
        ("the mean size", blocks(size=SIZE.replace("max", "mean")), "this is the mean size"),
        ("the least number", blocks(size="-x[:, start : start + block_size].min(axis=1)"),
         "positive ones count as well"),
        ("the largest size as scale", blocks(scales="np.where(largest == 0, 1, largest)"), "a 127th of it"),
        ("one scale for everything", blocks(size="np.full(len(x), np.abs(x).max())"), "one scale for everything"),
        ("small blocks taken for zeros", blocks(scales=SCALES.replace("== 0", "< 1e-3")), "compare with 0"),
        ("tiny blocks taken for zeros", blocks(scales=SCALES.replace("== 0", "< 1e-8")), "compare with 0"),
        ("small scales taken for zeros", blocks(scales="np.where(largest / 127 < 1e-6, 1, largest / 127)"),
         "compare with 0"),
        ("scales held up", blocks(scales="np.maximum(largest / 127, 1e-8)"), "small blocks lose their codes"),
        ("sizes held up", blocks(scales="(np.maximum(largest, 1e-12) / 127)"), "small blocks lose their codes"),
        ("an epsilon added", blocks(scales="((largest + 1e-8) / 127)"), "was added against 0 / 0"),
        ("np.isclose to 0", blocks(scales="np.where(np.isclose(largest, 0), 1, largest / 127)"), "compare with 0"),
        ("halves away from zero", blocks(codes="np.trunc(x / each + np.copysign(0.5, x)).astype(np.int8)"),
         "rounded away from 0"),
        ("floor", blocks(codes="np.floor(x / each).astype(np.int8)"), "floor always goes down"),
        ("ceil", blocks(codes="np.ceil(x / each).astype(np.int8)"), "ceil always goes up"),
        ("tiled scales", blocks().replace("np.repeat(scales, block_size, axis=1)", "np.tile(scales, (1, block_size))"),
         "np.tile repeats the whole row"),
        ("multiplied", blocks(codes="np.rint(x * each).astype(np.int8)"), "x was multiplied by its scale"),
        ("uint8 codes", blocks(codes="(np.rint(x / each) + 128).astype(np.uint8)"), "expected dtype int8, seen uint8"),
        ("the sizes of codes", blocks(codes="np.rint(np.abs(x) / each).astype(np.int8)"), "the sign belongs to them"),
        ("clipped to 126", blocks(codes="np.clip(np.rint(x / each), -127, 126).astype(np.int8)"), "127 is a code too"),
        ("blocks along axis 0", "def quantize_blocks(x, block_size):\n"
         "    starts = range(0, x.shape[0], block_size)\n"
         "    scales = np.stack([np.abs(x[s : s + block_size]).max(axis=0) for s in starts]) / np.float32(127)\n"
         "    each = np.repeat(scales, block_size, axis=0)[: len(x)]\n"
         "    return np.rint(x / each).astype(np.int8), scales\n", "the blocks run along axis 0"),
        ("blocks first", blocks().replace(", scales\n", ", scales.T\n"), "they stand as (blocks, rows)"),
        ("a scale for each number", blocks().replace(", scales\n", ", each\n"), "each number has a scale"),
        ("the short block left out", blocks().replace("range(0, x.shape[1], block_size)",
         "range(0, x.shape[1] - block_size + 1, block_size)").replace("return", "each = each if each.shape == x.shape "
         "else np.ones_like(x)\n    return"), "the short last block has no scale"),
        ("keepdims left in", blocks(size=SIZE.replace("axis=1", "axis=1, keepdims=True")).replace(
         "each = np.repeat(scales, block_size, axis=1)", "each = np.repeat(scales[..., 0], block_size, axis=1)"),
         "an axis of length 1 is left"),
        ("the root of the mean square", blocks(size="np.sqrt((x[:, start : start + block_size] ** 2).mean(axis=1))"),
         "the root of the mean square"),
        ("the median size", blocks(size="np.median(np.abs(x[:, start : start + block_size]), axis=1)"),
         "this is the median size"),
        ("a percentile", blocks(size="np.percentile(np.abs(x[:, start : start + block_size]), 99, axis=1)"),
         "this is a percentile of the sizes"),
        ("the sum of the sizes", blocks(size=SIZE.replace("max", "sum")), "this is the sum of the sizes"),
        ("the first of each block", blocks(size="np.abs(x[:, start])"), "only the first number of each block"),
        ("half the range", blocks(size="np.ptp(x[:, start : start + block_size], axis=1) / 2"),
         "this is half the range"),
        ("rounded scales", blocks(scales="np.round(np.where(largest == 0, 1, largest / 127), 4)"),
         "the scales were rounded"),
        ("float16 scales", blocks(scales="np.where(largest == 0, 1, largest / 127).astype(np.float16)"),
         "these are float16 numbers"),
        ("int4", blocks(scales=SCALES.replace("127", "7")), "the scale of int4"),
        ("a size of 1 for zeros", blocks(scales="(np.where(largest == 0, 1, largest) / 127)"),
         "its size was taken for 1"),
        ("one block of zeros, all scales 1", blocks(scales="np.where(largest.min() == 0, 1, largest / 127)"),
         "one block of zeros is no reason for the others"),
        ("x rounded first", blocks(codes="np.rint(np.rint(x) / each).astype(np.int8)"),
         "x was rounded before it was divided"),
        ("7 bits", blocks(codes="np.clip(np.rint(x / each), -64, 63).astype(np.int8)"), "clipped to 7 bits"),
        ("negative codes lost", blocks(codes="np.clip(np.rint(x / each), 0, 127).astype(np.int8)"),
         "negative codes were clipped away"),
        ("real numbers again", blocks(codes="np.rint(x / each) * each"), "real numbers again, scale × code"),
        ("the filling left in", PADDED.format(returned="codes.reshape(len(x), -1)"), "the codes of what was filled up"),
        ("block by block", PADDED.format(returned="codes"), "they stand block by block"),
        ("scale 1 if any number is 0", blocks(scales=SCALES.replace("largest == 0",
         ANY.format("(b == 0).any(axis=1)"))),
         "a zero in a block is no block of zeros"),
        ("scale 1 if the first number is 0", blocks(scales=SCALES.replace("largest == 0", ANY.format("b[:, 0] == 0"))),
         "the first number of a block is 0"),
        ("scale 1 if the numbers add up to 0", blocks(scales=SCALES.replace("largest == 0",
         ANY.format("b.sum(axis=1) == 0"))), "the numbers of a block add up to 0"),
        ("the signed extreme / -128", blocks(size="(lambda b: -np.take_along_axis(b, np.abs(b).argmax(axis=1, "
         "keepdims=True), axis=1)[:, 0])(x[:, start : start + block_size])", scales=SCALES.replace("127", "128")),
         "the scale has the sign of the number that is largest in size"),
        ("a neighbour's scale in the last block", blocks().replace("    each =", "    if scales.shape[1] > 1:\n"
         "        scales[:, -1] = scales[:, -2]\n    each ="), "the last block has its neighbour's scale"),
        ("halves towards zero", blocks(codes="(np.sign(x) * np.ceil(np.abs(x / each) - np.float32(0.5)))"
         ".astype(np.int8)"), "halves were rounded towards 0"),
        ("codes alone", blocks().replace(", scales\n", "\n"), "expected two arrays"),
        (
            "128 for 127",
            blocks(scales=SCALES.replace("127", "128")),
            "int8 has 127 positive codes: divide by 127",
        ),
        (
            "the largest number instead of the largest size",
            blocks(size="x[:, start : start + block_size].max(axis=1)"),
            "negative ones count as well",
        ),
        (
            "a row's scale in every block",
            blocks(size="np.abs(x).max(axis=1)"),
            "every block of a row has the row's scale",
        ),
        (
            "one scale for a block of all rows",
            blocks(size="np.repeat(np.abs(x[:, start : start + block_size]).max(), len(x))"),
            "all rows share a block's scale",
        ),
        (
            "scales in float64",
            blocks(scales=SCALES.replace("np.float32(127)", "127")).replace(".astype(np.float32)", ".astype(float)"),
            "expected dtype float32, seen float64",
        ),
        (
            "a scale of 0 for a block of zeros",
            blocks(scales="(largest / np.float32(127))"),
            "a block of zeros got the scale 0",
        ),
        (
            "truncated instead of rounded",
            blocks(codes="(x / each).astype(np.int8)"),
            "a cast to int8 truncates towards 0",
        ),
        (
            "halves rounded up",
            blocks(codes="np.floor(x / each + 0.5).astype(np.int8)"),
            "round half to even, as np.rint does",
        ),
        (
            "codes left as floats",
            blocks(codes="np.rint(x / each)"),
            "expected dtype int8, seen float32",
        ),
        (
            "blocks made equally long",
            "def quantize_blocks(x, block_size):\n"
            "    parts = np.array_split(x, -(-x.shape[1] // block_size), axis=1)\n"
            "    scales = [np.abs(part).max(axis=1, keepdims=True) / 127 for part in parts]\n"
            "    codes = [np.rint(part / scale).astype(np.int8) for part, scale in zip(parts, scales)]\n"
            "    return np.concatenate(codes, axis=1), np.concatenate(scales, axis=1).astype(np.float32)\n",
            "the blocks were made equally long",
        ),
        (
            "a short last block cannot be reshaped",
            "def quantize_blocks(x, block_size):\n"
            "    blocks = x.reshape(len(x), -1, block_size)\n"
            "    scales = np.abs(blocks).max(axis=2) / np.float32(127)\n"
            "    return np.rint(blocks / scales[..., None]).astype(np.int8).reshape(x.shape), scales\n",
            "cannot reshape array",
        ),
    ],
    "04.3": [
        ("the scales cost nothing", budget(cost="bits"), "the scales were left out"),
        (
            "divided by the block size",
            budget(cost="bits + scale_bits / getattr(granularity, 'block_size', np.prod(shape) / "
                        "np.prod(granularity.scale_shape(shape)))"),
            "a short last block has a whole scale",
        ),
        ("a scale for each number", budget(cost="bits + scale_bits"), "each number was given a scale of its own"),
        (
            "scales of 32 bits",
            budget(cost=COST.replace("scale_bits", "32")),
            "a scale was counted as 32 bits",
        ),
        (
            "only the codes held against the budget",
            budget(affordable="bits <= budget"),
            "bits, its scales included: too many",
        ),
        (
            "the budget itself not allowed",
            budget(affordable=AFFORDABLE.replace("<=", "<")),
            "costs exactly the budget, which is allowed",
        ),
        (
            "the most expensive that fits",
            budget(best="max(affordable, key=lambda candidate: effective_bits(x.shape, *candidate))"),
            "the most expensive that fits is not always the best",
        ),
        (
            "the most code bits",
            budget(best="max(affordable, key=lambda candidate: candidate[0])"),
            "the most code bits are not always the best",
        ),
        (
            "bits left out of shared",
            budget(best=MEASURED.replace(", candidate[0])", ")")),
            "is `bits` missing in shared",
        ),
        (
            "asymmetric codes",
            budget(
                best="max(affordable, key=lambda pair: sqnr_db(x, fake_quantize(x, choose_qparams("
                "x, f'int{pair[0]}', granularity=pair[1]))))"
            ),
            "that of asymmetric codes; here they are symmetric",
        ),
        ("all bits together", budget(cost=f"({COST}) * np.prod(shape)"), "these are all bits together"),
        ("one scale always", budget(cost="bits + scale_bits / np.prod(shape)"), "one scale was counted"),
        ("16 bits for any scale", budget(cost=COST.replace("scale_bits", "16")), "16 bits were counted for a scale"),
        ("dB per bit", budget(best="max(affordable, key=lambda one: sqnr_db(x, shared(x, one[1], one[0])) / "
                              "effective_bits(x.shape, *one))"), "dB per bit were compared"),
        ("dB per bit of a code", budget(best="max(affordable, key=lambda one: sqnr_db(x, shared(x, one[1], one[0])) / "
                                        "one[0])"), "dB per bit of a code were compared"),
        ("the cheapest", budget(best="min(affordable, key=lambda one: effective_bits(x.shape, *one))"),
         "the cheapest was taken"),
        ("the first that fits", budget(best="affordable[0]"), "the first that fits was taken"),
        ("the last that fits", budget(best="affordable[-1]"), "the last that fits was taken"),
        ("the most scales", budget(best="max(affordable, key=lambda one: np.prod(one[1].scale_shape(x.shape)))"),
         "the most scales are not always the best"),
        ("the least single error", budget(best="min(affordable, key=lambda one: "
                                          "np.abs(shared(x, one[1], one[0]) - x).max())"), "the least single error"),
        ("scales of 32 bits in the choice", budget(
            affordable="effective_bits(x.shape, bits, each, 32) <= budget"
        ).replace("    return max", "    affordable = affordable or [min(candidates, key=lambda one: "
                  "effective_bits(x.shape, *one))]\n    return max"), "a scale was counted as 32 bits"),
        ("the least mean error", budget(best="min(affordable, key=lambda one: "
                                        "np.abs(shared(x, one[1], one[0]) - x).mean())"), "the least mean |error|"),
        ("the least median error", budget(best="min(affordable, key=lambda one: "
                                          "np.median(np.abs(shared(x, one[1], one[0]) - x)))"), "least median |error|"),
        ("the least relative error", budget(best="min(affordable, key=lambda one: np.mean(np.abs(shared(x, one[1], "
                                            "one[0]) - x) / (np.abs(x) + 1e-9)))"), "least mean relative error"),
        ("whole dB", budget(best=MEASURED.replace("sqnr_db(", "round(sqnr_db(").replace("[0])", "[0]))", 1)),
         "the SQNR was rounded to whole dB"),
        ("bits first, then dB", budget(best="max(affordable, key=lambda one: (one[0], "
                                       "sqnr_db(x, shared(x, one[1], one[0]))))"), "the most code bits came first"),
        ("blocks only", budget(best="max(affordable, key=lambda one: (isinstance(one[1], PerBlock), "
                               "sqnr_db(x, shared(x, one[1], one[0]))))"), "only blocks were compared"),
        ("a hundredth of a bit too much", budget(affordable=AFFORDABLE + " + 0.01"), "costs 5.004 bits"),
        ("costs rounded", budget(affordable=AFFORDABLE.replace("each)", "each), 2)").replace("eff", "round(eff")),
         "costs 5.004 bits"),
        ("bytes of a code", budget(cost=COST.replace("bits +", "bits / 8 +", 1)), "bits are asked for, not bytes"),
        ("the smallest blocks", budget(best="min(affordable, key=lambda one: getattr(one[1], 'block_size', 1e9))"),
         "the smallest blocks are not always the best"),
        ("bits against dB", budget(best="max(affordable, key=lambda one: sqnr_db(x, shared(x, one[1], one[0])) - "
                                   "6.02 * effective_bits(x.shape, *one))"), "bits were charged against dB"),
        ("4 bits throughout", budget(best=MEASURED.replace("candidate[0])", "4)")), "that of 4-bit codes throughout"),
        ("a zero point for each scale", budget(cost=COST.replace("scale_bits *", "(scale_bits + bits) *")),
         "a zero point was counted for each scale"),
        ("the axes of the scales' shape", budget(cost=COST.replace("np.prod(g", "len(g")), "len counts the axes"),
        ("the scales' shape added up", budget(cost=COST.replace("np.prod(g", "sum(g")), "were added; multiply them"),
        ("divided by an axis", budget(cost=COST.replace("/ np.prod(shape)", "/ shape[-1]")),
         "divided by the length of axis 1"),
        ("bytes", budget(cost=f"({COST}) / 8"), "these are bytes"),
        ("subtracted", budget(cost=COST.replace("+", "-")), "the scales cost bits: add them"),
        ("the two swapped", budget() + "effective_bits, best_within = best_within, effective_bits\n",
         "the two functions are swapped"),
        ("the budget not looked at", budget(affordable="True"), "its scales included: too many"),
        ("codes alone not counted", budget(cost=COST.removeprefix("bits + ")), "the bits of the scales alone"),
        ("not divided", budget(cost=COST.split(" / ")[0]), "were not divided"),
        ("whole bits", budget(cost=COST.replace(" / ", " // ")), "// drops what is behind the point"),
        ("a scale of one bit", budget(cost=COST.replace("scale_bits * ", "")), "a scale was counted as one bit"),
        ("the lowest SQNR", budget(best=MEASURED.replace("max(", "min(", 1)), "the lowest SQNR was taken"),
        (
            "the SQNR instead of the candidate",
            budget(best="max(sqnr_db(x, shared(x, each, bits)) for bits, each in affordable)"),
            "expected one of the candidates",
        ),
        ("one function of two", budget() + "effective_bits = 4\n", "expected (effective_bits, best_within)"),
    ],
    "04.4": [
        (
            "per-channel always works, as for weights",
            leaves(**{"x (1, K)": True, "conv x (1, in, 1, 1)": True}),
            "Per channel works for weights because their channel is the *output's*",
        ),
        *(
            (f"{name} taken for {not fits}", leaves(**{name: not fits}), f"{name!r}, ")
            for name, fits in LEAVES.items()
        ),
        ("everything leaves", f"leaves = dict.fromkeys({list(LEAVES)}, True)", "(5 more to think over)"),
        ("all the other way round", f"leaves = {({name: not fits for name, fits in LEAVES.items()})}",
         "all of them are the other way round"),
        ("words instead of True and False", leaves(**{"w ()": "yes"}), "expected True or False, seen 'yes'"),
        ("one scale left out", "leaves = {'x ()': True}", "'x (T, 1)' is missing"),
        ("a list", f"leaves = {list(LEAVES.values())}", "expected a dictionary"),
    ],
    "04.5": [
        ("scales along the inputs", product(shares="PerAxis(0)", axis=", axis=0") + reads(),
         "onnxruntime takes them for output channels, silently"),
        ("scales along the inputs, the axis left out", product(shares="PerAxis(0)", axis="") + reads(),
         "were the codes made with these scales, along axis=1?"),
        ("the axis of the inputs", product(axis=", axis=0") + reads(),
         "were the codes made with these scales, along axis=0?"),
        ("one scale for the weight", product(shares="PerTensor()", axis="") + reads(), "the weight has one scale"),
        ("blocks", product(shares="PerBlock(0, 16)", axis=", axis=0, block_size=16") + reads(), "these are blocks"),
        ("uint8 weights", product(w_dtype="uint8").replace('held |= {"w": w}',
         'held |= {"w": w, "z": qw.zero_point}').replace('["w_codes", "w_scale"]', '["w_codes", "w_scale", "z"]')
         + reads(), "the weight's codes are uint8"),
        ("x not quantized", product(multiplied='["x", "w_real"]') + reads(), "the activations reach MatMul in float32"),
        ("w not quantized", product(multiplied='["x_real", "w"]') + reads(), "the weight reaches MatMul in float32"),
        ("codes multiplied without DQ", product(multiplied='["x_real", "w_codes"]') + reads(), "the weight reaches"),
        ("no zero point for x", product(quantized='["x", "x_scale"]') + reads(), "negative activations are lost"),
        ("a scale per token", product(how_x=", granularity=PerToken()").replace("qx.scale", "qx.scale[:, 0]").replace(
         "qx.zero_point", "qx.zero_point[:, 0]").replace('["x_codes"])', '["x_codes"], axis=0)').replace(
         '["x_real"])', '["x_real"], axis=0)') + reads(), "the activations have 40 scales"),
        ("the graph instead of the model", product(returned="graph") + reads(), "expected an onnx.ModelProto"),
        ("sizes copied from above", product().replace("zip(\"xy\", w.shape)", "(('x', 144), ('y', 576))") + reads(),
         "y is declared with 576 channels; w has the shape (144, 144), so N is 144"),
        ("x's size copied from above", product().replace("zip(\"xy\", w.shape)", "(('x', 144), ('y', w.shape[1]))")
         + reads(), "x is declared with 144 channels; w has the shape (576, 144), so K is 576"),
        ("y with the inputs' size", product().replace("zip(\"xy\", w.shape)", "zip('xy', w.shape[:1] * 2)") + reads(),
         "y is declared with 576 channels"),
        ("so many tokens and no others", product().replace('["T", size]', "[len(x), size]") + reads(),
         "any number is asked for"),
        ("zero points for the weight", product().replace("symmetric=True, ", "").replace('held |= {"w": w}',
         'held |= {"w": w, "z": qw.zero_point}').replace('["w_codes", "w_scale"]', '["w_codes", "w_scale", "z"]')
         + reads(), "symmetric codes have 0"),
        ("codes cut off", product().replace("quantize(w, qw)}", "(w / qw.scale).astype(np.int8)}") + reads(),
         "the codes of the weight are cut off"),
        ("weights clipped", product().replace("choose_qparams(w,", "choose_qparams(0.9 * w,") + reads(),
         "each code is to be the nearest"),
        ("x's range too small", product().replace("choose_qparams(x,", "choose_qparams(0.8 * x,") + reads(),
         "what lies beyond is clipped"),
        ("scales in float64", product().replace('"w_scale": qw.scale', '"w_scale": qw.scale.astype(float)') + reads(),
         "the weight's scales are float64"),
        ("x quantized anew in each run", product().replace('helper.make_node("QuantizeLinear", ["x", "x_scale", '
         '"x_zero"], ["x_codes"])', 'helper.make_node("DynamicQuantizeLinear", ["x"], ["x_codes", "x_scale", '
         '"x_zero"])').replace('"x_scale": qx.scale, "x_zero": qx.zero_point, ', "") + reads(),
         "DynamicQuantizeLinear finds a scale for x anew"),
        ("the weight transposed by a node", product(axis=", axis=0").replace("quantize(w, qw)}",
         "quantize(w, qw).T.copy()}").replace('["w_real"], axis=0)', '["turned"], axis=0), helper.make_node('
         '"Transpose", ["turned"], ["w_real"])') + reads(), "store the codes as MatMul takes them"),
        ("a session", product(returned="onnxruntime.InferenceSession(" + MODEL + ".SerializeToString())") + reads(),
         "expected an onnx.ModelProto"),
        ("no operator set", product(returned="helper.make_model(helper.make_graph(nodes, 'p', [], [], []))") + reads(),
         "onnx.checker does not accept"),
        ("codes transposed", product().replace("quantize(w, qw)}", "quantize(w, qw).T.copy()}") + reads(),
         "they are transposed"),
        ("1 / scale for the weight", product().replace('"w_scale": qw.scale', '"w_scale": 1 / qw.scale') + reads(),
         "these are 1 / scale"),
        ("largest size for scale", product().replace('"w_scale": qw.scale', '"w_scale": qw.scale * 127') + reads(),
         "a scale is a 127th of it"),
        ("codes of 4 bits", product(w_dtype="int4").replace("quantize(w, qw)", "quantize(w, qw).astype(np.int8)")
         + reads(), "the codes have 4 bits"),
        ("a zero point that is not told", product().replace("symmetric=True, ", "") + reads(), "is not told"),
        ("zero point 0 for x", product().replace("qx.zero_point", "np.uint8(0)") + reads(),
         "no code for negative ones"),
        ("1 / scale for x", product().replace('"x_scale": qx.scale', '"x_scale": 1 / qx.scale') + reads(),
         "is the scale of the activations 1 / scale?"),
        ("int8 activations", product().replace('(x, "uint8")', '(x, "int8", symmetric=True)') + reads(),
         "the activations' codes are int8"),
        ("the newest operator set", product(returned="helper.make_model(graph)") + reads(), 'make_opsetid("", 21)'),
        ("something behind MatMul", product().replace('"w_real"], ["y"])', '"w_real"], ["p"]), '
         'helper.make_node("Relu", ["p"], ["y"])') + reads(), "here something follows it"),
        ("the two swapped", product() + reads() + "build, read = read, build\n", "the two functions are swapped"),
        ("MatMulInteger by hand", product().replace('"MatMul", ["x_real", "w_real"], ["y"]',
         '"MatMulInteger", ["x_codes", "w_codes", "x_zero"], ["y"]').replace("n, 1, [", "n, 6 if n == 'y' else 1, [")
         + reads(), "expected one MatMul between Q/DQ"),
        ("the graph as written", product() + reads(graph="model.graph",
         returned='node.op_type, "uint8", "int8", (576,)'),
         "MatMul stands in the model as it was written"),
        ("the border", product() + reads(which="True", returned='node.op_type, "uint8", "int8", (576,)'),
         "QuantizeLinear stands at the border"),
        ("the scale of x", product() + reads(returned=READ_ALL.replace("input[3]", "input[2]")),
         "that is the activations' scale"),
        ("the shape of the codes", product() + reads(returned=READ_ALL.replace("input[3]", "input[1]")),
         "that is the shape of the weight's codes"),
        ("types swapped", product() + reads(returned="node.op_type, held[node.input[1]].dtype.name, "
         "held[first.input[2]].dtype.name, held[node.input[3]].shape"), "the activations come first"),
        ("types before quantization", product() + reads(returned=
         'node.op_type, "float32", "float32", held[node.input[3]].shape'), "ask for those of the codes"),
        ("remembered shape", product() + reads(returned=READ_ALL.replace("held[node.input[3]].shape", "(576,)")),
         "with a single scale for the weights: the weights' scales have shape (), seen (576,): "
         "read it from this graph"),
        ("remembered types", product() + reads(returned=
         'node.op_type, "uint8", "int8", held[node.input[3]].shape'), "of one with uint8 weights"),
        ("remembered name", product() + reads(returned=READ_ALL.replace("node.op_type", '"QLinearMatMul"')),
         "seen 'QLinearMatMul'"),
        ("remembered type of x", product() + reads(returned=READ_ALL.replace("held[first.input[2]].dtype.name",
         '"uint8"')), "of a saved one with int8 activations: the product takes int8 × int8, seen uint8 × int8"),
        ("the node", product() + reads(returned=READ_ALL.replace("node.op_type,", "node,")), "a str, seen a NodeProto"),
        ("the shape as text", product() + reads(returned=READ_ALL.replace("held[node.input[3]].shape",
         "str(held[node.input[3]].shape)")), "is a tuple such as"),
        ("the op_type alone", product() + reads(returned="node.op_type"), "expected (op_type, dtype of x"),
        ("how many scales", product() + reads(returned=READ_ALL.replace(".shape", ".size")), "is a tuple such as"),
    ],
}  # fmt: skip
