"""Notebook 07: options that leave no slow product, integer nodes, bytes of a file, batches that do not mix.

Its pictures come first, then what it and its checks use.
"""

import difflib
import html
import tempfile
from collections import Counter
from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np
import onnx
from matplotlib.colors import LinearSegmentedColormap, LogNorm
from onnx import numpy_helper
from onnxruntime.quantization import QuantType, quantize_dynamic, quantize_static

from qlab import machine, models, palette, sqnr_db
from qlab.course.expect import call, expect_array, judge_choice, two_functions
from qlab.course.lessons import exercise, folder, words
from qlab.course.lessons.common import Feeds, operator_session
from qlab.course.plots.figures import histogram, times_axis, with_interval
from qlab.course.plots.schematic import Schematic
from qlab.course.show import BAD, WAITING, Almost, NotYet, Shown, box, brief, error_text, kind, rich, strong
from qlab.numerics.kernels import dynamic_quantize_linear
from qlab.palette import INK, styled
from qlab.recipes.quantizers import captured_logs
from qlab.runtime import open_session


def left_factor():
    """The two products of the dynamic model, and which operand each of them puts on the left."""
    s = Schematic(
        20,
        6.4,
        title="The same numbers, on the other side",
        alt="Two rows. MatMulInteger: the activations' codes, u8, T by K, times the codes of the weights, K by N. "
        "ConvInteger: the codes of the weights, N by K, times the windows of the activations, u8, K by T.",
    )
    for y, name, left, right, out in (
        (4.6, "MatMulInteger", ("activations\nT × K, u8", "activations"), ("weights\nK × N", "weights"), "T × N"),
        (1.5, "ConvInteger", ("weights\nN × K", "weights"), ("windows of the\nactivations\nK × T, u8", "activations"),
         "N × T"),
    ):  # fmt: skip
        s.text(0.3, y, name, align="left", bold=True)
        first = s.box(6.4, y, left[0], kind=left[1], width=3.6, height=1.9)
        s.text(8.9, y, "×", size=14)
        second = s.box(11.4, y, right[0], kind=right[1], width=3.6, height=1.9)
        sums = s.box(17.4, y, f"sums\n{out}, int32", kind="integer", width=3.4, height=1.9)
        s.arrow(second, sums)
        s.text(first.x, y + 1.3, "left", size=9)
        s.text(second.x, y + 1.3, "right", size=9)
    return s.figure


@styled
def signs(card, raced, *, title):
    """Left the card's four sign pairs as a heat map; right what the two products made of one sign bit. -> Figure

    raced: {name: (speed-up over float32, low, high), or None where there is no kernel}.
    """
    figure, (left, right) = palette.figure(1, 2, height=3.5, width_ratios=(2, 3))
    _heat(left, card)
    names = list(raced)
    for y, name in enumerate(names):
        if raced[name] is None:
            right.annotate("no kernel here", (1, y), (8, 0), textcoords="offset points", va="center", color=INK)
            continue
        value, low, high = with_interval(raced[name])
        right.plot([1, value], [y, y], color=_faster_or_slower(value), linewidth=9, solid_capstyle="butt")
        right.plot([low, high], [y, y], color=INK, linewidth=1.4)
        right.annotate(
            f"{value:.2f}×", (max(high, 1), y), (8, 0), textcoords="offset points", va="center", color=INK
        )  # fmt: skip
    found = [value for entry in raced.values() if entry for value in entry]
    low, high = min(0.7, *found) / 1.2, max(1.4, *found) * 2
    times_axis(right, low, high, "x")
    right.axvline(1, color=palette.FP32, linewidth=2)
    right.set_yticks(range(len(names)), names)
    right.set_ylim(len(names) - 0.5, -0.5)
    right.grid(False, axis="y")
    right.set_xlabel("speed against the float32 product (log)")
    right.set_title("measured just now", fontsize=10, fontweight="normal")
    figure.suptitle(title, x=0.01, ha="left", fontsize=12, fontweight="bold")
    return figure


def _faster_or_slower(times):
    """The colour that the card's heat map has on that side of 1."""
    return palette.INTEGER if times >= 1 else palette.ERROR


def _heat(axes, card):
    speeds = np.array([[card.speed[x + w] or np.nan for w in ("u8", "s8")] for x in ("u8", "s8")], float)
    ramp = LinearSegmentedColormap.from_list("times", [palette.ERROR, "white", palette.INTEGER])
    axes.imshow(speeds, cmap=ramp, norm=LogNorm(1 / 6, 6))
    for row, column in np.ndindex(2, 2):
        speed = speeds[row, column]
        said = "no\nkernel" if np.isnan(speed) else f"{speed:.2f}×"
        ground = {"facecolor": "white", "edgecolor": "none", "alpha": 0.75, "pad": 2}
        axes.text(column, row, said, ha="center", va="center", color=INK, fontsize=12, bbox=ground)
    axes.set_xticks([0, 1], ["u8", "s8"])
    axes.set_yticks([0, 1], ["u8", "s8"])
    axes.set(xlabel="right factor", ylabel="left factor")
    axes.grid(False)
    axes.set_title("the card", fontsize=10, fontweight="normal")


