"""Wrong answers to the exercises of notebook 07: name, code in the stub's place, what the refusal must say."""

CHOICES = {"07.5"}

OPTIONS = """\
def options(card):
    signed, unsigned = card.speed["u8s8"] or 0, card.speed["u8u8"] or 0
    if {none}:
        return {reason}
    chosen = {{"weight_type": QuantType.QUInt8, "op_types_to_quantize": ["MatMul"]}}
    if {signed}:
        chosen |= {more}
    return chosen
"""


def options(none="max(signed, unsigned) < 1", reason='"no pair is faster than float32"', signed="signed >= unsigned",
            more='{"weight_type": QuantType.QInt8, "reduce_range": card.saturates}'):  # fmt: skip
    return OPTIONS.format(none=none, reason=reason, signed=signed, more=more)


def always(text):
    return f"def options(card):\n    return {text}\n"


NODES = """\
def integer_nodes(path):
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    options.optimized_model_filepath = str(folder / "tried.onnx")
    onnxruntime.InferenceSession(path, options)
    nodes = onnx.load({file}).graph.node
    return {returned}
"""


def nodes(file='folder / "tried.onnx"',
          returned="Counter(node.op_type for node in nodes if node.op_type in n07.INTEGER_NODES)"):  # fmt: skip
    return NODES.format(file=file, returned=returned)


ACCOUNT = """\
def account(path):
    parts = Counter()
    for tensor in onnx.load(path).graph.initializer:
        array = onnx.numpy_helper.to_array(tensor)
        parts[array.dtype.name] {adds} {size}
    return {returned}
"""


def account(adds="+=", size="array.nbytes",
            returned='{**parts, "graph": Path(path).stat().st_size - parts.total()}'):  # fmt: skip
    return ACCOUNT.format(adds=adds, size=size, returned=returned)


BATCH = """\
def together(session, features):
    lengths = np.array({lengths}, np.int64)
    speech = np.full((len(features), max(len(each) for each in features), 80), {fill}, np.float32)
    for row, each in zip(speech, features):
        row[{place}] = each
    outputs = {outputs}
    log_probs, frames = session.run(outputs, {{"speech": speech, "speech_lengths": lengths}})
    return {returned}


def alone(session, features):
    return {alone}
"""


def batch(lengths="[len(each) for each in features]", fill="0", place=": len(each)",
          outputs='["ctc_log_probs", "encoder_out_lens"]',
          returned="[row[:count] for row, count in zip(log_probs, frames)]",
          alone="[together(session, [each])[0] for each in features]"):  # fmt: skip
    return BATCH.format(lengths=lengths, fill=fill, place=place, outputs=outputs, returned=returned, alone=alone)


LOOPED = """\
def together(session, features):
    return [one(session, each) for each in features]


def one(session, each):
    return session.run(["ctc_log_probs"], {"speech": each[None], "speech_lengths": np.array([len(each)])})[0][0]


alone = together
"""
SHORTENED = """\
def together(session, features):
    short = min(map(len, features))
    speech = np.stack([each[:short] for each in features])
    lengths = np.full(len(features), short, np.int64)
    return list(session.run(["ctc_log_probs"], {"speech": speech, "speech_lengths": lengths})[0])


def alone(session, features):
    return [together(session, [each])[0] for each in features]
"""

