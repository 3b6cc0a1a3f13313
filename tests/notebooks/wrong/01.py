"""Wrong answers to the exercises of notebook 01: name, code in the stub's place, what the refusal must say."""


def _qparams(*lines):
    return "\n    ".join(["def qparams(low, high, quant_min, quant_max):", *lines])


def _to_codes(*lines):
    return "\n    ".join(["def to_codes(x, scale, zero_point):", *lines])


def _both(to_real, error_bound):
    return (
        f"def to_real(q, scale, zero_point):\n    return {to_real}\n\n\n"
        f"def error_bound(x, scale, zero_point):\n    return {error_bound}\n"
    )


def _best_range(*lines):
    return "\n    ".join(["def best_range(x):", *lines])


def _searched(objective, dtype="uint4"):
    return _best_range(
        "def error(share):",
        f"    e = x - fake_quantize(x, qparams_from_range(share * x.min(), share * x.max(), '{dtype}'))",
        f"    return {objective}",
        "share = min(np.linspace(0.02, 1, 60), key=error)",
        "return share * x.min(), share * x.max()",
    )


WIDEN = "low, high = min(low, 0.0), max(high, 0.0)"
SCALE = "scale = (high - low) / (quant_max - quant_min) if high > low else 1.0"
ROUND = "return scale, int(np.clip(np.rint(quant_min - low / scale), quant_min, quant_max))"
REAL = "(np.asarray(q).astype(np.float32) - np.float32(zero_point)) * scale"
BOUND = "np.maximum(scale / 2, np.maximum((0.0 - zero_point) * scale - x, x - (255.0 - zero_point) * scale))"
INSIDE = "kept = x[(x >= share * x.min()) & (x <= share * x.max())]"

MODEL = """\
def qdq_model(scale, zero_point):
    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n"])
    y = helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n"])
    held = [
        numpy_helper.from_array(np.array(scale, np.float32), "scale"),
        numpy_helper.from_array(np.array(zero_point, np.uint8), "zero_point"),
    ]
    nodes = [
        helper.make_node("QuantizeLinear", ["x", "scale", "zero_point"], ["q"]),
        helper.make_node("DequantizeLinear", ["q", "scale", "zero_point"], ["y"]),
    ]
    graph = helper.make_graph(nodes, "pair", [x], [y], held)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)])
"""
RUN = """\
def run_model(model, x):
    session = onnxruntime.InferenceSession(model.SerializeToString())
    return session.run(None, {"x": x})[0]
"""


def _pair(*changes, run=RUN):
    """The right model, and each (old, new) changed in it."""
    model = MODEL
    for old, new in changes:
        assert old in model, old
        model = model.replace(old, new)
    return f"{model}\n\n{run}"


QUANTIZE = 'helper.make_node("QuantizeLinear", ["x", "scale", "zero_point"], ["q"]),'
DEQUANTIZE = 'helper.make_node("DequantizeLinear", ["q", "scale", "zero_point"], ["y"]),'
SCALE_HELD = 'numpy_helper.from_array(np.array(scale, np.float32), "scale"),'
ZERO_HELD = 'numpy_helper.from_array(np.array(zero_point, np.uint8), "zero_point"),'
SCALE_INPUT = 'helper.make_tensor_value_info("scale", TensorProto.FLOAT, [])'