@styled
def grid(rows, *, title):
    """A row a variant: word errors against fp32 and speed-up, both with intervals; changed transcripts as numbers.

    rows: {name: (Interval of the word error rate, changed transcripts, (speed-up, low, high) or None)}.
    """
    figure, (left, right) = palette.figure(1, 2, height=1.5 + 0.34 * len(rows), sharey=True)
    for y, (interval, changed, speedup) in enumerate(rows.values()):
        points = [100 * each for each in (interval.low, interval.high)]
        left.plot(points, [y, y], color=INK, linewidth=2.2)
        left.plot(100 * interval.difference, y, "o", color=INK)
        left.annotate(
            f"{changed}", (1, y), (-2, 0), xycoords=("axes fraction", "data"), textcoords="offset points",
            ha="right", va="center", color=INK,
        )  # fmt: skip
        if speedup is not None:
            color = _faster_or_slower(speedup[0])
            right.plot(speedup[1:], [y, y], color=color, linewidth=2.2)
            right.plot(speedup[0], y, "o", color=color)
    for axes, at in ((left, 0), (right, 1)):
        axes.axvline(at, color=palette.FP32, linewidth=1.6)
        axes.grid(False, axis="y")
    left.set_yticks(range(len(rows)), list(rows))
    left.set_ylim(len(rows) - 0.5, -0.7)
    low, high = left.get_xlim()
    left.set_xlim(low, high + 0.22 * (high - low))
    left.annotate(
        "changed", (1, 1), (-2, 3), xycoords="axes fraction", textcoords="offset points", ha="right", color=INK,
        fontsize=9,
    )  # fmt: skip
    found = [value for _, _, speedup in rows.values() if speedup for value in speedup]
    times_axis(right, min(0.7, *found) / 1.1, max(1.4, *found) * 1.1, "x")
    left.set_xlabel("word error rate against fp32 (points)")
    right.set_xlabel("speed against fp32 (log)")
    figure.suptitle(title, x=0.01, ha="left", fontsize=12, fontweight="bold")
    return figure


_STORED = {"float32": palette.FP32, "int8": palette.INTEGER, "uint8": palette.INTEGER}


@styled
def stored(files, *, title):
    """Stacked bars of what the files hold, in megabytes. files: {name: {"float32": bytes, ..., "graph": bytes}}."""
    figure, axes = palette.figure(height=1.3 + 0.45 * len(files))
    for y, parts in enumerate(files.values()):
        sums = {"float32": 0, "codes": 0, "the rest": 0}
        for name, size in parts.items():
            sums["float32" if name == "float32" else "codes" if name in _STORED else "the rest"] += size / 1e6
        left = 0.0
        inks = {"float32": palette.FP32, "codes": palette.INTEGER, "the rest": INK}
        for name, size in sums.items():
            axes.barh(y, size, left=left, color=inks[name], height=0.62, label=name if y == 0 else None)
            left += size
        said = ", ".join(f"{size:.2f} {name}" for name, size in sums.items() if size)
        axes.annotate(said, (left, y), (6, 0), textcoords="offset points", va="center", color=INK, fontsize=9)
    axes.set_yticks(range(len(files)), list(files))
    axes.set_ylim(len(files) - 0.5, -0.6)
    axes.set_xlim(0, 1.45 * max(sum(parts.values()) for parts in files.values()) / 1e6)
    axes.legend(loc="lower right")
    axes.grid(False, axis="y")
    axes.set_xlabel("megabytes (10⁶ bytes)")
    axes.set_title(title)
    return figure


@styled
def beside(x, curve, decibels, *, low, high, at_db, label):
    """Left a sentence's numbers with the levels that the batch leaves them; right its SQNR against loudness. -> Figure

    x: the numbers; low, high: what the levels reach; curve: (dB of the neighbour, SQNR); at_db, decibels: the dot.
    """
    figure, (left, right) = palette.figure(1, 2, height=3.4, layout=None)
    figure.subplots_adjust(left=0.09, right=0.98, bottom=0.16, top=0.84, wspace=0.24)
    levels = low + (high - low) * np.arange(256) / 255
    view = (min(float(x.min()), 0) * 1.05 - 0.02, float(x.max()) * 1.05)
    inside = int(((levels >= view[0]) & (levels <= view[1])).sum())
    histogram(x, title="", label=label, kind="activations", levels=levels, view=view, log=True, bins=90, axes=left)
    left.set_title(f"{inside} of 256 codes are left (green)", fontsize=10, fontweight="normal")
    left.set_ylabel("% of your numbers (log)")
    right.plot(*curve, color=palette.ACTIVATIONS)
    right.plot(at_db, decibels, "o", color=palette.ACTIVATIONS, markersize=9)
    right.set(xlabel="the neighbour is louder by (dB)", ylabel="SQNR of your numbers (dB)", ylim=(-5, 55))
    right.set_title("at 0 dB the neighbour is as large as you", fontsize=10, fontweight="normal")
    times = 10 ** (at_db / 20)
    said = (
        f"Beside one {times:.0f} times as large: SQNR {decibels:.1f} dB"
        if at_db
        else f"Beside its like: SQNR {decibels:.1f} dB"
    )
    figure.suptitle(said, x=0.01, ha="left", fontsize=12, fontweight="bold")
    return figure