WRONG_ANSWERS = {
    "07.1": [
        ("the article's call everywhere", always('{"weight_type": QuantType.QUInt8}'), "they would be"),
        ("signed weights everywhere, MatMul only",
         always('{"weight_type": QuantType.QInt8, "op_types_to_quantize": ["MatMul"]}'), "on the card"),
        ("the default call where signed is faster", options(more='{"weight_type": QuantType.QInt8, "reduce_range": '
         'card.saturates, "op_types_to_quantize": ["MatMul", "Conv"]}'), "ConvInteger multiply s8 × u8"),
        ("saturation forgotten", options(more='{"weight_type": QuantType.QInt8}'), "saturates, and the weights have"),
        ("the slower pair", options(signed="signed < unsigned"), "they would be"),
        ("None instead of a reason", options(reason="None"), "return a str that says so"),
        ("never none", options(none="False"), "no product that quantize_dynamic can write"),
        ("always none", options(none="True"), "there is a faster product"),
        ("convolutions only", always('{"weight_type": QuantType.QUInt8, "op_types_to_quantize": ["Conv"]}'),
         "of the 56 matrix products"),
        ("a node left out", always('{"weight_type": QuantType.QUInt8 if card.speed["u8u8"] > card.speed["u8s8"] or '
         'card.saturates else QuantType.QInt8, "op_types_to_quantize": ["MatMul"], "nodes_to_exclude": '
         '["node_MatMul_77"]}'), "of the 56 matrix products"),
        ("the best of all four pairs, of which two cannot occur", """\
def options(card):
    speed = {pair: times or 0 for pair, times in card.speed.items()}
    best = max(speed, key=speed.get)
    if speed[best] <= 1:
        return "do not quantize"
    kind = QuantType.QInt8 if best.endswith("s8") else QuantType.QUInt8
    return {"op_types_to_quantize": ["MatMul"], "weight_type": kind, "reduce_range": card.saturates}
""", "u8 × s8 (activations × weights), which is 0.50 times"),
        ("u8 x u8 never looked at", options(none="signed < 1"), "there is a faster product"),
        ("worth it from 0.9", options(none="max(signed, unsigned) < 0.9"),
         "no product that quantize_dynamic can write"),
        ("worth it from 1.25", options(none="max(signed, unsigned) < 1.25"), "there is a faster product"),
        ("a missing kernel is not thought of", options().replace(" or 0", ""), "raised TypeError"),
        ("an empty text", options(reason='" "'), "return a str that says so"),
        ("16 bits", always('{"weight_type": QuantType.QInt16, "op_types_to_quantize": ["MatMul"]}'), "on the card"),
        ("the weights beside the file", always('{"use_external_data_format": True}'), "leave it out of the options"),
        ("a keyword that is not there", always('{"weights": "int8"}'), "quantize_dynamic refused"),
        ("the file named too", always('{"model_input": "x"}'), "leave it out of the options"),
        ("the type alone", always("QuantType.QInt8"), "expected a dict of options or a str"),
        ("u8 x s8 by the name of the file's sign only", options(signed='card.speed["s8s8"] is not None'),
         "on the card"),
    ],
    "07.2": [
        ("the file as written", nodes(file="path"), "stand in the *file*"),
        ("all nodes", nodes(returned="Counter(node.op_type for node in nodes)"), "all nodes were counted"),
        ("the sum alone", nodes(returned="sum(node.op_type in n07.INTEGER_NODES for node in nodes)"), "one number"),
        ("each once", nodes(returned="dict.fromkeys((n.op_type for n in nodes if n.op_type in n07.INTEGER_NODES), 1)"),
         "each op_type was counted once"),
        ("names that hold Integer", nodes(returned='Counter(n.op_type for n in nodes if "Integer" in n.op_type)'),
         "DynamicQuantizeMatMul are missing"),
        ("names that hold Quantize", nodes(returned='Counter(n.op_type for n in nodes if "Quant" in n.op_type or '
         'n.op_type in n07.INTEGER_NODES)'), "is not in n07.INTEGER_NODES"),
        ("the names alone", nodes(returned="{n.op_type for n in nodes if n.op_type in n07.INTEGER_NODES}"),
         "expected {op_type: how many}"),
        ("the optimizer switched off", nodes().replace("    options.log", "    options.graph_optimization_level = "
         "onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL\n    options.log"),
         "leave graph_optimization_level as it is"),
        ("half a node", nodes(returned="{k: v + 0.4 for k, v in Counter(n.op_type for n in nodes if n.op_type in "
         "n07.INTEGER_NODES).items()}"), "expected a number for each op_type"),
        ("the optimizer held back", nodes().replace("    options.log", "    options.graph_optimization_level = "
         "onnxruntime.GraphOptimizationLevel.ORT_ENABLE_BASIC\n    options.log"), "graph_optimization_level"),
    ],
    "07.3": [
        ("megabytes", account(returned='{k: v / 1e6 for k, v in {**parts, "graph": Path(path).stat().st_size - '
         'parts.total()}.items()}'), "these are megabytes"),
        ("entries", account(size="array.size"), "numbers of entries"),
        ("raw_data", account(size="len(tensor.raw_data)"), "raw_data is empty"),
        ("ByteSize", account(size="tensor.ByteSize()"), "ByteSize counts a tensor's name"),
        ("the whole file as graph", account(returned='{**parts, "graph": Path(path).stat().st_size}'), "whole file"),
        ("no graph", account(returned="parts"), "`graph` is missing"),
        ("the last tensor only", account(adds="=", returned='{**parts, "graph": Path(path).stat().st_size - '
         'sum(parts.values())}'), "last tensor only"),
        ("one sum", account(returned="parts.total()"), "expected a dict"),
        ("tensors counted", account(size="1", returned="parts"), "numbers of tensors"),
        ("kilobytes", account(returned='{k: v / 1e3 for k, v in {**parts, "graph": Path(path).stat().st_size - '
         'parts.total()}.items()}'), "these are kilobytes"),
        ("half a byte off", account(returned='{**parts, "graph": Path(path).stat().st_size - parts.total() + 0.5}'),
         "bytes of 'graph'"),
        ("the graph without its initializers", """\
def account(path):
    model, parts = onnx.load(path), Counter()
    for tensor in model.graph.initializer:
        array = onnx.numpy_helper.to_array(tensor)
        parts[array.dtype.name] += array.nbytes
    del model.graph.initializer[:]
    return {**parts, "graph": model.ByteSize()}
""", "names and shapes of the initializers"),
        ("bits", account(returned='{k: 8 * v for k, v in {**parts, "graph": Path(path).stat().st_size - '
         'parts.total()}.items()}'), "these are bits"),
    ],
    "07.4": [
        ("not cut", batch(returned="list(log_probs)"), "frames of the filling are still there"),
        ("cut by the features' frames", batch(returned="[row[: len(f)] for row, f in zip(log_probs, features)]"),
         "the filling"),
        ("a fourth of the frames", batch(returned="[row[: len(f) // 4] for row, f in zip(log_probs, features)]"),
         "take `encoder_out_lens`"),
        ("one length for all", batch(lengths="[max(len(f) for f in features)] * len(features)"),
         "the longest one's length"),
        ("the encoder's outputs", batch(outputs='["encoder_out", "encoder_out_lens"]'), "ask for `ctc_log_probs`"),
        ("run after run", LOOPED, "asked for one, with all sentences"),
        ("cut to the shortest", SHORTENED, "cut to the shortest sentence"),
        ("filled before the speech", batch(place="len(row) - len(each) :"), "zeros behind the shorter"),
        ("filled with large numbers", batch(fill="1000"), "zeros behind the shorter"),
        ("the first alone", batch(returned="log_probs[0][: frames[0]]"), "expected a list of"),
        ("turned round", batch(returned="[row[:count] for row, count in zip(log_probs, frames)][::-1]"),
         "another order"),
        ("alone is together", batch(alone="together(session, features)"), "depend on who is beside it"),
        ("alone, filled up to the longest", batch(alone="[session.run(['ctc_log_probs'], {'speech': np.pad(f, [(0, "
         "max(map(len, features)) - len(f)), (0, 0)])[None], 'speech_lengths': np.array([len(f)])})[0][0][: "
         "len(together(session, [f])[0])] for f in features]"), "filled up to the longest of the list"),
        ("alone by length", batch(alone="[together(session, [g for g in features if len(g) == len(f)])[[g is f for g "
         "in features if len(g) == len(f)].index(True)] for f in features]"), "depend on who is beside it"),
        ("an axis left", batch(alone="[session.run(['ctc_log_probs'], {'speech': f[None], 'speech_lengths': "
         "np.array([len(f)])})[0] for f in features]"), "an axis of length 1 is left"),
        ("swapped", batch() + "\n\ntogether, alone = alone, together\n", "swapped"),
        ("int32 lengths", batch().replace("np.int64", "np.int32"), "raised"),
    ],
    "07.5": [
        ("more fusion", 'private = "yes, more fusion"', "instead of once"),
        ("finer scales", 'private = "yes, finer scales"', "finds the same range"),
        ("the sum", 'private = "no, the sum"', "after its own sum"),
    ],
}  # fmt: skip