WRONG_PAIRS = [  # each of them a slip in MODEL or RUN
    (
        "the opset left out",
        _pair((', opset_imports=[helper.make_opsetid("", 21)]', "")),
        "name one that this onnxruntime",
    ),
    (
        "dequantized first",
        _pair((QUANTIZE, QUANTIZE.replace("Quant", "Dequant")), (DEQUANTIZE, DEQUANTIZE.replace("Dequant", "Quant"))),
        "the nodes stand the other way round",
    ),
    (
        "QuantizeLinear alone",
        _pair((QUANTIZE, QUANTIZE.replace('"q"', '"y"')), (DEQUANTIZE, "")),
        "expected one QuantizeLinear, then one DequantizeLinear",
    ),
    (
        "codes as the output",
        _pair(('"y", TensorProto.FLOAT', '"q", TensorProto.UINT8')),
        "the codes: expected what DequantizeLinear makes",
    ),
    (
        "zero_point left out of QuantizeLinear",
        _pair((QUANTIZE, QUANTIZE.replace(', "zero_point"', ""))),
        "QuantizeLinear has no zero_point",
    ),
    (
        "zero_point left out of DequantizeLinear",
        _pair((DEQUANTIZE, DEQUANTIZE.replace(', "zero_point"', ""))),
        "DequantizeLinear has no zero_point",
    ),
    (
        "zero_point before scale",
        _pair((QUANTIZE, QUANTIZE.replace('"scale", "zero_point"', '"zero_point", "scale"'))),
        "scale comes before zero_point",
    ),
    (
        "zero_point as int8",
        _pair((ZERO_HELD, ZERO_HELD.replace("uint8", "int8"))),
        "the zero point of QuantizeLinear is int8",
    ),
    (
        "zero_point as int64",
        _pair((ZERO_HELD, ZERO_HELD.replace("uint8", "int64"))),
        "its type is that of the codes, uint8",
    ),
    (
        "scale as float64",
        _pair((SCALE_HELD, SCALE_HELD.replace("float32", "float64"))),
        "the scale of QuantizeLinear is float64",
    ),
    (
        "the numbers of an example",
        _pair((SCALE_HELD, SCALE_HELD.replace("scale,", "0.02,", 1))),
        "the scale of QuantizeLinear for",
    ),
    (
        "one over the scale",
        _pair((SCALE_HELD, SCALE_HELD.replace("scale,", "1 / scale,", 1))),
        "the scale of QuantizeLinear for",
    ),
    (
        "two scales",
        _pair(
            (SCALE_HELD, SCALE_HELD + ' numpy_helper.from_array(np.array(1, np.float32), "one"),'),
            (DEQUANTIZE, DEQUANTIZE.replace('"scale"', '"one"')),
        ),
        "the scale of DequantizeLinear for",
    ),
    (
        "scale as an input of the graph",
        _pair((SCALE_HELD, ""), ("[x], [y]", f"[x, {SCALE_INPUT}], [y]")),
        "is an input of the graph: then whoever runs the model must bring it along",
    ),
    (
        "scale and zero_point nowhere",
        _pair(("[x], [y], held", "[x], [y]")),
        "no initializer has this name",
    ),
    (
        "Constant nodes",
        _pair(
            (SCALE_HELD, ""),
            (QUANTIZE, f'helper.make_node("Constant", [], ["scale"], value={SCALE_HELD[:-1]}), {QUANTIZE}'),
        ),
        "out of a Constant node",
    ),
    (
        "names that do not meet",
        _pair((DEQUANTIZE, DEQUANTIZE.replace('"q"', '"codes"'))),
        "a wire between two nodes is a name",
    ),
    (
        "DequantizeLinear reads x",
        _pair((DEQUANTIZE, DEQUANTIZE.replace('"q"', '"x"'))),
        "a wire between two nodes is a name",
    ),
    ("another name for the input", _pair(('value_info("x"', 'value_info("input"')), "use the same names"),
    ("y declared as codes", _pair(('"y", TensorProto.FLOAT', '"y", TensorProto.UINT8')), "is declared UINT8"),
    (
        "x of three numbers",
        _pair(('"x", TensorProto.FLOAT, ["n"]', '"x", TensorProto.FLOAT, [3]')),
        "x has the fixed shape [3]",
    ),
    (
        "x of two axes",
        _pair(('"x", TensorProto.FLOAT, ["n"]', '"x", TensorProto.FLOAT, ["n", "m"]')),
        "x is declared with 2 axes",
    ),
    (
        "the two functions swapped",
        MODEL.replace("qdq_model", "other")
        + "\n\n"
        + RUN.replace("run_model", "qdq_model")
        + "\n\nrun_model = other\n",
        "the two functions are in the wrong order",
    ),
    (
        "the graph, no model",
        _pair(('helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)])', "graph")),
        "make_model",
    ),
    ("the list of outputs", _pair(run=RUN.replace("[0]", "")), "return its first entry"),
    (
        "the model built anew, with other numbers",
        _pair(run=RUN.replace("model.Ser", "qdq_model(*last).Ser")).replace(
            "    x = helper", "    global last\n    last = scale, zero_point\n    x = helper", 1
        ),
        "run_model gives the same for every model",
    ),
    (
        "onnx's reference evaluator",
        _pair(
            run="import onnx.reference\n\n\ndef run_model(model, x):\n"
            '    return onnx.reference.ReferenceEvaluator(model).run(None, {"x": x})[0]\n'
        ),
        "does it use onnxruntime.InferenceSession",
    ),
    (
        "the numbers by hand, without onnxruntime",
        _pair(
            run="def run_model(model, x):\n"
            "    scale, zero_point = map(numpy_helper.to_array, model.graph.initializer)\n"
            "    codes = np.clip(np.rint(x / scale) + np.float32(zero_point), 0, 255)\n"
            "    return (codes - zero_point) * scale\n"
        ),
        "let onnxruntime run the model",
    ),
    (
        "a file format that onnxruntime does not know",
        _pair(('make_opsetid("", 21)]', 'make_opsetid("", 21)], ir_version=99')),
        "name an older one, `ir_version=10`",
    ),
    ("an opset without QuantizeLinear", _pair(('make_opsetid("", 21)', 'make_opsetid("", 9)')), "came with opset 10"),
    ("the input under another name", _pair(run=RUN.replace('{"x": x}', '{"input": x}')), "input"),
]

