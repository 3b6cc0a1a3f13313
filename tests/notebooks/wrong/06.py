"""Wrong answers to the exercises of notebook 06: name, code in the stub's place, what the refusal must say."""

PRODUCT = """\
def matmul_integer(a, b, a_zero_point=0, b_zero_point=0):
    za, zb = np.asarray(a_zero_point).astype(np.int64), np.asarray(b_zero_point).astype(np.int64)
    A, B = a.astype(np.int64), b.astype(np.int64)
    return {returned}
"""


def product(returned):
    return PRODUCT.format(returned=returned)


REQUANTIZE = """\
def requantize(sums, multiplier, zero_point):
    limits = np.iinfo(zero_point.dtype)
    real = sums.astype(np.float32) * multiplier
    z = int(zero_point)
    codes = {codes}
    return {returned}
"""


def requantize(codes="np.rint(real) + z", returned="np.clip(codes, limits.min, limits.max).astype(zero_point.dtype)"):
    return REQUANTIZE.format(codes=codes, returned=returned)


LINEAR = """\
def linear(x_codes, x_scale, x_zero_point, w_codes, w_scale, bias, y_scale, y_zero_point):
    b = {bias}
    sums = {sums}
    return {returned}
"""


def linear(
    bias="np.rint(bias / (x_scale * w_scale)).astype(np.int32)",
    sums="mine.matmul_integer(x_codes, w_codes, x_zero_point) + b",
    returned="mine.requantize(sums, x_scale * w_scale / y_scale, y_zero_point)",
):
    return LINEAR.format(bias=bias, sums=sums, returned=returned)


FOUND = """\
def worst_input(w):
    for k in range({start}, len(w) - 1, {step}):
        x = np.zeros((1, len(w)), np.uint8)
        x[0, {fed}] = {value}
        if {saturates}:
            return x
    return None
"""
MENDED = """\


def mended(model):
    options = onnxruntime.SessionOptions()
    {entry}
    return {returned}
"""
ENTRY = 'options.add_session_config_entry("session.x64quantprecision", "1")'
SESSION = "onnxruntime.InferenceSession(model.SerializeToString(), options)"
TRIED = "np.any(in_pairs(x, w) != x.astype(int) @ w.astype(int))"


def found(start=0, step=2, fed="k : k + 2", value="255", saturates=TRIED):
    return FOUND.format(start=start, step=step, fed=fed, value=value, saturates=saturates)


def mended(entry=ENTRY, returned=SESSION):
    return found() + MENDED.format(entry=entry, returned=returned)


LARGEST = """\
def largest_k(a_dtype, b_dtype, any_zero_point):
    ends = []
    for dtype in (a_dtype, b_dtype):
        low, high = int(np.iinfo(dtype).min), int(np.iinfo(dtype).max)
        ends.append({ends})
    products = [a * b for a in ends[0] for b in ends[1]]
    return {returned}
"""
ENDS = "(low - high, high - low) if any_zero_point else (low, high)"
BOTH = "min((2**31 - 1) // max(products), 2**31 // max(1, -min(products)))"


def largest(returned=BOTH, ends=ENDS):
    return LARGEST.format(returned=returned, ends=ends)


CONV = """\
def qlinear_conv(x, x_scale, x_zero_point, w, w_scale, bias, y_scale, y_zero_point):
    n, c, h, width = x.shape
    padded = {padded}
    windows = np.lib.stride_tricks.sliding_window_view(padded, (3, 3), axis=(2, 3))
    n, c, h, width = windows.shape[:4]
    rows = windows.transpose({order}).reshape(n * h * width, c * 9)
    sums = mine.matmul_integer(rows, {weight}.reshape(len(w), -1).T, {zero}){plus}
    codes = mine.requantize(sums, {multiplier}, y_zero_point)
    return {returned}
"""
PADDED = "np.pad(x, [(0, 0), (0, 0), (1, 1), (1, 1)], constant_values={value})"
PADDED_RIGHT = PADDED.format(value="x_zero_point")


