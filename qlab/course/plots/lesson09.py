"""The pictures of notebook 09 alone."""

import numpy as np
from matplotlib.lines import Line2D
from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

from qlab import palette
from qlab.course.plots import Schematic
from qlab.course.plots.canvas import INK, spread, styled, with_interval

_TIMES = [2.0**power for power in range(-6, 6)]


def _times_axis(axes, low, high, which="y"):
    getattr(axes, f"set_{which}scale")("log")
    getattr(axes, f"set_{which}lim")(low, high)
    axis = getattr(axes, f"{which}axis")
    axis.set_major_locator(FixedLocator([times for times in _TIMES if low <= times <= high]))
    axis.set_major_formatter(FuncFormatter(lambda times, _: f"{times:g}×" if times >= 1 else f"1/{1 / times:g}×"))
    axis.set_minor_locator(NullLocator())


def timeline(share, times, overhead):
    """fp32's time as one bar, and what int8 makes of it: quantizing, the products, the rest that stays."""
    after = share / times
    whole = 1 - share + after + overhead
    s = Schematic(
        20,
        5.2,
        title="int8 shortens one part, adds another, and leaves the rest",
        alt=f"Two bars of time. fp32: products {share:.0%}, the rest {1 - share:.0%}. int8: quantizing {overhead:.0%} "
        f"of fp32's time, products {after:.0%}, the rest {1 - share:.0%} as before: {whole:.0%} in all.",
    )
    left, unit = 1.6, 15.0

    def bar(y, name, parts):
        s.text(left - 0.3, y, name, align="right", bold=True)
        at = left
        for said, width, colour in parts:
            s.box(at + width * unit / 2, y, said, kind=colour, width=width * unit, height=1.1)
            at += width * unit
        return at

    bar(3.9, "fp32", [(f"products: {share:.0%}", share, "fp32"), (f"the rest: {1 - share:.0%}", 1 - share, None)])
    end = bar(
        1.9,
        "int8",
        [
            (f"{overhead:.0%}", overhead, "activations"),
            (f"products:\n{share:.0%} / {times:g} = {after:.0%}", after, "integer"),
            (f"the rest: {1 - share:.0%}", 1 - share, None),
        ],
    )
    s.text(left + overhead * unit / 2, 0.85, "ranges, codes", kind="activations", size=9)
    s.text(end + 0.3, 1.9, f"{whole:.0%} of the time:\n1 / {whole:.2f} = {1 / whole:.2f} times", align="left", size=9)
    return s.figure


@palette.style()
def amdahl(share, times, overhead, *, pairs=None, name="the network"):
    """Left the network's speed-up against that of its products, right the time that is left. -> Figure

    pairs: {sign pair: the card's speed}, marked on the curve.
    """
    figure, (left, right) = palette.figure(1, 2, height=3.5, layout=None, width_ratios=(3, 2))
    figure.subplots_adjust(left=0.11, right=0.97, bottom=0.17, top=0.85, wspace=0.25)
    at = 2.0 ** np.linspace(-3, 3, 121)
    gain = lambda s: 1 / (1 - share + share / s + overhead)
    left.plot(at, gain(at), color=palette.INTEGER)
    left.axhline(1, color=palette.FP32, linewidth=1.6)
    most = 1 / max(1 - share + overhead, 1e-9)
    if most < 8:
        left.axhline(most, color=INK, linewidth=1, linestyle=":")
        left.annotate(
            f"products free: {most:.2f}×", (1 / 8, most), (2, 3), textcoords="offset points", color=INK, fontsize=9
        )
    left.plot(times, gain(times), "o", color=palette.INTEGER, markersize=9)
    for said, speed in _near_ones(pairs or {}):
        left.plot([speed] * 2, [1 / 16, 1 / 13], color=INK, linewidth=2)
        left.annotate(said, (speed, 1 / 13), (0, 2), textcoords="offset points", ha="center", fontsize=8, color=INK)
    _times_axis(left, 1 / 8, 8, "x")
    _times_axis(left, 1 / 16, 8)
    left.set(xlabel="speed of the products, float32 = 1 (log)", ylabel="speed-up of the network (log)")
    _stack(right, 0, [("", 1 - share, None), ("", share, palette.FP32)])
    right.text(0, 1 - share / 2, "products", color="white", ha="center", va="center", fontsize=9)
    after = [("the rest", 1 - share, None), ("products", share / times, palette.INTEGER),
             ("ranges, codes", overhead, palette.ACTIVATIONS)]  # fmt: skip
    _stack(right, 1, after)
    right.set_xticks([0, 1], ["fp32", "int8"])
    right.set_xlim(-0.5, 2.4)
    right.set_ylim(0, max(1.15, 1.1 / gain(times)))
    right.set_ylabel("time, fp32 = 1")
    right.grid(False, axis="x")
    verdict = "faster" if gain(times) > 1 else "slower" if gain(times) < 1 else "as fast"
    figure.suptitle(
        f"Products {times:.2g}×: {name} {gain(times):.2f}×, {verdict}", x=0.01, ha="left", fontsize=12,
        fontweight="bold",
    )  # fmt: skip
    return figure


