"""What draw takes, what it shows around a node, and what it refuses."""

import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper

from qlab import graph
from qlab.graph import labels as lettering
from qlab.graph.draw import compose_model
from qlab.graph.wiring import wire
from tests.builders import blocks
from tests.builders.networks import FLOAT, UNARY, calls_made, chain, model, node, noise
from tests.graph.pages import check_page, texts, title


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
    "build", [blocks.branches, blocks.loop, blocks.functions, blocks.constants, blocks.shared_weights]
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


@pytest.mark.slow
@pytest.mark.parametrize(
    "make", [lambda n: ["Relu", "Abs"] * (n // 2), lambda n: [UNARY[i * i % 7 % 4] for i in range(n)]]
)
def test_four_times_the_nodes_are_about_four_times_the_work(make):
    work = {size: calls_made(lambda size=size: graph.draw(chain(*make(size)))) for size in (2_000, 8_000)}
    assert work[8_000] < 5 * work[2_000]


def test_readers_of_one_tensor_by_the_thousand_are_one_box():
    nodes = [node("Relu", ["x"], [f"t{n}"]) for n in range(3_000)]
    figure = graph.draw(model([*nodes, node("Sum", [f"t{n}" for n in range(3_000)], ["y"])]))
    assert title(figure) == "3,001 nodes, folded to 2 boxes"
    assert "3000 Relu" in texts(figure)


def test_of_a_name_without_end_only_what_could_be_shown_is_measured(monkeypatch):
    measured = []

    class Renderer:
        def get_text_width_height_descent(self, text, *_, **__):
            measured.append(len(text))
            return 5.0 * len(text), 10.0, 2.0

    lettering.measure.cache_clear()
    monkeypatch.setattr(lettering, "_renderer", Renderer)
    long = "x" * 100_000
    source = model([node("Relu", ["x"], [f"{long}t"], long), node("Abs", [f"{long}t"], ["y"], "abs")])
    for figure in (graph.draw(source), graph.draw(source, around=long), graph.draw(source, around=f"{long}t")):
        assert max(map(len, texts(figure))) < 1_000
    with pytest.raises(ValueError, match=r"around is 'x+'; .*Names like it: abs") as error:
        graph.draw(source, around=f"{long}y"[-400:])
    assert len(str(error.value)) < 1_000
    assert max(measured) < 1_000
    lettering.measure.cache_clear()


def if_of(name, *nodes, read="h"):
    """An If whose branches are these nodes each, made by `nodes(branch, read)`."""
    branches = {
        f"{which}_branch": helper.make_graph(make(f"{name}_{which}", read), which, [], [ends(f"{name}_{which}_y")])
        for which, make in zip(("then", "else"), nodes, strict=True)
    }
    return node("If", ["flag"], [f"{name}_y"], name, **branches)


def ends(name):
    return helper.make_tensor_value_info(name, FLOAT, [8, 8])


def test_an_if_in_an_if_is_one_box_that_says_what_is_in_it():
    def products(branch, read):
        return [node("MatMul", [read, "w"], [f"{branch}_m"]), node("Relu", [f"{branch}_m"], [f"{branch}_y"])]

    def nested(branch, read):
        inner = if_of(f"{branch}_i", products, products, read=f"{branch}_a")
        return [node("Abs", [read], [f"{branch}_a"]), inner, node("Neg", [f"{branch}_i_y"], [f"{branch}_y"])]

    nodes = [node("Relu", ["x"], ["h"], "before"), if_of("outer", nested, products)]
    source = model(
        [*nodes, node("Tanh", ["outer_y"], ["y"], "behind")], inputs=("x", "flag"), constants={"w": noise("w")}
    )
    source.graph.input[1].type.tensor_type.CopyFrom(onnx.TypeProto.Tensor(elem_type=onnx.TensorProto.BOOL))
    source.graph.input[1].type.tensor_type.shape.SetInParent()
    page = compose_model(wire(source))
    check_page(page, 40)
    folded = [box for box in page.view.boxes if box.ops and page.view.wiring.ops[box.ops[0]].folded]
    assert len(folded) == 1
    shown = texts(graph.draw(source))
    assert "If: 2 MatMul, 2 Relu" in shown
    assert title(graph.draw(source)) == "12 nodes, folded to 8 boxes"
    assert not any("then_branch, then_branch" in text for text in shown)
    assert {"outer_then_i_then_y", "outer_then_i_else_m"} <= set(names_around(source, "outer_then_i"))