SHORT = {"uint8": "u8", "int8": "s8"}
INTEGER_NODES = {
    "ConvInteger", "DynamicQuantizeMatMul", "MatMulInteger", "MatMulIntegerToFloat", "QGemm", "QLinearAdd",
    "QLinearAveragePool", "QLinearConcat", "QLinearConv", "QLinearGlobalAveragePool", "QLinearMatMul", "QLinearMul",
    "QLinearSigmoid", "QLinearSoftmax",
}  # fmt: skip
PRIVATE = {name: about["what"] for name, about in words("07", "private").items()}


def named(model, name):
    """The node of that name."""
    return next(node for node in model.graph.node if node.name == name)


def reading(model, tensor):
    """The first node that reads a tensor."""
    return next(node for node in model.graph.node if tensor in node.input)


def running(path):
    """The graph that onnxruntime makes of a file, weights and all; of one that it cannot open here, the file's own."""
    with tempfile.TemporaryDirectory() as folder:
        target = str(Path(folder) / "optimized.onnx")
        try:
            open_session(path, adjust=lambda options: setattr(options, "optimized_model_filepath", target))
        except ValueError:
            return onnx.load(path)
        return onnx.load(target)


def _products(path):
    """[(op_type, left, right, codes of the weight), ...] of the integer products with weights, as they run."""
    model = running(path)
    held = {tensor.name: tensor for tensor in model.graph.initializer}
    found = []
    for node in model.graph.node:
        if node.op_type not in INTEGER_NODES or len(node.input) < 2 or node.input[1] not in held:
            continue
        codes = numpy_helper.to_array(held[node.input[1]])
        sides = "u8", SHORT.get(codes.dtype.name, codes.dtype.name)  # dynamic quantization makes activations uint8
        found.append((node.op_type, *(sides[::-1] if node.op_type == "ConvInteger" else sides), codes))
    return found


def pairs(path):
    """{"op_type, left × right": how many}, of the integer products with weights in the graph that runs."""
    return dict(Counter(f"{op_type}, {left} × {right}" for op_type, left, right, _ in _products(path)))


def private_quantizers(path):
    """The dynamically quantized model of a file, each integer product with a DynamicQuantizeLinear of its own."""
    model = onnx.load(path)
    makers = {node.output[0]: node for node in model.graph.node if node.op_type == "DynamicQuantizeLinear"}
    muls = {frozenset(node.input): node for node in model.graph.node if node.op_type == "Mul"}
    nodes, seen = [], set()
    for node in model.graph.node:
        shared = makers.get(node.input[0]) if node.op_type == "MatMulInteger" else None
        if shared is not None and shared.name in seen:
            own = onnx.NodeProto.FromString(shared.SerializeToString())
            own.name = f"{node.name}_quantizer"
            own.output[:] = [f"{name}_{node.name}" for name in shared.output]
            weight_scale = node.input[1].removesuffix("_quantized") + "_scale"
            scales = muls[frozenset((shared.output[1], weight_scale))]
            scales.input[:] = [own.output[1] if name == shared.output[1] else name for name in scales.input]
            node.input[0], node.input[2] = own.output[0], own.output[2]
            nodes.append(own)
        if shared is not None:
            seen.add(shared.name)
        nodes.append(node)
    first = [node for node in nodes if node.op_type == "DynamicQuantizeLinear"]
    rest = [node for node in nodes if node.op_type != "DynamicQuantizeLinear"]
    del model.graph.node[:]
    model.graph.node.extend(_in_order([*first, *rest], model.graph))
    return model


def _in_order(nodes, graph):
    """The nodes, each after what it reads."""
    ready = {entry.name for entry in (*graph.input, *graph.initializer)} | {""}
    ordered, waiting = [], list(nodes)
    while waiting:
        now = [node for node in waiting if ready.issuperset(node.input)]
        ready |= {name for node in now for name in node.output}
        ordered += now
        waiting = [node for node in waiting if not ready.issuperset(node.output)]
    return ordered


def trial(expression, x, w, x_zero, w_zero):
    """A session that computes y = expression of x, and its feed. w and the zero points are constants of the model."""
    op_type, _, arguments = expression.partition("(")
    arrays = {"x": x, "w": w, "x_zero": np.asarray(x_zero, x.dtype), "w_zero": np.asarray(w_zero, w.dtype)}
    names = [name.strip() for name in arguments.rstrip(")").split(",")]
    try:
        return operator_session(op_type, *map(arrays.get, names), fed=names.index("x")), {"x": x}
    except ValueError:  # no kernel for these signs here
        return None


def voices(utterances):
    """Of each utterance, the group that its voice belongs to: the speech synthesizer, and the larger voices by name."""
    return [each.voice if each.voice.startswith("flite") else "espeak-ng, many" for each in utterances]


