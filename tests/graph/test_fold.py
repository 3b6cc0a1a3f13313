"""A picture of any model fits its page: few boxes, none over another, every text in its place. Data, not pixels."""

import io
from collections import Counter

import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import helper
from PIL import Image

from qlab import files, graph, models, palette
from qlab.graph.draw import caption_place, compose_model
from qlab.graph.layout import PAGE
from qlab.graph.wiring import wire
from tests.builders import blocks
from tests.builders.networks import FLOAT, chain, model, networks, node, with_qdq
from tests.graph.pages import check_page, texts, title

QUICK = settings(max_examples=25, deadline=None)


@pytest.mark.slow
@QUICK
@given(networks(most=120), st.sampled_from([1, 2, 5, 12, 40]))
def test_any_graph_is_drawn_in_few_boxes_that_do_not_overlap(source, most):
    check_page(compose_model(wire(source), max_nodes=most), most)


@QUICK
@given(networks(most=60), st.sampled_from([1, 7, 40]), st.integers(1, 9), st.data())
def test_what_lies_around_any_node_is_drawn_in_few_boxes_that_do_not_overlap(source, most, depth, data):
    name = data.draw(st.sampled_from([one.name for one in source.graph.node]))
    page = compose_model(wire(source), name, depth, most)
    check_page(page, most)
    assert [wire(source).ops[box.box.ops[0]].name for box in page.boxes if box.box.is_focus] == [name]


@pytest.mark.slow
@QUICK
@given(networks(most=120), st.sampled_from([3, 12, 40]))
def test_every_node_is_in_one_box_and_lines_lead_from_what_is_read_to_what_reads(source, most):
    wiring = wire(source)
    page = compose_model(wiring, max_nodes=most)
    home = {op: number for number, box in enumerate(page.view.boxes) for copy in box.copies for op in copy}
    assert sorted(home) == list(range(len(wiring.ops)))
    assert sum(len(box.ops) * len(box.copies) for box in page.view.boxes) == len(wiring.ops)
    edges = {
        (home[source], home[op])
        for op in home
        for source in wiring.ops[op].producers
        if home[source] != home[op] and page.view.boxes[home[source]].zone != page.view.boxes[home[op]].zone
    }
    assert edges <= set(page.view.edges)


@pytest.fixture(scope="module")
def conformer():
    """The course's speech model as onnxruntime runs it."""
    return graph.optimized(models.path("conformer"))


def test_a_real_conformer_is_its_block_drawn_once_with_a_frame_around_it(conformer):
    page = compose_model(wire(conformer))
    check_page(page, 40)
    assert len(page.boxes) > 20
    (frame,) = page.view.frames
    assert frame.times == 6
    figure = graph.draw(conformer)
    assert f"6 equal blocks of {frame.size}" in title(figure)
    assert f"6 x this block of {frame.size} nodes, each behind the one before" in texts(figure)


def test_a_unet_of_four_hundred_nodes_keeps_its_skip_connections():
    source = onnx.load(files.DATA / "models" / "face_unet_full.onnx", load_external_data=False)
    made = [one.output[0] for one in source.graph.node if one.op_type in ("Conv", "Add", "Concat", "Resize")]
    page = compose_model(wire(with_qdq(source, made)))
    check_page(page, 40)
    assert [frame.times for frame in page.view.frames] == [4, 3, 4]
    last, first = page.view.frames[-1].zone, page.view.frames[0].zone
    zones = [box.zone for box in page.view.boxes]
    assert any(zones[one] == first and zones[two] == last for one, two in page.view.edges)


def test_a_block_is_found_where_what_all_blocks_share_stands_between_the_nodes_of_the_first():
    nodes, last = [], "x"
    for number in range(5):
        a, b, c, d = (f"{letter}{number}" for letter in "abcd")
        nodes += [node("Relu", [last], [a], a), node("MatMul", [a, f"w{number}"], [b], b)]
        if number == 0:  # a mask from another input, used by every block
            nodes += [node("Abs", ["z"], ["m"], "mask1"), node("Neg", ["m"], ["mask"], "mask2")]
        nodes += [node("Mul", [b, "mask"], [c], c), node("Add", [last, c], [d], d)]
        last = d
    nodes.append(node("Sigmoid", [last], ["y"], "end"))
    page = compose_model(wire(model(nodes, ("x", "z"))), max_nodes=12)
    assert [(frame.times, frame.size) for frame in page.view.frames] == [(5, 4)]


