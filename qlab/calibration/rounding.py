"""From what the layers of a model read to codes of their weights: `numerics.rounding` applied to a quantized file."""

from dataclasses import dataclass, fields
from math import prod

import numpy as np
from onnx import ModelProto, NodeProto, TensorProto, numpy_helper

from qlab.graph.model import Model
from qlab.graph.network import Links, reads
from qlab.graph.operators import attribute
from qlab.numerics.affine import QParams, dequantize
from qlab.numerics.granularity import PerAxis, PerTensor
from qlab.numerics.kernels import windows
from qlab.numerics.rounding import adaptive, rescaled
from qlab.runtime import bar, run

ROUNDED = ("Conv", "MatMul", "Gemm")
SAMPLES = 4  # patches a weight of one output, over all feeds: fewer could not tell the weights apart
FEWEST = 16384  # patches a layer, where there are so many
ROOM = 256_000_000  # bytes of moments at a time
CAUTION = 0.1  # of the mean second moment


@dataclass(frozen=True)
class Layer:
    """A product of the quantized file whose weights have codes of their own.

    before, after  the node in the pre-processed model and in the quantized one
    weight         float, as in the file;   rows, the same as (out, K)
    codes, scale, zero_point  TensorProtos of the quantized file
    bias           (TensorProto of its int32 codes, their scale), or None: then nothing takes up a mean error
    """

    before: NodeProto
    after: NodeProto
    weight: np.ndarray
    codes: TensorProto
    scale: TensorProto
    zero_point: TensorProto
    bias: tuple[TensorProto, np.ndarray] | None

    @property
    def rows(self):
        """(out, K)."""
        return as_rows(self.weight, self.before)

    @property
    def groups(self):
        """How many groups of outputs read inputs of their own."""
        return attribute(self.before, "group", 1) if self.before.op_type == "Conv" else 1


@dataclass(frozen=True)
class Seen:
    """What a layer reads, over all feeds: sums over rows, of the float model's and of the quantized one's inputs.

    float_sum, coded_sum (groups, K);   squares  coded^T coded;   missing  (float - coded)^T coded, both (groups, K, K)
    """

    count: int
    float_sum: np.ndarray
    coded_sum: np.ndarray
    squares: np.ndarray
    missing: np.ndarray

    def __add__(self, other):
        return Seen(*(getattr(self, one.name) + getattr(other, one.name) for one in fields(self)))

    @classmethod
    def of(cls, before, after):
        """Of rows (groups, N, K)."""
        before, after = before.astype(np.float64), after.astype(np.float64)
        turned = after.swapaxes(1, 2)
        missing = (before - after).swapaxes(1, 2) @ after
        return cls(after.shape[1], before.sum(axis=1), after.sum(axis=1), turned @ after, missing)


def round_adaptively(
    prepared: Model, quantized: ModelProto, feeds, *, reduce_range: bool = False, rescale: bool = False
) -> list[str]:
    """Round the weights of `quantized`, in QDQ format, up or down such that its layers' outputs err least, in place.

    Layer by layer, in graph order, each on what it reads: a sample of it from each of `feeds`. The float model
    `prepared` says what the layer should give. So it makes up for errors of what it reads as well, by real weights (a
    regression) that are rounded then. The mean error that is left goes into its bias, where it has one.
    reduce_range  the codes have 7 bits;   rescale  weights' scales may shrink: for products that stay float
    Returns a note that says how many layers were rounded so.
    Source: Nagel et al. 2020, section 3.4 (layer by layer, inputs as quantized so far).
    """
    layers = _layers(prepared, quantized)
    with bar(description="rounding", total=len(layers), unit="layer") as shown:
        for wave in _waves(quantized, layers):
            for layer, seen in zip(wave, _watched(prepared, quantized, wave, feeds), strict=True):
                _round(layer, seen, reduce_range, rescale)
                shown.update()
    return [f"weights of {len(layers)} layers are rounded up or down by their outputs' errors on {len(feeds)} feeds"]


def _layers(prepared, quantized):
    links, stored = Links(quantized.graph.node), {one.name: one for one in quantized.graph.initializer}
    before = {node.name: node for node in prepared.proto.graph.node}
    floats, found = prepared.network.constants, []
    for node in quantized.graph.node:
        dequantized = links.maker(node, 1) if node.op_type in ROUNDED else None
        original = before.get(node.name)
        if dequantized is None or original is None or not _is_own(dequantized, links, stored):
            continue
        weight = floats.get(original.input[1])
        if weight is not None and (node.op_type == "Conv" or len(weight.dims) == 2):
            codes = (stored[name] for name in dequantized.input)
            found.append(Layer(original, node, prepared.array(weight), *codes, _bias(node, links, stored)))
    return found