def batch(features, frames=0):
    """Features [T, 80] of several sentences as one feed, filled up with zeros to the longest, or to `frames`."""
    lengths = np.array([len(each) for each in features], np.int64)
    speech = np.zeros((len(features), max(frames, lengths.max()), 80), np.float32)
    for row, each in zip(speech, features, strict=True):
        row[: len(each)] = each
    return {"speech": speech, "speech_lengths": lengths}


def loudness_curve(x, decibels, *, shared=True):
    """SQNR of x, quantized dynamically, when its batch holds it a second time, that many dB louder."""
    return [sqnr_db(x, _told(x, db, shared)) for db in decibels]


def _told(x, db, shared):
    scale, zero_point = dynamic_range(x, db if shared else 0)
    codes = np.clip(np.rint(x / scale) + zero_point, 0, 255)
    return (codes - zero_point) * scale


def dynamic_range(x, db):
    """Scale and zero point that DynamicQuantizeLinear gives x together with x times 10^(db / 20)."""
    ends = np.float32([x.min(), x.max()])
    _, scale, zero_point = dynamic_quantize_linear(np.concatenate([ends, ends * np.float32(10 ** (db / 20))]))
    return np.float32(scale), np.float32(zero_point)


class Heard(Shown):
    """What was said and what models heard, words that differ from what was said in red and in [brackets]."""

    def __init__(self, said, transcripts):
        self.said, self.transcripts = said, transcripts

    def text(self):
        width = max(map(len, ("said", *self.transcripts)))
        lines = [f"{'said':{width}}  {self.said}"]
        for name, transcript in self.transcripts.items():
            told = " ".join(word if right else f"[{word}]" for word, right in _marked(self.said, transcript))
            lines.append(f"{name:{width}}  {told}")
        return "\n".join(lines)

    def html(self):
        rows = [("said", rich(self.said))]
        for name, transcript in self.transcripts.items():
            told = [html.escape(w) if right else strong(BAD, f"[{w}]") for w, right in _marked(self.said, transcript)]
            rows.append((name, " ".join(told)))
        cells = "".join(
            f'<tr><td style="text-align: left"><small>{rich(name)}</small></td>'
            f'<td style="text-align: left">{told}</td></tr>'
            for name, told in rows
        )
        return box(WAITING, f"<table>{cells}</table>")


def _marked(said, transcript):
    """[(word, was it said there), ...]; what is missing stands as a dash."""
    truth, heard = said.split(), transcript.split()
    told = []
    for what, i, j, k, m in difflib.SequenceMatcher(None, truth, heard, autojunk=False).get_opcodes():
        told += [(word, what == "equal") for word in heard[k:m]]
        told += [("–", False)] * max(0, (j - i) - (m - k)) if what != "equal" else []
    return told


@cache
def quantized(name):
    """Path of a quantized model that a check needs."""
    path = folder("07") / f"{name}.onnx"
    with captured_logs():
        if name == "digits, static":
            images, *_ = models.digit_split()
            quantize_static(models.path("digits"), path, Feeds([{"images": images[:64]}]))
        elif name == "MatMul only":
            quantize_dynamic(models.path("conformer"), path, op_types_to_quantize=["MatMul"])
        else:
            quantize_dynamic(models.path("conformer"), path, weight_type=QuantType.QUInt8)
    return path


def _asked(answer, name, *arguments):
    """What the answer gives, None too. A message about it does not repeat the arguments, which fill pages."""
    if not callable(answer):
        raise Almost(f"expected a function, seen {brief(answer)}, a `{kind(answer)}`")
    (seen,) = call(lambda: [answer(*arguments)], name=name)
    if seen is ...:
        raise NotYet(f"{name.partition(',')[0]} still returns `...`")
    return seen


def _cards():
    """This machine's card, the reference cards, and made-up ones on which habits fail."""
    own, avx2 = machine.card(), machine.card("x86-avx2")
    made_up = {
        "old": ({"u8s8": 0.7, "u8u8": 0.8, "s8s8": 0.4, "s8u8": 0.4}, False),
        "unsigned first": ({"u8s8": 1.3, "u8u8": 2.4, "s8s8": 0.9, "s8u8": 0.9}, False),
        "all signs": ({"u8s8": 3.6, "u8u8": 3.4, "s8s8": 3.6, "s8u8": 3.5}, False),
        "two kernels": ({"u8s8": 3.4, "u8u8": 2.9, "s8s8": 3.5, "s8u8": None}, False),
        "signed alone": ({"u8s8": 0.5, "u8u8": 1.5, "s8s8": 3.0, "s8u8": 0.4}, False),
        "signed only": ({"u8s8": 0.9, "u8u8": 0.8, "s8s8": 2.0, "s8u8": 1.5}, False),
        "just faster": ({"u8s8": 0.9, "u8u8": 1.1, "s8s8": 0.9, "s8u8": 0.9}, False),
        "just slower": ({"u8s8": 0.95, "u8u8": 0.9, "s8s8": 0.9, "s8u8": 0.9}, False),
        "one kernel": ({"u8s8": None, "u8u8": 1.4, "s8s8": None, "s8u8": None}, False),
    }
    return [
        own, *map(machine.card, machine.reference_cards()),
        *(replace(avx2, name=name, note="made up", speed=speed, saturates=saturates)
          for name, (speed, saturates) in made_up.items()),
    ]  # fmt: skip