def _near_ones(pairs):
    """(names, speed) of the pairs on a card; those within a tenth of each other under one label."""
    groups = []
    for signs, speed in sorted((entry for entry in pairs.items() if entry[1]), key=lambda entry: entry[1]):
        if 1 / 8 < speed < 8:
            if groups and speed < 1.15 * groups[-1][1]:
                groups[-1][0].append(signs)
            else:
                groups.append(([signs], speed))
    return [("\n".join(names), speed) for names, speed in groups]


def _stack(axes, x, parts):
    """Bars on each other, the last with their names at its side; None is a part that stays, and is drawn empty."""
    bottom, top = 0.0, sum(height for _, height, _ in parts)
    middles, names = [], []
    for name, height, colour in parts:
        axes.bar(x, height, bottom=bottom, width=0.7, facecolor=colour or "white", edgecolor=colour or INK)
        middles, names = [*middles, bottom + height / 2], [*names, name]
        bottom += height
    for name, y in zip(names, spread(middles, 0.09 * max(top, 1)), strict=True):
        axes.annotate(name, (x + 0.42, y), color=INK, va="center", fontsize=9)


_MARKS = {"u8s8": "o", "u8u8": "s", "s8s8": "^", "s8u8": "v"}


@styled
def rows(raced, roofs, *, title):
    """A panel a matrix: speed-up over float32 against rows, measured (solid) and by a roofline (dashed).

    raced: {size: what race_rows gave}; roofs: {size: {pair: [speed-up at each number of rows]}}.
    """
    figure, panels = palette.figure(1, len(raced), height=4.1, sharey=True, squeeze=False)
    for axes, (size, found) in zip(panels[0], raced.items(), strict=True):
        counts = np.array([count for count, _ in found["float32"]])
        ends = []
        for signs, points in found.items():
            if signs == "float32" or not points:
                continue
            at, gain = np.array(points).T
            axes.plot(at, gain, color=palette.INTEGER, marker=_MARKS[signs], markersize=5)
            ends.append((signs, at[-1], gain[-1]))
            if signs in roofs[size]:
                axes.plot(
                    counts, roofs[size][signs], color=INK, linewidth=1, linestyle="--", marker=_MARKS[signs],
                    markersize=4, markerfacecolor="white",
                )  # fmt: skip
        heights = 2.0 ** spread([np.log2(gain) for _, _, gain in ends], 0.55)
        for (signs, at, gain), height in zip(ends, heights, strict=True):
            axes.annotate(
                f"{signs[:2]} × {signs[2:]}", (at, gain), (at * 1.25, height), color=palette.INTEGER, va="center",
                fontsize=9, bbox={"facecolor": "white", "edgecolor": "none", "pad": 1},
            )  # fmt: skip
        axes.axhline(1, color=palette.FP32, linewidth=2)
        axes.set_xscale("log", base=2)
        axes.set_xlim(counts[0] / 1.25, counts[-1] * 4)
        axes.xaxis.set_major_locator(FixedLocator(counts))
        axes.xaxis.set_major_formatter(FuncFormatter(lambda count, _: f"{count:g}"))
        axes.xaxis.set_minor_locator(NullLocator())
        axes.set_xlabel("rows of activations (log)")
        axes.set_title(f"{size} × {size}: {4e-6 * size * size:.0f} MB of float32", fontsize=10, fontweight="normal")
    values = [gain for found in raced.values() for name, p in found.items() if name != "float32" for _, gain in p]
    values += [gain for found in roofs.values() for gains in found.values() for gain in gains]
    _times_axis(panels[0][0], min(0.25, *values) / 1.3, max(4.5, *values) * 1.3)
    panels[0][0].set_ylabel("speed against float32 (log)")
    keys = [
        Line2D([], [], color=palette.INTEGER, label="measured"),
        Line2D([], [], color=INK, linewidth=1, linestyle="--", label="by the roofline (same marks)"),
        Line2D([], [], color=palette.FP32, linewidth=2, label="float32"),
    ]
    figure.legend(handles=keys, loc="outside lower center", ncols=3, fontsize=9)
    figure.suptitle(title, x=0.01, ha="left", fontsize=12, fontweight="bold")
    figure.alt = title + ". " + "; ".join(
        f"{size}: " + ", ".join(f"{n} {p[0][1]:.2f} at one row" for n, p in found.items() if n != "float32" and p)
        for size, found in raced.items()
    )  # fmt: skip
    return figure


