"""What draw takes, what it shows around a node, and what it refuses."""

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from qlab import graph
from qlab.graph.drawing import compose_model
from qlab.graph.wiring import wire
from tests.graph.networks import chain, model, node
from tests.graph.pages import check_page, texts, title
from tests.recipes import builders


def test_a_figure_can_be_saved_for_a_paper(tmp_path):
    graph.draw(chain("Relu", "Abs")).savefig(tmp_path / "graph.svg")
    assert "<svg" in (tmp_path / "graph.svg").read_text(encoding="utf-8")


def test_a_figure_says_its_title_to_those_who_do_not_see_it():
    source = chain("Relu", "Abs", "Neg")
    assert graph.draw(source, around="Relu_0", depth=1).alt == title(graph.draw(source, around="Relu_0", depth=1))


def names_around(source, name, depth=2, **options):
    page = compose_model(wire(source), name, depth, **options)
    return {page.view.wiring.ops[box.ops[0]].name: box.hidden for box in page.view.boxes if box.ops}


def test_around_a_node_lie_those_within_depth_steps_and_the_rest_is_counted():
    source = chain(*["Relu"] * 9)
    assert names_around(source, "Relu_4", 1) == {"Relu_3": (1, 0), "Relu_4": (0, 0), "Relu_5": (0, 1)}
    assert len(names_around(source, "Relu_4", 3)) == 7
    assert "... 1 more" in texts(graph.draw(source, around="Relu_4", depth=1))
    assert title(graph.draw(source, around="Relu_4", depth=1)) == (
        "Relu_4 computes on floats: 3 of 9 nodes within 1 step"
    )


def test_of_many_readers_some_are_shown_and_the_others_counted():
    leaves = [node("Abs", ["h"], [f"y{n}"], f"leaf{n}") for n in range(40)]
    source = model([node("Relu", ["x"], ["h"], "hub"), *leaves], outputs=[f"y{n}" for n in range(40)])
    shown = names_around(source, "hub")
    assert shown["hub"][1] == 41 - len(shown)
    assert 4 <= len(shown) <= 10
    page = compose_model(wire(source))
    assert [len(box.ops) for box in page.view.boxes if box.ops] == [1, 40]


def test_a_tensor_stands_for_the_node_that_makes_it_or_those_that_read_it():
    source = chain("Relu", ("MatMul", "w"), "Abs")
    focus = lambda name: (
        [page.view.wiring.ops[box.ops[0]].name for box in page.view.boxes if box.is_focus]
        if (page := compose_model(wire(source), name))
        else []
    )
    assert focus("t0") == ["Relu_0"]
    assert focus("w") == ["MatMul_1"]
    assert focus("x") == ["Relu_0"]


def test_a_name_that_is_not_there_is_answered_with_those_like_it():
    with pytest.raises(
        ValueError, match=r"around is 'Relu_11'; the model has no such node or tensor. Names like it: Relu_1"
    ):
        graph.draw(chain("Relu", "Relu"), around="Relu_11")
    with pytest.raises(ValueError, match=r"around is ''; .*Names like it: "):
        graph.draw(chain("Relu", "Relu"), around="")


@pytest.mark.parametrize("options", [{"depth": 0}, {"depth": 1.5}, {"max_nodes": 0}, {"max_nodes": True}])
def test_a_depth_or_number_of_boxes_below_one_is_refused(options):
    (name,) = options
    with pytest.raises(ValueError, match=rf"{name} is .*; expected a whole number from 1 up"):
        graph.draw(chain("Relu"), around="Relu_0", **options)


def test_what_is_no_model_is_refused(tmp_path):
    with pytest.raises(ValueError, match="model is a dict; expected the path"):
        graph.draw({})
    with pytest.raises(ValueError, match="the model has no nodes"):
        graph.draw(onnx.ModelProto())
    with pytest.raises(FileNotFoundError, match="no such model file"):
        graph.draw(tmp_path / "m.onnx")


@pytest.mark.parametrize(
    "build", [builders.branches, builders.loop, builders.functions, builders.constants, builders.shared_weights]
)
def test_models_of_every_kind_are_drawn(build, tmp_path):
    page = compose_model(wire(build(tmp_path)))
    check_page(page, 40)
    assert graph.draw(build(tmp_path))


def test_a_model_of_constants_alone_is_drawn():
    stored = numpy_helper.from_array(np.ones(3, np.float32))
    assert "Neg" in texts(
        graph.draw(model([node("Constant", [], ["c"], value=stored), node("Neg", ["c"], ["y"])], inputs=()))
    )
    assert "Constant" in texts(graph.draw(model([node("Constant", [], ["y"], value=stored)], inputs=())))