def test_a_frame_holds_the_boxes_of_its_block_and_no_others(conformer):
    page = compose_model(wire(conformer))
    (framed,) = page.frames
    for box in page.boxes:
        inside = framed.top < box.top and box.bottom < framed.bottom
        assert inside == (box.box.zone == 1)
    left, top, width = caption_place(page, framed)
    assert framed.top < top < framed.bottom
    assert 0 < left < PAGE - width


@pytest.mark.slow
def test_all_texts_stand_where_they_belong(conformer, tmp_path):
    for source, options in (
        (conformer, {}),
        (conformer, {"around": conformer.graph.node[200].name, "depth": 3}),
        (models.path("digits"), {}),
        (blocks.branches(tmp_path), {}),
    ):
        figure = graph.draw(source, **options)
        figure.canvas.draw()
        axes = figure.axes[0]
        extents = [text.get_window_extent() for text in axes.texts]
        assert all(extent.x0 >= 0 and extent.x1 <= PAGE for extent in extents)
        assert all(extent.y0 >= 0 and extent.y1 <= figure.bbox.height for extent in extents)
        low, high = np.array([extent.min for extent in extents]), np.array([extent.max for extent in extents])
        shared = np.minimum(high[:, None], high) - np.maximum(low[:, None], low)
        overlap = (shared[..., 0] > 1) & (shared[..., 1] > 3)
        assert np.argwhere(np.triu(overlap, 1)).tolist() == []
        assert min(text.get_fontsize() for text in axes.texts) >= 8


def test_a_figure_shows_itself_as_a_png_of_notebook_width_and_a_readable_height(conformer):
    figure = graph.draw(conformer)
    assert isinstance(figure, palette.Figure)
    picture = Image.open(io.BytesIO(figure.png()))
    assert picture.width == 800
    assert 400 < picture.height <= 1400


def test_shapes_and_indices_are_folded_first():
    steps = [("MatMul", f"w{n}") for n in range(20)]
    source = chain(*steps)
    last = "x"
    for number in range(30):
        source.graph.node.append(node("Shape" if number == 0 else "Neg", [last], [f"s{number}"], f"shape{number}"))
        last = f"s{number}"
    source.graph.output.append(helper.make_tensor_value_info(last, onnx.TensorProto.INT64, None))
    page = compose_model(wire(source), max_nodes=30)
    sizes = Counter(
        len(box.ops) for box in page.view.boxes if box.ops and page.view.wiring.ops[box.ops[0]].op_type == "MatMul"
    )
    assert sizes == Counter({1: 20})


def test_integers_and_floats_stay_apart_while_they_can():
    nodes, last = [], "x"
    for number in range(8):
        for op_type in ("QuantizeLinear", *["QLinearSigmoid"] * 5, "DequantizeLinear", *["Relu"] * 5):
            inputs = {"QLinearSigmoid": [last, "s", "z", "s", "z"], "Relu": [last]}.get(op_type, [last, "s", "z"])
            domain = "com.microsoft" if op_type == "QLinearSigmoid" else ""
            last = f"t{len(nodes)}"
            nodes.append(node(op_type, inputs, [last], f"{op_type}{number}_{len(nodes)}", domain=domain))
    nodes[-1].output[0] = "y"
    source = model(nodes, constants={"s": np.float32(0.1), "z": np.uint8(0)})
    source.graph.value_info.extend(
        helper.make_tensor_value_info(one.output[0], onnx.TensorProto.UINT8 if "Q" in one.op_type[:2] else FLOAT, None)
        for one in nodes
    )
    page = compose_model(wire(source), max_nodes=20)
    kinds = [set(box.text.kinds) - {"boundary"} for box in page.boxes if box.box.ops]
    assert all(len(kind) <= 1 for kind in kinds)
