"""Right answers to the exercises of notebook 04 in other styles: name, code in the stub's place."""

LOOP_SHAPE = """\
def scale_shape(shape, axis, block_size=None):
    found = []
    for index, length in enumerate(shape):
        if index != axis and index - len(shape) != axis:
            if block_size is not None:
                found.append(length)
        elif block_size is None:
            found.append(length)
        else:
            blocks = length // block_size
            if length % block_size:
                blocks += 1
            found.append(blocks)
    return tuple(found)
"""
BITS = """\
def effective_bits(shape, bits, granularity, scale_bits=16):
    return bits + scale_bits * np.prod(granularity.scale_shape(shape)) / np.prod(shape)


"""
HELD = '{"a": qx.scale, "b": qx.zero_point, "c": quantize(w, qw), "d": qw.scale, "e": qw.zero_point}'
NODES = """[
        helper.make_node("QuantizeLinear", ["x", "a", "b"], ["q"]),
        helper.make_node("DequantizeLinear", ["q", "a", "b"], ["r"]),
        helper.make_node("DequantizeLinear", ["c", "d", "e"], ["v"], axis=1),
        helper.make_node("MatMul", ["r", "v"], ["y"]),
    ]"""
BUILD = """\
def build(x, w):
    qx = {qx}
    qw = choose_qparams(w, "int8", symmetric=True, granularity=PerAxis({axis}))
    held = {held}
    nodes = {nodes}
    inputs = [helper.make_tensor_value_info("x", 1, [None, w.shape[0]])]
    outputs = [helper.make_tensor_value_info("y", 1, [None, w.shape[1]])]
    held = [numpy_helper.from_array(np.asarray(array), name) for name, array in held.items()]
    graph = helper.make_graph(nodes, "g", inputs, outputs, held)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", {opset})], ir_version=10)


"""
READ = """\
def read(model):
    options = onnxruntime.SessionOptions()
    options.optimized_model_filepath = folder.name + "/right.onnx"
    options.log_severity_level = 3
    onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    optimized = onnx.load(folder.name + "/right.onnx")
"""
READ_ARRAYS = (
    READ
    + """\
    arrays = {t.name: numpy_helper.to_array(t) for t in optimized.graph.initializer}
    node = [n for n in optimized.graph.node if n.op_type.startswith("MatMul")][0]
    return (node.op_type, arrays[node.input[4]].dtype, arrays[node.input[1]].dtype, arrays[node.input[3]].shape)
"""
)
READ_PROTOS = (
    READ
    + """\
    found = {tensor.name: tensor for tensor in optimized.graph.initializer}
    for node in optimized.graph.node:
        if node.op_type in ("QuantizeLinear", "DequantizeLinear"):
            continue
        x_type, w_type = found[node.input[4]].data_type, found[node.input[1]].data_type
        return [node.op_type, x_type, w_type, list(found[node.input[3]].dims)]
"""
)
READ_NAMES = READ_PROTOS.replace(
    "[node.op_type, x_type, w_type,",
    "[node.op_type, onnx.TensorProto.DataType.Name(x_type), onnx.TensorProto.DataType.Name(w_type),",
)


def build(qx='choose_qparams(x, "uint8")', axis=1, held=HELD, nodes=NODES, opset=21):
    return BUILD.format(qx=qx, axis=axis, held=held, nodes=nodes, opset=opset)


