"""Notebook 00: which facts one must know to compare two benchmark tables.

Its pictures come first, then what it and its checks use.
"""

import difflib
import re
from itertools import islice, pairwise
from numbers import Integral

import numpy as np
from matplotlib.patches import Rectangle
from onnx import numpy_helper

from qlab import machine, palette
from qlab.course.lessons import exercise, words
from qlab.course.plots.figures import numbers, spread, times_axis, with_interval
from qlab.course.plots.schematic import Schematic
from qlab.course.show import Almost, brief, kind
from qlab.palette import INK, styled

_WINDOW_S, _STEP_S, _FLOOR_DB = 0.025, 0.010, -70  # window and step of the speech model's features
FROM_SOUND_TO_WORDS = (  # middle, text, kind, width
    (0.72, "sound:\n16,000\nnumbers / s", "activations", 1.34),
    (2.45, "80 logarithms\nof energies a\nframe (10 ms)", "activations", 1.44),
    (4.42, "2 convolutions,\nlinear: one token\nfor 4 frames (40 ms)", "weights", 1.94),
    (6.29, "6 blocks", "weights", 1.1),
    (7.89, "linear:\n290 scores\na token", "weights", 1.3),
    (9.42, "words", "activations", 0.9),
)
ONE_BLOCK = (  # middle, text, width
    (1.35, "feed-forward\n(“macaron”)", 1.5),
    (3.8, "attention: query,\nkey, value", 1.8),
    (6.25, "convolution", 1.5),
    (8.6, "feed-forward", 1.5),
)


def network():
    """The conformer from sound to words in one row, and one of its blocks below. -> Figure"""
    page = Schematic(
        10,
        3.75,
        title="The speech network: six blocks alike between sound and words",
        alt="From left to right: sound, 16,000 numbers a second; 80 logarithms of energies for each frame of 10 ms; "
        "two convolutions and a linear layer, which make one token of every four frames, 40 ms; six blocks; a "
        "linear layer, 290 scores for each token; words. Below, one block: feed-forward, called macaron; attention "
        "with query, key and value; convolution; feed-forward. A LayerNorm stands before each, and one at the end.",
    )
    above = [page.box(x, 3.15, text, kind=kind, width=wide, height=0.98) for x, text, kind, wide in FROM_SOUND_TO_WORDS]
    below = [page.box(x, 1.05, text, kind="weights", width=wide, height=0.75) for x, text, wide in ONE_BLOCK]
    for left, right in [*pairwise(above), *pairwise(below), ((0.1, 1.05), below[0]), (below[-1], (9.9, 1.05))]:
        page.arrow(left, right)
    _opened(page, above[3], 1.62)
    page.text(0.1, 2.12, "one block", align="left", bold=True)
    each = (
        "A LayerNorm stands before each of the four, and each adds its result to what came in; one more ends the block"
    )
    page.text(5, 0.35, each, size=9)
    return page.figure


def _opened(page, box, y):
    """Two dotted lines from the feet of a box to both edges of the page, at y."""
    for foot, edge in ((box.x - box.width / 2, 0.1), (box.x + box.width / 2, 9.9)):
        page.axes.plot([foot, edge], [box.y - box.height / 2, y], color=INK, linewidth=0.9, linestyle=":")


@styled
def draw_signs(*cards):
    """Speed of the four sign pairs on machine cards, a panel each; a pair that saturates is hatched."""
    figure, panels = palette.figure(1, len(cards), height=2.6, sharey=True, squeeze=False)
    for axes, card in zip(panels[0], cards, strict=True):
        _bars_of(axes, card, 1.22 * max(speed or 0 for one in cards for speed in one.speed.values()))
    panels[0][0].set_yticks(range(len(machine.SIGN_PAIRS)), [f"{pair[:2]} × {pair[2:]}" for pair in machine.SIGN_PAIRS])
    panels[0][0].set_ylim(len(machine.SIGN_PAIRS) - 0.4, -0.6)
    figure.suptitle(_finding(cards[0]), x=0.01, ha="left", fontsize=12, fontweight="bold")
    bars = {card.name: ", ".join(f"{pair} {_said(card, pair)}" for pair in machine.SIGN_PAIRS) for card in cards}
    figure.alt = "Speed against float32. " + ". ".join(f"{name}: {said}" for name, said in bars.items())
    return figure


