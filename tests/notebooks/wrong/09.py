"""Wrong answers to the exercises of notebook 09: name, code in the stub's place, what the refusal must say."""

CHOICES = set()

BENCHMARK = """\
def benchmark(candidates, rounds, clock):
    {warm}
    seconds = {{name: [] for name in candidates}}
    for _ in range(rounds):
        for name, run in candidates.items():
            started = clock()
            run()
            seconds[name].append(clock() - started)
    return {{name: {returned} for name, times in seconds.items()}}
"""


def benchmark(returned="np.median(times)", warm="[run() for run in candidates.values()]"):
    return BENCHMARK.format(returned=returned, warm=warm)


IN_BLOCKS = """\
def benchmark(candidates, rounds, clock):
    found = {}
    for name, run in candidates.items():
        run()
        times = []
        for _ in range(rounds):
            started = clock()
            run()
            times.append(clock() - started)
        found[name] = np.median(times)
    return found
"""
TOGETHER = """\
def benchmark(candidates, rounds, clock):
    for run in candidates.values():
        run()
    found = {}
    for name, run in candidates.items():
        started = clock()
        for _ in range(rounds):
            run()
        found[name] = (clock() - started) / rounds
    return found
"""
ONE_READING = """\
def benchmark(candidates, rounds, clock):
    for run in candidates.values():
        run()
    seconds = {name: [] for name in candidates}
    for _ in range(rounds):
        started = clock()
        for name, run in candidates.items():
            run()
            seconds[name].append(clock() - started)
    return {name: np.median(times) for name, times in seconds.items()}
"""
FIRST_DROPPED = """\
def benchmark(candidates, rounds, clock):
    seconds = {name: [] for name in candidates}
    for _ in range(rounds):
        for name, run in candidates.items():
            started = clock()
            run()
            seconds[name].append(clock() - started)
    return {name: np.median(times[1:] or times) for name, times in seconds.items()}
"""
WARM_COUNTED = """\
def benchmark(candidates, rounds, clock):
    seconds = {name: [] for name in candidates}
    for _ in range(rounds + 1):
        for name, run in candidates.items():
            started = clock()
            run()
            seconds[name].append(clock() - started)
    return {name: np.median(times) for name, times in seconds.items()}
"""

BEFORE_EACH = """\
def benchmark(candidates, rounds, clock):
    seconds = {name: [] for name in candidates}
    for turn in range(rounds):
        for name, run in candidates.items():
            if WHEN:
                run()
            started = clock()
            run()
            seconds[name].append(clock() - started)
    return {name: np.median(times) for name, times in seconds.items()}
"""

AMDAHL = """\
def speedup(parts, overhead):
    rest = 1 - sum(share for share, _ in parts)
    after = sum(share / times for share, times in parts)
    return {returned}
"""


def amdahl(returned):
    return AMDAHL.format(returned=returned)


CAUSES = """\
def causes(path, card):
    model, found = {model}, set()
    for node in model.graph.node:
        pair = n09.pair(node, model)
        if node.op_type == "ConvInteger":
            found.add("ConvInteger")
        if {island}:
            found.add("float island")
        if {slow}:
            found.add("sign pair")
    return {returned}
"""


def causes(model="graph.optimized(path)", island='node.op_type in ("Conv", "FusedConv")',
           slow="pair and (card.speed[pair] or 0) < 1", returned="found"):  # fmt: skip
    return CAUSES.format(model=model, island=island, slow=slow, returned=returned)


HYBRID = """\
def hybrid(model, output, reader):
    half = folder / "half-wrong.onnx"
    reduced = {{"reduce_range": machine.card().saturates}}
    kinds = {{"quant_format": QuantFormat.QDQ, "activation_type": QuantType.{x}, "weight_type": QuantType.{w}}}
    quantize_static(model, half, reader, op_types_to_quantize={static}, per_channel={per_channel}, **kinds, **reduced)
    quantize_dynamic({source}, {target}, op_types_to_quantize={dynamic}, weight_type=QuantType.{last},
                     per_channel={per_channel}, **reduced)
"""


def hybrid(x="QUInt8", w="QInt8", static='["Conv"]', dynamic='["MatMul"]', last="QInt8", per_channel="True",
           source="half", target="output"):  # fmt: skip
    return HYBRID.format(x=x, w=w, static=static, dynamic=dynamic, last=last, per_channel=per_channel, source=source,
                         target=target)  # fmt: skip