RIGHT_ANSWERS = {
    "04.1": [
        ("a loop", LOOP_SHAPE),
        (
            "math.ceil",
            "import math\n\n\ndef scale_shape(shape, axis, block_size=None):\n    if block_size is None:\n"
            "        return (shape[axis],)\n    out = list(shape)\n    out[axis] = "
            "math.ceil(shape[axis] / block_size)\n"
            "    return tuple(out)\n",
        ),
        (
            "NumPy's numbers",
            "def scale_shape(shape, axis, block_size=None):\n    shape = np.array(shape)\n    if block_size is None:\n"
            "        return tuple(shape[[axis]])\n    shape[axis] = np.ceil(shape[axis] / block_size)\n"
            "    return tuple(shape)\n",
        ),
        (
            "added before dividing",
            "def scale_shape(s, a, block_size=None):\n    if block_size is None:\n        return (s[a],)\n"
            "    a = a + len(s) if a < 0 else a\n    return s[:a] + ((s[a] + block_size - 1) // "
            "block_size,) + s[a + 1 :]\n",
        ),
        (
            "qlab's own types",
            "def scale_shape(shape, axis, block_size=None):\n"
            "    each = PerAxis(axis) if block_size is None else PerBlock(axis, block_size)\n"
            "    return each.scale_shape(shape)\n",
        ),
        (
            "counted on a tensor",
            "def scale_shape(shape, axis, block_size=None):\n    x = np.ones(shape)\n    if block_size is None:\n"
            "        return np.moveaxis(x, axis, 0)[(slice(None),) + (0,) * (x.ndim - 1)].shape\n"
            "    return np.add.reduceat(x, np.arange(0, shape[axis], block_size), axis=axis).shape\n",
        ),
    ],
    "04.2": [
        (
            "loops, number by number",
            "def quantize_blocks(x, block_size):\n    rows, columns = x.shape\n"
            "    scales = np.zeros((rows, (columns + block_size - 1) // block_size), np.float32)\n"
            "    codes = np.zeros(x.shape, np.int8)\n    for r in range(rows):\n        for b in "
            "range(scales.shape[1]):\n"
            "            block = x[r, b * block_size : (b + 1) * block_size]\n"
            "            largest = max(abs(v) for v in block)\n"
            "            scales[r, b] = largest / 127 if largest > 0 else 1\n"
            "            for i, v in enumerate(block):\n"
            "                codes[r, b * block_size + i] = round(float(v / scales[r, b]))\n    return codes, scales\n",
        ),
        (
            "float64 within",
            "def quantize_blocks(x, block_size):\n    x = x.astype(np.float64)\n    codes, scales = [], []\n"
            "    for start in range(0, x.shape[1], block_size):\n        block = x[:, start : start + block_size]\n"
            "        scale = np.abs(block).max(axis=1, keepdims=True) / 127\n        scale[scale == 0] = 1\n"
            "        codes.append(np.round(block / scale))\n        scales.append(scale)\n"
            "    return np.hstack(codes).astype('int8'), np.hstack(scales).astype('float32')\n",
        ),
        (
            "padded and reshaped",
            "def quantize_blocks(x, block_size):\n    padded = np.pad(x, [(0, 0), (0, -x.shape[1] % block_size)])\n"
            "    blocks = padded.reshape(len(x), -1, block_size)\n"
            "    scales = np.abs(blocks).max(axis=-1) / np.float32(127)\n    scales[scales == 0] = 1\n"
            "    codes = np.clip(np.round(blocks / scales[..., None]), -128, 127)\n"
            "    return codes.astype(np.int8).reshape(padded.shape)[:, : x.shape[1]], scales\n",
        ),
        (
            "np.maximum.reduceat",
            "def quantize_blocks(x, block_size):\n    starts = np.arange(0, x.shape[1], block_size)\n"
            "    a = np.maximum.reduceat(np.abs(x), starts, axis=1)\n    s = np.where(a > 0, a / "
            "127, 1).astype(np.float32)\n"
            "    return np.rint(x / s[:, np.arange(x.shape[1]) // block_size]).astype(np.int8), s\n",
        ),
        (
            "qlab's own, as a list",
            "def quantize_blocks(x, block_size):\n"
            "    q = choose_qparams(x, 'int8', symmetric=True, granularity=PerBlock(1, block_size))\n"
            "    return [quantize(x, q), q.scale]\n",
        ),
        (
            "multiplied by 1 / scale",
            "def quantize_blocks(x, block_size):\n    starts = range(0, x.shape[1], block_size)\n"
            "    a = np.stack([np.abs(x[:, s : s + block_size]).max(axis=1) for s in starts], "
            "axis=1).astype(np.float64)\n"
            "    s = np.where(a == 0, 1, a / 127)\n"
            "    each = np.repeat(1 / s, block_size, axis=1)[:, : x.shape[1]]\n"
            "    return np.rint(np.round(x * each, 9)).astype(np.int8), s.astype(np.float32)\n",
        ),
        (
            "a guard with the smallest float",
            "def quantize_blocks(x, block_size):\n    starts = range(0, x.shape[1], block_size)\n"
            "    a = np.stack([np.abs(x[:, s : s + block_size]).max(axis=1) for s in starts], axis=1)\n"
            "    s = np.where(a < np.finfo(np.float32).tiny, 1, a / 127).astype(np.float32)\n"
            "    each = np.repeat(s, block_size, axis=1)[:, : x.shape[1]]\n"
            "    return np.rint(x / each).astype(np.int8), s\n",
        ),
    ],
    "04.3": [
        (
            "loops",
            "def effective_bits(shape, bits, granularity, scale_bits=16):\n    scales = 1\n"
            "    for n in granularity.scale_shape(shape):\n        scales *= n\n    numbers = 1\n    for n in shape:\n"
            "        numbers *= n\n    return (bits * numbers + scale_bits * scales) / numbers\n\n\n"
            "def best_within(x, budget, candidates):\n    best, most = None, -1e9\n    for bits, each in candidates:\n"
            "        if effective_bits(x.shape, bits, each) > budget:\n            continue\n"
            "        db = sqnr_db(x, shared(x, each, bits))\n        if db > most:\n            "
            "best, most = (bits, each), db\n"
            "    return best\n",
        ),
        (
            "the least squared error",
            BITS + "def best_within(x, budget, candidates):\n"
            "    fits = [c for c in candidates if effective_bits(x.shape, *c) <= budget]\n"
            "    return min(fits, key=lambda c: np.mean((shared(x, c[1], c[0]).astype(float) - x) ** 2))\n",
        ),
        (
            "the SQNR by its formula, in float64",
            BITS + "def best_within(x, budget, candidates):\n    def db(candidate):\n        bits, each = candidate\n"
            "        error = x.astype(float) - shared(x, each, bits)\n"
            "        return 10 * np.log10(np.sum(x.astype(float) ** 2) / np.sum(error**2))\n\n"
            "    return max((c for c in candidates if effective_bits(x.shape, *c) <= budget), key=db)\n",
        ),
        (
            "sorted, the last",
            BITS + "def best_within(x, budget, candidates):\n"
            "    rated = [(sqnr_db(x, shared(x, g, b)), i) for i, (b, g) in enumerate(candidates)\n"
            "             if effective_bits(x.shape, b, g) <= budget]\n    return candidates[sorted(rated)[-1][1]]\n",
        ),
        (
            "qlab's own counting, a list as answer",
            "from qlab.numerics.granularity import bits_per_element\n\n\n"
            "def effective_bits(shape, bits, granularity, scale_bits=16):\n"
            "    return bits_per_element(shape, bits, granularity, scale_dtype=f'float{scale_bits}')\n\n\n"
            "def best_within(x, budget, candidates):\n"
            "    dbs = [sqnr_db(x, shared(x, g, b)) if effective_bits(x.shape, b, g) <= budget else -np.inf\n"
            "           for b, g in candidates]\n    return list(candidates[int(np.argmax(dbs))])\n",
        ),
        (
            "scales counted on the tensor",
            "def effective_bits(shape, bits, granularity, scale_bits=16):\n"
            "    scale = choose_qparams(np.zeros(shape), granularity=granularity).scale\n"
            "    return np.float64(bits) + np.size(scale) * scale_bits / np.zeros(shape).size\n\n\n"
            "def best_within(x, budget, candidates):\n    fits = {}\n    for bits, each in candidates:\n"
            "        if effective_bits(x.shape, bits, each) <= budget + 1e-9:\n"
            "            q = choose_qparams(x, f'int{bits}', symmetric=True, granularity=each)\n"
            "            fits[bits, each] = sqnr_db(x, fake_quantize(x, q))\n    return max(fits, key=fits.get)\n",
        ),
    ],
    "04.4": [
        (
            "NumPy's truth values",
            "leaves = {name: np.bool_(about['factors']) for name, about in n04.SCALES.items()}",
        ),
        (
            "in another order",
            "leaves = {name: about['factors'] for name, about in reversed(n04.SCALES.items())}",
        ),
    ],
    "04.5": [
        ("arrays and their dtypes", build() + READ_ARRAYS),
        ("ONNX's numbers for types, a list", build() + READ_PROTOS),
        ("ONNX's names for types", build() + READ_NAMES),
        ("the axis counted from the end", build(axis=-1, nodes=NODES.replace("axis=1", "axis=-1")) + READ_ARRAYS),
        ("no zero point for the weight", build(nodes=NODES.replace(', "e"]', "]")) + READ_ARRAYS),
        ("the axis is 1 unless it is said", build(nodes=NODES.replace(", axis=1", "")) + READ_ARRAYS),
        ("symmetric uint8 activations", build(qx='choose_qparams(x, "uint8", symmetric=True)') + READ_ARRAYS),
        ("an older operator set", build(opset=17) + READ_ARRAYS),
        (
            "codes in a Constant node",
            build(
                held='{"a": qx.scale, "b": qx.zero_point, "d": qw.scale, "e": qw.zero_point}',
                nodes=NODES.replace(
                    "[\n",
                    '[\n        helper.make_node("Constant", [], ["c"], '
                    "value=numpy_helper.from_array(quantize(w, qw))),\n",
                    1,
                ),
            )
            + READ_ARRAYS,
        ),
        ("any sizes", build().replace("w.shape[0]]", '"K"]').replace("w.shape[1]]", '"N"]') + READ_ARRAYS),
        (
            "the weight quantized by a node",
            build(
                held='{"a": qx.scale, "b": qx.zero_point, "w": w, "d": qw.scale, "e": qw.zero_point}',
                nodes=NODES.replace(
                    '        helper.make_node("MatMul"',
                    '        helper.make_node("QuantizeLinear", ["w", "d", "e"], ["c"], axis=1),\n'
                    '        helper.make_node("MatMul"',
                )
                .replace('        helper.make_node("DequantizeLinear", ["c", "d", "e"], ["v"], axis=1),\n', "")
                .replace(
                    '        helper.make_node("MatMul"',
                    '        helper.make_node("DequantizeLinear", ["c", "d", "e"], ["v"], axis=1),\n'
                    '        helper.make_node("MatMul"',
                ),
            )
            + READ_ARRAYS,
        ),
        (
            "by hand, in NumPy",
            build(
                qx='choose_qparams(np.float32([x.min(), x.max()]), "uint8")',
                held='{"a": qx.scale, "b": qx.zero_point, '
                '"c": np.rint(w / (np.abs(w).max(axis=0) / 127)).astype(np.int8), '
                '"d": np.abs(w).max(axis=0) / np.float32(127), "e": np.zeros(w.shape[1], np.int8)}',
            )
            + READ_ARRAYS,
        ),
        (
            "the model's text",
            "import onnx.parser\n\n\ndef build(x, w):\n    qx = choose_qparams(x, 'uint8')\n"
            "    qw = choose_qparams(w, 'int8', symmetric=True, granularity=PerAxis(1))\n"
            '    model = onnx.parser.parse_model(\'<ir_version: 10, opset_import: ["": 21]> g (float[T, K] x) => '
            "(float[T, N] y) { q = QuantizeLinear(x, a, b) r = DequantizeLinear(q, a, b) "
            "v = DequantizeLinear<axis = 1>(c, d) y = MatMul(r, v) }')\n"
            "    held = {'a': qx.scale, 'b': qx.zero_point, 'c': quantize(w, qw), 'd': qw.scale}\n"
            "    model.graph.initializer.extend(numpy_helper.from_array(v, n) for n, v in held.items())\n"
            "    return model\n\n\n" + READ_ARRAYS,
        ),
        ("bytes", build().replace("ir_version=10)", "ir_version=10).SerializeToString()") + READ_ARRAYS),
    ],
}
