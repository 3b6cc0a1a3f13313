"""What a node's scales and zero points say, in a few words for its box."""

from dataclasses import dataclass

import numpy as np
from onnx import TensorProto, helper, numpy_helper
from onnx.external_data_helper import uses_external_data

from qlab.graph.operators import of

RUN_TIME = "scale at run time"


@dataclass(frozen=True)
class Label:
    """One line in a box: about "weights" or "activations"."""

    what: str
    text: str


def labels(wiring, copies):
    """Labels for a box of one node; `copies` has that node's op for each time that its block comes.

    >>> labels(wiring, [convolution])
    [Label('weights', 'int8 64x3x3x3, 64 scales 0.0011 to 0.034'), Label('activations', 'scale 0.0157, zero 64')]
    """
    ops = [wiring.ops[index] for index in copies]
    row, found = of(ops[0].op_type), []
    scales = dict(row.scales)
    if row.weights is not None:
        places = (row.weights, *scales.get(row.weights, (None, None)))
        found.append(Label("weights", _weights_text(wiring, ops, places)))
    # What codes are written with is said; what they are read with is in the label of who wrote them.
    activations = row.writes or scales.get(0)
    if row.at_run_time:
        found.append(Label("activations", RUN_TIME))
    elif activations:
        what = "weights" if wiring.constant[copies[0]] else "activations"
        found.append(Label(what, _scale_text(wiring, ops, *activations) or RUN_TIME))
    return [label for label in found if label.text]


def _weights_text(wiring, ops, slots):
    """ "int8 64x3x3x3, 64 scales 0.0011 to 0.034"; empty where the second factor is no constant either."""
    where, scale, zero_point = slots
    weights = [_stored(wiring, op, where) for op in ops]
    if not all(isinstance(tensor, TensorProto) for tensor in weights):
        return _dequantized_text(wiring, ops, where)
    kind = helper.tensor_dtype_to_np_dtype(weights[0].data_type).name
    text = f"{kind} " if kind != "float32" else ""
    text += _shapes(weights)
    scales = _scale_text(wiring, ops, scale, zero_point) if scale is not None else ""
    return f"{text}, {scales}" if scales else text


def _shapes(tensors):
    """ "64x3x3x3"; of the smallest and the largest where they differ."""
    shapes = sorted({tuple(tensor.dims) for tensor in tensors}, key=lambda shape: (np.prod(shape), shape))
    ends = ["x".join(map(str, shape)) or "1" for shape in shapes]
    return ends[0] if len(ends) == 1 else f"{ends[0]} to {ends[-1]}"


def _dequantized_text(wiring, ops, where):
    """The same for weights that a DequantizeLinear of their own prepares."""
    sources = [op.sources[where] if where < len(op.sources) else None for op in ops]
    if not all(isinstance(source, int) and wiring.constant[source] for source in sources):
        return ""
    inner = [wiring.ops[source] for source in sources]
    return _weights_text(wiring, inner, (0, 1, 2)) if inner[0].op_type == "DequantizeLinear" else ""


def _scale_text(wiring, ops, scale, zero_point):
    """ "scale 0.0157, zero 64", or for many "256 scales 0.0011 to 0.034"; empty where the scale is no constant."""
    scales = [_stored(wiring, op, scale) for op in ops]
    if not all(isinstance(tensor, TensorProto) for tensor in scales):
        return ""
    number = int(np.prod(scales[0].dims))
    values = [_values(tensor) for tensor in scales]
    zeros = [_values(tensor) for tensor in (_stored(wiring, op, zero_point) for op in ops) if tensor is not None]
    text = "scale" if number == 1 else f"{number} scales"
    if all(value is not None for value in values):
        text += f" {_range(np.concatenate(values), '{:.3g}')}"
    if zeros and len(zeros) == len(ops) and all(value is not None for value in zeros):
        points = np.concatenate(zeros)
        text += f", zero {_range(points, '{:.0f}')}" if number == 1 or points.any() else ""
    return text


def _range(values, style):
    low, high = style.format(values.min()), style.format(values.max())
    return low if low == high else f"{low} to {high}"


def _stored(wiring, op, slot):
    """The tensor at an input, stored in the model or made by a Constant node; None if it is anything else."""
    source = op.sources[slot] if slot is not None and slot < len(op.sources) else None
    if isinstance(source, int) and wiring.ops[source].op_type == "Constant":
        tensors = [attribute.t for attribute in wiring.ops[source].node.attribute if attribute.name == "value"]
        return tensors[0] if tensors else None
    return source if isinstance(source, TensorProto) else None


def _values(tensor):
    """The values as float64 [n]; None if they are stored outside the model, where nobody looks for a label."""
    if uses_external_data(tensor):
        return None
    return numpy_helper.to_array(tensor).astype(np.float64).reshape(-1)
