"""Wrong answers to the exercises of notebook 03: name, code in the stub's place, what the refusal must say."""


def _nearest(body):
    return f"def nearest(x, levels):\n    return {body}\n"


def _quietly(head, result, *before):
    lines = [head, *before, "with np.errstate(divide='ignore', invalid='ignore'):", f"    return {result}"]
    return "\n    ".join(lines)


def _log2_quantize(*lines):
    return "\n    ".join(["def log2_quantize(x, bits):", *lines])


def _with_levels(magnitudes, levels="[-powers, [0], powers[::-1]]", result="levels[codes]"):
    return _log2_quantize(
        f"powers = 0.5 ** np.arange({magnitudes})",
        f"levels = np.abs(x).max() * np.concatenate({levels})",
        "codes = np.abs(x[..., None] - levels).argmin(axis=-1)",
        f"return {result}",
    )


def _by_exponent(rounding, start="largest = np.abs(x).max() or 1.0"):
    return _log2_quantize(
        start,
        "lowest = 2 - 2 ** (bits - 1)",
        "size = np.abs(x) / largest",
        f"exponent = np.clip(np.{rounding}(np.log2(np.maximum(size, 1e-30))), lowest, 0)",
        "return np.sign(x) * largest * np.where(size <= 2.0**lowest / 2, 0, 2.0**exponent)",
    )


def _decode(bias=7, normal="1 + mantissa / 8", zero="0", sign="-1.0 if byte >> 7 else 1.0", more="pass"):
    return "\n    ".join(
        [
            "def decode_e4m3(byte):",
            f"sign = {sign}",
            "exponent, mantissa = byte >> 3 & 15, byte & 7",
            more,
            "if byte & 127 == 127: return float('nan')",
            f"if exponent == {zero}: return sign * mantissa / 8 * 2.0 ** (1 - {bias})",
            f"return sign * ({normal}) * 2.0 ** (exponent - {bias})",
        ]
    )


E5M2 = """def decode_e4m3(byte):
    sign = -1.0 if byte >> 7 else 1.0
    exponent, mantissa = byte >> 2 & 31, byte & 3
    if exponent == 31:
        return sign * float("inf") if mantissa == 0 else float("nan")
    if exponent == 0:
        return sign * mantissa / 4 * 2.0**-14
    return sign * (1 + mantissa / 4) * 2.0 ** (exponent - 15)
"""


def _crossing(
    cut="x.reshape(-1, size)",
    axis="1",
    low="np.minimum({low}, 0)",
    high="np.maximum({high}, 0)",
    steps="15",
    scale="(high - low) / {steps}",
    zero_point="np.clip(np.rint(-low / scale), 0, 15)",
    clip="np.clip(np.rint(blocks / scale) + zero_point, 0, 15)",
    largest="np.abs(blocks).max(axis={axis}, keepdims=True)",
    codes="np.abs((blocks / largest)[..., None] - levels).argmin(axis=-1)",
    back="levels[codes] * largest",
    decibels="sqnr_db(a, b)",
    ahead="other > one",
    first="ahead[0] if ahead else None",
    result="even, uneven, {first}",
):
    known = {
        "low": f"blocks.min(axis={axis}, keepdims=True)", "high": f"blocks.max(axis={axis}, keepdims=True)",
        "axis": axis, "steps": steps, "first": first,
    }  # fmt: skip
    return f"""
def crossing(x, block_sizes, levels):
    decibels = lambda a, b: {decibels}
    even, uneven = [], []
    for size in block_sizes:
        blocks = {cut}
        low = {low.format(**known)}
        high = {high.format(**known)}
        scale = {scale.format(**known)}
        zero_point = {zero_point}
        codes = {clip}
        even.append(decibels(blocks, (codes - zero_point) * scale))
        largest = {largest.format(**known)}
        codes = {codes}
        uneven.append(decibels(blocks, {back}))
    ahead = [size for size, one, other in zip(block_sizes, even, uneven) if {ahead}]
    return {result.format(**known)}
"""


