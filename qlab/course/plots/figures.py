"""Figures that several notebooks share: bars, a tensor and its levels, digits, faces that talk, and a player for sound.

At the end stands what helpers do first and last: a panel, an axis of speeds, finite numbers, labels that do not meet.
"""

import base64
import html
import io

import numpy as np
from IPython.display import Image, display
from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

from qlab import palette
from qlab.files import write_whole
from qlab.numerics.affine import fake_quantize
from qlab.numerics.metrics import sqnr_db
from qlab.palette import INK, colour, styled

FRAMES_A_SECOND, SAMPLE_RATE = 25, 16_000  # of qlab.models, which needs onnxruntime
_DRAWN = 80  # more levels than this are a wall: every k-th is drawn
_NUMBERED = 16  # so many codes have room for their number
_GRID = 1_400  # points of an error curve: two a pixel
_LEAST = 1e-3  # % of the values: where a log axis begins
_GROUND = {"facecolor": "white", "edgecolor": "none", "pad": 1, "alpha": 0.85}  # words that stand on bars or lines


@styled
def bars(values, *, unit, title, kind="integer", kinds=None, axes=None):
    """Horizontal bars with their values, and 95 % intervals where they are given.

    values: {name: number, or (number, low, high)}. kinds: {name: kind} where bars differ in kind.
    """
    axes = panel(axes, height=1.2 + 0.42 * len(values))
    rows = [with_interval(value) for value in values.values()]
    colours = [colour((kinds or {}).get(name, kind)) for name in values]
    axes.barh(range(len(rows)), [value for value, _, _ in rows], height=0.66, color=colours)
    largest = max(abs(value) for value, _, _ in rows) or 1
    decimals = max(0, 2 - int(np.floor(np.log10(largest))))  # three digits for the largest, as many places for all
    reach = max(high for _, _, high in rows) - min(0.0, *(low for _, low, _ in rows))
    for y, (value, low, high) in enumerate(rows):
        if high > low:
            axes.plot([low, high], [y, y], color=INK, linewidth=1.4)
        beyond = high + 0.012 * reach if value >= 0 else low - 0.012 * reach
        axes.text(beyond, y, f"{value:.{decimals}f}", va="center", ha="left" if value >= 0 else "right", color=INK)
    axes.set_yticks(range(len(rows)), list(values))
    axes.set_ylim(len(rows) - 0.5, -0.5)
    axes.margins(x=0.12)
    axes.grid(False, axis="y")
    axes.set_xlabel(unit)
    axes.set_title(title)
    return axes.figure