def _said(card, pair):
    if card.speed[pair] is None:
        return "no kernel"
    return f"{card.speed[pair]:.2f}" + (" saturates" if pair == "u8s8" and card.saturates else "")


def _bars_of(axes, card, reach):
    for y, (pair, speed) in enumerate((pair, card.speed[pair]) for pair in machine.SIGN_PAIRS):
        inexact = pair == "u8s8" and card.saturates
        face = {"facecolor": "white", "hatch": "////"} if inexact else {"facecolor": palette.INTEGER}
        axes.barh(y, speed or 0, height=0.66, edgecolor=palette.INTEGER, **face)
        axes.text((speed or 0) + 0.03 * reach, y, _said(card, pair), va="center", color=INK, fontsize=9)
    axes.axvline(1, color=palette.FP32, linewidth=1.6, linestyle="--")
    axes.set(xlim=(0, reach), xlabel="times as fast as float32", title=card.name)
    axes.title.set_fontsize(10)
    axes.grid(False, axis="y")


def _finding(card):
    speeds = {f"{pair[:2]} × {pair[2:]}": speed for pair, speed in card.speed.items() if speed}
    best, worst = max(speeds, key=speeds.get), min(speeds, key=speeds.get)
    if speeds[best] < 2 * speeds[worst]:
        others = "every pair of signs" if len(speeds) == len(card.speed) else "each pair that has a kernel"
        return f"{card.name}: {others} runs at {speeds[worst]:.1f} times float32 or more"
    said = f"{best}, which saturates," if best == "u8 × s8" and card.saturates else best
    return f"{card.name}: {said} runs at {speeds[best]:.1f} times float32, {worst} at {speeds[worst]:.2g}"


def draw_layer():
    """What becomes of one product x W: in float, as the article has it, dynamic, static."""
    page = Schematic(
        10, 6.6,
        title="One layer, four ways: which of them multiply integers?",
        alt="Four graphs of the product of x and W. Float: MatMul. As the article has it: W of 8 bits goes through "
        "DequantizeLinear, then MatMul in float. Dynamic: x goes through DynamicQuantizeLinear, which finds its range "
        "in every run; then MatMulInteger, Cast and Mul. Static: x goes through QuantizeLinear, its range fixed "
        "beforehand; x and W go through DequantizeLinear, then MatMul, QuantizeLinear, DequantizeLinear; of the inner "
        "part the runtime makes one integer operator where it can.",
    )  # fmt: skip
    _in_float(page, 6.0, "fp32", "W float")
    _in_float(page, 4.4, "int8 as the article has it: weights only", "W 8-bit")
    _dynamic(page, 2.8)
    _static(page, 1.2)
    return page.figure


def _ends(page, y, name, out, weights):
    """A way's name, its input and output, and its weights: float ones blue, codes green."""
    page.text(0.1, y + 0.42, name, align="left", bold=True)
    x = page.box(0.65, y, "x float", kind="activations", width=1.05, height=0.5)
    page.arrow(out, (9.95, out.y), "y", kind="activations", beside=0.08)
    return x, page.box(
        0.65, y - 0.65, weights, kind="weights" if "float" in weights else "integer", width=1.05, height=0.5
    )


def _in_float(page, y, name, weights_are):
    product = page.box(6.3, y - 0.32, "MatMul", kind="fp32", height=0.6)
    x, weights = _ends(page, y, name, product, weights_are)
    page.arrow(x, product, kind="activations")
    if weights_are == "W 8-bit":
        back = page.box(3.4, y - 0.65, "DequantizeLinear", kind="integer", height=0.5)
        page.arrow(weights, back, kind="integer")
        weights = back
    page.arrow(weights, product, kind="weights")


