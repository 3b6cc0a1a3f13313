"""Right answers to the exercises of notebook 11 in other styles: name, code in the stub's place."""

BACKWARD = "def fake_quantize_backward(x, scale, quant_min, quant_max, gradient):\n    {}\n"
SCALE = "def scale_gradient(x, scale, quant_min, quant_max, gradient):\n    {}\n"

LOOP = """\
def scale_gradient(x, scale, quant_min, quant_max, gradient):
    total = np.zeros(np.shape(scale))
    spread = np.broadcast_to(scale, x.shape)
    for place in np.ndindex(x.shape):
        v = float(x[place]) / float(spread[place])
        slope = quant_min if v <= quant_min else quant_max if v >= quant_max else round(v) - v
        if total.ndim:
            total[tuple(i if size > 1 else 0 for i, size in zip(place, total.shape))] += slope * gradient[place]
        else:
            total += slope * gradient[place]
    return total
"""
ONE_BY_ONE = """\
def scale_gradient(x, scale, quant_min, quant_max, gradient):
    v = np.asarray(x, np.float64) / scale
    each = np.rint(v) - v
    each[v <= quant_min] = quant_min
    each[v >= quant_max] = quant_max
    each *= gradient
    if not np.ndim(scale):
        return float(each.sum())
    return np.array([row.sum() for row in each]).reshape(scale.shape)
"""
LAYER = """\
def layer_gradients(x, labels, weight, bias, scale, quant_min, quant_max):
    v = weight / scale
    rounded = np.clip(np.round(v), quant_min, quant_max) * scale
    logits = {logits}
    e = np.exp(logits - logits.max(1)[:, None])
    p = e / e.sum(1)[:, None]
    n = len(x)
    loss = {loss}
    one_hot = {one_hot}
    g = (p - one_hot) / n
    by_rounded = {by_rounded}
    return {returned}
"""
OWN = "fake_quantize_backward(weight, scale, quant_min, quant_max, by_rounded)"
OF_SCALE = "scale_gradient(weight, scale, quant_min, quant_max, by_rounded)"


def layer(logits="x @ rounded.T + bias", one_hot="np.eye(len(bias))[labels]", by_rounded="g.T @ x",
          loss="np.log(e.sum(1)).mean() - (logits - logits.max(1)[:, None])[range(n), labels].mean()",
          returned=f"loss, mine.{OWN}, g.sum(0), mine.{OF_SCALE}"):  # fmt: skip
    return LAYER.format(**locals())


INSIDE = """\
    return loss, by_rounded * ((v >= quant_min) & (v <= quant_max)), g.sum(0), total
"""
ALONE = layer().rpartition("    return")[0] + """\
    codes = np.clip(np.rint(v), quant_min, quant_max)
    each = by_rounded * np.where((v > quant_min) & (v < quant_max), codes - v, codes)
    total = each.sum(axis=1, keepdims=True) if np.ndim(scale) else each.sum()
""" + INSIDE  # fmt: skip
PLACED = layer(one_hot="np.zeros_like(p)").replace(
    "    g = (p - one_hot) / n", "    for row, label in enumerate(labels):\n        one_hot[row, label] = 1\n"
    "    g = (p - one_hot) / n")  # fmt: skip

WRITE = """\
def learned_qdq(conv, weight, bias, w_scale, ends, x_qparams, y_qparams):
    nodes, tensors = [], []
    own = conv.name

    def put(what, value, dtype):
        tensors.append(numpy_helper.from_array(np.asarray(value, dtype), own + what))
        return own + what

    def add(op, inputs, output, **attributes):
        nodes.append(onnx.helper.make_node(op, inputs, [output], **attributes))

    def pair(start, end, qparams, what):
        held = [put(what + "s", qparams[0], np.float32), put(what + "z", qparams[1], np.uint8)]
        add("QuantizeLinear", [start, *held], own + what)
        add("DequantizeLinear", [own + what, *held], end)

    scales = {scales}
    pair(conv.input[0], own + "xd", x_qparams, "x")
    add("DequantizeLinear", [put("wq", {codes}, np.int8), put("ws", scales, np.float32){zero}], own + "wd", axis=0)
    sums = np.float32(x_qparams[0]) * scales
    held = [put("bq", np.rint(bias / sums), np.int32), put("bs", sums, np.float32)]
    add("DequantizeLinear", held, own + "bd", axis=0)
    node = onnx.helper.make_node("Conv", [own + "xd", own + "wd", own + "bd"], [own + "yf"], name=own)
    node.attribute.extend(conv.attribute)
    nodes.append(node)
    pair(own + "yf", conv.output[0], y_qparams, "y")
    return {returned}
"""


def write(scales="w_scale.ravel()", codes="np.clip(np.rint(weight / w_scale), *ends)", zero="",
          returned="nodes, tensors"):  # fmt: skip
    return WRITE.format(**locals())


REPLACED = """\
def learned_qdq(conv, weight, bias, w_scale, ends, x_qparams, y_qparams):
    nodes, tensors = mine.write_qdq(conv, weight, bias, x_qparams, y_qparams)
    back = {node.output[0]: node for node in nodes if node.op_type == "DequantizeLinear"}
    conv_node = [node for node in nodes if node.op_type == "Conv"][0]
    unit = (np.float32(x_qparams[0]) * w_scale).flatten()
    new = {}
    new.update(zip(back[conv_node.input[1]].input, [np.int8(np.clip(np.round(weight / w_scale), ends[0], ends[1])),
                                                    w_scale.flatten()]))
    new.update(zip(back[conv_node.input[2]].input, [np.int32(np.round(bias / unit)), unit]))
    kept = [tensor for tensor in tensors if tensor.name not in new]
    return nodes, kept + [numpy_helper.from_array(array, name) for name, array in new.items()]
"""

