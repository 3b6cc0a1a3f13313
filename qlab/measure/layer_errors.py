"""The error of every layer of a quantized model, its own and what has come together up to there, and its picture."""

import math
from collections import defaultdict
from dataclasses import dataclass

import numpy as np
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.ticker import MaxNLocator

from qlab import graph, palette
from qlab.calibration.collect import WatchedModel
from qlab.files import ModelPath
from qlab.graph import Model
from qlab.graph.operators import FLOAT_PRODUCTS
from qlab.measure.answers import random_draws
from qlab.measure.cutting import CutModel, moved
from qlab.measure.outputs import RANDOM_WEIGHTS, has_random_weights
from qlab.numerics.pooled import PooledError
from qlab.runtime import Feeds, as_feeds, bar
from qlab.text import Table, Tabular, decibels, plural, shortened

COLUMNS = 160  # of the heat map at most: a narrower one would not be seen
NAMED = 3  # layers that the figure calls by name
SCALE = (0.0, 60.0)  # dB, in every figure alike, so that two of them compare: all is lost, and hardly anything
LONGEST_NAME = 31
SHOWN = 10
TEXT = (0, 1, 2, 5)  # columns that hold no numbers
LOCAL, ACCUMULATED = "local", "accumulated"
# From dark to light, so that the order shows in any kind of colour vision, and in print.
COLOURS = LinearSegmentedColormap.from_list("error", ["#3D0410", palette.ERROR, "#E08A7D", "#FBE9E4"]).with_extremes(
    over="white", under="black", bad=palette.FP32
)


@palette.style()
def draw(rows, worst, note=""):
    """A figure of LayerErrors' `rows`, in graph order: heat map above, the same numbers as points below.

    worst  the rows that lose most by themselves, the worst first
    note   a line under the axis
    """
    values = np.array([[row.local_db for row in rows], [row.accumulated_db for row in rows]])
    low, high = _range(values), SCALE[1]
    figure, (above, below) = palette.figure(2, height=5.2, sharex=True, height_ratios=[1, 2.2])
    size = math.ceil(len(rows) / COLUMNS)
    columns, edges = _lowest_of(values, size)
    image = above.pcolormesh(edges, [0, 1, 2], columns, cmap=COLOURS, vmin=SCALE[0], vmax=SCALE[1])
    above.set_yticks([0.5, 1.5], ["alone", "accumulated"])
    above.set_ylim(2, 0)
    above.grid(False)
    above.tick_params(left=False)
    for side in above.spines.values():
        side.set_visible(True)
    above.set_title(_finding(worst))
    bar = figure.colorbar(image, ax=above, extend="both", aspect=9)
    bar.set_label("SQNR (dB)\nwhite: above, or exact" + ("\ngrey: NaN" if np.isnan(values).any() else ""), size=9)
    centres, room = np.arange(len(rows)) + 0.5, 0.35 * (high - low)
    marker = 3 if len(rows) > COLUMNS else 6
    looks = ("alone", palette.ERROR, marker + 3), ("accumulated", palette.INTEGER, marker)
    for shown, (label, colour, markersize) in zip(np.where(values <= high, values, np.nan), looks, strict=True):
        below.plot(centres, shown, ".", color=colour, label=label, markersize=markersize)
    below.set_ylim(low - room, high + 2)
    below.set_xlim(0, len(rows))
    below.set_ylabel("SQNR (dB)")
    below.xaxis.set_major_locator(MaxNLocator(integer=True))
    below.set_yticks(np.arange(low, high + 1, 10))
    below.legend(loc="lower right", bbox_to_anchor=(1, 0.98), ncols=2, borderaxespad=0)
    _call_by_name(below, rows, worst, low, room)
    text = "layers in graph order" + (f" (a column above: the lowest of {size})" if size > 1 else "")
    below.set_xlabel(f"{text}\n{note}" if note else text)
    return figure


def _range(values):
    """Where the axis of the points begins, in dB: at a multiple of 10 below all of them, but not below -20."""
    lowest = np.min(values, where=np.isfinite(values), initial=SCALE[1] - 10)
    return max(-20, 10 * math.floor(lowest / 10))