def _dynamic(page, y):
    product = page.box(6.3, y - 0.32, "MatMulInteger", kind="integer", height=0.6)
    scaled = page.box(8.85, y - 0.32, "Cast, Mul", kind="fp32", height=0.6)
    x, weights = _ends(page, y, "int8 dynamic: the range of x is found while the model runs", scaled, "W 8-bit")
    codes = page.box(3.1, y, "DynamicQuantizeLinear", kind="integer", height=0.5)
    page.arrow(x, codes, kind="activations")
    page.arrow(codes, product, kind="integer")
    page.arrow(weights, product, kind="integer")
    page.arrow(product, scaled, "int32", kind="integer", beside=0.08)


def _static(page, y):
    name = "int8 static: ranges are fixed beforehand (Q: QuantizeLinear, DQ: DequantizeLinear)"
    back = page.box(8.85, y - 0.32, "DQ", kind="integer", height=0.6)
    x, weights = _ends(page, y, name, back, "W 8-bit")
    page.axes.add_patch(
        Rectangle((3.0, y - 0.98), 4.95, 1.28, fill=False, edgecolor=palette.INTEGER, linestyle="--", linewidth=1.2)
    )
    page.text(5.5, y - 1.11, "becomes one integer operator, where the runtime can", kind="integer", size=9)
    codes, real = (page.box(at, y, text, kind="integer", height=0.5) for at, text in ((2.2, "Q"), (3.6, "DQ")))
    stored = page.box(3.6, y - 0.65, "DQ", kind="integer", height=0.5)
    product = page.box(5.6, y - 0.32, "MatMul", kind="fp32", height=0.6)
    again = page.box(7.3, y - 0.32, "Q", kind="integer", height=0.6)
    page.arrow(x, codes, kind="activations")
    page.arrow(codes, real, kind="integer")
    page.arrow(real, product, kind="activations")
    page.arrow(weights, stored, kind="integer")
    page.arrow(stored, product, kind="weights")
    page.arrow(product, again, kind="activations")
    page.arrow(again, back, kind="integer")


@styled
def slope_chart(left, right, *, title, left_label="the article", right_label="this machine"):
    """Speed-ups from one table to another on a log axis; a line that changes sign is drawn bold.

    left, right: {name: speed-up against fp32, or (speed-up, low, high)}; a name of one side only is a point there.
    Where an interval contains 1 the sign cannot be told, and the line stays thin.
    """
    figure, axes = palette.figure(height=4.6)
    sides = [{name: with_interval(value) for name, value in side.items()} for side in (left, right)]
    everything = [value for side in sides for interval in side.values() for value in interval]
    if not everything or min(everything) <= 0:
        raise ValueError(f"slope chart: expected positive speed-ups, got {left} and {right}")
    low, high = np.log2(min(*everything, 0.7)) - 0.25, np.log2(max(*everything, 1.9)) + 0.25
    margins = _margins(_labels(0, *sides), _labels(1, *sides))
    times_axis(axes, 2**low, 2**high)
    axes.set(xlim=margins, ylabel="times as fast as fp32 (log)")
    axes.set_xticks([0, 1], [left_label, right_label])
    axes.tick_params(axis="x", length=0, labelsize=11)
    axes.grid(False, axis="x")
    axes.axhline(1, color=palette.FP32, linewidth=2)
    flips = {name for name in sides[0] if name in sides[1] and _sign(sides[0][name]) * _sign(sides[1][name]) < 0}
    for name in sides[0]:
        if name in sides[1]:
            ends = [side[name][0] for side in sides]
            axes.plot([0, 1], ends, color=palette.INTEGER, linewidth=3.2 if name in flips else 1.4, zorder=3)
    for x, side in enumerate(sides):
        _points(axes, x, side, _labels(x, *sides), flips, (high - low) / 15)
    axes.set_title(title)
    return figure


