"""What a picture says in words and marks: scales, kinds, names."""

import io
from collections import Counter

import numpy as np
import onnx
import pytest
from matplotlib.patches import Rectangle

from qlab import graph, palette
from qlab.graph.draw import KINDS, compose_model
from qlab.graph.labels import measure, printable
from qlab.graph.layout import PAGE
from qlab.graph.wiring import wire
from tests.builders import blocks
from tests.builders.networks import chain, dynamic, model, node, with_qdq
from tests.graph.pages import texts, title


def quantized(scale=0.0157, zero=64, channels=None):
    """A QLinearConv between Q and DQ, its weights quantized by channel if `channels` is given."""
    nodes = [
        node("QuantizeLinear", ["x", "s", "z"], ["q"], "quantize"),
        node("QLinearConv", ["q", "s", "z", "w", "ws", "wz", "s", "z"], ["r"], "conv"),
        node("DequantizeLinear", ["r", "s", "z"], ["y"], "dequantize"),
    ]
    constants = {
        "s": np.float32(scale),
        "z": np.uint8(zero),
        "w": np.ones((256, 8, 3, 3), np.int8),
        "ws": np.linspace(0.0011, 0.034, channels, dtype=np.float32) if channels else np.float32(0.02),
        "wz": np.zeros(channels or (), np.int8),
    }
    return model(nodes, constants=constants)


def test_scales_and_zero_points_are_written_in_the_boxes():
    shown = texts(graph.draw(quantized(channels=256)))
    assert shown.count("scale 0.0157, zero 64") == 3
    assert "int8 256x8x3x3" in shown
    assert "256 scales 0.0011 to 0.034" in shown
    assert "int8 256x8x3x3, scale 0.02, zero 0" in texts(graph.draw(quantized()))


def test_a_dynamic_scale_is_known_at_run_time_only():
    shown = texts(graph.draw(dynamic(chain(("MatMul", "w"), "Relu"))))
    assert "scale at run time" in shown
    assert "int8 8x8" in shown


def test_weights_behind_a_dequantizelinear_of_their_own_get_no_box_but_a_label():
    nodes = [node("DequantizeLinear", ["wq", "ws"], ["w"], "dq"), node("MatMul", ["x", "w"], ["y"], "product")]
    constants = {"wq": np.ones((8, 8), np.int8), "ws": np.float32(0.5)}
    figure = graph.draw(model(nodes, constants=constants))
    assert "int8 8x8, scale 0.5" in texts(figure)
    assert "DequantizeLinear" not in texts(figure)
    assert title(figure) == "2 nodes: 1 drawn, 1 only prepares constants"


def test_values_outside_the_model_are_counted_and_never_read(tmp_path):
    secret = tmp_path / "secret"
    secret.write_bytes(np.full(256, 0.125, np.float32).tobytes())
    source = quantized(channels=256)
    for tensor in source.graph.initializer:
        if tensor.name == "ws":
            tensor.ClearField("raw_data")
            tensor.data_location = onnx.TensorProto.EXTERNAL
            tensor.external_data.add(key="location", value=str(secret))
    shown = texts(graph.draw(source))
    assert "int8 256x8x3x3, 256 scales" in shown
    assert not any("0.125" in text for text in shown)


def test_each_kind_has_a_letter_beside_its_colour_and_the_legend_says_both():
    shown = texts(graph.draw(with_qdq(dynamic(chain(("MatMul", "w"), "Relu", "Shape")), ["t0"])))
    counts = graph.count(with_qdq(dynamic(chain(("MatMul", "w"), "Relu", "Shape")), ["t0"]))
    assert set("IFBS") <= set(shown)
    for kind, meaning in (("integer", "integer"), ("float", "float"), ("boundary", "boundary: Q, DQ, cast")):
        assert any(text.startswith(f"{meaning} (") for text in shown)
        assert getattr(counts, kind).total() > 0
    assert len({kind.letter for kind in KINDS.values()}) == 4


def test_colours_mean_what_they_mean_in_the_course():
    assert (KINDS["integer"].colour, KINDS["float"].colour) == (palette.INTEGER, palette.FP32)
    figure = graph.draw(quantized())
    marks = Counter(
        tuple(patch.get_facecolor()[:3])
        for patch in figure.axes[0].patches
        if isinstance(patch, Rectangle) and patch.get_width() == patch.get_height() == 8
    )
    expected = [
        tuple(int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)) for colour in (palette.WEIGHTS, palette.ACTIVATIONS)
    ]
    assert set(marks) == set(expected)


def test_lines_say_where_codes_flow():
    page = compose_model(wire(quantized()))
    flows = {
        (page.view.wiring.ops[page.view.boxes[two].ops[0]].name): flow
        for (_, two), flow in page.view.edges.items()
        if page.view.boxes[two].ops
    }
    assert flows == {"quantize": "floats", "conv": "codes", "dequantize": "codes"}


@pytest.mark.parametrize(
    "name", ["a$b$c_1", "编码器/层", "n" * 400, "two\nlines\t\x07", "/very/" + "long/path/" * 30 + "end"]
)
def test_no_name_breaks_the_picture(name):
    source = model(
        [node("Relu", ["x"], ["t"], name), node("Custom" * 20, ["t"], ["y"], "c", domain="org.example." * 9)]
    )
    for options in ({}, {"around": name}):
        figure = graph.draw(source, **options)
        figure.savefig(io.BytesIO(), format="png")
        assert max(map(measure, texts(figure))) < PAGE


def test_nodes_inside_a_branch_are_drawn_with_the_branch_they_are_in(tmp_path):
    shown = texts(graph.draw(blocks.branches(tmp_path)))
    assert "in then_branch: yes_product" in shown
    assert "in else_branch: no_product" in shown


def test_sums_of_products_are_told_from_codes_and_from_shapes():
    quantized = dynamic(model([node("MatMul", ["x", "w"], ["y"], "m")], constants={"w": np.ones((4, 4), np.float32)}))
    page = compose_model(wire(quantized))
    assert "sums" in {route.flow for route in page.routes}
    assert "int32 sums of products" in texts(graph.draw(quantized))


def test_a_node_in_a_body_says_so(tmp_path):
    shown = texts(graph.draw(blocks.branches(tmp_path)))
    assert any("in then_branch" in text for text in shown)
    assert any("in else_branch" in text for text in shown)


def test_letters_that_no_font_has_are_escaped_and_still_tell_names_apart(monkeypatch):
    monkeypatch.setattr("qlab.graph.labels._letters", lambda: [set(map(ord, "abc/"))])
    assert printable("a/\u5c42\u4e09") == "a/\\u5c42\\u4e09"
    monkeypatch.setattr("qlab.graph.labels._letters", lambda: [set(map(ord, "abc/")), {0x5C42, 0x4E09}])
    assert printable("a/\u5c42\u4e09") == "a/\u5c42\u4e09"