_TAKEN = {"model_input", "model_output", "use_external_data_format"}
_written = {}  # options as text -> the products that they make, or why there are none


def products_of(options):
    """What these options of quantize_dynamic make of the conformer: its integer products as they run."""
    key = repr(sorted((name, repr(value)) for name, value in options.items()))
    if key not in _written:
        with tempfile.TemporaryDirectory() as folder, captured_logs():
            path = Path(folder) / "tried.onnx"
            try:
                quantize_dynamic(models.path("conformer"), path, **options)
            except Exception as error:  # whatever its checks and asserts say
                _written[key] = f"quantize_dynamic refused: {error_text(error)}"
            else:
                _written[key] = _products(path)
    if isinstance(_written[key], str):
        raise Almost(_written[key])
    return _written[key]


def judge_options(seen, card):
    """The answer for one card. Raises Almost."""
    usable = {pair: card.speed[pair] or 0 for pair in ("u8s8", "u8u8")}
    said = f"on the card {card.name!r}"
    figures = ", ".join(f"u8 × {pair[2:]} {card.speed[pair] or 0:.2f}" for pair in usable)
    if max(usable.values()) < 1:
        return _judge_none(seen, said, figures)
    if isinstance(seen, str):
        if max(usable.values()) == 1 and seen.strip():  # no slower and no faster: both answers are right
            return None
        raise Almost(f"{said} there is a faster product: {figures} times float32, seen {brief(seen)}")
    if not isinstance(seen, dict) or not all(isinstance(name, str) for name in seen):
        raise Almost(f"{said}: expected a dict of options or a str, seen {brief(seen)}, a `{kind(seen)}`")
    if taken := sorted(_TAKEN & set(seen)):
        raise Almost(f"{said}: {taken[0]} is left to the check; leave it out of the options")
    made = products_of(seen)
    matrices = [entry for entry in made if entry[0] != "ConvInteger"]
    _judge_speed(made, card, said)
    if len(matrices) < 56:
        raise Almost(
            f"{said}: {len(matrices)} of the 56 matrix products with weights are quantized; the others stay float, "
            f"though an integer product is faster there ({figures})"
        )
    _judge_best(matrices, usable, said)
    return None


def _judge_none(seen, said, figures):
    if not isinstance(seen, str) or not seen.strip():
        raise Almost(
            f"{said} no product that quantize_dynamic can write for MatMul is faster than float32 ({figures}): return "
            f"a str that says so, seen {brief(seen)}"
        )


def _judge_speed(made, card, said):
    for op_type, left, right, codes in made:
        speed = card.speed.get(left + right)  # of types other than 8 bits a card says nothing
        count = sum(entry[:3] == (op_type, left, right) for entry in made)
        whose = "weights × activations" if op_type == "ConvInteger" else "activations × weights"
        if speed is None:
            raise Almost(f"{said}: {count} {op_type} multiply {left} × {right} ({whose}), and it has no kernel for it")
        if speed < 1:
            raise Almost(
                f"{said}: {count} {op_type} multiply {left} × {right} ({whose}), which is {speed:.2f} times as fast as "
                "float32"
            )
        if card.saturates and (left, right) == ("u8", "s8") and np.abs(codes.astype(int)).max() > 64:
            raise Almost(
                f"{said} u8 × s8 saturates, and the weights have codes up to {np.abs(codes.astype(int)).max()}: sums "
                "come out wrong. reduce_range=True keeps them within 7 bits"
            )


def _judge_best(matrices, usable, said):
    chosen = {left + right for _, left, right, _ in matrices}
    best = max(usable, key=usable.get)
    slowest = min(chosen, key=usable.get)
    if usable[slowest] < 0.95 * usable[best]:
        raise Almost(
            f"{said}: the matrix products are u8 × {slowest[2:]}, {usable[slowest]:.2f} times as fast as float32; with "
            f"u8 × {best[2:]} they would be {usable[best]:.2f} times as fast"
        )


@exercise("07.1", "options that leave no slow product")
def _(answer):
    cards = _cards()
    for card in cards:
        judge_options(_asked(answer, f"options, on the card {card.name!r},", card), card)
    return f"{len(cards)} cards, this machine's and made-up ones among them; each file was made, and its graph read"


def integer_nodes(path):
    """{op_type: how many} of the integer nodes in the graph that onnxruntime makes of the file."""
    return dict(Counter(node.op_type for node in running(path).graph.node if node.op_type in INTEGER_NODES))


_BORDER = {"Cast", "DequantizeLinear", "DynamicQuantizeLinear", "QuantizeLinear"}