def conv(
    padded=PADDED_RIGHT, order="0, 2, 3, 1, 4, 5", weight="w", zero="x_zero_point",
    plus=" + bias", multiplier="x_scale * w_scale / y_scale",
    returned="codes.reshape(n, h, width, len(w)).transpose(0, 3, 1, 2)",
):  # fmt: skip
    return CONV.format(
        padded=padded, order=order, weight=weight, zero=zero, plus=plus, multiplier=multiplier, returned=returned
    )


REAL = (
    "(lambda real, z: ({codes}).astype(int).astype(np.uint8))(sums * (x_scale * w_scale / y_scale), int(y_zero_point))"
)
ROUNDINGS = [
    ("wraps", "np.rint(real) + z", "the codes wrapped around"),
    ("zero point first", "np.clip(np.rint(real + z), 0, 255)", "the zero point was added before rounding"),
    ("half up", "np.clip(np.floor(real + 0.5) + z, 0, 255)", "halves were rounded up"),
    ("half away", "np.clip(np.trunc(real + np.copysign(0.5, real)) + z, 0, 255)", "halves were rounded away from 0"),
    ("cut", "np.clip(np.trunc(real) + z, 0, 255)", "a cast cuts towards 0"),
    ("floor", "np.clip(np.floor(real) + z, 0, 255)", "floor always goes down"),
    ("ceil", "np.clip(np.ceil(real) + z, 0, 255)", "ceil always goes up"),
    ("saturated first", "np.clip(np.clip(np.rint(real), 0, 255) + z, 0, 255)", "saturated before the zero point"),
]


