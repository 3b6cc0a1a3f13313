"""The table lines up, and the figure's title says what was found."""

import io
import math

import numpy as np
import pytest
from matplotlib.figure import Figure
from PIL import Image

from qlab import palette
from qlab.measure import Comparison, Finding, Row

REFERENCE = Row("fp32", 143.5, 97.21, 1, 1, 1, math.inf, "cannot tell", is_reference=True)
FASTER = Row("hybrid", 41.0, 35.09, 2.77, 2.70, 2.85, 57.25, "faster")
SLOWER = Row("dynamic QInt8", 40.6, 142.9, 0.68, 0.66, 0.70, 52.1, "slower", note="lengths differs")
SAME = Row("same", 0.00123, 97.0, 1.0, 0.97, 1.04, math.nan, "cannot tell")


def comparison(*rows):
    return Comparison([REFERENCE, *rows], {}, {"fp32": np.ones(30)}, threads=1, feeds=2)


def test_the_printed_table_is_aligned_and_complete():
    assert repr(comparison(FASTER, SLOWER, SAME)).splitlines() == [
        "model          size MB    ms  speed-up          95 %  SQNR dB  verdict      note",
        "fp32             143.5  97.2      1.00                         reference",
        "hybrid            41.0  35.1      2.77  2.70 to 2.85     57.2  faster",
        "dynamic QInt8     40.6   143      0.68  0.66 to 0.70     52.1  slower       lengths differs",
        "same           0.00123    97      1.00  0.97 to 1.04      n/a  cannot tell",
        "medians of 30 interleaved rounds, 2 feeds, 1 thread; SQNR of the worst float output; "
        "a verdict needs more than 2 %",
    ]


def test_a_table_without_remarks_has_no_column_for_them():
    assert "note" not in repr(comparison(FASTER))


@pytest.mark.parametrize(
    ("rows", "title"),
    [
        ([FASTER], "hybrid is faster than fp32: 2.77x (2.70 to 2.85)"),
        ([SLOWER, SAME], "dynamic QInt8 is slower than fp32: 0.68x (0.66 to 0.70)"),
        ([SAME, SLOWER, FASTER], "hybrid is faster than fp32: 2.77x (2.70 to 2.85)"),
        ([SAME], "Whether anything is faster than fp32: cannot tell"),
    ],
)
def test_the_figures_title_states_the_finding(rows, title):
    figure = comparison(*rows).plot()
    assert isinstance(figure, Figure)
    assert figure.axes[0].get_title(loc="left") == title


def test_the_figure_shows_speedups_on_a_log_axis_in_the_palettes_colours():
    axes = comparison(FASTER, SLOWER, SAME).plot().axes[0]
    assert axes.get_xscale() == "log"
    assert "speed-up over fp32" in axes.get_xlabel()
    assert [label.get_text() for label in axes.get_yticklabels()] == ["fp32", "hybrid", "dynamic QInt8", "same"]
    points = [container.lines[0] for container in axes.containers]
    assert [float(point.get_xdata()[0]) for point in points] == [1, 2.77, 0.68, 1.0]
    assert [point.get_color() for point in points] == [palette.FP32, palette.INTEGER, palette.ERROR, palette.FP32]
    low, high = axes.get_xlim()
    assert low < 0.66 < 2.85 < high


def test_the_figure_becomes_a_small_png():
    png = comparison(FASTER, SLOWER, SAME).plot().png()
    assert Image.open(io.BytesIO(png)).width == 800
    assert len(png) < 60_000


@pytest.mark.parametrize(
    ("milliseconds", "read"),
    [
        (1234.4, "1,234"),
        (999.6, "1,000"),
        (999.4, "999"),
        (1234567.0, "1,234,567"),
        (0.0123456, "0.0123"),
        (8.58e-05, "0.0000858"),
    ],
)
def test_no_time_is_printed_with_an_exponent(milliseconds, read):
    row = Row("slow", 1390.24, milliseconds, 0.5, 0.4, 0.6, 40.0, "slower")
    assert comparison(row).table[2][1:3] == ["1,390.2", read]
    assert any(f"{read} ms" in text.get_text() for text in comparison(row).plot().axes[0].texts)
    assert f"about {read} ms a run" in str(Finding("cause", "seen", "why", milliseconds, "mend"))