@styled
def three_machines(lines, *, title):
    """A row a network and setting: the article's speed-up, this machine's with its interval, reference cards' ratios.

    lines: {setting: {who: speed-up, or (speed-up, low, high), or nan}}.
    """
    figure, axes = palette.figure(height=1.5 + 0.62 * len(lines))
    names = list(dict.fromkeys(name for found in lines.values() for name in found))
    marks = dict(zip(names, "Dos^v", strict=False))
    drawn = {name: (palette.INTEGER if at == 1 else INK) for at, name in enumerate(names)}
    for y, found in enumerate(lines.values()):
        for at, (name, value) in enumerate(found.items()):
            value, low, high = with_interval(value)
            where = y + 0.17 * (at - (len(found) - 1) / 2)
            if high > low:
                axes.plot([low, high], [where, where], color=drawn[name], linewidth=1.6)
            axes.plot(
                value, where, marks[name], color=drawn[name], markersize=8, markerfacecolor=drawn[name] if at < 2 else
                "white", label=name if y == 0 else None,
            )  # fmt: skip
    values = [each for found in lines.values() for value in found.values() for each in with_interval(value)]
    values = [each for each in values if np.isfinite(each)]
    _times_axis(axes, min(0.45, *values) / 1.15, max(2.2, *values) * 1.15, "x")
    axes.axvline(1, color=palette.FP32, linewidth=2)
    axes.set_yticks(range(len(lines)), list(lines))
    axes.set_ylim(len(lines) - 0.5, -0.5)
    axes.grid(False, axis="y")
    axes.set_xlabel("speed against fp32 (log)")
    figure.legend(loc="outside lower center", ncols=len(names), fontsize=9)
    figure.suptitle(title, x=0.01, ha="left", fontsize=12, fontweight="bold")
    return figure


@styled
def predicted_and_measured(cells, *, title):
    """A row a model and recipe: the predicted range, the predicted value, the measured one, a band of a factor 1.3.

    cells: {name: (predicted, low, high, measured)}.
    """
    figure, axes = palette.figure(height=1.4 + 0.4 * len(cells))
    for y, (predicted, low, high, measured) in enumerate(cells.values()):
        axes.barh(y, predicted * 1.3 - predicted / 1.3, left=predicted / 1.3, height=0.62, color="#E3E6E8")
        axes.plot([low, high], [y, y], color=INK, linewidth=1.4)
        axes.plot(predicted, y, "|", color=INK, markersize=14, markeredgewidth=2, label="predicted" if y == 0 else None)
        axes.plot(measured, y, "o", color=palette.INTEGER, markersize=7, label="measured" if y == 0 else None)
    values = [value for cell in cells.values() for value in cell]
    _times_axis(axes, min(0.8, *values) / 1.5, max(2, *values) * 1.5, "x")
    axes.axvline(1, color=palette.FP32, linewidth=2)
    axes.set_yticks(range(len(cells)), list(cells))
    axes.set_ylim(len(cells) - 0.5, -0.6)
    axes.grid(False, axis="y")
    axes.set_xlabel(
        "speed against fp32 (log)\nband: a factor of 1.3 around the prediction; line: the range that it gives itself"
    )
    figure.legend(loc="outside lower right", ncols=2)
    figure.suptitle(title, x=0.01, ha="left", fontsize=12, fontweight="bold")
    return figure