WRONG_ANSWERS = {
    "06.1": [
        ("no zero points", product("(A @ B).astype(np.int32)"), "the zero points were left out"),
        ("only a's", product("((A - za) @ B).astype(np.int32)"), "b's zero point was left out"),
        ("only b's", product("(A @ (B - zb)).astype(np.int32)"), "a's zero point was left out"),
        ("added", product("((A + za) @ (B + zb)).astype(np.int32)"), "the zero points were added"),
        ("wrapping differences", product("(a - za.astype(a.dtype)).astype(np.int32) @ (b - zb.astype(b.dtype))"
         ".astype(np.int32)"), "code - zero_point does not fit the codes' own type"),
        ("a wraps", product("(a - za.astype(a.dtype)).astype(np.int32) @ (B - zb).astype(np.int32)"),
         "wrapped around"),
        ("b wraps", product("(A - za).astype(np.int32) @ (b - zb.astype(b.dtype)).astype(np.int32)"), "wrapped around"),
        ("int16", product("(A - za).astype(np.int16) @ (B - zb).astype(np.int16)"), "wrapped around in int16"),
        ("raw product in 16 bits", product("(a.astype(np.int16) @ b.astype(np.int16)).astype(np.int32)"),
         "left out, and the sums wrapped around in int16"),
        ("raw product in 8 bits", product("a @ b"), "the raw codes were multiplied in their own type"),
        ("float32", product("((A - za).astype(np.float32) @ (B - zb).astype(np.float32)).astype(np.int32)"),
         "float32 has 24 bits"),
        ("from the sums", product("(A @ B - za - zb).astype(np.int32)"), "subtracted from the sums, not"),
        ("product of zero points", product("(A @ B - za * zb).astype(np.int32)"), "the product of the zero points"),
        ("three terms", product("(A @ B - za * B.sum(0) - zb * A.sum(1, keepdims=True)).astype(np.int32)"),
         "the last of the four terms is missing"),
        ("the fourth subtracted", product("(A @ B - za * B.sum(0) - zb * A.sum(1, keepdims=True) - len(B) * za * zb)"
         ".astype(np.int32)"), "is added, not subtracted"),
        ("the fourth once", product("(A @ B - za * B.sum(0) - zb * A.sum(1, keepdims=True) + za * zb)"
         ".astype(np.int32)"), "counts K, the length of the sum"),
        ("K is M", product("(A @ B - za * B.sum(0) - zb * A.sum(1, keepdims=True) + len(A) * za * zb)"
         ".astype(np.int32)"), "the number of rows stood there"),
        ("sums with the wrong zero point", product("(A @ B - zb * B.sum(0) - za * A.sum(1, keepdims=True) + "
         "len(B) * za * zb).astype(np.int32)"), "a's is taken off a, and so goes with b's column sums"),
        ("zero points swapped", product("((A - zb) @ (B - za)).astype(np.int32)"), "stand the other way round"),
        ("zero points along K", product("((A - za) @ (B - (zb[:, None] if zb.ndim else zb))).astype(np.int32)"),
         "goes along the columns, not along K"),
        ("one zero point for all columns", product("((A - za) @ (B - zb.flat[0])).astype(np.int32)"),
         "one zero point of b was taken for all columns"),
        ("entry by entry", product("((A - za) * (B - zb) if A.shape == B.shape else (A - za) @ (B - zb))"
         ".astype(np.int32)"), "@ is the matrix product"),
        ("pairs in int16", product("in_pairs(a, b) - za * B.sum(0) - zb * A.sum(1, keepdims=True) + len(B) * za * zb"
         " if (a.dtype, b.dtype) == (np.uint8, np.int8) else ((A - za) @ (B - zb)).astype(np.int32)"),
         "pairs of products were summed in int16"),
        ("transposed", product("((A - za) @ (B - zb)).T.astype(np.int32)"), "transposed"),
        ("float64 out", product("((A - za) @ (B - zb)).astype(float)"), "the numbers are right, in float64"),
        ("int64 out", product("(A - za) @ (B - zb)"), "the numbers are right, in int64"),
        ("the zero points' product wraps", product("(A @ B - za * B.sum(0) - zb * A.sum(1, keepdims=True) + len(B) * "
         "(za * zb).astype(a.dtype).astype(np.int64)).astype(np.int32)"), "a_zero_point * b_zero_point wrapped around"),
        ("K times the zero points", product("(A @ B - len(B) * za - len(B) * zb).astype(np.int32)"),
         "K * zero point was subtracted from the sums"),
        ("float16", product("np.where(np.isfinite(y := (A - za).astype(np.float16) @ (B - zb).astype(np.float16)), "
         "np.nan_to_num(y), -2**31).astype(np.int64).astype(np.int32)")
         .replace("    return", "    np.seterr(all='ignore')\n    return"), "float16 ends at 65,504"),
        ("negative differences cut", product("(np.maximum(A - za, 0) @ np.maximum(B - zb, 0)).astype(np.int32)"),
         "negative differences were cut to 0"),
    ],
    "06.2": [
        ("floor", requantize("np.floor(real) + z"), "floor always goes down"),
        ("cut", requantize("np.trunc(real) + z"), "a cast cuts towards 0"),
        ("ceil", requantize("np.ceil(real) + z"), "ceil always goes up"),
        ("half up", requantize("np.floor(real + 0.5) + z"), "halves were rounded up"),
        ("half away", requantize("np.trunc(real + np.copysign(0.5, real)) + z"), "halves were rounded away from 0"),
        ("0.5 and a cut", requantize("(real + 0.5).astype(int) + z"), "which rounds negative numbers up"),
        ("half towards 0", requantize("np.copysign(np.ceil(np.abs(real) - 0.5), real) + z"),
         "halves were rounded towards 0"),
        ("half down", requantize("np.ceil(real - 0.5) + z"), "halves were rounded down"),
        ("half to odd", requantize("np.where(real * 2 % 2 == 1, 2 * np.floor(real / 2) + 1, np.rint(real)) + z"),
         "halves were rounded to odd"),
        ("sums saturated at 16 bits", requantize("np.rint(np.clip(sums, -32768, 32767) * multiplier) + z"),
         "the sums were saturated at 16 bits"),
        ("zero point first", requantize("np.rint(real + z)"), "the zero point was added before rounding"),
        ("no zero point", requantize("np.rint(real)"), "the zero point was left out"),
        ("subtracted", requantize("np.rint(real) - z"), "the zero point was subtracted"),
        ("wraps", requantize(returned="codes.astype(np.int64).astype(zero_point.dtype)"), "the codes wrapped around"),
        ("clipped first", requantize("np.clip(np.rint(real), limits.min, limits.max) + z",
         "codes.astype(np.int64).astype(zero_point.dtype)"), "saturated before the zero point was added"),
        ("before the multiplier", requantize("np.rint((sums + z) * multiplier)"),
         "the zero point was added to the sums"),
        ("divided", requantize("np.rint(sums / multiplier) + z"), "the sums were divided by the multiplier"),
        ("always uint8", requantize(returned="np.clip(codes, 0, 255).astype(np.int64).astype(zero_point.dtype)"),
         "saturated to 0..255"),
        ("always int8", requantize(returned="np.clip(codes, -128, 127).astype(np.int64).astype(zero_point.dtype)"),
         "saturated to -128..127"),
        ("narrow", requantize(returned="np.clip(codes, max(limits.min, -127), limits.max).astype(zero_point.dtype)"),
         "-128 is a code too"),
        ("not cast", requantize(returned="np.clip(codes, limits.min, limits.max)"), "the codes are right, in float32"),
        ("not saturated", requantize(returned="codes"), "the codes do not saturate"),
        ("real numbers", requantize(returned="real"), "these are the real numbers"),
    ],
    "06.3": [
        ("no bias", linear(bias="0"), "the bias was left out"),
        ("real bias", linear(bias="bias", returned="np.clip(np.rint(sums * (x_scale * w_scale / y_scale)) + "
         "int(y_zero_point), 0, 255).astype(np.uint8)"), "the real bias was added to the sums"),
        ("bias codes cut", linear(bias="(bias / (x_scale * w_scale)).astype(np.int32)"),
         "the bias's codes were cut, not rounded"),
        ("w_scale alone", linear(bias="np.rint(bias / w_scale).astype(np.int32)"), "divided by w_scale alone"),
        ("x_scale alone", linear(bias="np.rint(bias / x_scale).astype(np.int32)"), "divided by x_scale alone"),
        ("y_scale", linear(bias="np.rint(bias / y_scale).astype(np.int32)"), "the bias was divided by y_scale"),
        ("y_scale too", linear(bias="np.rint(bias / (x_scale * w_scale * y_scale)).astype(np.int32)"),
         "the bias was divided by y_scale as well"),
        ("bias codes rounded down", linear(bias="np.floor(bias / (x_scale * w_scale)).astype(np.int32)"),
         "the bias's codes were rounded down"),
        ("w has x's zero point", linear(sums="mine.matmul_integer(x_codes, w_codes, x_zero_point) - "
         "mine.matmul_integer(x_codes, np.ones_like(w_codes), x_zero_point) * int(x_zero_point) + b"),
         "its zero point is 0, and not x's"),
        ("multiplied", linear(bias="np.rint(bias * (x_scale * w_scale)).astype(np.int32)"),
         "the bias was multiplied by its scale"),
        ("subtracted", linear(sums="mine.matmul_integer(x_codes, w_codes, x_zero_point) - b"),
         "the bias was subtracted"),
        ("8-bit bias", linear(bias="np.rint(bias / (x_scale * w_scale)).astype(np.int32).astype(np.int8)"),
         "the bias's codes were cut to 8 bits"),
        ("no zero point of x", linear(sums="mine.matmul_integer(x_codes, w_codes) + b"), "x's zero point was left out"),
        ("no zero point of y", linear(returned="mine.requantize(sums, x_scale * w_scale / y_scale, np.uint8(0))"),
         "y's zero point was left out"),
        ("no y_scale", linear(returned="mine.requantize(sums, x_scale * w_scale, y_zero_point)"),
         "y_scale was left out of the multiplier"),
        ("times y_scale", linear(returned="mine.requantize(sums, x_scale * w_scale * y_scale, y_zero_point)"),
         "the sums were multiplied by y_scale"),
        ("no x_scale", linear(returned="mine.requantize(sums, w_scale / y_scale, y_zero_point)"),
         "x_scale was left out of the multiplier"),
        ("one scale", linear(returned="mine.requantize(sums, x_scale * w_scale[0] / y_scale, y_zero_point)"),
         "one scale of w was taken for all outputs"),
        ("bias in float", linear(sums="mine.matmul_integer(x_codes, w_codes, x_zero_point)", returned="np.clip(np.rint("
         "sums * (x_scale * w_scale / y_scale) + bias / y_scale) + int(y_zero_point), 0, 255).astype(np.uint8)"),
         "the bias's codes were not rounded"),
        ("bias not rounded", linear(bias="bias / (x_scale * w_scale)", returned="np.clip(np.rint(sums * (x_scale * "
         "w_scale / y_scale)) + int(y_zero_point), 0, 255).astype(np.uint8)"), "the bias's codes were not rounded"),
        ("bias half up", linear(bias="np.floor(bias / (x_scale * w_scale) + 0.5).astype(np.int32)"),
         "halves of the bias's codes were rounded up"),
        ("bias half down", linear(bias="np.ceil(bias / (x_scale * w_scale) - 0.5).astype(np.int32)"),
         "halves of the bias's codes were rounded down"),
        ("bias half away", linear(bias="np.trunc(bias / (x_scale * w_scale) + np.copysign(0.5, bias))"
         ".astype(np.int32)"),
         "halves of the bias's codes were rounded away from 0"),
        ("bias codes rounded up", linear(bias="np.ceil(bias / (x_scale * w_scale)).astype(np.int32)"),
         "the bias's codes were rounded up"),
        ("one scale for the bias", linear(bias="np.rint(bias / (x_scale * w_scale[0])).astype(np.int32)"),
         "one scale of w was taken for the codes of all biases"),
        ("a mean scale for the bias", linear(bias="np.rint(bias / (x_scale * w_scale.mean())).astype(np.int32)"),
         "the mean of w's scales"),
        ("bias in 16 bits", linear(bias="np.rint(bias / (x_scale * w_scale)).astype(np.int32).astype(np.int16)"),
         "the bias's codes were cut to 16 bits"),
        ("bias saturated at 16 bits", linear(bias="np.clip(np.rint(bias / (x_scale * w_scale)), -32768, 32767)"
         ".astype(np.int32)"), "the bias's codes were saturated at 16 bits"),
        ("upside down", linear(returned="mine.requantize(sums, y_scale / (x_scale * w_scale), y_zero_point)"),
         "the multiplier is upside down"),
        ("zero points swapped", linear(sums="mine.matmul_integer(x_codes, w_codes, y_zero_point) + b",
         returned="mine.requantize(sums, x_scale * w_scale / y_scale, x_zero_point)"),
         "the zero points of x and y are swapped"),
        *((name, linear(returned=REAL.format(codes=codes)), said) for name, codes, said in ROUNDINGS),
        ("real numbers", linear(returned="sums * (x_scale * w_scale)"), "expected"),
    ],
    "06.4": [
        ("255 everywhere, always", "def worst_input(w):\n    return np.full((1, len(w)), 255, np.uint8)\n"
         + MENDED.format(entry=ENTRY, returned=SESSION), "None is expected"),
        ("always something", found(saturates="True") + MENDED.format(entry=ENTRY, returned=SESSION),
         "with and without saturation"),
        ("never", "def worst_input(w):\n    x = None\n    return x\n" + MENDED.format(entry=ENTRY, returned=SESSION),
         "255 in rows 0 and 1"),
        ("int8 + int8", found(saturates="np.any(np.abs((w[k] + w[k + 1]).astype(int)) > 128)")
         + MENDED.format(entry=ENTRY, returned=SESSION), "widen w first: in int8 their sum wraps around"),
        ("inputs of 200", found(value="200") + MENDED.format(entry=ENTRY, returned=SESSION), "255 in rows 2 and 3"),
        ("any two neighbours", found(step=1, saturates="np.any(np.abs(w[k].astype(int) + w[k + 1]) > 128)")
         + MENDED.format(entry=ENTRY, returned=SESSION), "Pairs are rows 0 and 1, 2 and 3"),
        ("127", found(value="127", saturates="np.any(np.abs(w[k].astype(int) + w[k + 1]) > 128)")
         + MENDED.format(entry=ENTRY, returned=SESSION), "an input may be as large as 255"),
        ("one of the two", found(fed="k", saturates="np.any(np.abs(w[k].astype(int) + w[k + 1]) > 128)")
         + MENDED.format(entry=ENTRY, returned=SESSION), "one product alone always fits 16 bits"),
        ("positive ones only", found(saturates="np.any(w[k].astype(int) + w[k + 1] > 128)")
         + MENDED.format(entry=ENTRY, returned=SESSION), "there is an input whose sum saturates"),
        ("128 is too much", found(saturates="np.any(np.abs(w[k].astype(int) + w[k + 1]) >= 128)")
         + MENDED.format(entry=ENTRY, returned=SESSION), "no uint8 input saturates here"),
        ("the shape of w", found().replace("return x\n", "return np.broadcast_to(x.T, w.shape)\n")
         + MENDED.format(entry=ENTRY, returned=SESSION), "expected an input of shape"),
        ("no option", mended(entry="pass"), "session.x64quantprecision is not set"),
        ("the option is 0", mended(entry=ENTRY.replace('"1"', '"0"')), "session.x64quantprecision is '0'"),
        ("without session.", mended(entry=ENTRY.replace("session.x64", "x64")), "session.x64quantprecision is not set"),
        ("after the session", mended(entry="session = " + SESSION + "\n    " + ENTRY, returned="session"),
         "before the session is made"),
        ("the options forgotten", mended(returned="onnxruntime.InferenceSession(model.SerializeToString())"),
         "session.x64quantprecision is not set"),
        *((level, mended(entry=ENTRY + "\n    options.graph_optimization_level = "
           f"onnxruntime.GraphOptimizationLevel.{level}"),
           "the level of graph optimizations is too low") for level in ("ORT_DISABLE_ALL", "ORT_ENABLE_BASIC")),
        ("the options alone", mended(returned="options"), "these are the options"),
        ("the model", mended(returned="model"), "expected an onnxruntime.InferenceSession, seen a model"),
        ("swapped", mended() + "worst_input, mended = mended, worst_input\n", "the two functions are swapped"),
    ],
    "06.5": [
        ("127 squared", largest("(2**31 - 1) // 127**2"), "127 squared is not the largest product here"),
        ("255 squared always", largest("(2**31 - 1) // 255**2"), "255 squared is not the largest product here"),
        ("no zero points", largest(ends="(low, high)"), "reaches from -255 to 255"),
        ("the ends above", largest("(2**31 - 1) // (ends[0][1] * ends[1][1])"), "left out"),
        ("32 bits", largest("(2**32 - 1) // max(abs(p) for p in products)"), "int32 ends at 2**31 - 1"),
        ("one more", largest(BOTH + " + 1"), "one product more does not fit"),
        ("a fraction", largest("(2**31 - 1) / max(products)"), "do not exist: take the whole number below"),
        ("both ends doubled", largest("(2**31 - 1) // 510**2"), "its size is 255 at most, not 510"),
        ("256 codes", largest("2**31 // 256**2"), "256 codes lie 255 apart"),
        ("float32's bits", largest("2**24 // max(abs(p) for p in products)"), "24 bits"),
        ("the product itself", largest("max(abs(p) for p in products)"), "this is the largest product"),
    ],
    "06.6": [
        ("padded with 0", conv(padded=PADDED.format(value="0")), "padding has the code 0"),
        ("padded with y's zero point", conv(padded=PADDED.format(value="y_zero_point")), "it is x that is padded"),
        ("the border repeated", conv(padded='np.pad(x, [(0, 0), (0, 0), (1, 1), (1, 1)], mode="edge")'),
         "padding repeats the border"),
        ("padded on one side", conv(padded=PADDED_RIGHT.replace("(1, 1)", "(2, 0)")), "before each axis only"),
        ("y's zero point for x", conv(padded=PADDED.format(value="y_zero_point"), zero="y_zero_point"),
         "y's zero point was taken off x"),
        ("not padded", conv(padded="x"), "the border is missing"),
        ("not padded, reshaped to x's size", conv(padded="x").replace("windows.shape[:4]", "x.shape"), "is x padded?"),
        ("no zero point", conv(zero="0"), "x's zero point was left out of the sums"),
        ("no zero point, padded with 0", conv(padded=PADDED.format(value="0"), zero="0"),
         "x's zero point was left out"),
        ("no bias", conv(plus=""), "the bias was left out"),
        ("the bias divided", conv(plus=" + np.rint(bias / (x_scale * w_scale)).astype(np.int32)"),
         "here it comes as int32"),
        ("no zero point of y", conv().replace("y_zero_point)\n    return", "np.uint8(0))\n    return"),
         "y's zero point was left out"),
        ("one scale", conv(multiplier="x_scale * w_scale[0] / y_scale"), "one scale of w was taken for all channels"),
        ("mirrored", conv(weight="w[:, :, ::-1, ::-1]"), "the window was mirrored"),
        ("window turned", conv(order="0, 2, 3, 1, 5, 4"), "the window's rows and columns are swapped"),
        ("window before channels", conv(order="0, 2, 3, 4, 5, 1"), "stand in another order than in w"),
        ("channels last", conv(returned="codes.reshape(n, h, width, len(w))"), "the channels stand last"),
        ("rows", conv(returned="codes"), "these are the rows of the matrix product"),
        ("reshaped without turning", conv(returned="codes.reshape(n, len(w), h, width)"),
         "the rows of the product go (n, H, W, M)"),
        ("H and W swapped", conv(returned="codes.reshape(n, width, h, len(w)).transpose(0, 3, 2, 1)"),
         "H and W are swapped in the result"),
        ("windows reshaped without turning", conv(order="0, 1, 2, 3, 4, 5"),
         "the windows were reshaped without moving"),
        ("w.reshape(-1, M)", conv().replace("w.reshape(len(w), -1).T", "w.reshape(-1, len(w))"),
         "w.reshape(-1, M) mixes the channels"),
        ("padded with 128", conv(padded=PADDED.format(value="128")), "padding is 128"),
        ("reflect", conv(padded='np.pad(x, [(0, 0), (0, 0), (1, 1), (1, 1)], mode="reflect")'), "padding mirrors"),
        ("wrap", conv(padded='np.pad(x, [(0, 0), (0, 0), (1, 1), (1, 1)], mode="wrap")'),
         "padding goes on at the other side"),
        *((name, conv().replace("mine.requantize(sums, x_scale * w_scale / y_scale, y_zero_point)",
           REAL.format(codes=codes)), said) for name, codes, said in ROUNDINGS),
        ("no y_scale", conv(multiplier="x_scale * w_scale"), "y_scale was left out of the multiplier"),
    ],
}  # fmt: skip