def _counts(seen, said):
    if isinstance(seen, list | tuple) and all(isinstance(part, tuple | list) and len(part) == 2 for part in seen):
        seen = dict(seen)
    if isinstance(seen, int | np.integer) and not isinstance(seen, bool):
        raise Almost(f"{said}: expected {{op_type: how many}}, seen one number, {seen}")
    if not isinstance(seen, dict):
        raise Almost(f"{said}: expected {{op_type: how many}}, seen {brief(seen)}, a `{kind(seen)}`")
    try:
        counts = {_op_type(name, said): _whole(count) for name, count in seen.items()}
    except (TypeError, ValueError):
        raise Almost(f"{said}: expected a number for each op_type, seen {brief(seen)}") from None
    return {name: count for name, count in counts.items() if count}


def _whole(count):
    if int(count) != count:
        raise ValueError(f"{count} is no number of nodes")
    return int(count)


def _op_type(name, said):
    name = name[-1] if isinstance(name, tuple) and name else name
    if not isinstance(name, str):
        raise Almost(f"{said}: expected op_types, such as 'ConvInteger', as keys, seen {brief(name)}")
    return name.rpartition(".")[2]


def judge_counts(seen, path, said):
    counts, expected = _counts(seen, said), integer_nodes(path)
    if counts == expected:
        return
    written = Counter(node.op_type for node in onnx.load(path).graph.node)
    if counts == {name: count for name, count in written.items() if name in INTEGER_NODES}:
        raise Almost(
            f"{said}: {brief(counts)} stand in the *file*. What runs is the optimized graph: set "
            "optimized_model_filepath before you make the session, leave graph_optimization_level as it is, and load "
            "the file that it wrote"
        )
    optimized = Counter(node.op_type for node in running(path).graph.node)
    if counts == optimized:
        raise Almost(f"{said}: all nodes were counted; only those whose op_type is in n07.INTEGER_NODES are asked for")
    if strangers := sorted(set(counts) - INTEGER_NODES):
        border = ": it stands between floats and codes" if strangers[0] in _BORDER else ""
        raise Almost(f"{said}: {strangers[0]} is not in n07.INTEGER_NODES{border}")
    if set(counts) == set(expected) and set(counts.values()) == {1}:
        raise Almost(f"{said}: each op_type was counted once; asked is how many nodes have it: {brief(expected)}")
    if missing := sorted(set(expected) - set(counts)):
        raise Almost(f"{said}: {expected[missing[0]]} {missing[0]} are missing")
    wrong = next(name for name in sorted(set(counts) | set(expected)) if counts.get(name) != expected.get(name))
    raise Almost(f"{said}: expected {expected.get(wrong, 0)} {wrong}, seen {counts.get(wrong, 0)}")


def _files():
    """{what is said of a file: its path} of those that 07.2 and 07.3 ask about."""
    return {
        "the article's model": quantized("article"),
        "dynamic, MatMul only": quantized("MatMul only"),
        "the digits, static": quantized("digits, static"),
        "the fp32 conformer": models.path("conformer"),
    }


@exercise("07.2", "integer nodes of the graph that runs")
def _(answer):
    asked = _files()
    for said, path in asked.items():
        judge_counts(call(answer, path, name="integer_nodes"), path, said)
    counts = integer_nodes(quantized("article")).values()
    return f"{len(asked)} files; in the article's model {sum(counts)} nodes work on codes"


def account(path):
    """{dtype name: bytes of its initializers, ..., "graph": bytes of all else}; they add up to the file."""
    parts = Counter()
    for tensor in onnx.load(path).graph.initializer:
        array = numpy_helper.to_array(tensor)
        parts[array.dtype.name] += array.nbytes
    return {**parts, "graph": Path(path).stat().st_size - sum(parts.values())}


def _parts(seen, said):
    if not isinstance(seen, dict):
        raise Almost(f"{said}: expected a dict such as {{'float32': bytes, ...}}, seen {brief(seen)}")
    parts = {}
    for name, size in seen.items():
        try:
            name = name if name == "graph" else _dtype(name)
            parts[name] = parts.get(name, 0) + float(size)
        except (TypeError, ValueError):
            raise Almost(f"{said}: expected dtype: bytes, seen {brief(name)}: {brief(size)}") from None
    return {name: size for name, size in parts.items() if size}


def _dtype(name):
    if isinstance(name, int | np.integer) and not isinstance(name, bool):
        return onnx.helper.tensor_dtype_to_np_dtype(int(name)).name
    if isinstance(name, str) and name.isupper() and name in dict(onnx.TensorProto.DataType.items()):  # FLOAT is float32
        return _dtype(onnx.TensorProto.DataType.Value(name))
    return np.dtype(name.lower() if isinstance(name, str) else name).name


