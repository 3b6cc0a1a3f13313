"""One set of colours and figure defaults for every figure of the course.

>>> from qlab import palette
>>> figure, axes = palette.figure(height=2.5)
>>> bars = axes.bar(["fp32", "int8"], [143.5, 41.0], color=[palette.FP32, palette.INTEGER])

A colour has one meaning everywhere. All five stay apart for the three kinds of colour blindness, and each stands out
from a white page (tests/test_palette.py computes both).
"""

import io
from contextlib import contextmanager
from functools import cache

import matplotlib
import matplotlib.figure
from matplotlib.axis import Axis
from matplotlib.ticker import LogFormatterMathtext

FP32 = "#787878"
WEIGHTS = "#0B5CAD"
ACTIVATIONS = "#DA7D00"
INTEGER = "#2CA25F"
ERROR = "#A50F2B"
INK = "#3C434A"  # text, and lines that are about no kind of number
COLOURS = {"fp32": FP32, "weights": WEIGHTS, "activations": ACTIVATIONS, "integer": INTEGER, "error": ERROR}
WIDTH = 8.0  # inches: with DPI, 800 pixels, the text column of a notebook
DPI = 100
FONT = "DejaVu Sans"  # comes with matplotlib: what is measured with it fits everywhere

# For names of nodes and tensors in Chinese, Japanese or Korean: whichever of these the system has.
FONTS_FOR_MORE_LETTERS = (
    "Noto Sans CJK SC", "Noto Sans SC", "Source Han Sans SC", "Microsoft YaHei", "PingFang SC", "Hiragino Sans GB",
    "WenQuanYi Micro Hei", "WenQuanYi Zen Hei", "SimHei", "Droid Sans Fallback", "Arial Unicode MS",
)  # fmt: skip

STYLE = {
    "axes.axisbelow": True,
    "axes.grid": True,
    "axes.labelsize": 11,
    "axes.prop_cycle": matplotlib.cycler(color=[WEIGHTS, ACTIVATIONS, INTEGER, FP32, ERROR]),
    "axes.spines.right": False,
    "axes.spines.top": False,
    "axes.titlelocation": "left",
    "axes.titlesize": 12,
    "axes.titleweight": "bold",
    "figure.dpi": DPI,
    "figure.facecolor": "white",  # also in a dark theme: the colours are chosen against white
    "figure.figsize": (WIDTH, 4.0),
    "font.size": 10,
    "grid.alpha": 0.6,
    "grid.color": "#D9D9D9",
    "grid.linewidth": 0.8,
    "legend.frameon": False,
    "lines.linewidth": 1.8,
    "savefig.dpi": "figure",
    "text.parse_math": False,  # a tensor's name may hold dollar signs, which mean no formula
}
_SUPERSCRIPTS = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")


class LogFormatter(LogFormatterMathtext):
    """Labels of a log axis in plain letters: 0.1, 1, 10; powers, 10⁻⁶, where an end of the axis would be long.

    matplotlib's own are formulas, which `text.parse_math` leaves as they are written: "$\\mathdefault{10^{1}}$".
    """

    def __call__(self, x, pos=None):
        if not super().__call__(x, pos):  # matplotlib would leave this tick without a label
            return ""
        if x == 0 or all(1e-4 <= abs(end) < 1e6 for end in self.axis.get_view_interval() if end):
            return self.fix_minus(f"{x:g}")
        factor, exponent = f"{x:.5e}".split("e")
        power = f"10{str(int(exponent)).translate(_SUPERSCRIPTS)}"
        factor = f"{float(factor):g}"
        return self.fix_minus({"1": power, "-1": f"-{power}"}.get(factor, f"{factor}×{power}"))


def plain_log_labels(axis):
    """Have the formulas of a log axis, if it is one, written in plain letters. `Figure` does so for all of its own."""
    base = getattr(axis.get_transform(), "base", 10)
    for place in ("major", "minor"):
        old = getattr(axis, f"get_{place}_formatter")()
        if isinstance(old, LogFormatterMathtext) and not isinstance(old, LogFormatter):
            new = LogFormatter(base, labelOnlyBase=old.labelOnlyBase, minor_thresholds=old.minor_thresholds)
            getattr(axis, f"set_{place}_formatter")(new)


class Figure(matplotlib.figure.Figure):
    """A matplotlib figure in the course's style that shows itself once, as a PNG, when it ends a notebook cell.

    It is not registered with pyplot: none stays open behind the reader's back, and none is shown twice. `.alt` says
    what it shows to those who do not see it: its titles, if nothing else was given.
    """

    _alt = None

    @property
    def alt(self):
        return self._alt or ". ".join(self._titles())

    @alt.setter
    def alt(self, text):
        self._alt = text

    def _titles(self):
        """What stands above the figure and above its panels, from the first panel to the last, in one line each."""
        panels = [axes.get_title(place) for axes in self.axes for place in ("left", "center", "right")]
        titles = (" ".join(title.split()) for title in (self.get_suptitle(), *panels))
        return [title.rstrip(".") for title in titles if title]

    def draw(self, renderer):
        for axis in self.findobj(Axis):  # those of insets and second scales too, which self.axes leaves out
            plain_log_labels(axis)
        # Ticks are made at drawing time and read the defaults of that moment.
        with style():
            super().draw(renderer)

    def png(self):
        """The bytes of the picture."""
        buffer = io.BytesIO()
        self.savefig(buffer, format="png")
        return buffer.getvalue()

    def _repr_png_(self):
        return self.png(), {"alt": self.alt}

    def __repr__(self):
        return f"<Figure: {self.alt}>" if self.alt else super().__repr__()


def figure(rows=1, columns=1, *, height=4.0, layout="constrained", alt=None, **subplots):
    """A new figure of notebook width, and its axes (one, or a NumPy array of them, as `plt.subplots` gives).

    `height` is in inches. `alt` says what the figure shows, where its titles do not. `layout=None` draws about a third
    faster than "constrained": for a widget's figure, with margins set by hand. Other arguments go to `Figure.subplots`
    (`sharex`, `width_ratios`, ...).
    """
    with style():
        new = Figure(figsize=(WIDTH, height), dpi=DPI, layout=layout)
        new.alt = alt
        return new, new.subplots(rows, columns, **subplots)


@cache
def fonts():
    """The course's font, then those that this system has for letters which it lacks."""
    from matplotlib import font_manager  # reads a list of all fonts, which importing qlab does not need

    installed = {entry.name for entry in font_manager.fontManager.ttflist}
    return [FONT, *(name for name in FONTS_FOR_MORE_LETTERS if name in installed)]


@contextmanager
def style():
    """The style for one `with` block, or for one function as its decorator: `@palette.style()`.

    Titles, legends and lines read the defaults when they are made: a function that draws belongs under it as a whole.
    """
    with matplotlib.rc_context(STYLE | {"font.family": fonts()}):
        yield


styled = style()  # the decorator; each call of what it decorates enters anew


def use():
    """Make the style matplotlib's default, for all figures of a notebook.

    But for formulas: in a figure that the reader makes with pyplot they are meant, the labels of its log axes first.
    """
    matplotlib.rcParams.update(STYLE | {"font.family": fonts(), "text.parse_math": True})


def colour(kind):
    """The palette's colour for a kind of number. Raises ValueError for a kind it does not know."""
    if kind not in COLOURS:
        raise ValueError(f"kind {kind!r}: expected one of {', '.join(COLOURS)}")
    return COLOURS[kind]
