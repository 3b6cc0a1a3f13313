"""The pictures of notebook 03: codebooks compared, and a widget with one codebook's marks on a tensor's histogram."""

import numpy as np
from matplotlib.patches import Patch

from qlab import PerBlock, PerTensor, palette, sqnr_db
from qlab.course import plots
from qlab.numerics.codebook import absmax_scale, kmeans, normal_float, powers_of_two, uniform

METHODS = ("evenly spaced (int)", "k-means", "powers of two (log2)", "normal quantiles (NF)")
GROUPS = {"the whole tensor": PerTensor(), "each block of 32": PerBlock(1, 32)}
_MADE = dict(zip((METHODS[0], *METHODS[2:]), (uniform, powers_of_two, normal_float), strict=True))
# Green for even marks, whose codes are integers to calculate with; a grey for each codebook that is decoded to floats.
INKS = {
    "int4": palette.INTEGER,
    "int4 with zero point": palette.INTEGER,
    "NF4": palette.FP32,
    "log2": "#3C434A",
    "k-means": "#B4B4B4",
}
_FITTED_TO = 4_000  # k-means sees this many values: enough for 64 marks, and quick enough for a slider


@palette.style()
def codebook_bars(kept, *, title, axes=None):
    """Bars of the SQNR that codebooks keep, even marks told from uneven ones. kept: {a name in INKS: dB}. -> Figure"""
    figure = plots.bars(kept, unit="SQNR in dB", title=title, axes=axes)
    axes = axes or figure.axes[0]
    for bar, name in zip(axes.patches, kept, strict=True):
        bar.set_color(INKS[name])
    handles = [Patch(color=INKS["int4"], label="even marks"), Patch(color=INKS["NF4"], label="uneven marks")]
    axes.legend(handles=handles, loc="upper right")
    return figure


class CodebookPicture:
    """Draws `picture(method, bits, shared_by)` for one tensor, float32 [rows, columns].

    >>> picture = CodebookPicture(np.random.default_rng(0).normal(size=(16, 64)))
    >>> picture("k-means", 3, "each block of 32").axes[0].get_xlabel()
    'weight / largest magnitude that shares its scale'
    """

    def __init__(self, tensor):
        self._tensor = np.asarray(tensor, np.float32)
        self._scaled, self._counts, self._fitted = {}, {}, {}
        for name, granularity in GROUPS.items():
            scale = granularity.spread(absmax_scale(self._tensor, 1.0, granularity), self._tensor.shape)
            self._scaled[name] = self._tensor / scale, scale
            counts, self._edges = np.histogram(self._scaled[name][0], bins=160, range=(-1, 1))
            self._counts[name] = counts / self._tensor.size * 100

    def __call__(self, method, bits, shared_by):
        """-> Figure: histogram with marks, and the share of the values that each mark stands for."""
        book = self._codebook(method, bits, shared_by)
        scaled, scale = self._scaled[shared_by]
        codes = book.encode(scaled)
        quality = sqnr_db(self._tensor, book.decode(codes) * scale)
        used = np.bincount(codes.ravel(), minlength=book.levels.size) / codes.size * 100
        with palette.style():
            figure, (marks, usage) = palette.figure(2, height=4.6, layout=None)
            figure.subplots_adjust(left=0.09, right=0.98, top=0.92, bottom=0.11, hspace=0.52)
            marks.set_title(f"{method}, {bits} bits, one scale for {shared_by}: {quality:.1f} dB")
            _draw_marks(marks, book, self._counts[shared_by], self._edges)
            _draw_usage(usage, used)
        return figure

    def _codebook(self, method, bits, shared_by):
        if method != "k-means":
            return _MADE[method](bits)
        if (bits, shared_by) not in self._fitted:
            values = self._scaled[shared_by][0].ravel()
            sample = values[:: max(1, values.size // _FITTED_TO)]
            largest = values[np.abs(values).argmax()]  # kmeans scales by it: a sample without it would be stretched
            self._fitted[bits, shared_by] = kmeans(np.append(sample, largest), bits)
        return self._fitted[bits, shared_by]


def _draw_marks(axes, book, counts, edges):
    axes.stairs(counts, edges, fill=True, color=palette.WEIGHTS, alpha=0.75)
    axes.vlines(
        book.levels, -0.04, 0.16, transform=axes.get_xaxis_transform(), color=palette.INTEGER, linewidth=1.4,
        clip_on=False, zorder=4, label=f"{book.levels.size} marks",
    )  # fmt: skip
    axes.legend(loc="upper right")
    axes.set(xlabel="weight / largest magnitude that shares its scale", ylabel="% of weights", xlim=(-1.02, 1.02))


def _draw_usage(axes, used):
    axes.bar(np.arange(used.size), used, width=0.8, color=palette.INTEGER)
    axes.set(xlabel="mark, from the lowest to the highest", ylabel="% of weights", xlim=(-0.8, used.size - 0.2))
    most = np.sort(used)[::-1].cumsum()
    few = int(np.searchsorted(most, 90)) + 1
    axes.set_title(f"{few} of {used.size} marks stand for 90 % of the weights")