WRONG_ANSWERS = {
    "01.1": [
        (
            "zero_point neither rounded nor clipped",
            _qparams(WIDEN, SCALE, "return scale, quant_min - low / scale"),
            "it is one of the codes, so round it",
        ),
        (
            "a range that leaves out 0",
            _qparams(SCALE, "return scale, int(np.rint(quant_min - low / scale))"),
            "the range leaves out 0",
        ),
        (
            "a range that leaves out 0, zero_point clipped to hide it",
            _qparams(SCALE, ROUND),
            "the range leaves out 0",
        ),
        (
            "division by zero on a tensor of zeros",
            _qparams(WIDEN, "scale = (high - low) / (quant_max - quant_min)", ROUND),
            "ZeroDivisionError",
        ),
        (
            "scale computed before 0 is taken in",
            _qparams("scale = np.float64(high - low) / (quant_max - quant_min)", WIDEN, ROUND),
            "the range leaves out 0",
        ),
        (
            "a zero_point that is always 0",
            _qparams(WIDEN, "scale = np.float64(high - low) / (quant_max - quant_min)", "return scale, 0 * low"),
            "zero_point for the range",
        ),
        (
            "one step for each code",
            _qparams(WIDEN, "scale = (high - low) / (quant_max - quant_min + 1) or 1.0", ROUND),
            "256 codes have 255 steps between them",
        ),
        (
            "zero_point cut off instead of rounded",
            _qparams(WIDEN, SCALE, "return scale, int(quant_min - low / scale)"),
            "round to the nearest code",
        ),
        (
            "zero_point with its sign turned",
            _qparams(WIDEN, SCALE, "return scale, int(np.rint(quant_min + low / scale))"),
            "is a sign turned",
        ),
        (
            "zero_point first",
            _qparams(WIDEN, SCALE, "zero_point = int(np.rint(quant_min - low / scale))", "return zero_point, scale"),
            "return the scale first",
        ),
        (
            "scale 1e-12 for zeros",
            _qparams(WIDEN, "scale = (high - low) / (quant_max - quant_min) or 1e-12", ROUND),
            "where all is 0 the text asks for 1",
        ),
        (
            "a least scale",
            _qparams(WIDEN, "scale = max((high - low) / (quant_max - quant_min), 1e-8)", ROUND),
            "a guard against 0 that catches small ranges too",
        ),
        (
            "a guard that takes small ranges for zeros",
            _qparams(WIDEN, "scale = (high - low) / (quant_max - quant_min) if high - low > 1e-3 else 1.0", ROUND),
            "a guard against 0 that catches small ranges too",
        ),
        (
            "np.isclose as the guard",
            _qparams(WIDEN, "scale = 1.0 if np.isclose(low, high) else (high - low) / (quant_max - quant_min)", ROUND),
            "a guard against 0 that catches small ranges too",
        ),
        (
            "something small added to the range",
            _qparams(WIDEN, "scale = (high - low + 1e-6) / (quant_max - quant_min)", ROUND),
            "a guard against 0 that catches small ranges too",
        ),
        (
            "quant_min forgotten in zero_point",
            _qparams(WIDEN, SCALE, "return scale, int(np.rint(-low / scale))"),
            "quant_min is missing",
        ),
        (
            "range over the last code",
            _qparams(WIDEN, "scale = (high - low) / quant_max if high > low else 1.0", ROUND),
            "the codes begin at quant_min",
        ),
        (
            "one end forgotten",
            _qparams(WIDEN, "scale = max(high, 1e-30) / (quant_max - quant_min)", ROUND),
            "one end of the range alone",
        ),
        (
            "the symmetric scale",
            _qparams(WIDEN, "scale = max(-low, high) / quant_max or 1.0", ROUND),
            "as for the symmetric scale of notebook 02",
        ),
        (
            "a mirrored range",
            _qparams(WIDEN, "scale = 2 * max(-low, high) / (quant_max - quant_min) or 1.0", ROUND),
            "as for the symmetric scale of notebook 02",
        ),
        (
            "one over the scale",
            _qparams(WIDEN, "scale = (quant_max - quant_min) / (high - low) if high > low else 1.0", ROUND),
            "this is one over the scale",
        ),
        (
            "the scale rounded",
            _qparams(WIDEN, SCALE, "scale = round(scale, 3) or 1.0", ROUND),
            "do not round a scale",
        ),
        (
            "zero_point from low in place of low / scale",
            _qparams(WIDEN, SCALE, "return scale, int(np.rint(quant_min - low * scale))"),
            "divide it by scale",
        ),
        (
            "zero_point from high, its sign turned",
            _qparams(WIDEN, SCALE, "return scale, int(np.rint(quant_max + high / scale))"),
            "high must land on the last code",
        ),
        (
            "zero_point always cast to uint8",
            _qparams(
                WIDEN, SCALE, "return scale, np.array(np.rint(quant_min - low / scale)).astype(int).astype(np.uint8)"
            ),
            "not from 0 to 255",
        ),
        (
            "the next power of two",
            _qparams(WIDEN, SCALE, "scale = 2.0 ** np.ceil(np.log2(scale))", ROUND),
            "a power of two was not asked for",
        ),
        (
            "255 steps for any codes",
            _qparams(WIDEN, "scale = (high - low) / 255 if high > low else 1.0", ROUND),
            "255 steps belong to 8 bits",
        ),
        (
            "a constant caught before 0 is taken in",
            _qparams("if low == high:", "    return 1.0, 0", WIDEN, SCALE, ROUND),
            "take 0 in first",
        ),
        (
            "zero_point clipped to the codes of uint8",
            _qparams(WIDEN, SCALE, "return scale, int(np.clip(np.rint(quant_min - low / scale), 0, 255))"),
            "the codes run from quant_min to quant_max, not from 0 to 255",
        ),
        (
            "zero_point rounded up",
            _qparams(WIDEN, SCALE, "return scale, int(np.ceil(quant_min - low / scale))"),
            "round to the nearest code, not up",
        ),
        (
            "the middle code for 0.0",
            _qparams(WIDEN, SCALE, "return scale, (quant_min + quant_max + 1) // 2"),
            "belongs to 0.0 only if the range is symmetric",
        ),
        (
            "the absolute ends added, 0 left out",
            _qparams("scale = (abs(low) + abs(high)) / (quant_max - quant_min) or 1.0", ROUND),
            "the range leaves out 0",
        ),
        (
            "the scale alone",
            _qparams(WIDEN, SCALE, "return scale"),
            "expected (scale, zero_point)",
        ),
        (
            "a least scale for the smallest ranges",
            _qparams(WIDEN, "scale = max((high - low) / (quant_max - quant_min), 1e-12)", ROUND),
            "a guard against 0 that catches small ranges too",
        ),
        (
            "a range below 1e-9 taken for none",
            _qparams(WIDEN, "scale = (high - low) / (quant_max - quant_min) if high - low >= 1e-9 else 1.0", ROUND),
            "a guard against 0 that catches small ranges too",
        ),
        (
            "something small added to the scale below low",
            _qparams(WIDEN, SCALE, "return scale, int(np.rint(quant_min - low / (scale + 1e-9)))"),
            "is no longer small beside it",
        ),
        (
            "half added, then cut off",
            _qparams(WIDEN, SCALE, "return scale, int(quant_min - low / scale + 0.5)"),
            "int(... + 0.5) cuts off toward 0",
        ),
        (
            "0 left out by the wrong one of min and max",
            _qparams("low, high = max(low, 0.0), min(high, 0.0)", SCALE, ROUND),
            "min(low, 0) and max(high, 0), not the other way round",
        ),
        (
            "0 left out by the wrong one, no guard",
            _qparams(
                "low, high = max(low, 0.0), min(high, 0.0)",
                "scale = np.float64(high - low) / (quant_max - quant_min)",
                "return scale, 0",
            ),
            "min(low, 0) and max(high, 0), not the other way round",
        ),
        (
            "a scale of float16",
            _qparams(WIDEN, SCALE, "return np.float16(scale), int(np.rint(quant_min - low / scale))"),
            "float16 keeps three digits",
        ),
        (
            "quant_min beside high",
            _qparams(WIDEN, SCALE, "return scale, int(np.rint(quant_min + high / scale))"),
            "quant_min belongs to low",
        ),
    ],
    "01.2": [
        (
            "floor for round",
            _to_codes("return np.clip(np.floor(x / scale) + np.float32(zero_point), 0, 255).astype(np.uint8)"),
            "floor takes the level below",
        ),
        (
            "a cast for round",
            _to_codes("return np.clip((x / scale).astype(int) + int(zero_point), 0, 255).astype(np.uint8)"),
            "casting to an integer cuts off the fraction",
        ),
        (
            "zero_point added before rounding",
            _to_codes("return np.clip(np.rint(x / scale + zero_point), 0, 255).astype(np.uint8)"),
            "zero_point was added before rounding",
        ),
        (
            "halfway always up",
            _to_codes("return np.clip(np.floor(x / scale + 0.5) + zero_point, 0, 255).astype(np.uint8)"),
            "it goes to the even one (np.rint), then comes zero_point, not always up",
        ),
        (
            "cast to uint8 before saturating",
            _to_codes("return (np.rint(x / scale) + zero_point).astype(np.int64).astype(np.uint8)"),
            "an integer cast of what does not fit wraps around",
        ),
        (
            "cast to uint8, then clipped in vain",
            _to_codes(
                "q = np.rint(x / scale).astype(np.int64) + zero_point", "return np.clip(q.astype(np.uint8), 0, 255)"
            ),
            "wraps around",
        ),
        (
            "cast to int32 before saturating",
            _to_codes(
                "q = np.rint(x / scale).astype(np.int32) + np.int32(zero_point)",
                "return np.clip(q, 0, 255).astype(np.uint8)",
            ),
            "clip to 0 ... 255 while the numbers are still float",
        ),
        (
            "codes left as float",
            _to_codes("return np.clip(np.rint(x / scale) + zero_point, 0, 255)"),
            "expected dtype uint8, seen float32",
        ),
        (
            "zero_point forgotten",
            _to_codes("return np.clip(np.rint(x / scale), 0, 255).astype(np.uint8)"),
            "zero_point is missing",
        ),
        (
            "halfway away from zero",
            _to_codes(
                "steps = x / scale",
                "steps = np.sign(steps) * np.floor(np.abs(steps) + 0.5)",
                "return np.clip(steps + zero_point, 0, 255).astype(np.uint8)",
            ),
            "not always away from 0",
        ),
        (
            "halfway always down",
            _to_codes("return np.clip(np.ceil(x / scale - 0.5) + zero_point, 0, 255).astype(np.uint8)"),
            "not always down",
        ),
        (
            "halfway toward zero",
            _to_codes(
                "steps = x / scale",
                "steps = np.sign(steps) * np.ceil(np.abs(steps) - 0.5)",
                "return np.clip(steps + zero_point, 0, 255).astype(np.uint8)",
            ),
            "not always toward 0",
        ),
        (
            "half added, then cast",
            _to_codes("return np.clip((x / scale + 0.5).astype(np.int64) + int(zero_point), 0, 255).astype(np.uint8)"),
            "int(... + 0.5) also cuts off negative numbers on the wrong side",
        ),
        (
            "half added after the zero point",
            _to_codes("return np.clip(x / scale + zero_point + 0.5, 0, 255).astype(np.uint8)"),
            "it goes to the even one",
        ),
        (
            "rounded up",
            _to_codes("return np.clip(np.ceil(x / scale) + zero_point, 0, 255).astype(np.uint8)"),
            "this rounds up",
        ),
        (
            "the last code left out",
            _to_codes("return np.clip(np.rint(x / scale) + zero_point, 0, 254).astype(np.uint8)"),
            "uint8 codes run from 0 to 255, yours from 0 to 254",
        ),
        (
            "the first code left out",
            _to_codes("return np.clip(np.rint(x / scale) + zero_point, 1, 255).astype(np.uint8)"),
            "uint8 codes run from 0 to 255, yours from 1 to 255",
        ),
        (
            "clipped to 256, which wraps around",
            _to_codes("return np.clip(np.rint(x / scale) + zero_point, 0, 256).astype(np.int64).astype(np.uint8)"),
            "wraps around",
        ),
        (
            "the limits of int8",
            _to_codes("return np.clip(np.rint(x / scale) + zero_point, -128, 127).astype(np.int8).astype(np.uint8)"),
            "int8 codes run from -128 to 127",
        ),
        (
            "zero_point added after clipping",
            _to_codes("return np.clip(np.rint(x / scale), 0, 255).astype(np.uint8) + zero_point"),
            "clipped too early",
        ),
        (
            "a product with one over scale",
            _to_codes("return np.clip(np.rint(x * (1 / scale)) + zero_point, 0, 255).astype(np.uint8)"),
            "x * (1 / scale) is not x / scale",
        ),
        (
            "a product with one over scale, in float64",
            _to_codes(
                "steps = x.astype(np.float64) * (1 / float(scale))",
                "return np.clip(np.rint(steps) + zero_point, 0, 255).astype(np.uint8)",
            ),
            "x * (1 / scale) is not x / scale",
        ),
        (
            "multiplied by scale",
            _to_codes("return np.clip(np.rint(x * scale) + zero_point, 0, 255).astype(np.uint8)"),
            "this multiplies by scale",
        ),
        (
            "zero_point subtracted from x",
            _to_codes("return np.clip(np.rint((x - zero_point) / scale), 0, 255).astype(np.uint8)"),
            "zero_point is a code, no real number",
        ),
        (
            "zero_point subtracted",
            _to_codes("return np.clip(np.rint(x / scale) - zero_point, 0, 255).astype(np.uint8)"),
            "zero_point is subtracted",
        ),
        (
            "the codes of 4 bits",
            _to_codes("return np.clip(np.rint(x / scale) + zero_point, 0, 15).astype(np.uint8)"),
            "uint8 codes run from 0 to 255, yours from 0 to 15",
        ),
        (
            "there and back",
            _to_codes("return (np.clip(np.rint(x / scale) + zero_point, 0, 255) - zero_point) * scale"),
            "these are real numbers again",
        ),
        (
            "steps in int8",
            _to_codes(
                "q = np.rint(x / scale).astype(np.int64).astype(np.int8)",
                "return np.clip(q + int(zero_point), 0, 255).astype(np.uint8)",
            ),
            "needs more than the 8 bits of int8",
        ),
        (
            "float16",
            _to_codes(
                "q = np.rint(x.astype(np.float16) / np.float16(scale))",
                "return np.clip(q + np.float32(zero_point), 0, 255).astype(np.uint8)",
            ),
            "divide in float32",
        ),
        (
            "the sign lost",
            _to_codes("return np.clip(np.rint(np.abs(x) / scale) + zero_point, 0, 255).astype(np.uint8)"),
            "the sign of x is lost",
        ),
        (
            "x clipped instead of the codes",
            _to_codes("return (np.rint(np.clip(x, 0, 255) / scale) + zero_point).clip(0, 255).astype(np.uint8)"),
            "clipped too early",
        ),
        (
            "counted from the least x",
            _to_codes("return np.clip(np.rint((x - x.min()) / scale) + zero_point, 0, 255).astype(np.uint8)"),
            "the least x has no part in it",
        ),
        (
            "a range of its own",
            _to_codes("return np.rint((x - x.min()) / (x.max() - x.min()) * 255).astype(np.uint8)"),
            "the least x has no part in it",
        ),
        (
            "in place",
            _to_codes("x /= scale", "np.rint(x, out=x)", "return np.clip(x + zero_point, 0, 255).astype(np.uint8)"),
            "changes the array that it was given",
        ),
        (
            "codes as int64",
            _to_codes("return np.clip(np.rint(x / scale) + zero_point, 0, 255).astype(int)"),
            "expected dtype uint8, seen int64",
        ),
        (
            "one row of codes",
            _to_codes("return np.clip(np.rint(x / scale) + zero_point, 0, 255).astype(np.uint8).ravel()"),
            "expected shape",
        ),
        (
            "limits on the other side of zero_point, in uint8",
            _to_codes(
                "steps = np.clip(np.rint(x / scale), 0 - zero_point, 255 - zero_point)",
                "return (steps + zero_point).astype(np.uint8)",
            ),
            "0 - zero_point wraps around in uint8",
        ),
        (
            "x rounded, then divided",
            _to_codes("return np.clip(np.rint(x) / scale + zero_point, 0, 255).astype(np.uint8)"),
            "rounds x before it is divided",
        ),
        (
            "the nearest level, found by argmin",
            _to_codes(
                "levels = (np.arange(256) - int(zero_point)) * scale",
                "return np.abs(x[..., None] - levels).argmin(-1).astype(np.uint8)",
            ),
            "it goes to the even one (np.rint), then comes zero_point, not always down",
        ),
        (
            "a list of rows taken for numbers",
            _to_codes(
                "return np.array([min(max(round(float(v / scale)) + int(zero_point), 0), 255) for v in x], np.uint8)"
            ),
            "x may have any shape",
        ),
    ],
    "01.3": [
        (
            "subtracted in uint8",
            _both("((q - zero_point) * scale).astype(np.float32)", BOUND),
            "codes below zero_point wrapped around",
        ),
        (
            "zero_point subtracted after multiplying",
            _both("q.astype(np.float32) * scale - zero_point", BOUND),
            "subtract zero_point before multiplying",
        ),
        (
            "zero_point added",
            _both("(q.astype(np.float32) + zero_point) * scale", BOUND),
            "the way back subtracts it",
        ),
        (
            "half a step everywhere, clipping forgotten",
            _both(REAL, "np.full(x.shape, scale / 2)"),
            "the error is the way to the end",
        ),
        (
            "a whole step",
            _both(REAL, f"np.maximum({BOUND}, scale)"),
            "rounding to the nearest level errs by half a step at most",
        ),
        (
            "a quarter of a step, the mean error",
            _both(REAL, "np.maximum(scale / 4, np.maximum(-255.0 * scale, 0 * x))"),
            "the bound says",
        ),
        (
            "the error itself instead of a bound",
            _both(REAL, "np.abs(x - (np.clip(np.rint(x / scale) + zero_point, 0, 255) - zero_point) * scale)"),
            "A bound is known before quantizing",
        ),
        (
            "one number, the worst of all",
            _both(REAL, f"np.max({BOUND})"),
            "one number, that of the worst entry, for all",
        ),
        (
            "the two functions swapped",
            f"def to_real(q, scale, zero_point):\n    x = q\n    return {BOUND}\n\n\n"
            f"def error_bound(x, scale, zero_point):\n    q = x\n    return {REAL}\n",
            "the two functions are in the wrong order",
        ),
        (
            "subtracted in int8",
            _both("(q.astype(np.int8).astype(np.float32) - zero_point) * scale", BOUND),
            "codes above 127 wrapped around",
        ),
        (
            "zero_point missing on the way back",
            _both("q.astype(np.float32) * scale", BOUND),
            "zero_point is missing",
        ),
        (
            "divided by scale",
            _both("(q.astype(np.float32) - zero_point) / scale", BOUND),
            "the way back multiplies",
        ),
        (
            "the sign turned",
            _both("(zero_point - q.astype(np.float32)) * scale", BOUND),
            "the sign is turned",
        ),
        (
            "the distance to the zero point",
            _both("np.abs(q.astype(np.float32) - zero_point) * scale", BOUND),
            "their sign is lost",
        ),
        (
            "steps left as they are",
            _both("q.astype(np.float32) - zero_point", BOUND),
            "multiply by scale",
        ),
        (
            "half a step on top of the way to the end",
            _both(REAL, BOUND.replace("np.maximum(scale / 2, np.maximum(", "scale / 2 + np.maximum(0, np.maximum(")),
            "no half step comes on top",
        ),
        (
            "the way to the end only, half a step forgotten",
            _both(REAL, BOUND.replace("scale / 2", "0")),
            "halfway between two levels the error is half a step",
        ),
        (
            "the ends of the codes taken for the ends of the levels",
            _both(REAL, "np.maximum(scale / 2, np.maximum(0 - x, x - 255))"),
            "it lies beyond the levels",
        ),
        (
            "only the upper end",
            _both(REAL, "np.maximum(scale / 2, x - (255.0 - zero_point) * scale)"),
            "it lies beyond the levels",
        ),
        (
            "a vector of codes only",
            _both("np.array([(int(code) - int(zero_point)) * scale for code in q.ravel()])", BOUND),
            "expected shape (16, 16)",
        ),
        (
            "the middle between two levels",
            _both(f"{REAL} + scale / 2", BOUND),
            "a code stands for its level",
        ),
        (
            "whole numbers",
            _both(f"({REAL}).astype(np.int64)", BOUND),
            "an integer type cuts off the fraction",
        ),
        (
            "counted in steps",
            _both(REAL, f"({BOUND}) / scale"),
            "this is a number of steps: multiply by scale",
        ),
        (
            "the way to the farther end",
            _both(
                REAL,
                "np.where((x < (0.0 - zero_point) * scale) | (x > (255.0 - zero_point) * scale), "
                "np.maximum(abs(x - (0.0 - zero_point) * scale), abs(x - (255.0 - zero_point) * scale)), scale / 2)",
            ),
            "the error is the way to the nearer end",
        ),
        (
            "the first level in uint8",
            _both(REAL, BOUND.replace("(0.0 - zero_point) * scale", "scale * (0 - zero_point)")),
            "uint8 cannot hold it",
        ),
        (
            "the first level in uint8, by a minus sign",
            _both(REAL, BOUND.replace("(0.0 - zero_point) * scale", "-zero_point * scale")),
            "uint8 cannot hold it",
        ),
        (
            "the first level and the last swapped",
            _both(REAL, "np.maximum(scale / 2, np.maximum((255.0 - zero_point) * scale - x, x + zero_point * scale))"),
            "stand in each other's place",
        ),
        (
            "a hundredth to spare",
            _both(REAL, f"1.01 * {BOUND}"),
            "the error is the way to the nearer end, and not more",
        ),
        (
            "a difference of int8",
            _both("(q.astype(np.int8) - np.array(zero_point).astype(np.int8)) * scale", BOUND),
            "int8 cannot hold it",
        ),
        (
            "float16 returned",
            _both(f"np.float16({REAL})", BOUND),
            "float16 has too few digits",
        ),
        (
            "float16 all the way",
            _both("(np.float16(q) - np.float16(zero_point)) * np.float16(scale)", BOUND),
            "float16 has too few digits",
        ),
        (
            "negative steps cut off",
            _both("np.maximum(q.astype(np.float32) - zero_point, 0) * scale", BOUND),
            "negative numbers are lost",
        ),
        (
            "zero_point added after multiplying",
            _both("q * scale + zero_point", BOUND),
            "zero_point is subtracted, and before multiplying",
        ),
    ],
    "01.4": [
        (
            "min-max: clipping loses information",
            _best_range("return x.min(), x.max()"),
            "Clipping does lose information, but so does rounding",
        ),
        (
            "three standard deviations, whatever the tensor",
            _best_range("return -3 * x.std(), 3 * x.std()"),
            "it is the same multiple of the standard deviation, whatever the tensor",
        ),
        (
            "half of min-max, whatever the tensor",
            _best_range("return x.min() / 2, x.max() / 2"),
            "it is the same share of min-max, whatever the tensor",
        ),
        (
            "a fixed percentile, whatever the tensor",
            _best_range("return np.percentile(x, 0.1), np.percentile(x, 99.9)"),
            "it clips the same share of the values, whatever the tensor",
        ),
        (
            "only the errors inside the range counted",
            _best_range(
                "def error(share):",
                f"    {INSIDE}",
                "    qparams = qparams_from_range(share * x.min(), share * x.max(), 'uint4')",
                "    return np.mean((kept - fake_quantize(kept, qparams)) ** 2)",
                "share = min(np.linspace(0.02, 1, 40), key=error)",
                "return share * x.min(), share * x.max()",
            ),
            "count the clipped values too",
        ),
        (
            "the largest error made small",
            _best_range(
                "def error(share):",
                "    qparams = qparams_from_range(share * x.min(), share * x.max(), 'uint4')",
                "    return np.max(np.abs(x - fake_quantize(x, qparams)))",
                "share = min(np.linspace(0.02, 1, 40), key=error)",
                "return share * x.min(), share * x.max()",
            ),
            "which also the least *largest* error asks for",
        ),
        (
            "the least absolute error",
            _best_range(
                "def error(share):",
                "    qparams = qparams_from_range(share * x.min(), share * x.max(), 'uint4')",
                "    return np.abs(x - fake_quantize(x, qparams)).mean()",
                "share = min(np.linspace(0.05, 1, 60), key=error)",
                "return share * x.min(), share * x.max()",
            ),
            "that is the least *absolute* error",
        ),
        (
            "the least absolute error of mirrored ranges",
            _best_range(
                "def error(a):",
                "    return np.abs(x - fake_quantize(x, qparams_from_range(-a, a, 'uint4'))).mean()",
                "a = min(np.linspace(0.05, 1, 60) * np.abs(x).max(), key=error)",
                "return -a, a",
            ),
            "that is the least *absolute* error",
        ),
        (
            "the largest magnitude, mirrored",
            _best_range("a = np.abs(x).max()", "return -a, a"),
            "that is min-max",
        ),
        (
            "from 0 on",
            _best_range("return 0.0, x.max()"),
            "it leaves out one side of 0",
        ),
        (
            "only the upper end moved",
            _best_range(
                "def error(share):",
                "    qparams = qparams_from_range(x.min(), share * x.max(), 'uint4')",
                "    return np.mean((x - fake_quantize(x, qparams)) ** 2)",
                "share = min(np.linspace(0.02, 1, 60), key=error)",
                "return x.min(), share * x.max()",
            ),
            "one end stays at min-max for every tensor",
        ),
        (
            "the best range for 2 bits",
            _best_range(
                "def error(share):",
                "    qparams = qparams_from_range(share * x.min(), share * x.max(), 'uint2')",
                "    return np.mean((x - fake_quantize(x, qparams)) ** 2)",
                "share = min(np.linspace(0.02, 1, 60), key=error)",
                "return share * x.min(), share * x.max()",
            ),
            "that is the best range for 2 bits",
        ),
        (
            "the best range for 8 bits",
            _best_range(
                "def error(share):",
                "    qparams = qparams_from_range(share * x.min(), share * x.max(), 'uint8')",
                "    return np.mean((x - fake_quantize(x, qparams)) ** 2)",
                "share = min(np.linspace(0.05, 1, 60), key=error)",
                "return share * x.min(), share * x.max()",
            ),
            "that is the best range for 8 bits",
        ),
        (
            "the greatest error",
            _best_range(
                "def error(share):",
                "    qparams = qparams_from_range(share * x.min(), share * x.max(), 'uint4')",
                "    return np.mean((x - fake_quantize(x, qparams)) ** 2)",
                "share = max(np.linspace(0.05, 1, 60), key=error)",
                "return share * x.min(), share * x.max()",
            ),
            "look for the least error",
        ),
        (
            "clipped before it is compared",
            _best_range(
                "def error(share):",
                "    low, high = share * x.min(), share * x.max()",
                "    back = fake_quantize(x, qparams_from_range(low, high, 'uint4'))",
                "    return np.mean((np.clip(x, low, high) - back) ** 2)",
                "share = min(np.linspace(0.02, 1, 60), key=error)",
                "return share * x.min(), share * x.max()",
            ),
            "count the clipped values too",
        ),
        (
            "one range for all tensors",
            _best_range("return -0.2, 0.12"),
            "it is the same range, whatever the tensor",
        ),
        (
            "never below half of min-max",
            _best_range(
                "def error(share):",
                "    qparams = qparams_from_range(share * x.min(), share * x.max(), 'uint4')",
                "    return np.mean((x - fake_quantize(x, qparams)) ** 2)",
                "share = min(np.linspace(0.6, 1, 40), key=error)",
                "return share * x.min(), share * x.max()",
            ),
            "Try narrower ones",
        ),
        (
            "the share instead of the range",
            _best_range(
                "def error(share):",
                "    qparams = qparams_from_range(share * x.min(), share * x.max(), 'uint4')",
                "    return np.mean((x - fake_quantize(x, qparams)) ** 2)",
                "return min(np.linspace(0.02, 1, 60), key=error)",
            ),
            "expected (low, high)",
        ),
        (
            "high before low",
            _best_range("return x.max(), x.min()"),
            "expected low < high",
        ),
        (
            "the qparams instead of the range",
            _best_range("return qparams_from_range(x.min(), x.max(), 'uint4')"),
            "expected (low, high)",
        ),
        (
            "four standard deviations, or min-max where it is narrower",
            _best_range("return max(x.min(), -4 * x.std()), min(x.max(), 4 * x.std())"),
            "it is the same multiple of the standard deviation, whatever the tensor",
        ),
        ("qlab's own search", _best_range('return mse_range(x, "uint4")'), "write a search of your own"),
        ("the mean difference", _searched("np.mean(e)"), "errors of both signs cancel"),
        ("the mean difference, turned", _searched("np.mean(-e)"), "errors of both signs cancel"),
        ("the mean difference, its sign dropped", _searched("abs(e.mean())"), "errors of both signs cancel"),
        ("squared after the sum", _searched("np.sum(e) ** 2"), "errors of both signs cancel"),
        ("3 bits", _searched("np.mean(e**2)", dtype="uint3"), "that is the best range for 3 bits"),
        ("5 bits", _searched("np.mean(e**2)", dtype="uint5"), "that is the best range for 5 bits"),
        ("cubes", _searched("np.mean(np.abs(e) ** 3)"), "that is the least *cube* of the error"),
        ("the least SQNR", _searched("sqnr_db(x, x - e)"), "look for the least error"),
    ],
    "01.5": WRONG_PAIRS,
}
