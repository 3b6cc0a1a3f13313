"""Right answers to the exercises of notebook 07 in other styles: name, code in the stub's place."""

ONE_BATCH = """\
def together(session, features):
    longest = max(each.shape[0] for each in features)
    speech = np.stack([np.pad(each, [(0, longest - each.shape[0]), (0, 0)]) for each in features])
    lengths = np.int64([each.shape[0] for each in features])
    found = dict(zip(("p", "n"), session.run(["ctc_log_probs", "encoder_out_lens"],
                                             {"speech": speech, "speech_lengths": lengths})))
    return [found["p"][i][: found["n"][i]] for i in range(len(features))]


"""
RIGHT_ANSWERS = {
    "07.1": [
        ("one line each", "def options(card):\n    s, u = (card.speed[pair] or 0 for pair in ('u8s8', 'u8u8'))\n"
         "    if s < 1 and u < 1:\n        return 'none is faster here, because both pairs are below float32'\n"
         "    if u > s:\n        return dict(weight_type=QuantType.QUInt8, op_types_to_quantize=['MatMul'])\n"
         "    return dict(weight_type=QuantType.QInt8, op_types_to_quantize=['MatMul'], "
         "reduce_range=card.saturates)\n"),
        ("a scale for each channel too", "def options(card):\n    pairs = {'QInt8': card.speed['u8s8'] or 0, "
         "'QUInt8': card.speed['u8u8'] or 0}\n    best = max(pairs, key=pairs.get)\n    if pairs[best] < 1:\n"
         "        return f'none is faster: {pairs}'\n    return {'weight_type': getattr(QuantType, best), "
         "'per_channel': True, 'op_types_to_quantize': ['MatMul'], 'reduce_range': best == 'QInt8' and "
         "card.saturates}\n"),
        ("convolutions where they are fast", "def options(card):\n    s, u = card.speed['u8s8'] or 0, "
         "card.speed['u8u8'] or 0\n    if max(s, u) < 1:\n        return 'no integer product is faster there'\n"
         "    chosen = {'weight_type': QuantType.QInt8 if s >= u else QuantType.QUInt8}\n"
         "    if s >= u and card.saturates:\n        chosen['reduce_range'] = True\n"
         "    left = card.speed['s8u8'] if s >= u else u\n    if not left or left < 1:\n"
         "        chosen['op_types_to_quantize'] = ['MatMul']\n    return chosen\n"),
        ("7 bits always", "def options(card):\n    s, u = card.speed['u8s8'] or 0, card.speed['u8u8'] or 0\n"
         "    if max(s, u) < 1.0:\n        return 'none: float32 is the fastest'\n    if u > s:\n"
         "        return {'weight_type': QuantType.QUInt8, 'op_types_to_quantize': {'MatMul'}}\n"
         "    return {'op_types_to_quantize': ('MatMul',), 'reduce_range': True}\n"),
        ("convolutions excluded by name", "def options(card):\n    s, u = card.speed['u8s8'] or 0, "
         "card.speed['u8u8'] or 0\n    if max(s, u) < 1:\n        return 'nothing is faster there'\n"
         "    names = [n.name for n in onnx.load(fp32).graph.node if n.op_type == 'Conv']\n"
         "    return {'weight_type': QuantType.QInt8 if s >= u else QuantType.QUInt8, 'nodes_to_exclude': names, "
         "'reduce_range': bool(s >= u and card.saturates)}\n"),
        ("short texts", "def options(card):\n    s, u = card.speed['u8s8'] or 0, card.speed['u8u8'] or 0\n"
         "    if max(s, u) <= 1:\n        return 'no'\n    return {'op_types_to_quantize': ['MatMul'], 'weight_type': "
         "QuantType.QInt8 if s > u else QuantType.QUInt8, 'reduce_range': s > u and card.saturates}\n"),
        ("one word per machine", "def options(card):\n    usable = sorted((card.speed[p] or 0, p) for p in "
         "('u8u8', 'u8s8'))\n    speed, pair = usable[-1]\n    if speed < 1:\n        return "
         "f'{card.name}: {pair} is only {speed} times float32'\n    kind = {'u8u8': QuantType.QUInt8, 'u8s8': "
         "QuantType.QInt8}[pair]\n    return dict(weight_type=kind, op_types_to_quantize=['MatMul'], "
         "reduce_range=pair == 'u8s8' and card.saturates)\n"),
    ],
    "07.2": [
        ("a loop", "def integer_nodes(path):\n    o = onnxruntime.SessionOptions()\n    o.optimized_model_filepath = "
         "str(folder / 'right.onnx')\n    o.log_severity_level = 4\n    onnxruntime.InferenceSession(path, o, "
         "providers=['CPUExecutionProvider'])\n    found = {}\n    for node in onnx.load(folder / 'right.onnx')."
         "graph.node:\n        if node.op_type in n07.INTEGER_NODES:\n            found[node.op_type] = "
         "found.get(node.op_type, 0) + 1\n    return found\n"),
        ("zeros as well", "def integer_nodes(path):\n    o = onnxruntime.SessionOptions()\n    "
         "o.optimized_model_filepath = str(folder / 'right.onnx')\n    o.log_severity_level = 3\n    "
         "onnxruntime.InferenceSession(path, o)\n    kinds = [n.op_type for n in onnx.load(folder / 'right.onnx')."
         "graph.node]\n    return {kind: kinds.count(kind) for kind in n07.INTEGER_NODES}\n"),
        ("pairs", "def integer_nodes(path):\n    o = onnxruntime.SessionOptions()\n    o.optimized_model_filepath = "
         "str(folder / 'right.onnx')\n    o.log_severity_level = 3\n    onnxruntime.InferenceSession(path, o)\n"
         "    kinds = [n.op_type for n in onnx.load(folder / 'right.onnx').graph.node]\n    return sorted("
         "(kind, kinds.count(kind)) for kind in set(kinds) & n07.INTEGER_NODES)\n"),
        ("NumPy's numbers", "def integer_nodes(path):\n    o = onnxruntime.SessionOptions()\n    "
         "o.optimized_model_filepath = str(folder / 'right.onnx')\n    o.log_severity_level = 3\n    "
         "onnxruntime.InferenceSession(path, o)\n    kinds = [n.op_type for n in onnx.load(folder / 'right.onnx')."
         "graph.node if n.op_type in n07.INTEGER_NODES]\n    names, counts = np.unique(kinds, return_counts=True)\n"
         "    return dict(zip(names.tolist(), counts))\n"),
        ("a path with methods", "def integer_nodes(path):\n    o = onnxruntime.SessionOptions()\n    target = folder / "
         "f'{path.stem}-right.onnx'\n    o.optimized_model_filepath = str(target)\n    o.log_severity_level = 3\n    "
         "onnxruntime.InferenceSession(path.read_bytes(), o)\n    return Counter(n.op_type for n in "
         "onnx.load(target).graph.node if n.op_type in n07.INTEGER_NODES)\n"),
        ("qlab's census, by domain", "def integer_nodes(path):\n    return {key: n for key, n in "
         "graph.census(path).integer.items() if key[1] in n07.INTEGER_NODES}\n"),
        ("qlab's optimized graph", "def integer_nodes(path):\n    nodes = graph.optimized(path).graph.node\n"
         "    return Counter(n.op_type for n in nodes if n.op_type in n07.INTEGER_NODES)\n"),
    ],
    "07.3": [
        ("a dict", "def account(path):\n    out, size = {}, 0\n    for t in onnx.load(path).graph.initializer:\n"
         "        a = onnx.numpy_helper.to_array(t)\n        out[str(a.dtype)] = out.get(str(a.dtype), 0) + a.nbytes\n"
         "        size += a.nbytes\n    out['graph'] = Path(path).stat().st_size - size\n    return out\n"),
        ("dtypes as keys", "def account(path):\n    out = Counter()\n    for t in onnx.load(path).graph.initializer:\n"
         "        a = onnx.numpy_helper.to_array(t)\n        out[a.dtype] += a.size * a.itemsize\n"
         "    return {**out, 'graph': len(Path(path).read_bytes()) - out.total()}\n"),
        ("floats", "def account(path):\n    import os\n    out = {}\n    for t in onnx.load(path).graph.initializer:\n"
         "        a = onnx.numpy_helper.to_array(t)\n        out[a.dtype.name] = out.get(a.dtype.name, 0.0) + "
         "float(a.nbytes)\n    return out | {'graph': os.path.getsize(path) - sum(out.values())}\n"),
        ("from shape and type", "def account(path):\n    out = Counter()\n    for t in onnx.load(path).graph."
         "initializer:\n        kind = onnx.helper.tensor_dtype_to_np_dtype(t.data_type)\n        "
         "out[kind.name] += int(np.prod(t.dims, dtype=np.int64)) * kind.itemsize\n    "
         "return dict(out, graph=Path(path).stat().st_size - sum(out.values()))\n"),
        ("NumPy's sums", "def account(path):\n    arrays = [onnx.numpy_helper.to_array(t) for t in "
         "onnx.load(path).graph.initializer]\n    kinds = {a.dtype.name for a in arrays}\n    out = {k: np.sum("
         "[a.nbytes for a in arrays if a.dtype.name == k]) for k in kinds}\n    out['graph'] = "
         "np.int64(Path(path).stat().st_size) - sum(out.values())\n    return out\n"),
        ("ONNX's names as keys, a path with methods", "def account(path):\n    out = Counter()\n    for t in onnx.load("
         "path).graph.initializer:\n        out[onnx.TensorProto.DataType.Name(t.data_type)] += "
         "onnx.numpy_helper.to_array(t).nbytes\n    return {**out, 'graph': path.stat().st_size - out.total()}\n"),
        ("ONNX's numbers as keys", "def account(path):\n    out = Counter()\n    for t in onnx.load(path).graph."
         "initializer:\n        out[t.data_type] += onnx.numpy_helper.to_array(t).nbytes\n    "
         "return {**out, 'graph': Path(path).stat().st_size - out.total()}\n"),
    ],
    "07.4": [
        ("np.pad", ONE_BATCH + "def alone(session, features):\n    return [together(session, [f])[0] for f in "
         "features]\n"),
        ("loops and lists", "def together(session, features):\n    longest = 0\n    for f in features:\n        "
         "longest = max(longest, len(f))\n    rows = []\n    for f in features:\n        rows.append(np.concatenate("
         "[f, np.zeros((longest - len(f), 80))]).astype(np.float32))\n    p, n = session.run(['ctc_log_probs', "
         "'encoder_out_lens'], {'speech': np.array(rows), 'speech_lengths': np.array([len(f) for f in features], "
         "dtype=np.int64)})\n    out = []\n    for i in range(len(features)):\n        out.append(p[i, : int(n[i])])\n"
         "    return out\n\n\ndef alone(session, features):\n    out = []\n    for f in features:\n        "
         "out.append(session.run(['ctc_log_probs'], {'speech': f[np.newaxis], 'speech_lengths': np.array([len(f)], "
         "np.int64)})[0][0])\n    return out\n"),
        ("tuples, float64", ONE_BATCH.replace("return [found", "return tuple(np.float64(found").replace(
         "[: found[\"n\"][i]] for i in range(len(features))]", "[: found[\"n\"][i]]) for i in range(len(features)))")
         + "def alone(session, features):\n    return tuple(together(session, [f])[0] for f in features)\n"),
        ("alone through models.feed's shape", ONE_BATCH + "def alone(session, features):\n    def run(f):\n        "
         "return session.run(None, {'speech': f[None], 'speech_lengths': np.int64([len(f)])})\n    names = "
         "[o.name for o in session.get_outputs()]\n    return [dict(zip(names, run(f)))['ctc_log_probs'][0] "
         "for f in features]\n"),
        ("sorted by length, and back", "def together(session, features):\n    order = np.argsort([-len(f) for f in "
         "features], kind='stable')\n    longest = len(features[order[0]])\n    speech = np.zeros((len(features), "
         "longest, 80), np.float32)\n    for at, which in enumerate(order):\n        speech[at, : len(features[which])]"
         " = features[which]\n    lengths = np.array([len(features[which]) for which in order], np.int64)\n    p, n = "
         "session.run(['ctc_log_probs', 'encoder_out_lens'], {'speech': speech, 'speech_lengths': lengths})\n    out = "
         "[None] * len(features)\n    for at, which in enumerate(order):\n        out[which] = p[at][: n[at]]\n    "
         "return out\n\n\ndef alone(session, features):\n    return [together(session, [f])[0] for f in features]\n"),
        ("onnxruntime's own argument names", ONE_BATCH.replace("session.run([\"ctc_log_probs\", \"encoder_out_lens\"],",
         "session.run(output_names=[\"ctc_log_probs\", \"encoder_out_lens\"], input_feed=")
         + "def alone(session, features):\n    return [together(session, [f])[0] for f in features]\n"),
        ("a generator made a list", ONE_BATCH + "def alone(session, features):\n    def each():\n        for f in "
         "features:\n            yield from together(session, [f])\n    return list(each())\n"),
    ],
}  # fmt: skip
