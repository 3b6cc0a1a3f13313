"""Right answers to the exercises of notebook 02 in other styles: name, code in the stub's place."""

SQNR = "20 * np.log10(np.linalg.norm(x) / np.linalg.norm(x - scale * codes)) if x.size > 1 and x.any() else np.inf"

RIGHT_ANSWERS = {
    "02.1": [
        (
            "float64, by the two ends",
            """\
def symmetric_qparams(values):
    low, high = np.float64(values.min()), np.float64(values.max())
    a = max(-low, high)
    if a == 0:
        return 1.0, 0
    return a / 127, 0
""",
        ),
        (
            "a loop in plain Python",
            """\
def symmetric_qparams(x):
    largest = 0.0
    for value in x.ravel().tolist():
        if abs(value) > largest:
            largest = abs(value)
    scale = largest / 127.0 if largest else 1
    return [scale, 0]
""",
        ),
        (
            "float32, as an array",
            """\
def symmetric_qparams(x):
    scale = np.abs(x).max() / np.float32(127)
    return np.array([scale or 1, 0], np.float32)
""",
        ),
        (
            "onnxruntime's own function",
            """\
def symmetric_qparams(x):
    zero_point, scale = compute_scale_zp(x.min(), x.max(), np.int8(-127), np.int8(127), symmetric=True)
    return scale, zero_point
""",
        ),
        (
            "the infinity norm, and the mirrored range over 254 steps",
            """\
def symmetric_qparams(x):
    reach = np.linalg.norm(x.ravel(), np.inf)
    return np.float32(2 * reach / 254) if reach > 0 else np.float32(1), np.int8(0)
""",
        ),
        (
            "qlab's function",
            """\
def symmetric_qparams(tensor):
    qparams = choose_qparams(tensor, "int8", symmetric=True)
    return float(qparams.scale), int(qparams.zero_point)
""",
        ),
        (
            "a floor below every scale, and 1 for zeros",
            """\
def symmetric_qparams(x):
    biggest = float(np.max(np.abs(x)))
    scale = max(biggest / 127, np.finfo(np.float32).tiny)
    return (scale, 0.0) if biggest else (1.0, 0.0)
""",
        ),
    ],
    "02.2": [
        (
            "float64 throughout",
            f"""\
def quantize_relu(x):
    x = x.astype(np.float64)
    scale = x.max() / 255 or 1.0
    codes = np.clip(np.round(x / scale), 0, 255).astype("uint8")
    return codes, scale, {SQNR}
""",
        ),
        (
            "loops",
            """\
def quantize_relu(x):
    largest = max(float(value) for value in x.flat)
    scale = largest / 255 if largest else 1.0
    codes = np.zeros(x.shape, np.uint8)
    signal = noise = 0.0
    for place in np.ndindex(x.shape):
        codes[place] = round(float(x[place]) / scale)
        signal += float(x[place]) ** 2
        noise += (float(x[place]) - scale * float(codes[place])) ** 2
    return codes, scale, 10 * np.log10(signal / noise) if noise else np.inf
""",
        ),
        (
            "squares under 10 log10",
            """\
def quantize_relu(activation):
    step = np.float32(activation.max() / 255) if activation.any() else np.float32(0.5)
    q = np.rint(activation / step).astype(np.uint8)
    error = activation.astype(float) - float(step) * q
    power, lost = np.mean(activation.astype(float) ** 2), np.mean(error**2)
    return q, step, 10 * np.log10(power / lost) if lost else float("inf")
""",
        ),
        (
            "a scale that was searched",
            f"""\
def quantize_relu(x):
    best = None
    for share in np.linspace(0.9, 1, 21):
        scale = np.float32(share * x.max() / 255) if x.any() else np.float32(1)
        codes = np.clip(np.rint(x / scale), 0, 255).astype(np.uint8)
        lost = np.linalg.norm(x - scale * codes)
        if best is None or lost <= best[0]:
            best = lost, codes, scale
    _, codes, scale = best
    return codes, scale, {SQNR}
""",
        ),
        (
            "qlab's functions",
            """\
def quantize_relu(x):
    qparams = choose_qparams(x, "uint8", symmetric=True)
    codes = np.minimum(np.rint(x / qparams.scale), 255).astype(np.uint8)
    return codes, float(qparams.scale), sqnr_db(x, fake_quantize(x, qparams)) if x.any() else 0.0
""",
        ),
        (
            "a list of three, rounded by adding a half",
            f"""\
def quantize_relu(x):
    scale = x.max() / np.float32(255) if x.max() > 0 else np.float32(1)
    codes = np.floor(x / scale + np.float32(0.5)).clip(0, 255).astype(np.uint8)
    return [codes, scale, {SQNR}]
""",
        ),
    ],
    "02.3": [
        (
            "every combination tried",
            """\
def choose_schemes(tensors, zero_points):
    import itertools

    names, table = list(tensors), {}
    for name in names:
        mirrored = choose_qparams(tensors[name], "int8", symmetric=True)
        unit = np.linalg.norm((tensors[name] - fake_quantize(tensors[name], mirrored)).ravel().astype(float)) ** 2
        for scheme, (dtype, is_symmetric) in SCHEMES.items():
            qparams = choose_qparams(tensors[name], dtype, symmetric=is_symmetric)
            error = np.linalg.norm((tensors[name] - fake_quantize(tensors[name], qparams)).ravel().astype(float)) ** 2
            table[name, scheme] = error / unit, int(qparams.zero_point) != 0
    best, chosen = None, None
    for choice in itertools.product(SCHEMES, repeat=len(names)):
        rows = [table[pair] for pair in zip(names, choice)]
        if sum(paid for _, paid in rows) <= zero_points:
            total = sum(error for error, _ in rows)
            if best is None or total < best:
                best, chosen = total, dict(zip(names, choice))
    return chosen
""",
        ),
        (
            "by the SQNR, one zero point after another",
            """\
def choose_schemes(tensors, zero_points):
    def db(x, scheme):
        dtype, symmetric = SCHEMES[scheme]
        return sqnr_db(x, fake_quantize(x, choose_qparams(x, dtype, symmetric=symmetric)))

    chosen = {name: "symmetric uint8" if x.min() >= 0 else "symmetric int8" for name, x in tensors.items()}
    for _ in range(zero_points):
        left = {name: db(tensors[name], "asymmetric uint8") - db(tensors[name], "symmetric int8")
                for name, scheme in chosen.items() if scheme == "symmetric int8"}
        if not left or max(left.values()) <= 0:
            break
        chosen[max(left, key=left.get)] = "asymmetric uint8"
    return chosen
""",
        ),
        (
            "by the reader's own functions",
            """\
def choose_schemes(tensors, zero_points):
    result, bought = {}, []
    for name, x in tensors.items():
        mirrored = np.sum((x - symmetric(x)).astype(np.float64) ** 2)
        fitted = np.sum((x - asymmetric(x)).astype(np.float64) ** 2)
        if x.min() >= 0:
            result[name] = "asymmetric uint8"
        else:
            result[name] = "symmetric int8"
            bought.append((fitted / mirrored, name))
    for share, name in sorted(bought)[:zero_points]:
        if share < 1:
            result[name] = "asymmetric uint8"
    return result
""",
        ),
        (
            "quantized by hand in float64",
            """\
def choose_schemes(tensors, zero_points):
    plan = dict.fromkeys(tensors, "symmetric int8")
    order = []
    for name, tensor in tensors.items():
        x = tensor.astype(np.float64)
        low, high = min(x.min(), 0.0), max(x.max(), 0.0)
        if low == 0:
            plan[name] = "symmetric uint8"
            continue
        step = max(-low, high) / 127
        before = np.square(x - step * np.rint(x / step)).sum()
        step = (high - low) / 255
        zero = np.rint(-low / step)
        after = np.square(x - step * (np.clip(np.rint(x / step) + zero, 0, 255) - zero)).sum()
        order.append((1 - after / before, name))
    order.sort(reverse=True)
    for gain, name in order[:zero_points]:
        if gain > 0:
            plan[name] = "asymmetric uint8"
    return plan
""",
        ),
        (
            "a heap",
            """\
def choose_schemes(tensors, zero_points):
    import heapq

    answer, heap = {}, []
    for name, x in tensors.items():
        options = {}
        for scheme, (dtype, sym) in SCHEMES.items():
            q = choose_qparams(x, dtype, symmetric=sym)
            options[scheme] = (((x - fake_quantize(x, q)).astype(float) ** 2).mean(), bool(q.zero_point))
        unit = options["symmetric int8"][0]
        free = min((error, scheme) for scheme, (error, paid) in options.items() if not paid)
        best = min((error, scheme) for scheme, (error, paid) in options.items())
        answer[name] = free[1]
        if best[0] < free[0]:
            heapq.heappush(heap, (-(free[0] - best[0]) / unit, name, best[1]))
    while heap and zero_points:
        _, name, scheme = heapq.heappop(heap)
        answer[name] = scheme
        zero_points -= 1
    return answer
""",
        ),
    ],
    "02.4": [
        (
            "8-bit unsigned weights where int8 would saturate",
            """\
def quantize_for(card, source, target):
    speed = {"s8": card.speed["u8s8"] or 0, "u8": card.speed["u8u8"] or 0}
    if card.saturates and speed["u8"] > 1:
        speed["s8"] = 0
    sign = "s8" if speed["s8"] >= speed["u8"] else "u8"
    kind = {"s8": QuantType.QInt8, "u8": QuantType.QUInt8}[sign]
    quantize_dynamic(source, target, op_types_to_quantize=["MatMul"], per_channel=True, weight_type=kind,
                     reduce_range=sign == "s8" and card.saturates)
""",
        ),
        (
            "paths as text, and the target returned",
            """\
def quantize_for(machine_card, model, output):
    options = {"op_types_to_quantize": ["MatMul"], "per_channel": True}
    if (machine_card.speed["u8s8"] or 0) > (machine_card.speed["u8u8"] or 0):
        options |= {"weight_type": QuantType.QInt8, "reduce_range": machine_card.saturates}
    else:
        options |= {"weight_type": QuantType.QUInt8}
    quantize_dynamic(str(model), str(output), **options)
    return output
""",
        ),
        (
            "by the card's fastest exact pair of the two",
            """\
def quantize_for(card, source, target):
    pairs = [(card.speed[pair] or 0, pair) for pair in ("u8u8", "u8s8")]
    speed, pair = max(pairs)
    if speed < 1:
        return None
    unsigned = pair == "u8u8"
    quantize_dynamic(
        source,
        target,
        op_types_to_quantize=["MatMul"],
        per_channel=True,
        weight_type=QuantType.QUInt8 if unsigned else QuantType.QInt8,
        reduce_range=bool(card.saturates and not unsigned),
    )
""",
        ),
        (
            "a loaded model, every option spelled out",
            """\
def quantize_for(card, source, target):
    signed = (card.speed["u8s8"] or 0) >= (card.speed["u8u8"] or 0)
    if signed and card.saturates:
        quantize_dynamic(onnx.load(source), target, ["MatMul"], True, True, QuantType.QInt8)
    elif signed:
        quantize_dynamic(onnx.load(source), target, ["MatMul"], True, False, QuantType.QInt8)
    else:
        quantize_dynamic(onnx.load(source), target, ["MatMul"], True, False, QuantType.QUInt8)
""",
        ),
        (
            "a copy of the float model where nothing is faster",
            """\
def quantize_for(card, source, target):
    import shutil

    signed, unsigned = card.speed["u8s8"] or 0, card.speed["u8u8"] or 0
    if signed < 1 and unsigned < 1:
        shutil.copy(source, target)
        return
    options = {"weight_type": QuantType.QInt8, "reduce_range": card.saturates}
    if unsigned > signed:
        options = {"weight_type": QuantType.QUInt8}
    quantize_dynamic(source, target, op_types_to_quantize=["MatMul"], per_channel=True, **options)
""",
        ),
        (
            "int8 weights with zero points, which cost MatMulInteger nothing",
            """\
def quantize_for(card, source, target):
    signed = (card.speed["u8s8"] or 0) >= (card.speed["u8u8"] or 0)
    quantize_dynamic(source, target, op_types_to_quantize=["MatMul"], per_channel=True,
                     weight_type=QuantType.QInt8 if signed else QuantType.QUInt8,
                     reduce_range=signed and card.saturates, extra_options={"WeightSymmetric": False})
""",
        ),
        (
            "qlab's recipe",
            """\
def quantize_for(card, source, target):
    from qlab import recipes

    recipes.dynamic(source, target, card=card)
""",
        ),
        (
            "nothing written where nothing is faster, by a table",
            """\
def quantize_for(card, source, target):
    table = {QuantType.QInt8: card.speed["u8s8"] or 0, QuantType.QUInt8: card.speed["u8u8"] or 0}
    weight_type = max(table, key=table.get)
    if table[weight_type] > 1.0:
        narrow = weight_type is QuantType.QInt8 and card.saturates
        quantize_dynamic(source, target, weight_type=weight_type, per_channel=True, reduce_range=narrow,
                         op_types_to_quantize=["MatMul", "Gemm"])
""",
        ),
    ],
}