def _labels(x, left, right):
    """The label of each point of one side. A line bears its name once, on the right."""
    if x:
        return {name: f"{value:.2f}×  {name}" for name, (value, _, _) in right.items()}
    return {name: f"{value:.2f}×" if name in right else f"{name}  {value:.2f}×" for name, (value, _, _) in left.items()}


def _margins(left, right):
    """Limits of x that leave room for the labels beside the columns at 0 and 1."""
    pixels = [8.4 * max(map(len, labels.values()), default=0) + 40 for labels in (left, right)]
    between = max(160, 690 - sum(pixels))
    return -pixels[0] / between, 1 + pixels[1] / between


def _sign(interval):
    _, low, high = interval
    return 1 if low > 1 else -1 if high < 1 else 0


def _points(axes, x, side, labels, flips, gap):
    """The dots, intervals and labels of one side; labels are moved apart, with a thin line to their dot."""
    outward = 1 if x else -1
    heights = 2.0 ** spread([np.log2(value) for value, _, _ in side.values()], gap)
    for (name, (value, low, high)), height in zip(side.items(), heights, strict=True):
        axes.plot([x], [value], "o", color=palette.INTEGER, markersize=7, zorder=4)
        if high > low:
            axes.plot([x, x], [low, high], color=INK, linewidth=1.2, zorder=5)
        axes.annotate(
            labels[name], (x, value), (x + 0.1 * outward, height), color=INK, fontsize=9.5, va="center",
            ha="left" if x else "right", fontweight="bold" if name in flips else "normal",
            bbox={"facecolor": "white", "edgecolor": "none", "pad": 1},
            arrowprops={"arrowstyle": "-", "color": INK, "linewidth": 0.6, "shrinkB": 5, "relpos": (1 - x, 0.5)},
        )  # fmt: skip


@styled
def speech(samples, *, title, rate=16_000):
    """Waveform and spectrogram of a sentence. samples: float [n] in -1..1, at least one window (25 ms) long."""
    samples = numbers(samples, "samples").ravel()
    window, step = round(_WINDOW_S * rate), round(_STEP_S * rate)
    if samples.size < window:
        raise ValueError(f"{samples.size} samples: expected at least {window}, one window of {_WINDOW_S * 1000:.0f} ms")
    figure, (above, below) = palette.figure(2, height=4.2, sharex=True, height_ratios=(1, 2))
    above.plot(np.arange(samples.size) / rate, samples, color=INK, linewidth=0.5)
    above.set(ylabel="amplitude", ylim=np.array([-1.05, 1.05]) * max(np.abs(samples).max(), 1e-6))
    decibels = spectrogram(samples, window, step)
    seconds = samples.size / rate
    colours = {"cmap": "magma", "vmin": _FLOOR_DB, "vmax": 0}
    picture = below.imshow(decibels.T, origin="lower", aspect="auto", extent=(0, seconds, 0, rate / 2000), **colours)
    below.set(xlabel="time in seconds", ylabel="frequency in kHz", xlim=(0, seconds))
    below.grid(False)
    figure.colorbar(picture, ax=below, label="power in dB, 0 is the loudest", pad=0.01)
    above.set_title(title)
    return figure


def spectrogram(samples, window, step):
    """Power in dB below the loudest value, never under -70. -> [frames, window // 2 + 1]"""
    frames = np.lib.stride_tricks.sliding_window_view(samples, window)[::step] * np.hanning(window)
    power = np.abs(np.fft.rfft(frames)) ** 2
    return 10 * np.log10(np.maximum(power / max(power.max(), 1e-20), 10 ** (_FLOOR_DB / 10)))


_ABOUT = words(
    "00", "facts"
)  # name: {"what": as the notebook prints it, "needed": for a comparison, "why": or why not}
FACTS = {fact: about["what"] for fact, about in _ABOUT.items()}
NEEDED = [fact for fact, about in _ABOUT.items() if about["needed"]]
SIDES = {  # of the needed facts, those that tend to be named alone, and what such a table leaves open
    "all of these are about what was run. Missing is on what machine, and how it was timed": {
        "model", "input shape", "dtypes", "method", "op types",
    },
    "all of these are about the machine. Missing is what ran on it, and how it was timed": {
        "cpu", "threads", "versions",
    },
}  # fmt: skip


