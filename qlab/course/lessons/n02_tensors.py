"""What notebook 02 measures: weights, what two networks compute, and an integer product's time."""

from functools import cache, partial

import numpy as np
import onnx
from onnx import numpy_helper

from qlab import models
from qlab.machine.runtime import open_session
from qlab.machine.timing import interleave

SOURCES = {  # name: (model, tensor)
    "conv weight": ("conformer", "encoder.embed.conv.2.weight"),
    "feed-forward weight": ("conformer", "val_81"),
    "filter banks": ("conformer", "speech"),
    "ReLU": ("digits", "relu_8"),
    "SiLU": ("conformer", "silu"),
    "LayerNorm": ("conformer", "layer_norm"),
    "softmax": ("conformer", "softmax"),
    "log-probabilities": ("conformer", "ctc_log_probs"),
}
MOVES = {"Transpose", "Reshape", "Slice", "Split", "Concat", "Unsqueeze", "Squeeze", "Pad", "Where", "Cast"}


@cache
def eight_tensors():
    """{name: float32 array}: two weights, an input, and what the two networks compute for a sentence and 64 digits."""
    found = {(model, name): array for model in ("conformer", "digits") for name, _, array in _everything(model)}
    return {name: found[source] for name, source in SOURCES.items()}


def many_tensors():
    """{name: (kind, array)}: every weight of both networks, and what they compute, of 1,000 numbers or more.

    Without what only moves or copies numbers, and without constants.
    """
    found = {}
    for model in ("conformer", "digits"):
        for name, made_by, array in _everything(model):
            if made_by not in MOVES and array.size >= 1000 and np.ptp(array) > 0 and made_by != "input":
                found[f"{made_by} {name} of the {model}"] = "weights" if made_by == "weight" else "activations", array
    return found


def matrices():
    """The weights of the conformer's matrix products: [inputs, outputs] float32 arrays."""
    return [array for _, made_by, array in _everything("conformer") if made_by == "weight" and _is_matrix(array)]


def product_times(zero_points, rounds=300):
    """{zero point of an int8 weight: seconds of one MatMulInteger}, the fastest of some rounds, one thread."""
    random = np.random.default_rng(25)
    codes, weight = random.integers(0, 256, (128, 512), "u1"), random.integers(-100, 100, (512, 512), "i1")
    sessions = {zero_point: open_session(_integer_product(weight, zero_point)) for zero_point in zero_points}
    actions = {zero_point: partial(session.run, None, {"x": codes}) for zero_point, session in sessions.items()}
    return {zero_point: min(times) for zero_point, times in interleave(actions, rounds).items()}


def _integer_product(weight, zero_point):
    """One MatMulInteger of uint8 codes by this int8 weight: a model's bytes."""
    held = {"w": weight, "z_x": np.uint8(120), "z_w": np.int8(zero_point)}
    graph = onnx.helper.make_graph(
        [onnx.helper.make_node("MatMulInteger", ["x", "w", "z_x", "z_w"], ["y"])],
        "product",
        [onnx.helper.make_tensor_value_info("x", onnx.TensorProto.UINT8, [None, len(weight)])],
        [onnx.helper.make_tensor_value_info("y", onnx.TensorProto.INT32, [None, weight.shape[1]])],
        [numpy_helper.from_array(np.asarray(array), name) for name, array in held.items()],
    )
    return onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 21)]).SerializeToString()


def _is_matrix(array):
    return array.ndim == 2 and array.size >= 1000


@cache
def _everything(model):
    """[(name, operator or "weight" or "input", float32 array), ...] of a model, for one sentence or 64 digits."""
    if model == "digits":
        feed = {"images": models.digit_split()[2][:64]}
    else:
        feed = models.feed(models.utterances("test")[0].samples)
    network = onnx.load(models.path(model))
    made_by = {output: node.op_type for node in network.graph.node for output in node.output}
    held = [(entry.name, "weight", numpy_helper.to_array(entry)) for entry in network.graph.initializer]
    del network.graph.output[:]
    network.graph.output.extend(onnx.ValueInfoProto(name=output) for output in made_by)
    arrays = open_session(network.SerializeToString()).run(list(made_by), feed)
    held += [(name, "input", array) for name, array in feed.items()]
    held += [(name, made_by[name], array) for name, array in zip(made_by, arrays, strict=True)]
    return [entry for entry in held if entry[2].dtype == np.float32 and entry[2].size > 1]
