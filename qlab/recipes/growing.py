"""Why a quantized file is larger than the one that it was made from."""

import re
from collections import defaultdict

import numpy as np
import onnx
from onnx import numpy_helper

from qlab import graph
from qlab.recipes.files import stored_bytes
from qlab.recipes.widening import narrow_types
from qlab.text import figures

FEW = 10_000  # bytes of nodes and scales, which a small model adds to its small file
NOTABLE = 0.1  # of the growth
CODES, COPY = "_quantized", re.compile(r"/copy\d+$")  # of a weight's name, and of those that different uses get


def grown(model, prepared, quantized):
    """[A note], if the file `quantized` grew notably, made of the file `model` by way of `prepared`; otherwise [].

    1. Pre-processing computes what is constant (a table that is transposed in each branch of an If, once more for
       each), and makes float32 of numbers of 16 bits.
    2. A weight that somebody reads as floats as well stays beside its codes.
    3. Otherwise the model is so small, or so little of it was quantized, that scales and nodes take more than it saves.
    """
    before, between, after = (stored_bytes(path, _read(path)) for path in (model, prepared, quantized))
    if after < before + FEW:
        return []
    text = f"the file grew from {_mb(before)} to {_mb(after)} MB"
    stored = _stored(model, prepared, after - before) if between > before else ""
    if stored:
        return [f"{text}, to {_mb(between)} MB before anything was quantized: pre-processing stores {stored}"]
    both = _beside_codes(quantized, after - before)
    if both:
        return [f"{text}: {max(both, key=both.get)!r} stays in it as floats beside its codes, for what else reads it"]
    return [f"{text}: the nodes, scales and shapes that were added take more than codes save"]


def _stored(model, prepared, growth):
    """What pre-processing stored that makes for most of the growth, in words; empty where nothing does."""
    source, other = onnx.load(model), onnx.load(prepared)
    if _bytes(other) - _bytes(source) < growth / 2:
        return ""
    if narrow_types(source):
        return "as float32 what was of 16 bits"
    have, more = (_by_values(one, NOTABLE * growth) for one in (source, other))
    copies = {key: len(names) - len(have.get(key, ())) for key, names in more.items()}
    most = max(copies, key=lambda key: copies[key] * key[0], default=None)
    if most is None or copies[most] < 1:
        return ""
    if most not in have:
        return f"{more[most][0]!r}, which the model computes from constants"
    name = have[most][0] or more[most][0]
    return f"{name!r} {len(more[most])} times, once for each use of it or of what it is transposed to"


def _bytes(model):
    return sum(numpy_helper.to_array(tensor).nbytes for tensor in graph.tensors(model))


def _by_values(model, least):
    """{(bytes, hash of the sorted values): [names]} of constants of `least` bytes: transposed ones are alike."""
    found = defaultdict(list)
    for tensor in graph.tensors(model):
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
