"""Products that the file keeps in float, and onnxruntime quantizes by itself when it opens the model."""

import math

import numpy as np
from onnx import TensorProto, numpy_helper

from qlab.measure.causes.graphs import producer
from qlab.measure.finding import Finding
from qlab.measure.remedies import calibrated_kind, call
from qlab.measure.work import factors, is_product
from qlab.numerics.affine import choose_qparams, fake_quantize
from qlab.numerics.metrics import sqnr_db
from qlab.text import decibels, plural


def quantized_at_load(examination):
    """One Finding, if float weights of the file run as codes: the products that were to stay in float do not.

    How much the weights lose is worked out as onnxruntime rounds them: int8, one scale for all channels.
    """
    stored = {tensor.name: tensor for tensor in examination.file.graph.initializer}
    floats = {
        node.name: stored[node.input[factors(node)[1]]]
        for node in examination.file.graph.node
        if node.name and is_product(node) and node.input[factors(node)[1]] in stored
    }
    found = {}
    for node in examination.quantized.nodes:
        name = examination.names.in_files(node.node)
        tensor = floats.get(name)
        if tensor is not None and tensor.data_type == TensorProto.FLOAT and _has_codes(examination, node):
            found[name] = _kept_db(tensor, examination.path.parent)
    if not found:
        return
    worst = min(found, key=found.get)
    recipe, options = calibrated_kind(examination), {"exclude": tuple(found)}
    yield Finding(
        code="quantized-at-load",
        evidence=f"{plural(len(found), 'product')} with float weights in the file, weights of int8 when it runs, one "
        f"scale for all channels; those of {worst!r} keep {decibels(found[worst])} dB",
        why="where a Conv, Gemm or ConvTranspose stands between a DequantizeLinear and a QuantizeLinear, onnxruntime "
        "rounds its float weights when it opens the model, at 8 bits even where those saturate. Leaving the node out "
        "of quantize_static does not keep it in float",
        cost_ms=None,
        remedy=f"{call(examination, recipe, **options)}: keeps them in float when they run too; or "
        "let the recipe quantize them, with a scale per channel",
        nodes=tuple(found),
        recipe=recipe,
        options=options,
    )


def _has_codes(examination, node):
    """Whether the weights of this product that ran are codes: its own, or those that a DequantizeLinear turns back."""
    if not is_product(node.node):
        return False
    before = producer(examination, node, factors(node.node)[1])
    from_codes = before is not None and examination.has_constant_codes(before)
    return node.kind == "integer" or from_codes


def _kept_db(tensor, folder):
    weights = numpy_helper.to_array(tensor, base_dir=str(folder)).astype(np.float32)
    if not weights.size or not np.isfinite(weights).all():
        return math.nan
    return sqnr_db(weights, fake_quantize(weights, choose_qparams(weights, "int8", symmetric=True)))