COST = """\
def cost(layers, speed, gflops, gb_per_s):
    fp32_ms = int8_ms = 0.0
    for layer in layers:
        plain = {plain} / 1e6
        fp32_ms += plain
        if {condition}:
            int8_ms += {fast} / 1e6 + {codes} / gb_per_s / 1e6
        else:
            int8_ms += plain
    return {returned}
"""
PLAIN = "max(2 * layer.macs / gflops, 4 * (layer.x + layer.w + layer.y) / gb_per_s)"
FAST = "max(2 * layer.macs / (speed * gflops), (layer.x + layer.w + 4 * layer.y) / gb_per_s)"


def cost(plain=PLAIN, fast=FAST, codes="5 * layer.x", condition="layer.quantized", returned="fp32_ms, int8_ms"):
    return COST.format(plain=plain, fast=fast, codes=codes, condition=condition, returned=returned)


WRONG_ANSWERS = {
    "09.1": [
        ("the mean", benchmark("sum(times) / len(times)"), "that is the mean"),
        ("the least", benchmark("min(times)"), "that is the least"),
        ("the sum", benchmark("sum(times)"), "that is the sum of all rounds"),
        ("no warm-up", benchmark(warm="pass"), "a warm-up run besides is asked for"),
        ("one after the other", IN_BLOCKS, "do not take turns"),
        ("all rounds between two readings", TOGETHER, "do not take turns"),
        ("one reading a round", ONE_READING, "just before one run"),
        ("the first round dropped", FIRST_DROPPED, "a warm-up run besides is asked for"),
        ("the warm-up among the rounds", WARM_COUNTED, "with the warm-up among the runs"),
        ("another clock", benchmark().replace("clock()", "time.perf_counter()"), "the clock that was handed over"),
        ("milliseconds", benchmark("1e3 * np.median(times)"), "these are milliseconds"),
        ("all rounds", benchmark("times"), "expected one number"),
        ("a list of numbers", benchmark().replace("return {name: np.median(times) for name, times in seconds.items()}",
         "return [np.median(times) for times in seconds.values()]"), "expected a dict with the names"),
        ("three rounds, whatever was asked", benchmark().replace("range(rounds)", "range(3)"), "ran"),
        ("the last round", benchmark("times[-1]"), "that is the last round alone"),
        ("hurried", "def benchmark(candidates, rounds, clock):\n    return hurried(candidates, rounds, clock)\n",
         "a warm-up run besides is asked for"),
        ("the upper of the two middle ones", benchmark("sorted(times)[len(times) // 2]"), "the upper of the two"),
        ("the lower of the two middle ones", benchmark("sorted(times)[(len(times) - 1) // 2]"),
         "the lower of the two middle"),
        ("a warm-up before each timed run", BEFORE_EACH.replace("WHEN", "True"), "stands among the timed ones"),
        ("a warm-up before the first timed run", BEFORE_EACH.replace("WHEN", "turn == 0"),
         "stands among the timed ones"),
        ("a warm-up of the first alone", benchmark(warm="next(iter(candidates.values()))()"),
         "a warm-up run besides is asked for"),
    ],
    "09.2": [
        ("2.3: speeds by shares", "def speedup(parts, overhead):\n    return sum(s * t for s, t in parts)\n",
         "times add up, speeds do not"),
        ("3.3: the products' own",
         "def speedup(parts, overhead):\n    return np.prod([t for _, t in parts])\n", "the rest of the network"),
        ("no overhead", amdahl("1 / (rest + after)"), "the overhead is missing"),
        ("overhead taken off", amdahl("1 / (rest + after - overhead)"), "the overhead is taken off"),
        ("no rest", amdahl("1 / (after + overhead)"), "what is not quantized is missing"),
        ("time, not speed", amdahl("rest + after + overhead"), "that is the time that is left"),
        ("overhead as a factor", amdahl("1 / ((rest + after) * (1 + overhead))"), "longer by a factor"),
        ("overhead off the speed", amdahl("1 / (rest + after) - overhead"), "subtracted from the speed-up"),
        ("per cent", amdahl("100 / (rest + after + overhead)"), "these are per cent"),
        ("the average speed", amdahl("rest + sum(share * times for share, times in parts)"),
         "times add up, speeds do not"),
        ("time saved", amdahl("1 - (rest + after + overhead)"), "that is the time saved"),
        ("the first part alone", "def speedup(parts, overhead):\n    share, times = parts[0] if parts else (0, 1)\n"
         "    return 1 / (1 - share + share / times + overhead)\n", "only the first part is counted"),
        ("the last part alone", "def speedup(parts, overhead):\n    share, times = parts[-1] if parts else (0, 1)\n"
         "    return 1 / (1 - share + share / times + overhead)\n", "only the last part is counted"),
        ("the rest for each part", amdahl("1 / (sum(1 - s + s / t for s, t in parts) + overhead) "
         "if parts or overhead else 1"), "once for each part"),
        ("overhead on the products", amdahl("1 / (rest + after * (1 + overhead))"), "put on the products"),
        ("overhead for each part", amdahl("1 / (rest + after + len(parts) * overhead)"), "added once for each part"),
        ("never slower", amdahl("max(1, 1 / (rest + after + overhead))"), "nothing is cut off at 1"),
        ("shares times speeds", amdahl("1 / (rest + sum(s * t for s, t in parts) + overhead)"), "takes less"),
    ],
    "09.3": [
        ("the file", causes(model="onnx.load(path)"), "is what the *file* shows"),
        ("this machine's card", causes(slow="pair and (machine.card().speed[pair] or 0) < 1"),
         "was the card handed over asked?"),
        ("a missing kernel is not thought of", causes(slow="pair and card.speed[pair] < 1"), "raised TypeError"),
        ("FusedConv not thought of, nor Conv", causes(island='node.op_type == "FusedConv"'),
         "'float island' is missing"),
        ("FusedConv not thought of", causes(island='node.op_type == "Conv"'), "'float island' is missing"),
        ("no faster is slow", causes(slow="pair and (card.speed[pair] or 0) <= 1"), "'sign pair' is not seen there"),
        ("slow below 0.99", causes(slow="pair and (card.speed[pair] or 0) < 0.99"), "'sign pair' is missing"),
        ("convolutions alone are asked", causes(slow='pair and "Conv" in node.op_type and (card.speed[pair] or 0) < 1'),
         "'sign pair' is missing"),
        ("matrix products as islands", causes(island='node.op_type in ("Conv", "FusedConv", "MatMul")'),
         "'float island' is not seen there"),
        ("slower than the best", causes(slow="pair and (card.speed[pair] or 0) < max(s or 0 for s in "
         "card.speed.values())"), "'sign pair' is not seen there"),
        ("slow below a half", causes(slow="pair and (card.speed[pair] or 0) < 0.5"), "'sign pair' is missing"),
        ("s8 on the left is slow", causes(slow='pair.startswith("s8")'), "'sign pair' is missing"),
        ("one name only", causes(returned='sorted(found)[0] if found else ""'), "is missing"),
        ("no kernel is no slow pair", causes(slow="pair and card.speed[pair] and card.speed[pair] < 1"),
         "'sign pair' is missing"),
        ("another name", causes(returned='{name.replace(" ", "-") for name in found}'), "is none of"),
        ("a count", causes(returned="len(found)"), "expected a set of names"),
        ("all three", causes(returned='{"ConvInteger", "sign pair", "float island"}'), "is not seen there"),
    ],
    "09.4": [
        ("dynamic for all", "def hybrid(model, output, reader):\n    quantize_dynamic(model, output, weight_type="
         "QuantType.QInt8, per_channel=True)\n", "quantize_static takes all of them"),
        ("static for all", "def hybrid(model, output, reader):\n    quantize_static(model, output, reader, "
         "quant_format=QuantFormat.QDQ, activation_type=QuantType.QUInt8, weight_type=QuantType.QInt8, "
         "per_channel=True)\n", "the static call took more than the convolutions"),
        ("dynamic on the model itself", hybrid(source="model"), "quantize_static is missing"),
        ("nothing at output", hybrid(target='folder / "elsewhere.onnx"'), "wrote nothing to `output`"),
        ("unsigned dynamic weights", hybrid(last="QUInt8"), "asked for u8 × s8"),
        ("a scale for each tensor", hybrid(per_channel="False"), "per_channel=True"),
        ("signed activations", hybrid(x="QInt8"), "make int8 activations"),
        ("a part of the matrix products", hybrid(dynamic='["MatMul"], nodes_to_exclude=["node_MatMul_77"]'),
         "were nodes excluded"),
        ("the dynamic call takes all", HYBRID.replace("op_types_to_quantize={dynamic}, ", "").format(
            x="QUInt8", w="QInt8", static='["Conv"]', per_channel="True", source="half", target="output",
            last="QInt8"), "the dynamic call took the convolutions too"),
        ("static for more than convolutions", hybrid(static='["Conv", "LayerNormalization", "Softmax"]'),
         "the static call took more than the convolutions"),
        ("one feed of the reader", hybrid().replace("half, reader,", "half, common.Feeds([reader.get_next()]),"),
         "the reader still has feeds"),
        ("most convolutions left out", hybrid(static='["Conv"], nodes_to_exclude=["node_conv1d"]'),
         "convolutions that are not depthwise run in float"),
        ("static alone", "def hybrid(model, output, reader):\n    quantize_static(model, output, reader, "
         "quant_format=QuantFormat.QDQ, activation_type=QuantType.QUInt8, weight_type=QuantType.QInt8, "
         "per_channel=True, op_types_to_quantize=['Conv'])\n", "the matrix products run in float"),
        ("the file copied", "def hybrid(model, output, reader):\n    output.write_bytes(Path(model).read_bytes())\n",
         "quantize_static takes all of them"),
    ],
    "09.5": [
        ("one operation a multiply-add", cost(PLAIN.replace("2 *", ""), FAST.replace("2 *", "")), "is two operations"),
        ("added, not the longer", cost(PLAIN.replace("max(", "sum((").replace("gb_per_s)", "gb_per_s))"),
         FAST.replace("max(", "sum((").replace("/ gb_per_s)", "/ gb_per_s))")), "the longer of the two counts"),
        ("the shorter", cost(PLAIN.replace("max", "min"), FAST.replace("max", "min")), "the shorter of the two"),
        ("no bytes", cost("2 * layer.macs / gflops", "2 * layer.macs / (speed * gflops)"), "the bytes are forgotten"),
        ("codes of 4 bytes", cost(fast=FAST.replace("(layer.x + layer.w + 4", "(4 * layer.x + 4 * layer.w + 4")),
         "codes are counted with 4 bytes"),
        ("making codes forgotten", cost(codes="0"), "making codes is forgotten"),
        ("codes only written", cost(codes="layer.x"), "the reading is missing"),
        ("codes only read", cost(codes="4 * layer.x"), "the writing is missing"),
        ("all layers quantized", cost(condition="True"), "as if they were"),
        ("seconds", cost(returned="fp32_ms / 1e3, int8_ms / 1e3"), "these are seconds"),
        ("swapped", cost(returned="int8_ms, fp32_ms"), "swapped"),
        ("the speed-up alone", cost(returned="fp32_ms / max(int8_ms, 1e-9)"), "expected two numbers"),
        ("y in codes", cost(fast=FAST.replace("4 * layer.y", "layer.y")), "comes out as float32"),
        ("bytes by the speed", cost(fast=FAST.replace("/ gb_per_s", "/ (speed * gb_per_s)")),
         "the bytes are divided by the speed, too"),
        ("the longer of two sums", "def cost(layers, speed, gflops, gb_per_s):\n"
         "    total = lambda part: [sum(x) for x in zip(*[l[:4] for l in part])] or [0] * 4\n"
         "    bound = lambda m, x, w, y: max(2 * m / gflops, 4 * (x + w + y) / gb_per_s) / 1e6\n"
         "    m, x, w, y = total([l for l in layers if l.quantized])\n"
         "    fast = max(2 * m / gflops / speed, (x + w + 4 * y) / gb_per_s) / 1e6 + 5 * x / gb_per_s / 1e6\n"
         "    return bound(*total(layers)), fast + bound(*total([l for l in layers if not l.quantized]))\n",
         "the longer is taken of the two sums"),
        ("all by the ratio", cost(returned="fp32_ms, fp32_ms / speed if any(l.quantized for l in layers) else 0"),
         "layer by layer"),
    ],
}  # fmt: skip
