"""Eight real tensors of the course's models, and what each 8-bit scheme makes of them (exercises 02.2 and 02.3)."""

import itertools
import math
from functools import cache

import onnx
from onnx import numpy_helper

from qlab import choose_qparams, fake_quantize, models
from qlab.course.brief import brief, kind
from qlab.course.verdict import Almost
from qlab.machine.runtime import open_session
from qlab.numerics.metrics import sqnr_db

ZERO_POINTS = 3  # how many of the eight may have a zero point other than 0
SCHEMES = {
    "symmetric int8": {"dtype": "int8", "symmetric": True},
    "symmetric uint8": {"dtype": "uint8", "symmetric": True},
    "asymmetric uint8": {"dtype": "uint8", "symmetric": False},
}
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


@cache
def eight_tensors():
    """{name: float32 array}: the tensors of notebook 02, for its sentence and its 64 digits."""
    feeds = {"conformer": models.feed(models.utterances("test")[0].samples)}
    feeds["digits"] = {"images": models.digit_split()[2][:64]}
    found = {}
    for model, feed in feeds.items():
        names = [tensor for owner, tensor in SOURCES.values() if owner == model]
        found |= {(model, tensor): array for tensor, array in _tensors(model, feed, names).items()}
    return {name: found[source] for name, source in SOURCES.items()}


def _tensors(name, feed, wanted):
    """Inputs, weights and activations of a model by their names in the graph."""
    model = onnx.load(models.path(name))
    weights = {entry.name: entry for entry in model.graph.initializer if entry.name in wanted}
    computed = [output for node in model.graph.node for output in node.output if output in wanted]
    del model.graph.output[:]
    model.graph.output.extend(onnx.ValueInfoProto(name=output) for output in computed)
    arrays = open_session(model.SerializeToString()).run(computed, feed)
    found = dict(zip(computed, arrays, strict=True))
    found |= {weight: numpy_helper.to_array(entry) for weight, entry in weights.items()}
    return found | {name: array for name, array in feed.items() if name in wanted}


def zero_point(name, scheme):
    """The zero point that a scheme gives one of the eight."""
    return int(choose_qparams(eight_tensors()[name], **SCHEMES[scheme]).zero_point)


@cache
def energies():
    """{tensor: {scheme: error}}: the energy of the error as a part of what symmetric int8 makes."""
    return {name: relative_errors(x) for name, x in eight_tensors().items()}


def relative_errors(x):
    """{scheme: error}: 1 for symmetric int8, 1/4 for half its steps."""
    sqnr = {name: sqnr_db(x, fake_quantize(x, choose_qparams(x, **scheme))) for name, scheme in SCHEMES.items()}
    return {name: 10 ** ((sqnr["symmetric int8"] - value) / 10) for name, value in sqnr.items()}


@cache
def target():
    """The total error to beat: the least that is possible within the zero points allowed, and 1 % more."""
    free, paid = [], []
    for name, found in energies().items():
        without = min(error for scheme, error in found.items() if zero_point(name, scheme) == 0)
        free.append(without)
        paid.append(min(without, *found.values()))
    gains = sorted((before - after for before, after in zip(free, paid, strict=True)), reverse=True)
    return math.ceil(101 * (sum(free) - sum(itertools.islice(gains, ZERO_POINTS)))) / 100


def read(answer):
    """An answer to exercise 02.3 as {tensor: scheme}; raises Almost if it is not one scheme for each of the eight."""
    if not isinstance(answer, dict):
        raise Almost(f"expected a dictionary {{tensor: scheme}}, seen {brief(answer)} of type `{kind(answer)}`")
    if set(answer) != set(SOURCES):
        missing = [name for name in SOURCES if name not in answer]
        unknown = [brief(name) for name in answer if name not in SOURCES]
        raise Almost(f"expected the eight tensors; missing: {missing}, unknown: {unknown}")
    for name, scheme in answer.items():
        if not isinstance(scheme, str) or scheme not in SCHEMES:
            raise Almost(f"{name!r}: expected one of {', '.join(map(repr, SCHEMES))}, seen {brief(scheme)}")
    return answer


def advice(chosen, errors, paid):
    """Where most is lost against what that tensor could have, and what to look at: what costs nothing first."""
    best = {name: min(errors.values()) for name, errors in energies().items()}
    lost = {name: errors[name] - best[name] for name in chosen}
    free = [name for name in chosen if lost[name] > 0.1 and zero_point(name, "symmetric uint8") == 0]
    name = max(free or chosen, key=lost.get)
    said = f"Look at {name!r}: {errors[name]:.2f} with {chosen[name]}, {best[name]:.2f} would be possible"
    if free:
        return f"{said}. It has no negative value, so half of int8's codes lie idle"
    if paid and (least := max(paid, key=errors.get)) != name and len(paid) == ZERO_POINTS:
        return f"{said} with a zero point. The one spent on {least!r} gains less: {errors[least]:.2f} instead of 1"
    return f"{said} with a zero point, and you have spent {len(paid)} of {ZERO_POINTS}"
