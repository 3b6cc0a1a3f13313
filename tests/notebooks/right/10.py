"""Right answers to the exercises of notebook 10 in other styles: name, code in the stub's place."""

STATIC = "activation_type=QuantType.QUInt8, weight_type=QuantType.QInt8"

RIGHT_ANSWERS = {
    "10.1": [
        (
            "everything else is excluded",
            f"""\
def sensitivity(model, layers, feeds, score):
    found = {{}}
    for name in layers:
        pair = []
        every = [node.name for node in onnx.load(model).graph.node]
        others = [node for other in layers if other != name for node in layers[other]]
        for chosen in (layers[name], others):
            left_out = [node for node in every if node not in chosen]
            output = str(folder / "some.onnx")
            quantize_static(model, output, common.Feeds(feeds), nodes_to_exclude=left_out, {STATIC})
            pair.append(score(output))
        found[name] = tuple(pair)
    return found
""",
        ),
        (
            "a reader of its own, lists for pairs",
            f"""\
from onnxruntime.quantization import CalibrationDataReader

class Again(CalibrationDataReader):
    def __init__(self, feeds):
        self.rest = list(feeds)

    def get_next(self):
        return self.rest.pop(0) if self.rest else None

def sensitivity(model, layers, feeds, score):
    def run(chosen):
        with tempfile.TemporaryDirectory() as place:
            path = Path(place) / "m.onnx"
            nodes = sum((list(layers[name]) for name in chosen), [])
            quantize_static(model, path, Again(feeds), nodes_to_quantize=nodes, {STATIC})
            return score(path)
    return {{name: [run([name]), run(layers.keys() - {{name}})] for name in layers}}
""",
        ),
        (
            "unsigned weights, the notebook's options",
            """\
def sensitivity(model, layers, feeds, score):
    result = {}
    for name in layers:
        scores = ()
        for chosen in ([name], [each for each in layers if each != name]):
            nodes = []
            for each in chosen:
                nodes.extend(layers[each])
            target = folder / f"{name.replace('/', '_')}.onnx"
            quantize_static(model, target, common.Feeds(feeds), nodes_to_quantize=nodes, **OPTIONS)
            scores += (score(target),)
        result[name] = scores
    return result
""",
        ),
        (
            "an array for a pair",
            f"""\
def sensitivity(model, layers, feeds, score):
    def of(chosen):
        out = folder / "mixed.onnx"
        quantize_static(model, out, common.Feeds(feeds), {STATIC},
                        nodes_to_quantize=[node for name in chosen for node in layers[name]])
        return score(str(out))
    names = list(layers)
    return {{n: np.array([of([n]), of(names[:i] + names[i + 1:])]) for i, n in enumerate(names)}}
""",
        ),
        (
            "files are kept by their layers",
            f"""\
def sensitivity(model, layers, feeds, score):
    known = {{}}
    def of(chosen):
        key = tuple(sorted(chosen))
        if key not in known:
            nodes = [node for name in key for node in layers[name]]
            quantize_static(model, mixed, common.Feeds(feeds), nodes_to_quantize=nodes, {STATIC})
            known[key] = score(mixed)
        return known[key]
    mixed = folder / "kept.onnx"
    return {{name: (of({{name}}), of(set(layers) - {{name}})) for name in layers}}
""",
        ),
    ],
    "10.2": [
        (
            "a loop",
            """\
def equalize(w1, b1, w2):
    w1, b1, w2 = w1.copy(), b1.copy(), w2.copy()
    for i in range(len(w1)):
        r, t = np.abs(w1[i]).max(), np.abs(w2[:, i]).max()
        if r > 0 and t > 0:
            s = (r / t) ** 0.5
            w1[i] /= s
            b1[i] /= s
            w2[:, i] *= s
    return w1, b1, w2
""",
        ),
        (
            "by the geometric mean",
            """\
def equalize(w1, b1, w2):
    r, t = np.max(np.abs(w1), axis=1), np.max(np.abs(w2), axis=0)
    dead = (r == 0) | (t == 0)
    factor = np.ones_like(r)
    factor[~dead] = np.sqrt(r[~dead] * t[~dead]) / r[~dead]
    return factor[:, None] * w1, factor * b1, w2 / factor[None, :]
""",
        ),
        (
            "float64, diagonal matrices",
            """\
def equalize(w1, b1, w2):
    with np.errstate(all="ignore"):
        s = np.sqrt(np.abs(w1).max(1).astype(float) / np.abs(w2).max(0))
    s[~np.isfinite(s) | (s == 0)] = 1
    return np.diag(1 / s) @ w1, b1 / s, w2 @ np.diag(s)
""",
        ),
        (
            "logarithms",
            """\
def equalize(w1, b1, w2):
    r, t = np.abs(w1).max(axis=1), np.abs(w2).max(axis=0)
    both = (r * t) > 0
    half = np.zeros(len(r))
    half[both] = (np.log2(r[both]) - np.log2(t[both])) / 2
    s = 2.0**half
    return [w1 / s[:, np.newaxis], b1 / s, w2 * s]
""",
        ),
        (
            "ranges from both ends",
            """\
def equalize(w1, b1, w2):
    r = np.maximum(w1.max(axis=1), -w1.min(axis=1))
    t = np.maximum(w2.max(axis=0), -w2.min(axis=0))
    s = np.sqrt(np.divide(r, t, out=np.ones_like(r), where=(r > 0) & (t > 0)))
    return (w1.T / s).T, b1 / s, w2 * s
""",
        ),
    ],
    "10.3": [
        (
            "a loop",
            """\
def correct_bias(codes, scale, exact, rounded):
    out = codes.copy()
    for c in range(len(codes)):
        out[c] += round(float((exact[:, c].mean() - rounded[:, c].mean()) / scale[c]))
    return out
""",
        ),
        (
            "the mean of the difference",
            """\
def correct_bias(codes, scale, exact, rounded):
    shift = (exact.astype(float) - rounded).mean(axis=(0, 2, 3))
    return np.rint(codes + shift / scale).astype(np.int32)
""",
        ),
        (
            "channels first",
            """\
def correct_bias(codes, scale, exact, rounded):
    flat = lambda x: np.moveaxis(x, 1, 0).reshape(len(codes), -1).mean(axis=1)
    return (codes + np.round((flat(exact) - flat(rounded)) / scale)).astype("int32")
""",
        ),
        (
            "axis by axis",
            """\
def correct_bias(codes, scale, exact, rounded):
    error = rounded - exact
    for axis in (3, 2, 0):
        error = error.mean(axis=axis)
    return codes - np.rint(error / scale).astype(np.int32)
""",
        ),
        (
            "as a real bias, and back to codes",
            """\
def correct_bias(codes, scale, exact, rounded):
    real = codes * scale.astype(np.float64)
    real += exact.mean((0, 2, 3), dtype=np.float64) - rounded.mean((0, 2, 3), dtype=np.float64)
    return np.int32(np.rint(real / scale))
""",
        ),
    ],
    "10.4": [
        (
            "the search's way",
            """\
def choose_floats(layers, measure, k):
    loses = {name: measure([other for other in layers if other != name]) for name in layers}
    return sorted(layers, key=loses.get)[:k]
""",
        ),
        (
            "greedily, with a loop",
            """\
def choose_floats(layers, measure, k):
    chosen = []
    while len(chosen) < k:
        best, most = None, -1.0
        for name in layers:
            if name not in chosen and (right := measure(chosen + [name])) > most:
                best, most = name, right
        chosen.append(best)
    return tuple(chosen)
""",
        ),
        (
            "greedily, the last name of equals",
            """\
def choose_floats(layers, measure, k):
    chosen = []
    for _ in range(k):
        chosen.append(max((measure([*chosen, name]), name) for name in layers if name not in chosen)[1])
    return chosen
""",
        ),
        (
            "greedily, the last in order of equals",
            """\
def choose_floats(layers, measure, k):
    chosen = []
    while len(chosen) < k:
        left = [name for name in reversed(layers) if name not in chosen]
        chosen.append(left[int(np.argmax([measure([*chosen, name]) for name in left]))])
    return chosen
""",
        ),
        (
            "from all in float, back to integers",
            """\
def choose_floats(layers, measure, k):
    kept = list(layers)
    while len(kept) > k:
        kept.remove(max(kept, key=lambda name: measure([other for other in kept if other != name])))
    return kept
""",
        ),
        (
            "the better of two",
            """\
def choose_floats(layers, measure, k):
    alone = sorted(layers, key=lambda name: measure(set(layers) - {name}))[:k]
    greedy = []
    for _ in range(k):
        if k * len(layers) > 70:
            break
        greedy.append(max((n for n in layers if n not in greedy), key=lambda n: measure([*greedy, n])))
    return max((alone, greedy), key=measure)
""",
        ),
        (
            "the worst, then swaps",
            """\
def choose_floats(layers, measure, k):
    order = sorted(layers, key=lambda name: measure([other for other in layers if other != name]))
    chosen, rest = order[:k], order[k:]
    right = measure(chosen)
    for at in range(k - 1, max(k - 3, -1), -1):
        for other in rest[:3]:
            tried = chosen[:at] + chosen[at + 1 :] + [other]
            if measure(tried) > right:
                chosen, right = tried, measure(tried)
                break
    return set(chosen)
""",
        ),
        (
            "arrays and argsort",
            """\
def choose_floats(layers, measure, k):
    names = np.array(layers)
    alone = np.array([measure(list(names[names != name])) for name in names])
    return [str(name) for name in names[np.argsort(alone, kind="stable")[:k]]]
""",
        ),
    ],
}