def _is_own(dequantized, links, stored):
    """Whether a DQ makes floats of constant codes, with a zero point, for one reader only."""
    return (
        dequantized.op_type == "DequantizeLinear"
        and len(dequantized.input) == 3
        and all(name in stored for name in dequantized.input)
        and links.sole_reader(dequantized.input[0]) is dequantized
        and links.sole_reader(dequantized.output[0]) is not None
    )


def _bias(node, links, stored):
    dequantized = links.maker(node, 2)
    if dequantized is None or not _is_own(dequantized, links, stored):
        return None
    codes, scale = (stored[name] for name in dequantized.input[:2])
    return (codes, numpy_helper.to_array(scale)) if codes.data_type == TensorProto.INT32 else None


def _waves(quantized, layers):
    """The layers in runs that are rounded on the same activations: none of a run reads what another computes.

    Their moments fit in ROOM; a layer too large for it comes alone.
    """
    links = Links(quantized.graph.node)
    wave, behind, taken = [], set(), 0
    for layer in layers:
        needed = 2 * 8 * layer.groups * layer.rows.shape[1] ** 2
        if wave and (layer.after.input[0] in behind or taken + needed > ROOM):
            yield wave
            wave, behind, taken = [], set(), 0
        wave, taken = [*wave, layer], taken + needed
        behind |= links.moving(layer.after.output)
    if wave:
        yield wave


def as_rows(weight, node):
    """The weights of a Conv, MatMul or Gemm as a row for each output: (out, K); a view, where they are a matrix."""
    if node.op_type == "Conv":
        return weight.reshape(len(weight), -1)
    return weight if attribute(node, "transB", 0) else weight.T


