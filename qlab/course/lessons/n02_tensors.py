"""The tensors that notebook 02 measures: weights, and what two networks compute."""

from functools import cache

import numpy as np
import onnx
from onnx import numpy_helper

from qlab import models
from qlab.machine.runtime import open_session

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