def _four_bits(
    symmetric="(True, False)",
    before="",
    load="onnx.load(path)",
    run="data",
    enough="kept >= at_least",
    pick="min(enough)",
    result="({pick})[1:3] if enough else None",
):
    return f"""
def four_bits(path, x, at_least):
    (reference,) = onnxruntime.InferenceSession(path).run(None, {{"x": x}})
    enough = []
    {before}
    for block_size in (16, 32, 64, 128):
        for symmetric in {symmetric}:
            quantizer = MatMulNBitsQuantizer({load}, block_size=block_size, is_symmetric=symmetric)
            quantizer.process()
            data = quantizer.model.model.SerializeToString()
            (y,) = onnxruntime.InferenceSession({run}).run(None, {{"x": x}})
            kept = sqnr_db(reference, y)
            if {enough}:
                enough.append((len(data), block_size, symmetric, kept))
    return {result.format(pick=pick)}
"""


WEIGHT_MEASURED = _four_bits(
    before="rows = {'x': np.eye(x.shape[1], dtype=np.float32)}; "
    "(weight,) = onnxruntime.InferenceSession(path).run(None, rows)",
    enough="sqnr_db(weight, onnxruntime.InferenceSession(data).run(None, rows)[0]) >= at_least",
)
POWERS = "2 ** (bits - 1) - 1"
EVEN = "np.arange(2 ** (bits - 1) - 1, 0, -1) / (2 ** (bits - 1) - 1)"

