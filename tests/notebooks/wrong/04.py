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
        (
            "a list",
            SHAPE + PER_AXIS.replace("(shape[axis],)", "[shape[axis]]") + CUT.format(blocks="1"),
            "expected a tuple, seen [64], a `list`",
        ),
    ],
    "04.2": [
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
        ("the lowest SQNR", budget(best=MEASURED.replace("max(", "min(", 1)), "the lowest SQNR was taken"),
        (
            "the SQNR instead of the candidate",
            budget(best="max(sqnr_db(x, shared(x, each, bits)) for bits, each in affordable)"),
            "expected one of the candidates",
        ),
        ("one function of two", budget() + "effective_bits = best_within\n", "effective_bits"),
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
        ("words instead of True and False", leaves(**{"w ()": "yes"}), "expected True or False, seen 'yes'"),
        ("one scale left out", "leaves = {'x ()': True}", "'x (T, 1)' is missing"),
        ("a list", f"leaves = {list(LEAVES.values())}", "expected a dictionary"),
    ],
}  # fmt: skip
