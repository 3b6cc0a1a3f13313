"""The table of layer errors lines up, and the figure's title says what was found."""

import io
import math

import numpy as np
import pytest
from matplotlib.colors import to_rgb
from PIL import Image

from qlab.measure.layer_errors import COLOURS, COLUMNS, LayerError, LayerErrors

ROWS = [
    LayerError("x", "input", "", 51.3, 51.3),
    LayerError("conv1.y", "Conv+Relu", "conv1", 34.04, 33.9),
    LayerError("turned", "Transpose", "turn", math.inf, 33.9),
    LayerError("conv2.y", "Conv+Relu", "conv2", 8.1, 7.9),
    LayerError("y", "Gemm", "head", 41.2, 9.6),
]
LOST = LayerError("log", "Log", "log", math.nan, math.nan, "has NaN")


def errors(rows=ROWS, **changes):
    return LayerErrors(**{"rows": rows, "skipped": {}, "outputs": ("y",), "feeds": 1} | changes)


def test_the_printed_table_has_the_worst_first_and_sums_up():
    assert repr(errors()).splitlines() == [
        "tensor   layer      node   local dB  accumulated dB",
        "conv2.y  Conv+Relu  conv2       8.1             7.9",
        "conv1.y  Conv+Relu  conv1      34.0            33.9",
        "y        Gemm       head       41.2             9.6",
        "x        input                 51.3            51.3",
        "4 of 5 layers, the worst first, over 1 feed; 1 adds no error of its own",
        "accumulated at the outputs, dB: y 9.6",
    ]


def test_what_could_not_be_compared_and_what_limits_it_all_is_said_below():
    lines = repr(errors([LOST], skipped={"a": "empty"}, outputs=(), feeds=3, note="random weights")).splitlines()
    assert lines[0].endswith("  note")
    assert lines[1].split() == ["log", "Log", "log", "n/a", "n/a", "has", "NaN"]
    assert lines[2:] == [
        "1 of 1 layers, the worst first, over 3 feeds; 0 add no error of their own",
        "1 tensor could not be compared: .skipped says why",
        "random weights",
    ]


def test_the_worst_layers_come_in_order_and_exact_ones_never():
    assert [row.name for row in errors([*ROWS, LOST]).worst(3)] == ["log", "conv2.y", "conv1.y"]
    assert len(errors().worst(100)) == 4
    with pytest.raises(ValueError, match="n is 0; expected a whole number"):
        errors().worst(0)


def test_the_figures_title_names_the_layer_that_loses_most():
    def title(rows):
        return errors(rows).plot().axes[0].get_title(loc="left")

    assert title(ROWS) == "Conv+Relu conv2.y loses most: 8.1 dB alone"
    assert title([*ROWS, LOST]) == "Log log gives NaN or infinity by itself"
    assert title([LayerError("zeros", "Mul", "", -math.inf, 3.0)]) == "Mul zeros errs where fp32 has zeros only"
    assert title(ROWS[2:3]) == "No layer has an error of its own"


def test_the_figure_is_a_heat_map_and_points_with_axes_units_and_names():
    figure = errors(note="random weights").plot()
    above, below, bar = figure.axes
    assert [label.get_text() for label in above.get_yticklabels()] == ["alone", "accumulated"]
    assert below.get_ylabel() == "SQNR (dB)"
    assert below.get_xlabel() == "layers in graph order\nrandom weights"
    assert bar.get_ylabel().startswith("SQNR (dB)")
    assert {text.get_text() for text in below.texts} == {"conv2.y", "conv1.y", "y"}
    assert Image.open(io.BytesIO(figure.png())).width == 800


def test_exact_lost_and_unknown_layers_do_not_move_the_colour_scale():
    strange = [LayerError("a", "Mul", "", -math.inf, -math.inf), LayerError("b", "Mul", "", 140.0, math.inf), LOST]
    above, below = errors([*ROWS, *strange]).plot().axes[:2]
    mesh = above.collections[0]
    assert (mesh.norm.vmin, mesh.norm.vmax) == (0, 60)
    shown = COLOURS(mesh.norm(mesh.get_array()))[:, :, :3]
    assert np.allclose(shown[0, 2], to_rgb("white"))  # exact
    assert np.allclose(shown[0, 5], to_rgb("black"))  # all is lost
    assert np.allclose(shown[0, 7], to_rgb("#787878"))  # no SQNR
    assert all(np.isfinite(text.get_position()).all() for text in below.texts)


def test_colours_go_from_dark_to_light_in_even_steps_so_that_their_order_shows():
    linear = np.array([to_rgb(COLOURS(level)) for level in np.linspace(0, 1, 13)])
    linear = np.where(linear <= 0.04045, linear / 12.92, ((linear + 0.055) / 1.055) ** 2.4)
    lightness = 116 * np.cbrt(linear @ [0.2126, 0.7152, 0.0722]) - 16  # CIE 1976 L*
    steps = np.diff(lightness)
    assert steps.min() > 0.6 * steps.mean()
    assert steps.max() < 1.6 * steps.mean()


def test_one_bad_layer_among_a_thousand_is_still_seen():
    rows = [LayerError(f"t{place}", "Mul", "", 45.0, 40.0) for place in range(1000)]
    rows[617] = LayerError("bad", "MatMul", "", 3.0, 3.0)
    above, below = errors(rows).plot().axes[:2]
    columns = above.collections[0].get_array()
    assert columns.shape[1] <= COLUMNS
    assert columns[0].min() == 3.0
    assert below.get_xlabel() == "layers in graph order (a column above: the lowest of 7)"


def test_a_long_name_is_shortened_in_the_middle():
    row = LayerError("/encoder/layers.11/self_attention/linear_q/MatMul_output_0", "MatMul", "", 3.0, 3.0)
    title = errors([row]).plot().axes[0].get_title(loc="left")
    assert title == "MatMul /encoder/layer...atMul_output_0 loses most: 3.0 dB alone"