def _account_mistakes(path, expected):
    tensors = list(onnx.load(path).graph.initializer)
    size = Path(path).stat().st_size
    by = lambda count: dict(_summed((numpy_helper.to_array(t).dtype.name, count(t)) for t in tensors))
    rest = lambda parts: {**parts, "graph": size - sum(parts.values())}
    arrays = lambda t: numpy_helper.to_array(t)
    yield "these are megabytes; asked for bytes, as they are counted", {k: v / 1e6 for k, v in expected.items()}
    yield "these are mebibytes; asked for bytes", {k: v / 2**20 for k, v in expected.items()}
    yield "these are kilobytes; asked for bytes", {k: v / 1e3 for k, v in expected.items()}
    yield "these are kibibytes; asked for bytes", {k: v / 2**10 for k, v in expected.items()}
    yield "these are bits; a byte has 8", {k: 8 * v for k, v in expected.items()}
    counted = by(lambda t: arrays(t).size)
    for parts in (counted, rest(counted)):
        yield "these are numbers of entries; a float32 takes 4 bytes, an int64 8: .nbytes counts them", parts
    raw = by(lambda t: len(t.raw_data))
    for parts in (raw, rest(raw)):
        yield "raw_data is empty where a tensor keeps its numbers in float_data or int32_data: use to_array", parts
    messages = by(lambda t: t.ByteSize())
    for parts in (messages, rest(messages)):
        yield "ByteSize counts a tensor's name and shape too; the numbers alone are asked for: .nbytes", parts
    yield "`graph` is the whole file; asked for what is left of it", {**expected, "graph": size}
    bare = onnx.load(path)
    del bare.graph.initializer[:]
    yield (
        "names and shapes of the initializers belong to `graph` as well: the size of the file minus their numbers",
        {**expected, "graph": bare.ByteSize()},
    )
    yield (
        "`graph` is missing: the size of the file minus all initializers",
        {k: v for k, v in expected.items() if k != "graph"},
    )
    last = {arrays(t).dtype.name: arrays(t).nbytes for t in tensors}
    for parts in (last, rest(last)):
        yield "each dtype holds its last tensor only: add them up", parts
    tensors_of = by(lambda t: 1)
    yield "these are numbers of tensors; asked for bytes", tensors_of


def _summed(pairs):
    total = Counter()
    for name, count in pairs:
        total[name] += count
    return total


def judge_account(seen, path, said):
    parts, expected = _parts(seen, said), account(path)
    same = lambda one, other: (
        one.keys() == other.keys() and all(abs(one[k] - other[k]) < 1e-6 * (1 + other[k]) for k in one)
    )
    if same(parts, expected):
        return
    for mistake, wrong in _account_mistakes(path, expected):
        if same(parts, {name: size for name, size in wrong.items() if size}):
            raise Almost(f"{said}: {mistake}")
    if lacking := [name for name in expected if name not in parts]:
        raise Almost(f"{said}: {lacking[0]!r} is missing, {expected[lacking[0]]:,} bytes; seen {brief(seen)}")
    if strange := [name for name in parts if name not in expected]:
        raise Almost(f"{said}: there is no {strange[0]!r} among the initializers; seen {brief(seen)}")
    wrong = max(expected, key=lambda name: abs(parts[name] - expected[name]))
    raise Almost(f"{said}: expected {expected[wrong]:,} bytes of {wrong!r}, seen {parts[wrong]:,.6g}")


@exercise("07.3", "account for each megabyte")
def _(answer):
    asked = _files()
    for said, path in asked.items():
        judge_account(call(answer, path, name="account"), path, said)
    return f"{len(asked)} files, to the last byte"


def together(session, features):
    """The log-probabilities of each sentence, all in one run."""
    probabilities, lengths = session.run(["ctc_log_probs", "encoder_out_lens"], batch(features))
    return [row[:length] for row, length in zip(probabilities, lengths, strict=True)]


def alone(session, features):
    """The log-probabilities of each sentence, each in a run of its own."""
    return [session.run(["ctc_log_probs"], batch([each]))[0][0] for each in features]


class Watched:
    """A session that remembers the feeds of its runs."""

    def __init__(self, session):
        self._session, self.feeds = session, []

    def run(self, output_names, input_feed, run_options=None):
        self.feeds.append({name: np.array(value) for name, value in input_feed.items()})
        return self._session.run(output_names, input_feed, run_options)

    def __getattr__(self, name):
        return getattr(self._session, name)


@cache
def _sessions():
    return {"fp32": open_session(models.path("conformer")), "the article's int8": open_session(quantized("article"))}


@cache
def _groups():
    spoken = models.utterances("test")
    features = [models.features(each.samples) for each in (spoken[0], spoken[1], spoken[5])]
    first, second, third = sorted(features, key=len)
    return {
        "a sentence by itself": [second],
        "a short sentence and a longer one": [first, third],
        "a long one first": [third, first, second],
        "one sentence twice": [second, second],
        "beside one whose features are 50 times as large": [first, third * np.float32(50)],
        "beside one as long, features 50 times as large": [first, third[: len(first)] * np.float32(50)],
    }


def _rows(seen, features, said):
    if isinstance(seen, np.ndarray) and seen.ndim == 3:
        seen = list(seen)
    if not isinstance(seen, list | tuple) or len(seen) != len(features):
        raise Almost(
            f"{said}: expected a list of {len(features)} arrays, one a sentence, seen {brief(seen)}, a `{kind(seen)}`"
        )
    return [expect_array(each, said) for each in seen]