def _watched(prepared, quantized, wave, feeds):
    """[Seen] of each of the layers in `wave`."""
    totals = [None] * len(wave)
    watches = [
        _watch(prepared, model, [getattr(layer, side).input[0] for layer in wave])
        for side, model in (("before", prepared.proto), ("after", quantized))
    ]
    draw = np.random.default_rng(0)
    for feed in feeds:
        pairs = zip(*(watch(feed) for watch in watches), strict=True)
        for place, (layer, (before, after)) in enumerate(zip(wave, pairs, strict=True)):
            wanted = -(-max(FEWEST, SAMPLES * layer.rows.shape[1]) // len(feeds))
            state = draw.bit_generator.state
            rows = [_rows(before, layer, wanted, draw)]
            draw.bit_generator.state = state  # the same places of both
            seen = Seen.of(*rows, _rows(after, layer, wanted, draw))
            totals[place] = seen if totals[place] is None else totals[place] + seen
    return totals


def _watch(prepared, model, names):
    """A function feed -> arrays of the tensors `names` of the ModelProto `model`, which runs as far as they need."""
    links = Links(model.graph.node)
    computed = [name for name in dict.fromkeys(names) if name in links.producers]
    needed = {id(node) for name in computed for node in links.layer(name, links.producers)}
    part = ModelProto(ir_version=model.ir_version, opset_import=model.opset_import, functions=model.functions)
    part.graph.name = model.graph.name
    part.graph.input.extend(model.graph.input)
    part.graph.node.extend(node for node in model.graph.node if id(node) in needed)
    read = {name for node in part.graph.node for name in reads(node)}
    part.graph.initializer.extend(one for one in model.graph.initializer if one.name in read)
    part.graph.sparse_initializer.extend(one for one in model.graph.sparse_initializer if one.values.name in read)
    session = prepared.unoptimized(part, computed) if computed else None

    def watch(feed):
        values = dict(feed)
        if session is not None:
            values |= zip(computed, run(session, feed, computed), strict=True)
        return [values[name] for name in names]

    return watch


def _rows(x, layer, count, draw):
    """At most `count` of the vectors that the layer multiplies by its weights, drawn at random: (groups, rows, K)."""
    node = layer.before
    if node.op_type != "Conv":
        rows = (x.T if attribute(node, "transA", 0) else x).reshape(-1, layer.rows.shape[1])
        return rows[_places(len(rows), count, draw)][None]
    kernel, n = layer.weight.shape[2:], layer.weight.ndim - 2
    strides, dilations = (list(attribute(node, name, ())) or [1] * n for name in ("strides", "dilations"))
    begin, end = _pads(x.shape[2:], kernel, strides, dilations, node)
    view = windows(x, kernel, begin, end, strides, dilations)  # (N, C, positions ..., kernel ...)
    places = view.shape[:1] + view.shape[2 : 2 + n]
    batch, *position = np.unravel_index(_places(prod(places), count, draw), places)
    rows = view[(batch, slice(None), *position)]  # (rows, C, kernel ...)
    return rows.reshape(len(rows), layer.groups, -1).swapaxes(0, 1)


def _places(total, count, draw):
    return np.arange(total) if total <= count else draw.choice(total, count, replace=False, shuffle=False)


def _pads(sizes, kernel, strides, dilations, node):
    """(pads begin, pads end) of a Conv on spatial axes of these sizes, auto_pad worked out."""
    n, how = len(kernel), attribute(node, "auto_pad", b"NOTSET").decode()
    if not how.startswith("SAME"):
        pads = list(attribute(node, "pads", ())) if how == "NOTSET" else []
        return (pads[:n], pads[n:]) if pads else ([0] * n, [0] * n)
    wanted = [max((-(-size // step) - 1) * step + (k - 1) * apart + 1 - size, 0)
              for size, k, step, apart in zip(sizes, kernel, strides, dilations, strict=True)]  # fmt: skip
    less, more = [one // 2 for one in wanted], [one - one // 2 for one in wanted]
    return (less, more) if how == "SAME_UPPER" else (more, less)


def _round(layer, seen, reduce_range, rescale):
    """Replace the codes of one layer, those of its bias, and its scales if they may shrink."""
    rows = layer.rows
    wanted, moments, float_mean, coded_mean = _regression(rows, seen, centered=layer.bias is not None)
    qparams = _qparams(layer, reduce_range)
    if rescale:
        qparams = rescaled(wanted, qparams, moments)
        layer.scale.CopyFrom(numpy_helper.from_array(np.array(qparams.scale), layer.scale.name))
    codes = adaptive(wanted, qparams, moments)
    if layer.bias is not None:
        real = dequantize(codes, qparams)
        means = (_by_group(one, seen) @ mean[..., None] for one, mean in ((rows, float_mean), (real, coded_mean)))
        _add_to_bias(layer, np.subtract(*means).reshape(-1))
    laid = codes.reshape(layer.weight.shape) if layer.before.op_type == "Conv" else as_rows(codes, layer.before)
    layer.codes.CopyFrom(numpy_helper.from_array(np.ascontiguousarray(laid), layer.codes.name))


def _qparams(layer, reduce_range):
    scale, zero_point = map(numpy_helper.to_array, (layer.scale, layer.zero_point))
    name = zero_point.dtype.name
    # onnxruntime's symmetric codes mirror at 0.
    narrow = {"reduce_range": True} if reduce_range else {"narrow_range": not name.startswith("u")}
    return QParams(scale, zero_point, name, PerAxis(0) if scale.ndim else PerTensor(), **narrow)


def _by_group(rows, seen):
    """(groups, out per group, K)."""
    return rows.reshape(len(seen.coded_sum), -1, rows.shape[1]).astype(np.float64)


def _regression(rows, seen, centered):
    """(rows of real weights to round, moments of what they read, means of the float inputs and of the coded ones).

    On coded inputs these weights give what `rows` give on float ones, as nearly as least squares can; CAUTION keeps
    them from chasing what few samples happen to show.
    """
    count = max(seen.count, 1)
    float_mean, coded_mean = seen.float_sum / count, seen.coded_sum / count
    moments, missing = seen.squares / count, seen.missing / count
    if centered:
        moments = moments - coded_mean[:, :, None] * coded_mean[:, None, :]
        missing = missing - (float_mean - coded_mean)[:, :, None] * coded_mean[:, None, :]
    size = rows.shape[1]
    level = np.trace(moments, axis1=1, axis2=2)[:, None, None] / size
    ridge = moments + np.where(level > 0, CAUTION * level, 1) * np.eye(size)
    change = np.linalg.solve(ridge, (_by_group(rows, seen) @ missing).swapaxes(1, 2)).swapaxes(1, 2)
    return rows + change.reshape(rows.shape), moments, float_mean, coded_mean


def _add_to_bias(layer, means):
    stored, scale = layer.bias
    limits = np.iinfo(np.int32)
    codes = numpy_helper.to_array(stored) + np.rint(means / scale)
    stored.CopyFrom(numpy_helper.from_array(np.clip(codes, limits.min, limits.max).astype(np.int32), stored.name))
