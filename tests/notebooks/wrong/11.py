"""Wrong answers to the exercises of notebook 11: name, code in the stub's place, what the refusal must say."""

CHOICES = set()

BACKWARD = "def fake_quantize_backward(x, scale, quant_min, quant_max, gradient):\n    v = x / scale\n    return {}\n"
SCALE = """\
def scale_gradient(x, scale, quant_min, quant_max, gradient):
    v = x / scale
    codes = np.clip(np.rint(v), quant_min, quant_max)
    inside = (v > quant_min) & (v < quant_max)
    each = {each}
    axes = tuple(i for i in range(x.ndim) if np.ndim(scale) == 0 or scale.shape[i] == 1)
    return {returned}
"""
LAYER = """\
def layer_gradients(x, labels, weight, bias, scale, quant_min, quant_max):
    ends = scale, quant_min, quant_max
    rounded = n11.fake(weight, *ends)
    logits = x @ {used}.T + bias
    shifted = {shifted}
    p = np.exp(shifted) / np.exp(shifted).sum(axis=1, keepdims=True)
    rows, n = np.arange(len(labels)), len(labels)
    loss = {loss}
    gradient = p.copy()
    {at_label}
    gradient /= {over}
    by_rounded = gradient.T @ x
    by_weight = {by_weight}
    by_scale = n11.scale_gradient({of}, *ends, {upstream})
    return {returned}
"""
EXPORT = """\
def learned_qdq(conv, weight, bias, w_scale, ends, x_qparams, y_qparams):
    nodes, tensors = mine.write_qdq(conv, weight, bias, {pairs})
    made = {{node.output[0]: node for node in nodes}}
    own = next(node for node in nodes if node.op_type == "Conv")
    w_names, b_names = (made[name].input for name in own.input[1:3])
    scale = w_scale.reshape(-1)
    unit = {unit}
    learned = {{w_names[0]: {codes}, w_names[1]: {scale}, b_names[0]: np.rint({bias} / unit).astype(np.int32),
               b_names[1]: unit}}
    for tensor in tensors:
        if tensor.name in learned:
            tensor.CopyFrom(numpy_helper.from_array(learned[tensor.name], tensor.name))
    return {returned}
"""
LEAKS = "def leaks(used, x_test):\n    return {{name: {} for name, images in used.items()}}\n"


def scale_of(each="gradient * np.where(inside, codes - v, codes)",
             returned="each.sum(axis=axes, keepdims=True).reshape(np.shape(scale))"):  # fmt: skip
    return SCALE.format(**locals())


def layer(used="rounded", shifted="logits - logits.max(axis=1, keepdims=True)", over="n",
          loss="-(shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True)))[rows, labels].mean()",
          at_label="gradient[rows, labels] -= 1", upstream="by_rounded", of="weight",
          by_weight="n11.fake_quantize_backward(weight, *ends, by_rounded)",
          returned="loss, by_weight, gradient.sum(axis=0), by_scale"):  # fmt: skip
    return LAYER.format(**locals())


def export(codes="np.clip(np.rint(weight / w_scale), *ends).astype(np.int8)", scale="scale", bias="bias",
           unit="np.float32(x_qparams[0]) * scale", pairs="x_qparams, y_qparams",
           returned="nodes, tensors"):  # fmt: skip
    return EXPORT.format(**locals())