def _lowest_of(values, size):
    """Every `size` neighbouring columns as one, the lowest of each row; NaN is lower than all. Also the edges."""
    values = np.where(np.isinf(values), np.sign(values) * 1e3, values)  # matplotlib takes infinity for missing
    starts = np.arange(0, values.shape[1], size)
    return np.minimum.reduceat(values, starts, axis=1), np.append(starts, values.shape[1])


def _call_by_name(axes, rows, worst, low, room):
    """Names of the worst layers, each below its point and at a height of its own."""
    places = {row.name: place for place, row in enumerate(rows)}
    for rank, row in enumerate(worst[:NAMED]):
        place, value = places[row.name], low if math.isnan(row.local_db) else max(row.local_db, low)
        side = "left" if place < 0.6 * len(rows) else "right"
        axes.annotate(
            _short(row.name),
            (place + 0.5, value),
            (place + 0.5, low - room * (0.1 + 0.28 * rank)),
            color=palette.ERROR,
            ha=side,
            va="top",
            fontsize=9,
            arrowprops={"arrowstyle": "-", "color": palette.ERROR, "linewidth": 0.7, "relpos": (side == "right", 1)},
        )


def _finding(worst):
    """The title: which layer loses most."""
    if not worst:
        return "No layer has an error of its own"
    name = f"{worst[0].op_type} {_short(worst[0].name)}"
    if math.isnan(worst[0].local_db):
        return f"{name} gives NaN or infinity by itself"
    if worst[0].local_db == -math.inf:
        return f"{name} errs where fp32 has zeros only"
    return f"{name} loses most: {worst[0].local_db:.1f} dB alone"


def _short(name):
    return shortened(name, LONGEST_NAME, "middle")


@dataclass(frozen=True)
class LayerError:
    """One tensor of the fp32 model that the quantized one has too, and the layer that computes it. SQNR in dB.

    name            of the tensor
    op_type         of the fp32 nodes between it and the tensors before, such as "Conv+Relu"; "input" for a fed one
    node            the node that a recipe's `exclude` takes, to leave the layer in float
    local_db        its own error; inf: none
    accumulated_db  with all errors before it
    note            why there is no SQNR (NaN), or empty
    """

    name: str
    op_type: str
    node: str
    local_db: float
    accumulated_db: float
    note: str = ""


@dataclass(frozen=True, repr=False)
class LayerErrors(Tabular):
    """What `layer_errors` found. Printing it gives the layers that lose most by themselves.

    rows     a LayerError for each tensor, in graph order
    skipped  {tensor: reason} of those that could not be compared
    outputs  names of the model's outputs
    draws    which nodes of the fp32 model draw other random numbers in each run, so that no SQNR means anything; or ""
    """

    rows: list[LayerError]
    skipped: dict[str, str]
    outputs: tuple[str, ...]
    feeds: int
    note: str = ""
    draws: str = ""

    def worst(self, n=SHOWN):
        """The `n` layers with the lowest local SQNR, the worst first; layers without an error of their own never."""
        if isinstance(n, bool) or not isinstance(n, int) or n < 1:
            raise ValueError(f"n is {n!r}; expected a whole number of layers from 1 up")
        lossy = (row for row in self.rows if row.local_db != math.inf)
        return sorted(lossy, key=lambda row: -math.inf if math.isnan(row.local_db) else row.local_db)[:n]

    def plot(self):
        """A figure: SQNR of every layer as a heat map in graph order, local and accumulated, and the same as curves."""
        return draw(self.rows, self.worst(), self.note)

    def _table(self):
        worst = self.worst()
        notes = any(row.note for row in worst)
        head = ["tensor", "layer", "node", "local dB", "accumulated dB"]
        rows = [head + ["note"] * notes, *(_cells(row) + [row.note] * notes for row in worst)]
        return Table(rows, TEXT, {(1, 3): "bad"}, below=list(self._summary(len(worst))))

    def _summary(self, shown):
        exact = sum(row.local_db == math.inf for row in self.rows)
        nothing = "adds no error of its own" if exact == 1 else "add no error of their own"
        of = f"{shown} of {len(self.rows)} layers, the worst first"
        yield f"{of}, over {plural(self.feeds, 'feed')}; {exact} {nothing}"
        at_outputs = [f"{row.name} {decibels(row.accumulated_db)}" for row in self.rows if row.name in self.outputs]
        if at_outputs:
            yield f"accumulated at the outputs, dB: {', '.join(at_outputs)}"
        if self.skipped:
            yield f"{plural(len(self.skipped), 'tensor')} could not be compared: .skipped says why"
        yield from filter(None, (self.note, self.draws))


