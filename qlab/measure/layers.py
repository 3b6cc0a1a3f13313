"""The error of every layer of a quantized model: its own, and what has come together up to there."""

import math

from qlab import graph
from qlab.calibration.watching import WatchedModel
from qlab.graph.feeds import as_feeds
from qlab.graph.operators import FLOAT_PRODUCTS
from qlab.machine.bars import bar
from qlab.measure.cutting import CutModel
from qlab.measure.files import RANDOM_WEIGHTS, has_random_weights
from qlab.measure.layer_rows import LayerError, LayerErrors
from qlab.measure.matching import moved
from qlab.measure.network import Network
from qlab.measure.pooled import PooledError
from qlab.measure.randomness import random_draws
from qlab.types import Feeds, ModelPath

LOCAL, ACCUMULATED = "local", "accumulated"


def layer_errors(fp32: ModelPath, quantized: ModelPath, feed: Feeds) -> LayerErrors:
    """SQNR of every float tensor that two versions of a model share, in graph order: local and accumulated.

    >>> measure.layer_errors("model.onnx", "model.int8.onnx", {"x": x})  # doctest: +SKIP
    tensor   layer      node   local dB  accumulated dB
    conv2.y  Conv+Relu  conv2       8.1             7.9
    conv1.y  Conv+Relu  conv1      34.0            34.0
    y        Gemm       head       41.2             9.6
    3 of 3 layers, the worst first, over 1 feed; 0 add no error of their own
    accumulated at the outputs, dB: y 9.6

    fp32, quantized  paths of ONNX files, the second made from the first by whatever quantizer keeps tensors' names
    feed             {input name: array}, or several of them, as in `compare`: errors are pooled over all

    local        the layer's own error: all that it reads is given as the fp32 model has it. A layer is what computes a
                 tensor from other tensors in the table, with the rounding of its weights, of its inputs where that
                 happens at run time (dynamic), and of its output where Q and DQ follow. So clipping at the end of a
                 range is charged to the tensor that has the range, also to an input of the model. What only moves
                 codes (Transpose) adds nothing
    accumulated  the error in the quantized model as it runs, with all that the layers before have done

    Both models run node by node, without onnxruntime's optimizations, on float kernels between Q and DQ: the errors are
    those of the codes. Where the CPU saturates u8 x s8 (see `machine.card`), a fused kernel may be worse than shown;
    dynamic products and the QOperator format run on integer kernels here too, and show it. In the QOperator format an
    integer kernel can only be given codes: its local error includes the rounding of its inputs.
    Weights, and what depends on no input, are not in the table: their error is in the layers that read them. What is
    inside the body of an If, Loop or Scan is charged to its outputs. Positions where both hold the same infinity or NaN
    do not count, nor those where both hold a mask's -10000 among numbers below 900.
    Memory: both files a few times over, and the activations of one feed twice. A large conformer takes a few seconds.

    Returns `LayerErrors`. Raises ValueError where the two models or the feed do not fit together, and if `fp32` is
    quantized already; FileNotFoundError for a path that is not there.
    """
    feeds = as_feeds(feed)
    reference, other, network = _opened(fp32, quantized)
    errors = {}
    with bar(description="layer errors", total=3 * len(feeds), unit="run") as progress:
        for one in feeds:
            _measure(reference, other, one, errors, progress)
    rows = _rows(errors, reference, other, network)
    if not rows:
        raise ValueError(
            f"{quantized} and {fp32} share no tensor of the same name and shape: they are not versions of one model, "
            "or the quantizer renamed everything; give the very file that the quantized model was made from"
        )
    note = RANDOM_WEIGHTS if has_random_weights(reference.session) else ""
    skipped = reference.left_out | other.skipped
    draws = random_draws(graph.load(fp32), fp32, feeds[0])
    return LayerErrors(rows, skipped, tuple(network.outputs), len(feeds), note, draws)


def _opened(fp32, quantized):
    """Both models, open, and the fp32 one's Network."""
    model = graph.load(fp32)
    if found := graph.quantized_by(model):
        raise ValueError(
            f"{fp32} is quantized already: it has {', '.join(found)} nodes. Give the fp32 model first, then the "
            "quantized model that was made from it"
        )
    network, reference = Network(model), WatchedModel(fp32)
    moving = network.moving()
    other = CutModel(quantized, [name for name in reference.tensors if name in moving], network)
    for what in ("inputs", "outputs"):
        first, second = (sorted(getattr(one, what)) for one in (network, other.network))
        if first != second:
            raise ValueError(
                f"{quantized} has the {what} {second}, {fp32} has {first}: they are not versions of one model; give "
                "the very file that the quantized model was made from"
            )
    return reference, other, network


def _measure(reference, other, feed, errors, progress):
    """Add the errors for one feed to `errors`, {(name, place, LOCAL or ACCUMULATED): PooledError}."""
    expected = {name: array for name, array in reference.run(feed) if name in other.kept}
    progress.update()
    for name, place, array in other.run(feed):
        if name in expected and array.shape != expected[name].shape:
            other.skip(name, f"has shape {list(array.shape)}, in the fp32 model {list(expected.pop(name).shape)}")
        elif name in expected:
            _add(errors, (name, place, ACCUMULATED), expected[name], array)
    progress.update()
    for name, place, array in other.run_cut(feed, expected):
        _add(errors, (name, place, LOCAL), expected[name], array)
    progress.update()


def _add(errors, key, expected, array):
    errors.setdefault(key, PooledError(parts=False)).add(expected, array, masks=True)


def _rows(errors, reference, other, network):
    """A LayerError for each tensor in which numbers were compared."""
    exact, fused = moved(other.kept, other.network), set(reference.tensors) & network.moving() - set(other.kept)
    rows = []
    for name, one in list(other.kept.items()):
        local = _worst([errors[name, place, LOCAL] for place in one.seen])
        accumulated = _worst([errors[name, place, ACCUMULATED] for place in one.seen])
        if not local.size:
            other.skip(name, "empty")
            continue
        nodes = network.layer(name, fused)
        rows.append(
            LayerError(
                name=name,
                op_type=_operators(nodes),
                node=_main_node(nodes),
                local_db=math.inf if name in exact and not local.remark else local.db,
                accumulated_db=accumulated.db,
                note=local.remark or accumulated.remark,
            )
        )
    return rows


def _worst(errors):
    """Of a tensor that its readers see in several ways: the one with the lowest SQNR; none at all is lower still."""
    return min(errors, key=lambda error: -math.inf if error.remark else error.db)


def _operators(nodes):
    """ "Conv+Relu"; of a long chain, the first and the last."""
    names = [node.op_type for node in nodes] or ["input"]
    return "+".join(names if len(names) <= 3 else [names[0], "...", names[-1]])


def _main_node(nodes):
    """The name by which a recipe's `exclude` leaves the layer alone: that of its product, or of what it ends in."""
    return next((node.name for node in nodes if node.op_type in FLOAT_PRODUCTS), nodes[-1].name if nodes else "")