WRONG_ANSWERS = {
    "11.1": [
        ("no mask", BACKWARD.format("gradient"), "the gradient passes everywhere"),
        ("x against the codes", BACKWARD.format("gradient * ((x >= quant_min) & (x <= quant_max))"),
         "x itself is held"),
        ("the rounded code", BACKWARD.format("gradient * ((np.rint(v) >= quant_min) & (np.rint(v) <= quant_max))"),
         "half a step further out"),
        ("the upper end alone", BACKWARD.format("gradient * (v <= quant_max)"), "the lower one does, too"),
        ("the lower end alone", BACKWARD.format("gradient * (v >= quant_min)"), "the upper one does, too"),
        ("upside down", BACKWARD.format("gradient * ((v < quant_min) | (v > quant_max))"), "upside down"),
        ("the mask", BACKWARD.format("(v >= quant_min) & (v <= quant_max)"), "the mask alone"),
        ("over the scale", BACKWARD.format("gradient * ((v >= quant_min) & (v <= quant_max)) / scale"),
         "divided by the scale once too often"),
        ("times the scale", BACKWARD.format("gradient * ((v >= quant_min) & (v <= quant_max)) * scale"),
         "multiplied by the scale once too often"),
        ("strictly between", BACKWARD.format("gradient * ((v > quant_min) & (v < quant_max))"),
         "the ends themselves pass"),
        ("by magnitude", BACKWARD.format("gradient * (np.abs(v) <= quant_max)"), "the lower end is quant_min"),
        ("true", BACKWARD.format("np.zeros_like(gradient)"), "the true derivative"),
        ("forward", BACKWARD.format("np.clip(np.rint(v), quant_min, quant_max) * scale"), "of the forward pass"),
        ("codes", BACKWARD.format("np.clip(np.rint(v), quant_min, quant_max)"), "these are codes"),
        ("forward, a factor", BACKWARD.format("gradient * np.clip(np.rint(v), quant_min, quant_max) * scale"),
         "the forward pass times the gradient"),
        ("in place",
         BACKWARD.replace("return {}", "gradient[(v < quant_min) | (v > quant_max)] = 0\n    return gradient"),
         "`gradient` was changed in place"),
        ("x in place", BACKWARD.replace("v = x / scale", "v = x\n    v /= scale").format(
            "gradient * ((v >= quant_min) & (v <= quant_max))"), "`x` was changed in place"),
        ("codes, a factor", BACKWARD.format("gradient * np.clip(np.rint(v), quant_min, quant_max)"),
         "it is the derivative that is a factor"),
    ],
    "11.2": [
        ("the code", scale_of("gradient * codes"), "right while no code changes"),
        ("v - round(v)", scale_of("gradient * np.where(inside, v - codes, codes)"), "the sign is turned round"),
        ("nothing clipped", scale_of("gradient * np.where(inside, codes - v, 0)"), "clipped entries count as well"),
        ("not clipped", scale_of("gradient * (np.rint(v) - v)"), "goes on with round(v) - v"),
        ("the code minus v", scale_of("gradient * (codes - v)"), "no longer follows"),
        ("no gradient", scale_of("np.where(inside, codes - v, codes)"), "that comes back is not in it"),
        ("not summed", scale_of(returned="each"), "one number for each entry of x"),
        ("the mean", scale_of(returned="each.mean(axis=axes, keepdims=True).reshape(np.shape(scale))"),
         "the sum is asked for, this is the mean"),
        ("an axis lost", scale_of(returned="each.sum(axis=axes)"),
         "shape (4,); the scale has shape (4, 1, 1, 1): keepdims=True"),
        ("axes kept for one scale", scale_of(returned="each.sum(axis=axes, keepdims=True)"), "without axes"),
        ("one sum", scale_of(returned="each.sum()"), "and no further"),
        ("axes of one case", scale_of(returned="each.sum(axis=(1, 2, 3), keepdims=True)"), "take the axes from it"),
        ("in place", scale_of("np.multiply(gradient, np.where(inside, codes - v, codes), out=gradient)"),
         "`gradient` was changed in place"),
        ("the rounded code inside", scale_of("gradient * np.where(codes == np.rint(v), codes - v, codes)"),
         "half a step further out"),
        ("over the scale", scale_of(returned="each.sum(axis=axes, keepdims=True).reshape(np.shape(scale)) / scale"),
         "without a unit"),
        ("times the scale", scale_of("gradient * np.where(inside, codes - v, codes) * scale"), "without a unit"),
        ("the paper's factor", scale_of(returned="each.sum(axis=axes, keepdims=True).reshape(np.shape(scale)) / "
                                        "np.sqrt(each.size / np.size(scale) * quant_max)"), "without LSQ's factor"),
    ],
    "11.3": [
        ("the real weight", layer(used="weight"), "with the weight as it is"),
        ("the sum", layer(loss="-np.log(p[rows, labels]).sum()"), "asked for the mean"),
        ("no mean in the gradient", layer(over="1"), "divide by n"),
        ("no one-hot", layer(at_label="pass"), "1 is missing at the right class"),
        ("no mask", layer(by_weight="by_rounded"), "clipped weights get a gradient"),
        ("the scale behind the mask", layer(upstream="by_weight"), "had stopped"),
        ("the rounded weight's scale", layer(of="rounded"), "round(v) - v is 0"),
        ("overflow", layer(shifted="logits"), "overflows"),
        ("log of p", layer(loss="-np.log(p[rows, labels]).mean()"), "a small p became 0"),
        ("log of p and a little", layer(loss="-np.log(p[rows, labels] + 1e-9).mean()"), "without a log of p"),
        ("scale before bias", layer(returned="loss, by_weight, by_scale, gradient.sum(axis=0)"), "the order is loss"),
        ("three", layer(returned="by_weight, gradient.sum(axis=0), by_scale"), "expected (loss, by_weight"),
        ("the sign", layer(loss="(shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True)))[rows, labels].mean()"),
         "the sign is turned round"),
    ],
    "11.4": [
        ("scales of the file's own", "def learned_qdq(conv, weight, bias, w_scale, ends, x_qparams, y_qparams):\n"
         "    return mine.write_qdq(conv, weight, bias, x_qparams, y_qparams)\n", "largest magnitude / 127"),
        ("fake weights, scales of the file's own",
         "def learned_qdq(conv, weight, bias, w_scale, ends, x_qparams, y_qparams):\n"
         "    return mine.write_qdq(conv, n11.fake(weight, w_scale, *ends), bias, x_qparams, y_qparams)\n", "learned"),
        ("not clipped", export(codes="np.rint(weight / w_scale).astype(np.int8)"), "clip to `ends`"),
        ("the weight's old codes",
         export().replace("    for tensor in", "    del learned[w_names[0]]\n    for tensor in"), "write_qdq's own"),
        ("narrow", export(codes="np.clip(np.rint(weight / w_scale), -ends[1], ends[1]).astype(np.int8)"),
         "one code further"),
        ("cut off", export(codes="np.clip(weight / w_scale, *ends).astype(np.int8)"), "np.rint"),
        ("real numbers in int8", export(codes="n11.fake(weight, w_scale, *ends).astype(np.int8)"), "a code is such a"),
        ("the bias' old codes", export().replace("    for tensor in", "    del learned[b_names[0]]\n    for tensor in"),
         "asked for round(bias / scale), int32"),
        ("the scale with four axes", export(scale="w_scale"), "one axis"),
        ("the bias' old scale", export(unit="np.float32(x_qparams[0]) * np.abs(weight).reshape(len(weight), -1)"
                                            ".max(axis=1) / np.float32(127)"), "times the learned one"),
        ("the bias by the weight's scale", export(unit="scale"), "times the learned one"),
        ("the bias cut off", export().replace("np.rint(bias / unit)", "(bias / unit)"), "cut off instead of rounded"),
        ("x and y swapped", export(pairs="y_qparams, x_qparams"), "with zero point 0 as given"),
        ("nodes alone", export(returned="nodes"), "(nodes, tensors)"),
    ],
    "11.5": [
        ("equal places", LEAKS.format("sum(bool((a == b).all()) for a, b in zip(images, x_test))"), "equal places"),
        ("each once", LEAKS.format("len({a.tobytes() for a in images} & {b.tobytes() for b in x_test})"),
         "used twice counts twice"),
        ("sums", LEAKS.format("sum(float(a.sum()) in set(x_test.sum(axis=(1, 2, 3)).tolist()) for a in images)"),
         "test digits, and 0 of the 300"),
        ("all", LEAKS.format("len(images)"), "this counts all of them"),
        ("pixels", LEAKS.format("int(np.isin(images, x_test).sum())"), "single pixels"),
        ("whether", LEAKS.format("any(a.tobytes() in {b.tobytes() for b in x_test} for a in images)"), "not whether"),
        ("numpy's in", LEAKS.format("sum(a in x_test for a in images)"), "any single number"),
        ("a share", LEAKS.format("np.mean([a.tobytes() in {b.tobytes() for b in x_test} for a in images])"), "a share"),
        ("a number", "def leaks(used, x_test):\n    return 0\n", "expected a dictionary"),
    ],
}  # fmt: skip