LEAKS = "def leaks(used, x_test):\n    {}\n"

RIGHT_ANSWERS = {
    "11.1": [
        ("np.where", BACKWARD.format("v = x / scale\n"
                                     "    return np.where((v < quant_min) | (v > quant_max), 0, gradient)")),
        ("clip compared", BACKWARD.format("v = x / scale\n"
                                          "    return np.where(np.clip(v, quant_min, quant_max) == v, gradient, 0)")),
        ("a copy set to 0", BACKWARD.format("out = gradient.copy()\n    out[x / scale < quant_min] = 0\n"
                                            "    out[x / scale > quant_max] = 0\n    return out")),
        ("real ends", BACKWARD.format("return gradient * (x >= quant_min * scale) * (x <= quant_max * scale)")),
        ("float64", BACKWARD.format("v = np.float64(x) / scale\n    return np.float64(gradient) * "
                                    "np.logical_and(quant_min <= v, v <= quant_max)")),
    ],
    "11.2": [
        ("one after the other", LOOP),
        ("a list of rows", ONE_BY_ONE),
        ("one scale as an array", SCALE.format(
            "v = x / scale\n    c = np.clip(np.rint(v), quant_min, quant_max)\n"
            "    g = gradient * (c - v * ((v > quant_min) & (v < quant_max)))\n"
            "    axes = tuple(i for i in range(g.ndim) if np.ndim(scale) == 0 or np.shape(scale)[i] == 1)\n"
            "    return np.sum(g, axes).reshape(np.shape(scale))")),
        ("by the tensor's own backward", SCALE.format(
            "c = np.clip(np.rint(x / scale), quant_min, quant_max)\n"
            "    g = gradient * c - mine.fake_quantize_backward(x, scale, quant_min, quant_max, gradient) * x / scale\n"
            "    if np.ndim(scale) == 0:\n        return np.array(g.sum())\n"
            "    return g.reshape(len(g), -1).sum(1).reshape(scale.shape)")),
        ("select", SCALE.format(
            "v = x / scale\n"
            "    each = np.select([v <= quant_min, v >= quant_max], [quant_min, quant_max], np.rint(v) - v)\n"
            "    each = (each * gradient).astype(np.float64)\n"
            "    keep = [i for i, n in enumerate(np.shape(scale)) if n > 1]\n"
            "    return each.sum(axis=tuple(i for i in range(x.ndim) if i not in keep)).reshape(np.shape(scale))")),
    ],
    "11.3": [
        ("softmax and one-hot", layer()),
        ("einsum", layer(logits="np.einsum('nk,ck->nc', x, rounded) + bias",
                         by_rounded="np.einsum('nc,nk->ck', g, x)")),
        ("placed by a loop", PLACED),
        ("without mine", ALONE),
        ("float64 and a list", layer(logits="np.float64(x) @ rounded.T + bias",
                                     returned=f"[float(loss), mine.{OWN}, g.sum(axis=0), mine.{OF_SCALE}]")),
        ("n11's cross entropy", layer().replace(
            "    g = (p - one_hot) / n", "    loss, g = n11.cross_entropy(logits, labels)")),
    ],
    "11.4": [
        ("written anew", write()),
        ("zero points", write(zero=', put("wz", np.zeros(len(scales)), np.int8)')),
        ("a loop over channels", write(
            codes="[np.clip(np.rint(w / s), ends[0], ends[1]) for w, s in zip(weight, scales)]")),
        ("tuples", write(returned="(tuple(nodes), tuple(tensors))")),
        ("a list of two, squeezed", write(scales="np.squeeze(w_scale)", returned="[nodes, tensors]")),
        ("other tensors", REPLACED),
    ],
    "11.5": [
        ("lists of pixels", LEAKS.format(
            "known = [x.ravel().tolist() for x in x_test]\n"
            "    return {k: len([1 for x in v if x.ravel().tolist() in known]) for k, v in used.items()}")),
        ("tuples in a set", LEAKS.format(
            "known = set(map(tuple, x_test.reshape(len(x_test), -1)))\n"
            "    return {k: sum(t in known for t in map(tuple, v.reshape(len(v), -1))) for k, v in used.items()}")),
        ("all pairs", LEAKS.format(
            "flat = x_test.reshape(len(x_test), -1)\n"
            "    return {k: int(sum((flat == x.ravel()).all(axis=1).any() for x in v)) for k, v in used.items()}")),
        ("a loop", LEAKS.format(
            "out = {}\n    test = {t.tobytes() for t in np.asarray(x_test, np.float32)}\n    for name in used:\n"
            "        out[name] = 0\n        for image in used[name]:\n            if image.tobytes() in test:\n"
            "                out[name] += 1\n    return out")),
        ("hashes", LEAKS.format(
            "test = {hash(bytes(t)) for t in x_test}\n"
            "    return dict((k, np.sum([hash(bytes(i)) in test for i in v])) for k, v in used.items())")),
    ],
}  # fmt: skip
