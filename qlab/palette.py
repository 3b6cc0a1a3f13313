"""One set of colours and figure defaults for every figure of the course.

>>> from qlab import palette
>>> figure, axes = palette.figure(height=2.5)
>>> bars = axes.bar(["fp32", "int8"], [143.5, 41.0], color=[palette.FP32, palette.INTEGER])

A colour has one meaning everywhere. All five stay apart for the three kinds of colour blindness, and each stands out
from a white page (tests/test_palette.py computes both).
"""

import io
from functools import cache

import matplotlib
import matplotlib.figure

FP32 = "#787878"
WEIGHTS = "#0B5CAD"
ACTIVATIONS = "#DA7D00"
INTEGER = "#2CA25F"
ERROR = "#A50F2B"
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


class Figure(matplotlib.figure.Figure):
    """A matplotlib figure in the course's style that shows itself once, as a PNG, when it ends a notebook cell.

    It is not registered with pyplot: none stays open behind the reader's back, and none is shown twice.
    """

    def draw(self, renderer):
        # Ticks are made at drawing time and read the defaults of that moment.
        with style():
            super().draw(renderer)

    def _repr_png_(self):
        buffer = io.BytesIO()
        self.savefig(buffer, format="png")
        return buffer.getvalue()


def figure(rows=1, columns=1, *, height=4.0, layout="constrained", **subplots):
    """A new figure of notebook width, and its axes (one, or a NumPy array of them, as `plt.subplots` gives).

    `height` is in inches. `layout=None` draws about a third faster than "constrained": for a widget's figure, with
    margins set by hand. Other arguments go to `Figure.subplots` (`sharex`, `width_ratios`, ...).
    """
    with style():
        new = Figure(figsize=(WIDTH, height), dpi=DPI, layout=layout)
        return new, new.subplots(rows, columns, **subplots)


@cache
def fonts():
    """The course's font, then those that this system has for letters which it lacks."""
    from matplotlib import font_manager  # reads a list of all fonts, which importing qlab does not need

    installed = {entry.name for entry in font_manager.fontManager.ttflist}
    return [FONT, *(name for name in FONTS_FOR_MORE_LETTERS if name in installed)]


def style():
    """The style for one `with` block, or for one function as its decorator: `@palette.style()`.

    Titles, legends and lines read the defaults when they are made: a function that draws belongs under it as a whole.
    """
    return matplotlib.rc_context(STYLE | {"font.family": fonts()})


def use():
    """Make the style matplotlib's default, for all figures of a notebook."""
    matplotlib.rcParams.update(STYLE | {"font.family": fonts()})