def _judge_rows(rows, expected, mistakes, said, asked):
    for row, right, wrong_ones in zip(rows, expected, mistakes, strict=True):
        if row.shape == right.shape and np.allclose(row, right, atol=1e-3):
            continue
        for mistake, wrong in wrong_ones.items():
            if wrong is not None and row.shape == wrong.shape and np.allclose(row, wrong, atol=1e-3):
                raise Almost(f"{said}: {mistake}")
        if row.ndim == 3 and row.shape[1:] == right.shape:
            raise Almost(f"{said}: an axis of length 1 is left, {row.shape}: take the sentence out of its batch, [0]")
        if row.shape != right.shape:
            raise Almost(f"{said}: expected shape {right.shape}, seen {row.shape}")
        raise Almost(f"{said}: the numbers are {sqnr_db(right, row):.0f} dB from those asked for; {asked}")


def _batch_mistakes(session, features):
    """For each sentence {mistake: what it gives}."""
    feed = batch(features)
    full, hidden, lengths = session.run(["ctc_log_probs", "encoder_out", "encoder_out_lens"], feed)
    longest = {**feed, "speech_lengths": np.full_like(feed["speech_lengths"], feed["speech"].shape[1])}
    unmasked = session.run(["ctc_log_probs"], longest)[0]
    cut = min(map(len, features))
    short = session.run(["ctc_log_probs"], batch([each[:cut] for each in features]))[0]
    for index, each in enumerate(features):
        single = session.run(["ctc_log_probs"], batch([each]))[0][0]
        yield {
            "the frames of the filling are still there: cut each sentence to its own `encoder_out_lens`": full[index],
            "cut to frames of the features; the encoder has one for about four of them: `encoder_out_lens`": full[
                index, : len(each)
            ] if len(each) < full.shape[1] else None,
            "every sentence was given the longest one's length: the model hears the filling as speech": unmasked[
                index, : lengths[index]
            ],
            "every sentence was given the longest one's length, and none was cut": unmasked[index],
            "these are the encoder's outputs; ask for `ctc_log_probs`": hidden[index, : lengths[index]],
            "all were cut to the shortest sentence; fill the others up instead": short[index],
            "a length of a fourth, rounded down, is not the encoder's: take `encoder_out_lens`": full[
                index, : len(each) // 4
            ] if len(each) // 4 != lengths[index] else None,
            "that is what this sentence gives alone; asked for all in one run": single,
            "the sentences are in another order": full[-1 - index, : lengths[-1 - index]],
        }  # fmt: skip


@cache
def _of_one_run(model, group):
    """(what `together` gives, {mistake: what it gives} of each sentence)."""
    session, features = _sessions()[model], _groups()[group]
    return together(session, features), list(_batch_mistakes(session, features))


@cache
def _of_runs_alone(model, group):
    """(what `alone` gives, {mistake: what it gives} of each sentence)."""
    session, features = _sessions()[model], _groups()[group]
    longest = max(map(len, features))
    filled = [session.run(["ctc_log_probs"], batch([each], longest))[0][0] for each in features]
    batched, _ = _of_one_run(model, group)
    depends = [
        {
            "the sentence's numbers depend on who is beside it": row,
            "the run is its own, but it is filled up to the longest of the list, and the filling counts for "
            "the scale: a longer neighbour changes the numbers": more[: len(row)],
        }
        for row, more in zip(batched, filled, strict=True)
    ]
    return alone(session, features), depends


def judge_together(answer):
    for model, session in _sessions().items():
        for group, features in _groups().items():
            said = f"together, {model}, {group}"
            watched = Watched(session)
            rows = _rows(_asked(answer, f"{said}: it", watched, [each.copy() for each in features]), features, said)
            if not watched.feeds:
                raise Almost(f"{said}: `session.run` was not called; asked for one run of it, with all sentences")
            if len(watched.feeds) != 1:
                raise Almost(f"{said}: {len(watched.feeds)} runs; asked for one, with all sentences in its batch")
            asked = "zeros behind the shorter sentences, up to the longest, and for each its own length?"
            _judge_rows(rows, *_of_one_run(model, group), said, asked)


def judge_alone(answer):
    for model, session in _sessions().items():
        for group, features in _groups().items():
            said = f"alone, {model}, {group}"
            rows = _rows(_asked(answer, f"{said}: it", session, [each.copy() for each in features]), features, said)
            asked = "each sentence in a run of its own, with nothing behind it?"
            _judge_rows(rows, *_of_runs_alone(model, group), said, asked)


@exercise("07.4", "a batch that does not mix")
def _(answer):
    one, other = two_functions(answer, "together", "alone")
    judge_together(one)
    if other is None:
        raise NotYet("together is right; alone is next, then check both")
    judge_alone(other)
    small, large = _groups()["beside one whose features are 50 times as large"]
    session = _sessions()["the article's int8"]
    own = alone(session, [small])[0]
    lost = sqnr_db(own, together(session, [small, large])[0])
    return f"beside features 50 times as large the int8 model keeps {lost:.0f} dB of the check's sentence, alone all"


@exercise("07.5", "private quantizers for query, key and value")
def _(answer):
    return judge_choice(answer, words("07", "private"))