@exercise("00.1", "facts that make two tables comparable")
def _(answer):
    named = _names(answer)
    if strangers := sorted(named.difference(FACTS)):
        raise Almost(_not_in_the_list(strangers[0]))
    _named_as_a_whole(named)
    if superfluous := sorted(named.difference(NEEDED)):
        raise Almost(f"{superfluous[0]!r} is not needed: {_ABOUT[superfluous[0]]['why']}")
    if missing := [fact for fact in NEEDED if fact not in named]:
        more = f" ({len(missing) - 1} more missing)" if len(missing) > 1 else ""
        raise Almost(f"{missing[0]!r} is missing: {_ABOUT[missing[0]]['why']}{more}")
    return f"all {len(NEEDED)} facts, and nothing that does not bear on speed"


def _named_as_a_whole(named):
    """Refuse choices that show one idea rather than one slip."""
    if not named:
        raise Almost("no fact is named yet: choose from the list above")
    if named == set(FACTS):
        raise Almost(f"that is the whole list. Not all of it bears on speed: {FACTS['date']}, for one")
    if named == set(FACTS).difference(NEEDED):
        raise Almost("those are the facts that are *not* needed: the others are asked for")
    if named == {"cpu"}:
        raise Almost(
            "only the CPU is named. Two tables from one CPU still differ when, say, the 'dtypes' differ: "
            f"{_ABOUT['dtypes']['why']}"
        )
    for left_open, side in SIDES.items():
        if len(named) > 1 and named <= side:
            raise Almost(left_open)


def _names(answer):
    """The answer, in any container, as a set of names; capitals, underscores and spaces around do not matter."""
    if isinstance(answer, dict) and all(map(_is_yes_or_no, answer.values())):
        answer = [name for name, chosen in answer.items() if chosen]
    entries = _entries(answer)
    if others := [entry for entry in entries if not isinstance(entry, str)]:
        raise Almost(f"expected names in quotes, seen {brief(others[0])}, a `{kind(others[0])}`")
    if copied := [fact for fact in FACTS if any(entry.strip() == FACTS[fact] for entry in entries)]:
        raise Almost(f"{brief(FACTS[copied[0]])} tells what {copied[0]!r} is: give the name, on the left of the list")
    names = {" ".join(re.split(r"[\s_-]+", entry.strip())).lower() for entry in entries}
    for name in sorted(names):
        if len(several := [part.strip() for part in name.split(",")]) > 1:
            apart = ", ".join(f'"{part}"' for part in several)
            raise Almost(f"{brief(name)} is one piece of text: give every name its own quotes, {apart}")
    return names


def _is_yes_or_no(value):
    return isinstance(value, Integral | np.bool_) and value in (0, 1)


def _entries(answer):
    try:
        if isinstance(answer, str | bytes):
            raise TypeError
        return list(islice(answer, 1000))
    except TypeError:
        message = f'expected a set of names such as {{"author", "date"}}, seen {brief(answer)}, a `{kind(answer)}`'
        raise Almost(message) from None


def _not_in_the_list(name):
    close = [fact for fact in FACTS if name in fact.split()] or difflib.get_close_matches(name, FACTS, n=1, cutoff=0.7)
    close = close or [fact for fact, what in FACTS.items() if name in re.findall(r"\w+", what)]
    meant = f": do you mean {' or '.join(map(repr, close))}?" if close else f": {', '.join(FACTS)}"
    return f"{brief(name)} is not in the list{meant}"


def without_signs(model):
    """The model with 128 added to all its int8 codes, weights and zero points: the same real numbers, as uint8."""
    for tensor in model.graph.initializer:
        codes = numpy_helper.to_array(tensor)
        if codes.dtype == np.int8:
            tensor.CopyFrom(numpy_helper.from_array((codes.astype(np.int16) + 128).astype(np.uint8), tensor.name))
    return model
