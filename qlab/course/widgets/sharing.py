"""One matrix under any granularity: its values, and the error that is left, as heat maps side by side."""

from functools import partial

import numpy as np
from matplotlib.colors import LinearSegmentedColormap, PowerNorm

from qlab import PerAxis, PerBlock, PerTensor, choose_qparams, fake_quantize, palette, sqnr_db
from qlab.numerics.granularity import bits_per_element

SHARES = {  # what the widget offers, for a matrix (rows, columns)
    "one scale for all": lambda block_size: PerTensor(),
    "one scale a row": lambda block_size: PerAxis(0),
    "one scale a column": lambda block_size: PerAxis(1),
    "one scale a block of a row": partial(PerBlock, 1),
    "one scale a block of a column": partial(PerBlock, 0),
}
_SHOWN = 160  # rows and columns that are drawn: about as many as there are pixels to show them


@palette.style()
def shared_scales(x, shares, block_size, bits):
    """Left |x|, right |error| of symmetric integer codes; the title counts scales, SQNR and effective bits. -> Figure

    x: float32 (rows, columns), of which the first 160 by 160 are drawn and all are measured. shares: a key of `SHARES`;
    block_size matters to blocks only. Full red is half a step of one scale for all: the largest error that it makes.
    """
    granularity = SHARES[shares](block_size)
    qparams = choose_qparams(x, f"int{bits}", symmetric=True, granularity=granularity)
    approximation = fake_quantize(x, qparams)
    half_step = float(np.abs(x).max()) / (2**bits - 2)
    figure, (left, right) = palette.figure(1, 2, height=3.7, layout=None, sharey=True)
    figure.subplots_adjust(left=0.08, right=0.97, top=0.82, bottom=0.13, wspace=0.1)
    _draw(figure, left, x, palette.WEIGHTS, "|value|, colours by square root", float(np.abs(x).max()))
    _draw(figure, right, approximation - x, palette.ERROR, "|error|; full red: half a step of one scale", half_step)
    left.set_ylabel(_counted("row", x.shape[0]))
    for axes in (left, right):
        axes.set_xlabel(_counted("column", x.shape[1]))
    cost = bits_per_element(x.shape, bits, granularity, scale_dtype="float16")
    scales = f"{qparams.scale.size:,} scale" + ("s" if qparams.scale.size > 1 else "")
    figure.suptitle(
        f"{scales}: SQNR {sqnr_db(x, approximation):.1f} dB for {cost:.2f} bits a number",
        x=0.01, ha="left", fontsize=12, fontweight="bold",
    )  # fmt: skip
    return figure


def _draw(figure, axes, values, ink, said, top):
    ramp = LinearSegmentedColormap.from_list(said, ["white", ink])
    norm = PowerNorm(0.5, 0, top) if ink == palette.WEIGHTS else None
    limits = {"norm": norm} if norm else {"vmin": 0, "vmax": top}
    drawn = axes.imshow(np.abs(values[:_SHOWN, :_SHOWN]), cmap=ramp, aspect="auto", interpolation="nearest", **limits)
    figure.colorbar(drawn, ax=axes, pad=0.02, aspect=30)
    axes.set_title(said, fontsize=10, fontweight="normal")
    axes.grid(False)


def _counted(what, count):
    return what if count <= _SHOWN else f"{what} (first {_SHOWN} of {count:,})"
