"""Why a quantized file is larger than the one that it was made from."""

import re
from collections import defaultdict

import numpy as np
import onnx
from onnx import numpy_helper

from qlab import graph
from qlab.recipes.files import stored_bytes
from qlab.text import figures

NOTABLE = 0.1  # of the growth
CODES, COPY = "_quantized", re.compile(r"/copy\d+$")  # of a weight's name, and of those that different uses get


def grown(model, prepared, quantized):
    """A note on the file `quantized` that grew, made of the file `model` by way of `prepared`.

    1. Pre-processing computes what is constant: a table that is transposed in each branch of an If, once more for each.
    2. A weight that somebody reads as floats as well stays beside its codes.
    3. Otherwise the model is so small, or so little of it was quantized, that scales and nodes take more than it saves.
    """
    before, between, after = (stored_bytes(path, _read(path)) for path in (model, prepared, quantized))
    text = f"the file grew from {_mb(before)} to {_mb(after)} MB"
    copied = _copied(model, prepared, after - before) if between > before else ""
    if copied:
        return f"{text}, to {_mb(between)} MB before anything was quantized: pre-processing stores {copied}"
    both = _beside_codes(quantized, after - before)
    if both:
        return f"{text}: {max(both, key=both.get)!r} stays in it as floats beside its codes, for what else reads it"
    return f"{text}: the nodes, scales and shapes that were added take more than codes save"


def _copied(model, prepared, growth):
    """The constant that pre-processing stored more often than the model has it, in words; empty where there is none."""
    have, more = (_by_values(onnx.load(path), NOTABLE * growth) for path in (model, prepared))
    copies = {key: len(names) - len(have.get(key, ())) for key, names in more.items()}
    most = max(copies, key=lambda key: copies[key] * key[0], default=None)
    if most is None or copies[most] < 1:
        return ""
    if most not in have:
        return f"{more[most][0]!r}, which the model computes from constants"
    return f"{have[most][0]!r} {len(more[most])} times, once for each use of it or of what it is transposed to"


def _by_values(model, least):
    """{(bytes, hash of the sorted values): [names]} of constants of `least` bytes: transposed ones are alike."""
    found = defaultdict(list)
    for one in graph.graphs(model):
        for tensor in one.initializer:
            array = numpy_helper.to_array(tensor)
            if array.nbytes >= least and array.dtype.kind in "fiu":
                found[array.nbytes, hash(np.sort(array, axis=None).tobytes())].append(tensor.name)
    return found


def _beside_codes(quantized, growth):
    """{name: bytes} of notable float constants whose codes are stored as well, by the names that quantizing gives."""
    stored = {tensor.name: tensor for one in graph.graphs(_read(quantized)) for tensor in one.initializer}
    coded = {COPY.sub("", name.removesuffix(CODES)) for name in stored if name.endswith(CODES)}
    floats = {COPY.sub("", name): 4 * np.prod(tensor.dims) for name, tensor in stored.items()}
    return {name: size for name, size in floats.items() if name in coded and size >= NOTABLE * growth}


def _read(path):
    return onnx.load(path, load_external_data=False)


def _mb(number):
    return figures(number / 1e6)