WRONG_ANSWERS = {
    "03.1": [
        ("the next level above", _nearest("np.searchsorted(levels, x)"), "next level *above*"),
        (
            "the next level below",
            _nearest("np.clip(np.searchsorted(levels, x, side='right') - 1, 0, len(levels) - 1)"),
            "next level *below*",
        ),
        (
            "even spacing taken for granted",
            _nearest(
                "np.clip(np.rint((x - levels[0]) / (levels[-1] - levels[0]) * (len(levels) - 1)), 0, len(levels) - 1)"
            ),
            "evenly spaced",
        ),
        (
            "the level instead of its code",
            _nearest("levels[np.abs(x[..., None] - levels).argmin(-1)]"),
            "what is asked for is their index",
        ),
        ("distance without its magnitude", _nearest("(x[..., None] - levels).argmin(-1)"), "*signed* difference"),
        ("made for one axis only", _nearest("np.abs(x - levels[:, None]).argmin(0)"), "nearest raised ValueError"),
        (
            "halfway up",
            _nearest("np.searchsorted((levels[1:] + levels[:-1]) / 2, x, side='right')"),
            "the lower one is chosen",
        ),
        ("counted from 1", _nearest("np.abs(x[..., None] - levels).argmin(-1) + 1"), "count from 1"),
        ("the furthest", _nearest("np.abs(x[..., None] - levels).argmax(-1)"), "*furthest*"),
        ("the distance itself", _nearest("np.abs(x[..., None] - levels).min(-1)"), "these are distances"),
        (
            "next above, in bounds",
            _nearest("np.searchsorted(levels, x).clip(0, len(levels) - 1)"),
            "next level *above*",
        ),
        ("counted downwards", _nearest("np.abs(x[..., None] - levels[::-1]).argmin(-1)"), "from the highest down"),
        ("the sign is lost", _nearest("np.abs(np.abs(x)[..., None] - levels).argmin(-1)"), "the sign is lost"),
        (
            "scaled first",
            _nearest("np.abs((x / np.abs(x).max())[..., None] - levels).argmin(-1)"),
            "x was scaled first",
        ),
        ("floats", _nearest("np.abs(x[..., None] - levels).argmin(-1).astype(float)"), "an index is a whole number"),
        ("one code for all", _nearest("np.abs(x[..., None] - levels).argmin()"), "argmin without `axis`"),
        ("the axis kept", _nearest("np.abs(x[..., None] - levels).argmin(-1, keepdims=True)"), "keepdims"),
        ("along the numbers", _nearest("np.abs(x[..., None] - levels).argmin(0)"), "along the first axis"),
        ("flattened", _nearest("np.abs(x.ravel()[:, None] - levels).argmin(-1)"), "the shape of x is lost"),
        ("clipped first", _nearest("np.abs(np.clip(x, -1, 1)[..., None] - levels).argmin(-1)"), "was clipped to -1"),
        ("in float16", _nearest("np.abs(np.float16(x)[..., None] - levels).argmin(-1)"), "rounded to float16"),
        (
            "relative to the level",
            _quietly("def nearest(x, levels):", "(np.abs(x[..., None] - levels) / np.abs(levels)).argmin(-1)"),
            "divided by the level",
        ),
        (
            "in the logarithm",
            _quietly("def nearest(x, levels):", "np.abs(np.log(np.abs(x[..., None] / levels))).argmin(-1)"),
            "those of logarithms",
        ),
    ],
    "03.2": [
        ("rounded in the exponent", _by_exponent("rint"), "rounded in the exponent"),
        (
            "rounded in the exponent, small numbers too",
            _log2_quantize(
                "m = np.abs(x).max() or 1",
                "lowest = 2 - 2 ** (bits - 1)",
                "exponent = np.clip(np.rint(np.log2(np.maximum(np.abs(x) / m, 1e-30))), lowest, 0)",
                "return np.sign(x) * m * 2.0**exponent",
            ),
            "and small numbers stay at the smallest power",
        ),
        ("exponent cut off", _by_exponent("floor"), "the exponent is cut"),
        (
            "powers without end",
            _log2_quantize(
                "largest = np.abs(x).max()",
                "return np.sign(x) * largest * 2.0 ** np.rint(np.log2(np.abs(x) / largest))",
            ),
            "the powers go on for ever",
        ),
        (
            "zeros divided by zero",
            _log2_quantize(
                "size = np.abs(x) / np.abs(x).max()",
                "powers = 0.5 ** np.append(np.arange(2 ** (bits - 1) - 1), np.inf)",
                "nearest = powers[np.abs(size[..., None] - powers).argmin(axis=-1)]",
                "return np.where(np.isnan(size), size, np.sign(x) * nearest * np.abs(x).max())",
            ),
            "NaN or infinity came out",
        ),
        ("no level at 0", _with_levels(POWERS, levels="[-powers, powers[::-1]]"), "0 is missing among the levels"),
        ("sign lost", _with_levels(POWERS, result="np.abs(levels[codes])"), "the sign is lost"),
        ("a power for every code", _with_levels("2**bits - 1"), "too many levels"),
        ("the code of 0 forgotten", _with_levels("2 ** (bits - 1)"), "one power too many"),
        (
            "m without its magnitude",
            _with_levels(POWERS).replace("np.abs(x).max()", "x.max()"),
            "may be that of a negative number",
        ),
        ("codes instead of numbers", _with_levels(POWERS, result="codes"), "these are codes"),
        (
            "0 where the exponent rounds below the smallest",
            _with_levels(
                POWERS,
                result="np.where(np.abs(x) < np.abs(x).max() * powers[-1] / np.sqrt(2), 0, np.sign(x)"
                " * np.maximum(np.abs(levels[codes]), np.abs(x).max() * powers[-1]))",
            ),
            "0 begins where the exponent *rounds*",
        ),
        (
            "0 right below the smallest power",
            _with_levels(POWERS, result="np.where(np.abs(x) < np.abs(x).max() * powers[-1], 0, levels[codes])"),
            "0 begins right below the smallest power",
        ),
        (
            "exponents rounded, 0 among them",
            _by_exponent("rint").replace("size <= 2.0**lowest / 2", "size < 2.0 ** (lowest - 0.5)"),
            "rounded in the exponent",
        ),
        (
            "exponents cut, 0 among them",
            _by_exponent("floor").replace("size <= 2.0**lowest / 2", "size < 2.0**lowest"),
            "the exponent is cut",
        ),
        (
            "no scale",
            _with_levels(POWERS).replace("np.abs(x).max() * ", ""),
            "the greatest level is 1 here",
        ),
        ("exponent rounded up", _by_exponent("ceil"), "the exponent is rounded *up*"),
        (
            "natural logarithm",
            _by_exponent("rint").replace("np.log2", "np.log").replace("2.0**", "np.e**"),
            "*natural* logarithm",
        ),
        (
            "ties upward",
            _with_levels(POWERS).replace(
                "np.abs(x[..., None] - levels).argmin(axis=-1)",
                "len(levels) - 1 - np.abs(x[..., None] - levels[::-1]).argmin(axis=-1)",
            ),
            "ties go up",
        ),
        (
            "ties towards 0",
            _log2_quantize(
                "powers = np.append(0.5 ** np.arange(2 ** (bits - 1) - 1), 0)[::-1] * np.abs(x).max()",
                "return np.sign(x) * powers[np.abs(np.abs(x)[..., None] - powers).argmin(axis=-1)]",
            ),
            "ties go towards 0",
        ),
        (
            "ties away from 0",
            _log2_quantize(
                "powers = np.append(0.5 ** np.arange(2 ** (bits - 1) - 1), 0) * np.abs(x).max()",
                "return np.sign(x) * powers[np.abs(np.abs(x)[..., None] - powers).argmin(axis=-1)]",
            ),
            "ties go away from 0",
        ),
        (
            "negative numbers to 0",
            _with_levels(POWERS, levels="[[0], powers[::-1]]"),
            "only the positive half",
        ),
        (
            "not scaled back",
            _with_levels(POWERS, result="levels[codes] / (np.abs(x).max() or 1)"),
            "not scaled back",
        ),
        (
            "m of each row",
            _log2_quantize(
                "powers = 0.5 ** np.arange(2 ** (bits - 1) - 1)",
                "levels = np.concatenate([-powers, [0], powers[::-1]])",
                "m = np.abs(x).max(axis=-1, keepdims=True)",
                "m = np.where(m == 0, 1, m)",
                "return levels[np.abs((x / m)[..., None] - levels).argmin(axis=-1)] * m",
            ),
            "m differs from row to row",
        ),
        ("m missing", _with_levels("1, 2 ** (bits - 1)"), "m itself is missing"),
        ("a power for each bit", _with_levels("bits"), "a power for each *code*"),
        (
            "small tensors to zeros",
            _with_levels(POWERS).replace(
                "    powers = ", "    if np.abs(x).max() < 1e-3:\n        return np.zeros_like(x)\n    powers = ", 1
            ),
            "small numbers became 0",
        ),
        (
            "relative to the level",
            _quietly(
                "def log2_quantize(x, bits):",
                "levels[(np.abs(x[..., None] - levels) / np.abs(levels)).argmin(axis=-1)]",
                "powers = 0.5 ** np.arange(2 ** (bits - 1) - 1)",
                "levels = np.abs(x).max() * np.concatenate([-powers, [0], powers[::-1]])",
            ),
            "divided by the level",
        ),
        (
            "16 levels",
            _with_levels(POWERS, levels="[-powers, [-powers[-1] / 2, 0], powers[::-1]]"),
            "one negative power more",
        ),
        (
            "levels out of order",
            _log2_quantize(
                "powers = 0.5 ** np.arange(2 ** (bits - 1) - 1)",
                "levels = np.abs(x).max() * np.concatenate([-powers, [0], powers])",
                "return levels[np.searchsorted((levels[1:] + levels[:-1]) / 2, x)]",
            ),
            "not in ascending order",
        ),
        (
            "m a power of two",
            _with_levels(POWERS).replace("np.abs(x).max()", "2 ** np.ceil(np.log2(np.abs(x).max() or 1))"),
            "rounded up to a power of two",
        ),
        (
            "m and a little",
            _with_levels(POWERS).replace("np.abs(x).max()", "(np.abs(x).max() + 1e-6)"),
            "m is 1e-06 too large",
        ),
        (
            "m at least a little",
            _with_levels(POWERS).replace("np.abs(x).max()", "max(np.abs(x).max(), 1e-3)"),
            "never less than 0.001",
        ),
        ("even levels", _with_levels(POWERS).replace("0.5 ** np.arange(2 ** (bits - 1) - 1)", EVEN), "evenly spaced"),
    ],
    "03.3": [
        ("NF4 always", _crossing(first="block_sizes[0]"), "NF4 from the first size on, you say"),
        ("never", _crossing(first="None"), "never, you say"),
        (
            "a zero point between two codes",
            _crossing(zero_point="-low / scale"),
            "the zero point is not rounded, though",
        ),
        ("the last size", _crossing(first="ahead[-1] if ahead else None"), "the *last* size"),
        ("turned round", _crossing(ahead="one > other"), "the comparison is turned round"),
        (
            "the index of the size",
            _crossing(first="block_sizes.index(ahead[0]) if ahead else None"),
            "its index in the list",
        ),
        (
            "the last size where NF4 never leads",
            _crossing(first="ahead[0] if ahead else block_sizes[-1]"),
            "the answer is None",
        ),
        ("lists swapped", _crossing(result="uneven, even, {first}"), "the two lists are swapped"),
        ("two things", _crossing(result="even, uneven"), "expected three things"),
        ("a scale for all of x", _crossing(axis="None"), "one scale for all of x"),
        ("so many blocks", _crossing(cut="x.reshape(size, -1)"), "so *many* blocks"),
        ("a scale for each column", _crossing(axis="0"), "one scale for each *column*"),
        ("cut across", _crossing(cut="x.T.reshape(-1, size)"), "in another order"),
        ("0 left out of the range", _crossing(low="{low}", high="{high}"), "leaves out 0"),
        (
            "0 left out, zero point unclipped",
            _crossing(low="{low}", high="{high}", clip="np.rint(blocks / scale) + zero_point"),
            "leaves out 0",
        ),
        (
            "zero point not rounded",
            _crossing(zero_point="-low / scale", clip="np.clip(np.rint(blocks / scale + zero_point), 0, 15)"),
            "the zero point is not rounded",
        ),
        ("16 steps", _crossing(steps="16"), "16 levels have 15 steps"),
        ("14 steps", _crossing(steps="14"), "range / 14"),
        (
            "8 bits",
            _crossing(
                steps="255",
                zero_point="np.rint(-low / scale)",
                clip="np.clip(np.rint(blocks / scale) + zero_point, 0, 255)",
            ),
            "these are 8 bits",
        ),
        (
            "no zero point",
            _crossing(
                steps="14",
                low="-np.abs(blocks).max(axis=1, keepdims=True)",
                high="-low",
                zero_point="7",
                clip="np.rint(blocks / scale) + 7",
            ),
            "symmetric int4, without a zero point",
        ),
        (
            "the signed extreme",
            _crossing(
                low="np.take_along_axis(blocks, np.abs(blocks).argmax(axis=1, keepdims=True), axis=1)",
                high="-low",
                scale="low / -8",
                zero_point="8",
                largest="np.abs(low)",
            ),
            "from the signed extreme",
        ),
        (
            "10 log10",
            _crossing(decibels="10 * np.log10(np.linalg.norm(a) / np.linalg.norm(a - b))"),
            "half of the decibels",
        ),
        (
            "error over numbers",
            _crossing(decibels="20 * np.log10(np.linalg.norm(a - b) / np.linalg.norm(a))"),
            "error over numbers",
        ),
        ("the zero point cut", _crossing(zero_point="(-low / scale).astype(int)"), "the zero point is cut"),
        (
            "rounded down",
            _crossing(clip="np.clip(np.floor(blocks / scale) + zero_point, 0, 15)"),
            "is rounded down",
        ),
        (
            "cut towards 0",
            _crossing(clip="np.clip((blocks / scale).astype(int) + zero_point, 0, 15)"),
            "is cut towards 0",
        ),
        (
            "unsigned codes",
            _crossing(
                zero_point="np.rint(-low / scale).astype(np.uint8)",
                clip="np.clip(np.rint(blocks / scale) + zero_point, 0, 15).astype(np.uint8)",
            ),
            "wrap around 256",
        ),
        (
            "rounded from the low end",
            _crossing(clip="np.clip(np.rint((blocks - low) / scale), 0, 15)"),
            "x - low is rounded here",
        ),
        (
            "natural logarithm",
            _crossing(decibels="20 * np.log(np.linalg.norm(a) / np.linalg.norm(a - b))"),
            "a natural logarithm",
        ),
        (
            "mean magnitudes",
            _crossing(decibels="20 * np.log10(np.abs(a).mean() / np.abs(a - b).mean())"),
            "a ratio of mean magnitudes",
        ),
        (
            "variances",
            _crossing(decibels="10 * np.log10(a.var() / (a - b).var())"),
            "a ratio of variances",
        ),
        (
            "peak over error",
            _crossing(decibels="20 * np.log10(np.abs(a).max() / np.sqrt(np.square(a - b).mean()))"),
            "the largest magnitude over the error",
        ),
        (
            "largest magnitudes",
            _crossing(decibels="20 * np.log10(np.abs(a).max() / np.abs(a - b).max())"),
            "a ratio of largest magnitudes",
        ),
        ("compared in tenths", _crossing(ahead="round(other, 1) > round(one, 1)"), "were rounded before"),
        ("no logarithm", _crossing(decibels="np.linalg.norm(a) / np.linalg.norm(a - b)"), "this is the ratio itself"),
        (
            "mean of the blocks' decibels",
            _crossing(decibels="np.mean([sqnr_db(u, v) for u, v in zip(a, b)])"),
            "the mean of the blocks",
        ),
        ("levels not scaled", _crossing(largest="np.ones_like(high)"), "the blocks are not scaled"),
        ("not scaled back", _crossing(back="levels[codes]"), "not scaled back"),
        ("max without magnitude", _crossing(largest="blocks.max(axis=1, keepdims=True)"), "the scale is max() here"),
        ("scaled by the range", _crossing(largest="high - low"), "the scale is the range"),
        ("scaled by the deviation", _crossing(largest="blocks.std(axis=1, keepdims=True)"), "the standard deviation"),
        (
            "even levels",
            _crossing(codes="np.rint(7 * blocks / largest)", back="codes / 7 * largest"),
            "int4's even levels",
        ),
        (
            "scaled by the signed extreme",
            _crossing(largest="np.take_along_axis(blocks, np.abs(blocks).argmax(axis=1, keepdims=True), axis=1)"),
            "mirrors the levels",
        ),
    ],
    "03.4": [
        ("bias 8", _decode(bias=8), "the exponent's bias is 7"),
        ("no leading 1", _decode(normal="mantissa / 8"), "the leading 1 is missing"),
        ("no subnormal numbers", _decode(zero="-1"), "exponent field 0000 marks subnormal"),
        ("tenths", _decode(normal="1 + mantissa / 10").replace("mantissa / 8 *", "mantissa / 10 *"), "eighths"),
        ("no sign", _decode(sign="1.0"), "the first bit is the sign"),
        (
            "infinity, as in IEEE 754",
            _decode(more="if exponent == 15: return sign * float('inf') if mantissa == 0 else float('nan')"),
            "gives the exponent 1111 to numbers",
        ),
        ("480", _decode(more="if byte & 127 == 127: return sign * 480.0"), "is NaN, not 480"),
        ("the byte as an integer", "def decode_e4m3(byte):\n    return float(byte)\n", "the byte as an integer"),
        (
            "two's complement of the fields",
            _decode(more="if byte >> 7: exponent, mantissa = -byte >> 3 & 15, -byte & 7").replace(
                "byte & 127 == 127", "(-byte if byte >> 7 else byte) & 127 == 127"
            ),
            "no two's complement",
        ),
        (
            "a signed integer",
            "def decode_e4m3(byte):\n    return float(byte - 256 if byte > 127 else byte)\n",
            "no two's complement",
        ),
        (
            "E5M2's fields",
            "def decode_e4m3(byte):\n"
            "    return (-1.0) ** (byte >> 7) * (1 + (byte & 3) / 4) * 2.0 ** ((byte >> 2 & 31) - 15)",
            "this reads an E5M2 byte",
        ),
        ("an E5M2 byte", E5M2, "this reads an E5M2 byte"),
        ("-0.0 as 0.0", _decode().replace("(1 - 7)", "(1 - 7) + 0.0"), "1 0000 000 is -0.0"),
        ("0 by itself", _decode(more="if byte & 127 == 0: return 0.0"), "1 0000 000 is -0.0"),
        ("one NaN", _decode().replace("byte & 127 == 127", "byte == 127"), "both NaN patterns"),
        ("bias 15", _decode(bias=15), "the exponent's bias is 7"),
        ("no bias", _decode(bias=0), "without its bias"),
        ("subnormal exponent -7", _decode().replace("(1 - 7)", "-7"), "-6, not -7"),
        ("subnormal numbers are 0", _decode(more="if exponent == 0: return sign * 0.0"), "not all of them 0"),
        ("sevenths", _decode(normal="1 + mantissa / 7").replace("mantissa / 8 *", "mantissa / 7 *"), "not sevenths"),
        ("infinity for NaN", _decode(more="if byte & 127 == 127: return sign * float('inf')"), "is NaN, not infinity"),
        (
            "NaN for all of 1111",
            _decode(more="if exponent == 15: return float('nan')"),
            "gives the exponent 1111 to numbers",
        ),
        (
            "infinity for all of 1111",
            _decode(more="if exponent == 15: return sign * float('inf')"),
            "gives the exponent 1111",
        ),
        (
            "four bits of mantissa",
            _decode().replace("byte & 7", "byte & 15").replace("mantissa / 8", "mantissa / 16"),
            "the mantissa has three bits",
        ),
        ("quarters", _decode(normal="1 + mantissa / 4").replace("mantissa / 8 *", "mantissa / 4 *"), "quarters"),
        (
            "quarters without exceptions",
            "def decode_e4m3(byte):\n"
            "    return (-1.0) ** (byte >> 7) * (1 + (byte & 7) / 4) * 2.0 ** ((byte >> 3 & 15) - 7)\n",
            "not quarters",
        ),
        (
            "mantissa from the wrong end",
            _decode().replace("byte & 7\n", "int(f'{byte & 7:03b}'[::-1], 2)\n"),
            "from the wrong end",
        ),
        (
            "the sign last",
            _decode(more="byte = byte >> 1 | (byte & 1) << 7; exponent, mantissa = byte >> 3 & 15, byte & 7").replace(
                "-1.0 if byte >> 7", "-1.0 if byte & 1"
            ),
            "the sign is the first bit",
        ),
        (
            "mantissa first",
            _decode().replace("byte >> 3 & 15, byte & 7", "byte & 15, byte >> 4 & 7"),
            "the exponent field comes first",
        ),
        (
            "FNUZ",
            "import ml_dtypes\n\n\ndef decode_e4m3(byte):\n"
            "    return float(np.uint8(byte).view(ml_dtypes.float8_e4m3fnuz))\n",
            "E4M3FNUZ",
        ),
        (
            "the exponent in two's complement",
            _decode(bias=0)
            .replace("if byte & 127 == 127", "exponent -= 16 * (exponent > 7)\n    if byte & 127 == 127")
            .replace("(1 - 0)", "-6")
            .replace("if exponent == 0", "if byte & 120 == 0"),
            "not a two's complement",
        ),
        (
            "three exponent bits",
            "def decode_e4m3(byte):\n"
            "    return (-1.0) ** (byte >> 7) * (1 + (byte & 15) / 16) * 2.0 ** ((byte >> 4 & 7) - 3)\n",
            "not three and four",
        ),
        ("None for NaN", _decode().replace("float('nan')", "None"), "expected nan, seen None"),
        ("no fraction", _decode(normal="1 + mantissa // 8"), "look at the ordinary numbers"),
    ],
    "03.5": [
        ("8 bits", _four_bits().replace("block_size=block", "bits=8, block_size=block"), "are these 4 bits?"),
        ("16 left out", _four_bits().replace("(16, 32", "(32"), "no version of block size 16"),
        ("32 left out", _four_bits().replace("16, 32", "16"), "no version of block size 32"),
        ("128 left out", _four_bits().replace(", 128", ""), "no version of block size 128"),
        ("whole decibels", _four_bits(enough="int(kept) >= at_least"), "are cut to whole ones"),
        ("rounded decibels", _four_bits(enough="round(kept) >= at_least"), "are rounded to whole ones"),
        (
            "largest magnitudes",
            _four_bits(enough="20 * np.log10(np.abs(reference).max() / np.abs(reference - y).max()) >= at_least"),
            "decibels of largest magnitudes",
        ),
        ("the weight", WEIGHT_MEASURED, "the weight's decibels"),
        ("the most exact", _four_bits(pick="max(enough, key=lambda e: e[3])"), "the most exact version"),
        ("the smallest of all", _four_bits(enough="True"), "the smallest version of all"),
        ("the first", _four_bits(pick="enough[0]"), "the first version that keeps enough"),
        ("the last", _four_bits(pick="enough[-1]"), "the last version that keeps enough"),
        ("the largest file", _four_bits(pick="max(enough)"), "the largest file"),
        ("the largest block", _four_bits(pick="max(enough, key=lambda e: e[1:3])"), "the largest block"),
        ("only symmetric", _four_bits(symmetric="(True,)"), "only symmetric versions"),
        ("only with a zero point", _four_bits(symmetric="(False,)"), "only versions with a zero point"),
        ("turned round", _four_bits(enough="kept < at_least"), "the comparison is turned round"),
        (
            "one model for all",
            _four_bits(before="model = onnx.load(path)", load="model"),
            "does onnx.load stand before the loops",
        ),
        (
            "the model itself",
            _four_bits(result="quantizer.model.model"),
            "expected (block_size, symmetric)",
        ),
        (
            "swapped",
            _four_bits(result="min(enough)[2:0:-1] if enough else None"),
            "block_size comes first",
        ),
        ("half of the decibels", _four_bits(enough="kept / 2 >= at_least"), "are the decibels whole"),
        ("no return where one is due", _four_bits(result="None"), "end in `return`"),
        ("the bytes too", _four_bits(result="min(enough)[:3] if enough else None"), "expected (block_size, symmetric)"),
        ("the float model against itself", _four_bits(run="path"), "is its own y compared"),
    ],
}
