"""Right answers to the exercises of notebook 01 in other styles than the solutions': name, code in the stub's place."""


def _best_range(*lines):
    return "\n    ".join(["def best_range(x):", *lines])


def _pair(build, run):
    return f"def qdq_model(scale, zero_point):\n    {build}\n\n\ndef run_model(model, x):\n    {run}\n"


REAL = "def to_real(q, scale, zero_point):\n    return (q.astype(np.float32) - float(zero_point)) * scale\n\n\n"
ENDS = (
    'x = helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n"])\n    '
    'y = helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n"])\n    '
)
HELD = (
    'held = [numpy_helper.from_array(np.array(scale, np.float32), "s"), '
    'numpy_helper.from_array(np.array(zero_point, np.uint8), "z")]\n    '
)
NODES = (
    'nodes = [helper.make_node("QuantizeLinear", ["x", "s", "z"], ["codes"]), '
    'helper.make_node("DequantizeLinear", ["codes", "s", "z"], ["y"])]\n    '
)
GRAPH = 'graph = helper.make_graph(nodes, "qdq", [x], [y], held)\n    '
MODEL = 'return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)])'
RUN = 'return onnxruntime.InferenceSession(model.SerializeToString()).run(None, {"x": x})[0]'

RIGHT_ANSWERS = {
    "01.1": [
        (
            "an array instead of a tuple",
            """\
def qparams(low, high, quant_min, quant_max):
    low, high = np.minimum(low, 0), np.maximum(high, 0)
    scale = (high - low) / (quant_max - quant_min) or 1.0
    return np.array([scale, np.round(quant_min - low / scale)])
""",
        ),
        (
            "branches, Python's own numbers",
            """\
def qparams(low, high, quant_min, quant_max):
    if low > 0:
        low = 0.0
    if high < 0:
        high = 0.0
    if low == high:
        return 1, quant_min
    steps = quant_max - quant_min
    step = (high - low) / steps
    return step, round(quant_min - low / step)
""",
        ),
        (
            "counted from the last code",
            """\
def qparams(low, high, quant_min, quant_max):
    low, high = min(0, low), max(0, high)
    scale = 1.0 if low == high == 0 else (high - low) / (quant_max - quant_min)
    return [scale, int(np.clip(np.rint(quant_max - high / scale), quant_min, quant_max))]
""",
        ),
        (
            "float32 throughout",
            """\
def qparams(low, high, quant_min, quant_max):
    low, high = np.float32(min(low, 0)), np.float32(max(high, 0))
    scale = np.float32((high - low) / np.float32(quant_max - quant_min))
    if scale == 0:
        scale = np.float32(1)
    zero_point = np.rint(np.float32(quant_min) - low / scale)
    return scale, np.clip(zero_point, quant_min, quant_max).astype(np.int32)
""",
        ),
        (
            "zeros with the middle code",
            """\
def qparams(lo, hi, first, last):
    lo, hi = np.clip([lo, hi], [-np.inf, 0], [0, np.inf])
    if hi - lo == 0:
        return 1.0, (first + last + 1) // 2
    s = np.float64(hi - lo) / (last - first)
    return s, first + int(np.floor(-lo / s + 0.5))
""",
        ),
        (
            "levels laid by np.linspace",
            """\
def qparams(low, high, quant_min, quant_max):
    levels = np.linspace(min(low, 0.0), max(high, 0.0), quant_max - quant_min + 1)
    scale = levels[1] - levels[0]
    if scale == 0:
        return 1.0, 0
    return (levels[-1] - levels[0]) / (len(levels) - 1), quant_min + int(np.abs(levels).argmin())
""",
        ),
        (
            "a tiny number only where the range is nothing",
            """\
def qparams(low, high, quant_min, quant_max):
    low, high = min(low, 0), max(high, 0)
    if high - low < np.finfo(np.float32).tiny:
        return 1.0, quant_max
    scale = (high - low) / (quant_max - quant_min)
    return scale, float(round(quant_min - low / scale))
""",
        ),
    ],
    "01.2": [
        (
            "np.round and float64",
            """\
def to_codes(x, scale, zero_point):
    q = np.round(x.astype(np.float64) / float(scale)) + int(zero_point)
    return np.minimum(np.maximum(q, 0), 255).astype("uint8")
""",
        ),
        (
            "a loop with Python's round",
            """\
def to_codes(x, scale, zero_point):
    out = np.zeros(x.size, dtype=np.uint8)
    for i, value in enumerate(x.flat):
        code = round(float(value) / float(scale)) + int(zero_point)
        out[i] = max(0, min(255, code))
    return out.reshape(x.shape)
""",
        ),
        (
            "a copy, then in place",
            """\
def to_codes(x, scale, zero_point):
    x = x / scale
    np.rint(x, out=x)
    x += zero_point
    return x.clip(0, 255).astype(np.uint8)
""",
        ),
        (
            "limits moved to the other side of the zero point",
            """\
def to_codes(values, s, z):
    z = int(z)
    steps = np.clip(np.rint(values / s), -z, 255 - z)
    return (steps.astype(np.int64) + z).astype(np.uint8)
""",
        ),
        (
            "ties by hand",
            """\
def to_codes(x, scale, zero_point):
    steps = x / scale
    below = np.floor(steps)
    up = (steps - below > 0.5) | ((steps - below == 0.5) & (below % 2 == 1))
    codes = below + up + np.float32(zero_point)
    codes[codes < 0] = 0
    codes[codes > 255] = 255
    return np.array(codes, np.uint8)
""",
        ),
        (
            "np.vectorize",
            """\
@np.vectorize
def one(value, scale, zero_point):
    return min(max(np.rint(value / scale) + zero_point, 0.0), 255.0)


def to_codes(x, scale, zero_point):
    return one(x, float(scale), int(zero_point)).astype(np.uint8)
""",
        ),
        (
            "x kept between the first level and the last",
            """\
def to_codes(x, scale, zero_point):
    z = int(zero_point)
    return (np.rint(np.clip(x, -z * scale, (255 - z) * scale) / scale) + z).astype(np.uint8)
""",
        ),
    ],
    "01.3": [
        (
            "float64",
            """\
def to_real(q, scale, zero_point):
    return scale.astype(np.float64) * (q.astype(np.float64) - zero_point)


def error_bound(x, scale, zero_point):
    low, high = -1.0 * zero_point * scale, (255.0 - zero_point) * scale
    return np.maximum.reduce([np.full(x.shape, scale / 2), low - x, x - high])
""",
        ),
        (
            "int32 in between",
            """\
def to_real(q, scale, zero_point):
    return (q.astype(np.int32) - int(zero_point)) * scale


def error_bound(x, scale, zero_point):
    z = int(zero_point)
    return np.where(x > (255 - z) * scale + scale / 2, x - (255 - z) * scale,
                    np.where(x < -z * scale - scale / 2, -z * scale - x, scale / 2))
""",
        ),
        (
            "loops and lists",
            """\
def to_real(q, scale, zero_point):
    if np.ndim(q) == 0:
        return (int(q) - int(zero_point)) * float(scale)
    return [to_real(part, scale, zero_point) for part in q]


def error_bound(x, scale, zero_point):
    first, last = -int(zero_point) * float(scale), (255 - int(zero_point)) * float(scale)
    bounds = []
    for value in x:
        bounds.append(max(float(scale) / 2, first - float(value), float(value) - last))
    return bounds
""",
        ),
        (
            "the way to the clipped number",
            REAL
            + """\
def error_bound(x, scale, zero_point):
    ends = to_real(np.array([0, 255], np.uint8), scale, zero_point)
    return np.maximum(np.abs(x - np.clip(x, *ends)), 0.5 * scale)
""",
        ),
        (
            "a little slack for float32",
            REAL
            + """\
def error_bound(x, scale, zero_point):
    first, last = to_real(np.uint8([0, 255]), scale, zero_point)
    return np.maximum(scale / 2, np.maximum(first - x, x - last)) * (1 + 1e-6)
""",
        ),
        (
            "a table of all codes",
            """\
def to_real(q, scale, zero_point):
    table = np.float32(scale) * (np.arange(256, dtype=np.float32) - np.float32(zero_point))
    return table[q]


def error_bound(x, scale, zero_point):
    table = to_real(np.arange(256), scale, zero_point)
    bound = np.full_like(x, scale / 2)
    bound[x > table[255]] = np.maximum(x - table[255], scale / 2)[x > table[255]]
    bound[x < table[0]] = np.maximum(table[0] - x, scale / 2)[x < table[0]]
    return bound
""",
        ),
        (
            "both products first, and np.where",
            """\
def to_real(q, scale, zero_point):
    return q * scale - zero_point * scale


def error_bound(x, scale, zero_point):
    last = scale * (255 - zero_point)
    first = last - 255 * scale
    outside = np.where(x > last, x - last, np.where(x < first, first - x, 0))
    return np.where(outside > scale / 2, outside, scale / 2)
""",
        ),
    ],
    "01.4": [
        (
            "a mirrored search",
            _best_range(
                "largest, best = np.abs(x).max(), (np.inf, None)",
                "for share in np.linspace(0.02, 1, 60):",
                "    a = share * largest",
                '    mse = np.square(x - fake_quantize(x, qparams_from_range(-a, a, "uint4"))).mean()',
                "    best = min(best, (mse, a))",
                "return -best[1], best[1]",
            ),
        ),
        (
            "percentiles",
            _best_range(
                "def noise(p):",
                "    low, high = np.percentile(x, [p, 100 - p])",
                '    return np.sum((x - fake_quantize(x, qparams_from_range(low, high, "uint4"))) ** 2)',
                "p = min([0, *np.geomspace(0.01, 10, 40)], key=noise)",
                "return np.percentile(x, [p, 100 - p])",
            ),
        ),
        (
            "the greatest SQNR",
            _best_range(
                "shares = np.arange(1, 51) / 50",
                "quality = []",
                "for share in shares:",
                "    qparams = qparams_from_range(x.min() * share, x.max() * share, 'uint4')",
                "    quality.append(sqnr_db(x, fake_quantize(x, qparams)))",
                "share = shares[int(np.argmax(quality))]",
                "return [x.min() * share, x.max() * share]",
            ),
        ),
        (
            "each end alone",
            _best_range(
                "def mse(low, high):",
                '    return np.mean((x - fake_quantize(x, qparams_from_range(low, high, "uint4"))) ** 2)',
                "low, high = float(x.min()), float(x.max())",
                "for _ in range(3):",
                "    high = min((x.max() * s for s in np.linspace(0.05, 1, 30)), key=lambda end: mse(low, end))",
                "    low = min((x.min() * s for s in np.linspace(0.05, 1, 30)), key=lambda end: mse(end, high))",
                "return low, high",
            ),
        ),
        (
            "multiples of the standard deviation, measured",
            _best_range(
                "def rms(k):",
                "    qparams = qparams_from_range(-k * x.std(), k * x.std(), 'uint4')",
                "    return np.sqrt(np.mean(np.square(x - fake_quantize(x, qparams))))",
                "k = sorted(np.linspace(0.5, 12, 80), key=rms)[0]",
                "return np.array([-k * x.std(), k * x.std()])",
            ),
        ),
        (
            "steps of a twentieth",
            _best_range(
                "errors = {}",
                "for i in range(1, 21):",
                "    low, high = x.min() * i / 20, x.max() * i / 20",
                "    scale = (high - low) / 15",
                "    zero_point = np.rint(-low / scale)",
                "    back = (np.clip(np.rint(x / scale) + zero_point, 0, 15) - zero_point) * scale",
                "    errors[low, high] = ((x - back) ** 2).mean()",
                "return min(errors, key=errors.get)",
            ),
        ),
    ],
    "01.5": [
        (
            "other names, initializers by keyword",
            _pair(ENDS + HELD + NODES + GRAPH.replace(", held", ", initializer=held") + MODEL, RUN),
        ),
        (
            "make_tensor, a shape of one",
            _pair(
                ENDS
                + 'held = [helper.make_tensor("s", TensorProto.FLOAT, [], [float(scale)]), '
                + 'helper.make_tensor("z", TensorProto.UINT8, [1], [int(zero_point)])]\n    '
                + 'held[0] = helper.make_tensor("s", TensorProto.FLOAT, [1], [float(scale)])\n    '
                + NODES
                + GRAPH
                + MODEL,
                RUN,
            ),
        ),
        (
            "bytes handed on, no shape declared, names of its own",
            _pair(
                'x = helper.make_tensor_value_info("in", TensorProto.FLOAT, None)\n    '
                'y = helper.make_tensor_value_info("out", TensorProto.FLOAT, None)\n    '
                + HELD
                + NODES.replace('"x"', '"in"').replace('"y"', '"out"')
                + GRAPH
                + MODEL
                + ".SerializeToString()",
                "session = onnxruntime.InferenceSession(model, providers=['CPUExecutionProvider'])\n    "
                "return session.run(None, {session.get_inputs()[0].name: x})[0]",
            ),
        ),
        (
            "a file",
            "import tempfile\n\n"
            + _pair(
                ENDS
                + HELD
                + NODES
                + GRAPH
                + MODEL.replace("return ", "model = ")
                + '\n    path = tempfile.mkdtemp() + "/pair.onnx"\n    onnx.save(model, path)\n    return path',
                'y, = onnxruntime.InferenceSession(model).run(["y"], {"x": x})\n    return y',
            ),
        ),
        (
            "each node with initializers of its own, opset 19",
            _pair(
                ENDS
                + 'pairs = [("s1", scale), ("z1", zero_point), ("s2", scale), ("z2", zero_point)]\n    '
                + "held = [numpy_helper.from_array(np.asarray(value), name) for name, value in pairs]\n    "
                + NODES.replace('"s", "z"', '"s1", "z1"', 1).replace('"s", "z"', '"s2", "z2"')
                + GRAPH
                + MODEL.replace("21", "19"),
                "options = onnxruntime.SessionOptions()\n    options.intra_op_num_threads = 1\n    "
                "session = onnxruntime.InferenceSession(model.SerializeToString(), options)\n    "
                'return np.array(session.run(["y"], {"x": x.astype(np.float32)})[0])',
            ),
        ),
        (
            "the graph first, filled by extend",
            _pair(
                "graph = onnx.GraphProto(name='g')\n    "
                + ENDS
                + HELD
                + NODES
                + "graph.input.extend([x])\n    graph.output.extend([y])\n    graph.initializer.extend(held)\n    "
                + "graph.node.extend(nodes)\n    model = helper.make_model(graph)\n    "
                + "model.opset_import[0].version = 20\n    "
                + "model.ir_version = 10\n    onnx.checker.check_model(model)\n    return model",
                RUN,
            ),
        ),
    ],
}