def _cells(row):
    return [row.name, row.op_type, row.node, decibels(row.local_db), decibels(row.accumulated_db)]


def layer_errors(fp32: ModelPath | Model, quantized: ModelPath | Model, feed: Feeds) -> LayerErrors:
    """SQNR of every float tensor that two versions of a model share, in graph order: local and accumulated.

    >>> measure.layer_errors("model.onnx", "model.int8.onnx", {"x": x})  # doctest: +SKIP
    tensor   layer      node   local dB  accumulated dB
    conv2.y  Conv+Relu  conv2       8.1             7.9
    conv1.y  Conv+Relu  conv1      34.0            34.0
    y        Gemm       head       41.2             9.6
    3 of 3 layers, the worst first, over 1 feed; 0 add no error of their own
    accumulated at the outputs, dB: y 9.6

    fp32, quantized  paths of ONNX files, or Models, the second made from the first by whatever quantizer keeps the
                     tensors' names
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
    fp32, quantized = graph.opened(fp32), graph.opened(quantized)
    reference, other = _pair(fp32, quantized)
    errors = defaultdict(lambda: PooledError(parts=False))
    with bar(description="layer errors", total=3 * len(feeds), unit="run") as progress:
        for one in feeds:
            _measure(reference, other, one, errors, progress)
    rows = _rows(errors, reference, other, fp32.network)
    if not rows:
        raise ValueError(
            f"{quantized.path} and {fp32.path} share no tensor of the same name and shape: they are not versions of "
            "one model, or the quantizer renamed everything; give the very file that the quantized model was made from"
        )
    note = RANDOM_WEIGHTS if has_random_weights(reference.session) else ""
    skipped = reference.left_out | other.skipped
    draws = random_draws(fp32, feeds[0])
    return LayerErrors(rows, skipped, tuple(fp32.network.outputs), len(feeds), note, draws)


def _pair(fp32, quantized):
    """The fp32 Model, watched, and the quantized one, to be cut."""
    if found := graph.quantized_by(fp32.proto):
        raise ValueError(
            f"{fp32.path} is quantized already: it has {', '.join(found)} nodes. Give the fp32 model first, then the "
            "quantized model that was made from it"
        )
    network, reference = fp32.network, WatchedModel(fp32)
    moving = network.moving(network.inputs)
    other = CutModel(quantized, [name for name in reference.tensors if name in moving], network)
    for what in ("inputs", "outputs"):
        first, second = (sorted(getattr(one, what)) for one in (network, quantized.network))
        if first != second:
            raise ValueError(
                f"{quantized.path} has the {what} {second}, {fp32.path} has {first}: they are not versions of one "
                "model; give the very file that the quantized model was made from"
            )
    return reference, other


def _measure(reference, other, feed, errors, progress):
    """Add the errors for one feed to `errors`, {(name, place, LOCAL or ACCUMULATED): PooledError}."""
    expected = {name: array for name, array in reference.run(feed) if name in other.kept}
    progress.update()
    for name, place, array in other.run(feed):
        if name in expected and array.shape != expected[name].shape:
            other.skip(name, f"has shape {list(array.shape)}, in the fp32 model {list(expected.pop(name).shape)}")
        elif name in expected:
            errors[name, place, ACCUMULATED].add(expected[name], array, masks=True)
    progress.update()
    for name, place, array in other.run_cut(feed, expected):
        errors[name, place, LOCAL].add(expected[name], array, masks=True)
    progress.update()


def _rows(errors, reference, other, network):
    """A LayerError for each tensor in which numbers were compared."""
    exact = moved(other.kept, other.network)
    fused = set(reference.tensors) & network.moving(network.inputs) - set(other.kept)
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
