"""Right answers to the exercises of notebook 09 in other styles: name, code in the stub's place."""

RIGHT_ANSWERS = {
    "09.1": [
        (
            "the statistics module",
            """\
from statistics import median


def benchmark(candidates, rounds, clock):
    for name in candidates:
        candidates[name]()
    seen = {}
    for _ in range(rounds):
        for name in candidates:
            t0 = clock()
            candidates[name]()
            t1 = clock()
            seen.setdefault(name, []).append(t1 - t0)
    return {name: median(seen[name]) for name in seen}
""",
        ),
        (
            "in an order drawn anew",
            """\
import random


def benchmark(candidates, rounds, clock):
    names = list(candidates)
    for name in names:
        candidates[name]()
    seconds = {name: [] for name in names}
    for _ in range(rounds):
        random.shuffle(names)
        for name in names:
            started = clock()
            candidates[name]()
            seconds[name].append(clock() - started)
    return {name: float(np.median(seconds[name])) for name in candidates}
""",
        ),
        (
            "sorted, the middle one",
            """\
def benchmark(candidates, rounds, clock):
    table = []
    for turn in range(rounds + 1):
        row = []
        for run in candidates.values():
            before = clock()
            run()
            row.append(clock() - before)
        if turn:
            table.append(row)
    middle = lambda xs: (sorted(xs)[len(xs) // 2] + sorted(xs)[(len(xs) - 1) // 2]) / 2
    return dict(zip(candidates, map(middle, zip(*table))))
""",
        ),
        (
            "an array",
            """\
def benchmark(candidates, rounds, clock):
    seconds = np.zeros((rounds, len(candidates)))
    runs = list(candidates.values())
    [run() for run in runs]
    for i, j in np.ndindex(seconds.shape):
        seconds[i, j] = -clock()
        runs[j]()
        seconds[i, j] += clock()
    return dict(zip(candidates, np.median(seconds, axis=0)))
""",
        ),
        (
            "qlab's interleave",
            """\
from qlab.runtime import interleave


def benchmark(candidates, rounds, clock):
    seconds = interleave(candidates, rounds, clock=clock)
    return {name: np.median(each) for name, each in seconds.items()}
""",
        ),
        (
            "two warm-up rounds",
            """\
def benchmark(candidates, rounds, clock):
    def timed(run):
        started = clock()
        run()
        return clock() - started

    for _ in range(2):
        for run in candidates.values():
            run()
    rows = [{name: timed(run) for name, run in candidates.items()} for _ in range(rounds)]
    return {name: np.array([np.median([row[name] for row in rows])]) for name in candidates}
""",
        ),
    ],
    "09.2": [
        (
            "a loop",
            """\
def speedup(parts, overhead):
    time = 1.0 + overhead
    for share, times in parts:
        time += share / times - share
    return 1 / time
""",
        ),
        (
            "arrays",
            """\
def speedup(parts, overhead):
    p = np.array(parts, float).reshape(-1, 2)
    return 1 / (1 - p[:, 0].sum() + (p[:, 0] / p[:, 1]).sum() + overhead)
""",
        ),
        (
            "float32",
            """\
def speedup(parts, overhead):
    shares = np.float32([s for s, _ in parts])
    times = np.float32([t for _, t in parts])
    return np.float32(1) / (1 - shares.sum() + (shares / times).sum() + np.float32(overhead))
""",
        ),
        (
            "by the time saved",
            """\
def speedup(parts, overhead):
    saved = sum(part[0] * (1 - 1 / part[1]) for part in parts)
    return 1 / (1 - saved + overhead)
""",
        ),
        (
            "an array of one",
            """\
def speedup(parts, overhead):
    rest, new = 1.0, overhead
    for s, t in parts:
        rest -= s
        new += s / t
    return np.array([1 / (rest + new)])
""",
        ),
        (
            "exact fractions",
            """\
from fractions import Fraction


def speedup(parts, overhead):
    time = 1 + Fraction(overhead)
    for share, times in parts:
        time += Fraction(share) / Fraction(times) - Fraction(share) if times < float("inf") else -Fraction(share)
    return float(1 / time)
""",
        ),
    ],
    "09.3": [
        (
            "sets",
            """\
def causes(path, card):
    m = graph.optimized(path)
    kinds = {n.op_type for n in m.graph.node}
    pairs = {n09.pair(n, m) for n in m.graph.node} - {""}
    out = kinds & {"ConvInteger"}
    if kinds & {"Conv", "FusedConv"}:
        out = out | {"float island"}
    if any(not card.speed[p] or card.speed[p] < 1 for p in pairs):
        out = out | {"sign pair"}
    return out
""",
        ),
        (
            "a list",
            """\
def causes(path, card):
    model = graph.optimized(path)
    nodes = list(model.graph.node)
    slow = [p for p in card.speed if card.speed[p] is None or card.speed[p] < 1]
    found = []
    if any(n.op_type == "ConvInteger" for n in nodes):
        found.append("ConvInteger")
    if any(n09.pair(n, model) in slow for n in nodes):
        found.append("sign pair")
    if any(n.op_type.endswith("Conv") and not n.op_type.startswith("Q") for n in nodes):
        found.append("float island")
    return found
""",
        ),
        (
            "a dict of yes and no",
            """\
def causes(path, card):
    m = graph.optimized(path)
    ops = [n.op_type for n in m.graph.node]
    return {
        "ConvInteger": "ConvInteger" in ops,
        "float island": "Conv" in ops or "FusedConv" in ops,
        "sign pair": any((card.speed.get(n09.pair(n, m), 9) or 0) < 1 for n in m.graph.node),
    }
""",
        ),
        (
            "a tuple, and onnxruntime itself",
            """\
from qlab.runtime import onnxruntime


def causes(path, card):
    o = onnxruntime.SessionOptions()
    o.log_severity_level = 4
    o.optimized_model_filepath = str(folder / "seen.onnx")
    onnxruntime.InferenceSession(path, o, providers=["CPUExecutionProvider"])
    m = onnx.load(folder / "seen.onnx")
    found = ()
    for n in m.graph.node:
        if n.op_type == "ConvInteger" and "ConvInteger" not in found:
            found += ("ConvInteger",)
        if n.op_type in ["Conv", "FusedConv"]:
            found += ("float island",)
        p = n09.pair(n, m)
        if p and (card.speed[p] or 0) < 1.0:
            found += ("sign pair",)
    return found
""",
        ),
        (
            "the census",
            """\
def causes(path, card):
    model, census = graph.optimized(path), graph.census(path)
    names = {op for _, op in census.float} & {"Conv", "FusedConv"}
    out = {"float island"} if names else set()
    out |= {"ConvInteger"} & {op for _, op in census.integer}
    for node in model.graph.node:
        pair = n09.pair(node, model)
        if pair and not (card.speed[pair] or 0) >= 1:
            out.add("sign pair")
    return frozenset(out)
""",
        ),
    ],
    "09.4": [
        (
            "every option written out",
            """\
def hybrid(model, output, reader):
    half = Path(str(output) + ".half")
    quantize_static(
        model,
        half,
        reader,
        quant_format=QuantFormat.QDQ,
        op_types_to_quantize=["Conv"],
        activation_type=QuantType.QUInt8,
        weight_type=QuantType.QInt8,
        per_channel=True,
        reduce_range=machine.card().saturates,
    )
    quantize_dynamic(
        half,
        output,
        op_types_to_quantize=["MatMul"],
        weight_type=QuantType.QInt8,
        per_channel=True,
        reduce_range=machine.card().saturates,
    )
    half.unlink()
""",
        ),
        (
            "7 bits always",
            """\
def hybrid(model, output, reader):
    with tempfile.TemporaryDirectory() as place:
        between = str(Path(place) / "x.onnx")
        quantize_static(
            str(model),
            between,
            reader,
            op_types_to_quantize=["Conv"],
            activation_type=QuantType.QUInt8,
            weight_type=QuantType.QInt8,
            per_channel=True,
            reduce_range=True,
        )
        quantize_dynamic(between, str(output), op_types_to_quantize=["MatMul"], per_channel=True, reduce_range=True)
""",
        ),
        (
            "defaults, and the output returned",
            """\
def hybrid(model, output, reader):
    half = folder / "mine.onnx"
    low = {"reduce_range": machine.card().saturates, "per_channel": True}
    quantize_static(
        model,
        half,
        reader,
        op_types_to_quantize=["Conv"],
        weight_type=QuantType.QInt8,
        activation_type=QuantType.QUInt8,
        **low,
    )
    quantize_dynamic(half, output, op_types_to_quantize=("MatMul",), **low)
    return output
""",
        ),
        (
            "qlab's recipe",
            """\
def hybrid(model, output, reader):
    recipes.hybrid(model, output, reader, card="x86-avx2" if machine.card().saturates else "x86-avx512-vnni")
""",
        ),
        (
            "depthwise left in float",
            """\
def hybrid(model, output, reader):
    deep = [
        n.name
        for n in onnx.load(model).graph.node
        if n.op_type == "Conv" and any(a.name == "group" and a.i > 1 for a in n.attribute)
    ]
    half = folder / "deep.onnx"
    both = dict(per_channel=True, weight_type=QuantType.QInt8, reduce_range=bool(machine.card().saturates))
    quantize_static(
        model,
        half,
        reader,
        op_types_to_quantize=["Conv"],
        nodes_to_exclude=deep,
        activation_type=QuantType.QUInt8,
        **both,
    )
    quantize_dynamic(half, output, op_types_to_quantize=["MatMul"], **both)
""",
        ),
    ],
    "09.5": [
        (
            "sums of generators",
            """\
def cost(layers, speed, gflops, gb_per_s):
    def plain(l):
        return max(2e-6 * l.macs / gflops, 4e-6 * (l.x + l.w + l.y) / gb_per_s)

    def fast(l):
        if not l.quantized:
            return plain(l)
        moved = 1e-6 * (l.x + l.w + 4 * l.y) / gb_per_s
        return max(2e-6 * l.macs / gflops / speed, moved) + 5e-6 * l.x / gb_per_s

    return sum(map(plain, layers)), sum(map(fast, layers))
""",
        ),
        (
            "arrays",
            """\
def cost(layers, speed, gflops, gb_per_s):
    m, x, w, y, q = np.array(layers, float).reshape(-1, 5).T
    plain = np.maximum(2 * m / gflops, 4 * (x + w + y) / gb_per_s) / 1e6
    fast = (np.maximum(2 * m / gflops / speed, (x + w + 4 * y) / gb_per_s) + 5 * x / gb_per_s) / 1e6
    return np.array([plain.sum(), np.where(q > 0, fast, plain).sum()])
""",
        ),
        (
            "in seconds first",
            """\
def cost(layers, speed, gflops, gb_per_s):
    a = b = 0
    for macs, x, w, y, q in layers:
        s = max(2 * macs / (gflops * 1e9), 4 * (x + w + y) / (gb_per_s * 1e9))
        a += s
        if q:
            s = max(2 * macs / (gflops * 1e9 * speed), (x + w + 4 * y) / (gb_per_s * 1e9))
            s += (4 * x + x) / (gb_per_s * 1e9)
        b += s
    return [1000 * a, 1000 * b]
""",
        ),
        (
            "a dict",
            """\
def cost(layers, speed, gflops, gb_per_s):
    out = {"fp32": 0.0, "int8": 0.0}
    for l in layers:
        t = max(2 * l.macs / gflops, (4 * l.x + 4 * l.w + 4 * l.y) / gb_per_s) / 1e6
        out["fp32"] += t
        out["int8"] += (
            t
            if not l.quantized
            else (max(2 * l.macs / (gflops * speed), (l.x + l.w + 4 * l.y) / gb_per_s) + (4 * l.x + l.x) / gb_per_s)
            / 1e6
        )
    return out
""",
        ),
        (
            "NumPy scalars",
            """\
def cost(layers, speed, gflops, gb_per_s):
    fp32, int8 = np.float64(0), np.float64(0)
    for layer in layers:
        byte = np.float64(1) / (gb_per_s * 1e6)
        op = np.float64(1) / (gflops * 1e6)
        before = np.maximum(2 * layer.macs * op, 4 * sum(layer[1:4]) * byte)
        after = (
            np.maximum(2 * layer.macs * op / speed, (layer.x + layer.w + 4 * layer.y) * byte) + 5 * layer.x * byte
        )
        fp32 = fp32 + before
        int8 = int8 + (after if layer.quantized else before)
    return fp32, int8
""",
        ),
    ],
}