@styled
def histogram(values, *, title, label, kind="weights", levels=(), view=None, step=None, bins=140, log=False, axes=None):
    """Histogram of a real tensor, the levels as ticks at its foot, the parts that clip shaded in error red. -> Figure

    values: an array, or a calibration Histogram. label: what they are, with unit. levels: the numbers that codes stand
    for, in any order. view: (low, high) of the picture; without it, values and levels, whichever reach further. step:
    evenly spaced levels reach half a step further out before a value clips. log: the share of the values on a log axis.
    """
    axes = panel(axes, height=3.6)
    values, weights, bins = _binned(values, bins)
    total = values.size if weights is None else weights.sum()
    levels = np.sort(np.asarray(levels, np.float64).ravel())
    low, high = view or _reach(values, levels)
    counts, edges = np.histogram(values, bins=bins, range=(low, high), weights=weights)
    least = 0 if not log else _LEAST if weights is None else 50 / total  # of counts, half a number
    axes.stairs(100 * counts / total, edges, baseline=least, fill=True, color=colour(kind), alpha=0.75)
    axes.set(xlim=(low, high), xlabel=label, ylabel="% of the numbers")
    if log:
        axes.set(yscale="log", ylim=(least, 100))
        axes.set_yticks([0.01, 0.1, 1, 10, 100], ["0.01", "0.1", "1", "10", "100"])
        axes.minorticks_off()
    if levels.size:
        inside = levels[(levels >= low) & (levels <= high)]
        foot, head = (-0.02, 0.07) if label else (-0.09, 0)  # below the axis only where it has no numbers of its own
        axes.vlines(
            inside[:: max(1, -(-inside.size // _DRAWN))], foot, head, transform=axes.get_xaxis_transform(),
            color=palette.INTEGER, linewidth=1.6, clip_on=False, zorder=4,
        )  # fmt: skip
        _draw_clipped(axes, values, levels, inside.size, (low, high), step or 0)
    axes.set_title(title)
    return axes.figure


def _binned(values, bins):
    """(values, weights, bins) for np.histogram; of a Histogram the middles of its bins, joined to at most so many."""
    if not hasattr(values, "counts"):
        return numbers(values, "values").ravel(), None, bins
    joined = values.edges[: -1 : -(-values.counts.size // bins)]
    return (values.edges[:-1] + values.edges[1:]) / 2, values.counts, np.append(joined, values.edges[-1])


def _reach(values, levels):
    """The ends of a picture that shows all values and all levels, a little air beside them."""
    low, high = (pick(pick(array) for array in (values, levels) if array.size) for pick in (min, max))
    air = 0.02 * (high - low or 1)
    return low - air, high + air


def _draw_clipped(axes, values, levels, inside, view, step):
    first, last = levels[0] - step / 2, levels[-1] + step / 2
    beyond = [(start, stop) for start, stop in ((view[0], first), (last, view[1])) if start < stop]
    for start, stop in beyond:
        axes.axvspan(start, stop, color=palette.ERROR, alpha=0.12, linewidth=0, zorder=0)
    every, of = -(-inside // _DRAWN), f" of {levels.size:,}" if inside < levels.size else ""
    said = f"green: {inside:,}{of} levels" + (f", 1 in {every} drawn" if every > 1 else "")
    if beyond:
        clipped = 100 * float(((values < first) | (values > last)).mean())
        said += f"\nred: clips ({clipped:.2g} %)"
    axes.text(0.99, 0.95, said, transform=axes.transAxes, ha="right", va="top", color=INK, bbox=_GROUND)


@styled
def levels_and_error(x, qparams, *, view, label, title=None, kind="weights", log=False, top=None):
    """Histogram of `x` with the levels of one scale for the tensor; below it the error at every place. -> Figure

    qparams: a QParams with PerTensor(). view: (low, high) of the picture; label: what x is, with unit; top: the largest
    error that the lower panel shows (2 scales if left out), so that figures can be compared.
    """
    codes = np.arange(int(qparams.quant_min), int(qparams.quant_max) + 1)
    levels = float(qparams.scale) * (codes - float(qparams.zero_point))
    kept = sqnr_db(x, fake_quantize(x, qparams))
    figure, (above, below) = palette.figure(2, 1, height=4.7, layout=None, sharex=True, height_ratios=(3, 2))
    figure.subplots_adjust(left=0.09, right=0.97, bottom=0.11, top=0.92, hspace=0.3)
    title = title or f"SQNR {kept:.1f} dB with {qparams.dtype}, scale {float(qparams.scale):.3g}"
    histogram(
        x, title=title, label="", kind=kind, levels=levels, view=view, step=float(qparams.scale), log=log, axes=above
    )
    above.set(ylabel="% of the numbers")
    above.tick_params(axis="x", length=0)
    _number_codes(above, codes, levels, view, int(qparams.zero_point))
    _draw_error(below, qparams, view, top)
    below.set_xlabel(label)
    return figure


def _number_codes(axes, codes, levels, view, zero_point):
    """The codes below their levels: all of a few, or the ends and the zero point, where they have room."""
    axes.tick_params(axis="x", labelbottom=False)
    room = (view[1] - view[0]) / 30
    wanted = codes if codes.size <= _NUMBERED else (zero_point, codes[0], codes[-1])
    taken = []
    for code in sorted(wanted, key=lambda code: (code != zero_point, code)):  # the zero point has its room first
        place = levels[code - codes[0]] if codes[0] <= code <= codes[-1] else np.inf
        if view[0] <= place <= view[1] and all(abs(place - other) >= room for other in taken):
            taken.append(place)
            axes.annotate(
                str(code), (place, -0.1), xycoords=axes.get_xaxis_transform(), ha="center", va="top", fontsize=9,
                color=palette.INTEGER, fontweight="bold" if code == zero_point else "normal",
            )  # fmt: skip


def _draw_error(axes, qparams, view, top):
    grid = np.linspace(*view, _GRID, dtype=np.float32)
    half = float(qparams.scale) / 2
    axes.plot(grid, np.abs(grid - fake_quantize(grid, qparams)), color=palette.ERROR, linewidth=1)
    axes.axhline(half, color=INK, linewidth=1, linestyle="--")
    axes.text(0.99, 0.93, "dashed: scale / 2", transform=axes.transAxes, ha="right", va="top", color=INK, bbox=_GROUND)
    axes.set(ylim=(0, top or 4 * half), ylabel="|error|")


class Sound:
    """A player for samples, float [n], as loud as they can be; `said` stands beside it.

    >>> display(plots.Sound(utterance.samples, said=utterance.text))
    """

    def __init__(self, samples, *, said="", rate=16_000):
        samples = numbers(samples, "samples").ravel()
        self.samples, self.said, self.rate = samples / max(np.abs(samples).max(), 1e-6), said, rate

    def flac(self):
        """The bytes of a FLAC file: half a WAV's."""
        import soundfile

        file = io.BytesIO()
        soundfile.write(file, self.samples, self.rate, format="FLAC", subtype="PCM_16")
        return file.getvalue()

    def _repr_html_(self):
        # The address stands in <audio> itself: JupyterLab takes it from a <source> until the reader has run the cell.
        # What does not know, or strips, the player leaves the words inside it.
        address = f"data:audio/flac;base64,{base64.b64encode(self.flac()).decode()}"
        words = html.escape(self.said)
        player = f'<audio controls title="{words}" src="{address}">Sound: run the cell to hear it.</audio>'
        return f'<div style="display: flex; align-items: center; gap: 12px">{player}<span>{words}</span></div>'

    def __repr__(self):
        return f"<Sound, {self.samples.size / self.rate:.1f} s" + (f": {self.said}>" if self.said else ">")


@styled
def digits(images, *, title, seen=None, truth=None, columns=10):
    """A grid of digit images. images: [n, 1, 8, 8] or [n, 8, 8] in 0..1; seen, truth: n labels.

    Under each image stands what was seen, in the colour of error where the truth is another.
    """
    images = numbers(images, "images")
    images = images.reshape(-1, *images.shape[-2:])
    rows = -(-len(images) // columns)
    figure, axes = palette.figure(rows, columns, height=0.45 + 1.02 * rows, squeeze=False)
    for cell in axes.flat:
        cell.set_axis_off()
    for index, (cell, image) in enumerate(zip(axes.flat, images, strict=False)):
        cell.imshow(image, cmap="gray_r", vmin=0, vmax=1)
        said, ink = _caption(index, seen, truth)
        cell.set_title(said, loc="center", y=-0.02, va="top", color=ink, fontsize=10, fontweight="normal", pad=0)
    figure.suptitle(title, x=0.01, ha="left", fontsize=12, fontweight="bold")
    return figure


def _caption(index, seen, truth):
    if seen is None:
        return ("" if truth is None else str(truth[index])), INK
    if truth is None or seen[index] == truth[index]:
        return str(seen[index]), INK
    return f"{seen[index]}, not {truth[index]}", palette.ERROR


@styled
def film_strip(rows, *, title, count=10):
    """Moments of a film, `count` of them evenly spaced: rows {name: float [n, 3, 96, 96] in 0..1}, one strip each.

    Below stand the seconds, at 25 pictures each.
    """
    rows = {name: _film(name, pictures) for name, pictures in rows.items()}
    length = min(map(len, rows.values()))
    chosen = np.linspace(0, length - 1, min(count, length)).round().astype(int)
    figure, axes = palette.figure(len(rows), height=0.55 + len(rows) * palette.WIDTH / len(chosen), squeeze=False)
    for (name, pictures), cell in zip(rows.items(), axes[:, 0], strict=True):
        height, width = pictures.shape[1:3]
        cell.imshow(np.concatenate(pictures[chosen], axis=1))
        cell.set_xticks([], [])
        cell.set_yticks([height / 2], [name], color=INK)
        cell.tick_params(length=0)
        cell.grid(False)
        cell.spines[:].set_visible(False)
    middle = (np.arange(len(chosen)) + 0.5) * width
    cell.set_xticks(middle, [f"{second:.2f}" for second in chosen / FRAMES_A_SECOND])
    cell.set_xlabel("time in seconds")
    axes[0, 0].set_title(title)
    return figure


class Film:
    """An animation: pictures {name: float [n, 3, 96, 96] in 0..1} side by side, 25 a second, with the Utterance said.

    It shows itself in a notebook, the sound in a player below; `save(path)` writes the GIF. Names are those of the
    pictures from left to right.
    """

    def __init__(self, pictures, sentence):
        self.films = {name: _film(name, film) for name, film in pictures.items()}
        self.sentence = sentence

    def gif(self):
        """The bytes of the GIF."""
        from PIL import Image as Pillow

        length = min(map(len, self.films.values()))
        wide = np.concatenate([film[:length] for film in self.films.values()], axis=2)
        # Colours from the whole film: its own for every picture would flicker.
        colours = Pillow.fromarray(np.concatenate(wide[:: max(length // 8, 1)])).quantize(256)
        plain = Pillow.Dither.NONE  # dots in the place of shades would look like the error of quantization
        first, *rest = (Pillow.fromarray(one).quantize(palette=colours, dither=plain) for one in wide)
        file = io.BytesIO()
        first.save(file, "gif", save_all=True, append_images=rest, duration=1000 // FRAMES_A_SECOND, loop=0)
        return file.getvalue()

    def save(self, path):
        """Write the GIF."""
        write_whole(path, self.gif())

    def _ipython_display_(self):
        names = ", ".join(self.films)
        display(Image(self.gif(), format="gif", width=200 * len(self.films), alt=f"{names}: {self.sentence.text}"))
        display(Sound(self.sentence.samples, rate=SAMPLE_RATE, said=self.sentence.text))

    def __repr__(self):
        return f"Film({', '.join(self.films)}: {self.sentence.text!r})"


def _film(name, pictures):
    """uint8 [n, 96, 96, 3]."""
    pictures = numbers(pictures, name)
    if pictures.ndim != 4 or pictures.shape[1] != 3 or not len(pictures):
        raise ValueError(
            f"{name}: expected pictures of shape [n, 3, height, width], at least one, got {pictures.shape}"
        )
    return np.rint(np.clip(pictures, 0, 1) * 255).astype(np.uint8).transpose(0, 2, 3, 1)


def panel(axes, **options):
    """The axes to draw into: the caller's, or those of a new figure."""
    return axes if axes is not None else palette.figure(**options)[1]


def times_axis(axes, low, high, which="y"):
    """Make an axis one of speeds from low to high: log, with a tick at each doubling, 1/2×, 1×, 2×."""
    axes.set(**{f"{which}scale": "log", f"{which}lim": (low, high)})
    axis = getattr(axes, f"{which}axis")
    ticks = 2.0 ** np.arange(np.ceil(np.log2(low)), np.floor(np.log2(high)) + 1)
    axis.set_major_locator(FixedLocator(ticks))
    axis.set_major_formatter(FuncFormatter(lambda times, _: f"{times:g}×" if times >= 1 else f"1/{1 / times:g}×"))
    axis.set_minor_locator(NullLocator())


def numbers(values, what):
    """A non-empty float array. Raises ValueError for an empty one or one with NaN or infinity."""
    array = np.asarray(values, np.float64)
    if array.size == 0 or not np.isfinite(array).all():
        raise ValueError(
            f"{what}: expected finite numbers, got {array.size}, {np.isfinite(array).sum()} of them finite"
        )
    return array


def with_interval(value):
    """A number, or (number, low, high) -> (number, low, high); a bare number is its own interval."""
    value, *interval = np.atleast_1d(value).astype(float)
    low, high = interval or (value, value)
    return value, low, high


def spread(positions, gap):
    """Positions of labels, moved apart as little as keeps them `gap` from each other, in the order they had."""
    order = np.argsort(positions, kind="stable")
    moved = np.array(positions, float)[order]
    for _ in range(500):  # each round pushes neighbours that are too close half of what is missing, both ways
        push = np.maximum(gap - np.diff(moved), 0) / 2
        if push.max(initial=0) < 1e-9:
            break
        moved[:-1] -= push
        moved[1:] += push
    result = np.empty_like(moved)
    result[order] = moved
    return result
