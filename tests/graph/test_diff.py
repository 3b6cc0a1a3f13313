"""A difference is told by places in the graph: names may all change, and none is proof of anything."""

from collections import Counter

import numpy as np
import onnx
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from onnx import helper, numpy_helper

from qlab import graph, models
from qlab.graph.match import match, stem
from qlab.graph.wiring import wire
from tests.builders import blocks
from tests.builders.networks import UNARY, calls_made, chain, dynamic, model, networks, node, renamed, with_qdq

QUICK = settings(max_examples=30, deadline=None)


def types(nodes):
    return Counter(one.op_type for one in nodes)


def is_empty(diff):
    return not (diff.gone or diff.come or diff.changed)


@QUICK
@given(networks(), st.integers(0, 99))
def test_a_graph_with_other_names_in_another_order_is_the_same_graph(source, seed):
    diff = graph.diff(source, renamed(source, seed))
    assert is_empty(diff)
    assert diff.same == len(source.graph.node)


def test_nodes_without_names_are_matched_as_well():
    assert is_empty(graph.diff(chain("Relu", "Abs", "Relu", names=False), chain("Relu", "Abs", "Relu")))


@QUICK
@given(networks(most=25), st.data())
def test_all_that_a_static_quantizer_adds_is_come_and_nothing_else(source, data):
    made = sorted({name for one in source.graph.node for name in one.input if name[0] in "txz"})
    assume(made)
    tensors = data.draw(st.lists(st.sampled_from(made), unique=True))
    diff = graph.diff(source, renamed(with_qdq(source, tensors)))
    assert not diff.gone
    assert not diff.changed
    assert types(diff.come) == Counter(QuantizeLinear=len(tensors)) + Counter(DequantizeLinear=len(tensors))


def test_a_product_that_became_five_nodes_changed_in_its_place_and_the_other_four_came():
    source = chain(("MatMul", "a"), "Relu", ("Mul", "half"), ("MatMul", "b"), ("Add", "bias"), "Sigmoid")
    for after in (dynamic(source), renamed(dynamic(source))):
        diff = graph.diff(source, after)
        assert not diff.gone
        assert types(diff.come) == Counter(DynamicQuantizeLinear=2, Cast=2, Mul=4)
        assert [change.how for change in diff.changed] == ["MatMul -> MatMulInteger"] * 2
    named = graph.diff(source, dynamic(source))
    assert [(change.before.name, change.after.name) for change in named.changed] == [
        ("MatMul_0", "MatMul_0_quant"),
        ("MatMul_3", "MatMul_3_quant"),
    ]
    assert "Mul_2" not in [one.name for one in named.come]


def test_what_onnxruntime_fuses_is_gone_and_the_rest_changed_in_place(tmp_path):
    path = blocks.residual_cnn(tmp_path)
    diff = graph.diff(path, graph.optimized(path))
    assert types(diff.gone)["Relu"] >= 1
    assert not {"Conv", "Gemm"} & set(types(diff.gone))
    assert all(change.before.op_type in ("Conv", "GlobalAveragePool") for change in diff.changed)


def test_names_confirm_on_a_real_model_what_was_matched_without_them():
    path = models.path("conformer")
    before, after = wire(path), graph.optimized(path)
    pairs = match(before, wire(renamed_in_place(after)))
    named = wire(after)
    known = Counter(stem(op.name) for op in named.ops)
    wrong = [
        before.ops[one].name
        for one, two in pairs.items()
        if known[before.ops[one].name] and stem(named.ops[two].name) != before.ops[one].name
    ]
    assert not wrong
    assert len(pairs) > 0.8 * len(before.ops)


def renamed_in_place(source):
    """Every name replaced, the order kept, so that indices still mean the same nodes."""
    result, names = onnx.ModelProto(), {"": ""}
    result.CopyFrom(source)
    for one in result.graph.node:
        one.name = ""
        for field in (one.input, one.output):
            field[:] = [names.setdefault(name, f"v{len(names)}") for name in field]
    body = result.graph
    for value in (*body.input, *body.output, *body.initializer, *body.value_info):
        value.name = names.setdefault(value.name, f"v{len(names)}")
    return result


@pytest.mark.parametrize(
    ("before", "after", "gone", "come"),
    [
        # A node moved behind the product and took its name along.
        (
            [node("Relu", ["x"], ["t"], "r"), node("MatMul", ["t", "w"], ["y"], "m")],
            [node("MatMul", ["x", "w"], ["t"], "m"), node("Relu", ["t"], ["y"], "r")],
            ["r"],
            ["r"],
        ),
        # The first of two products went, and the second was given its name.
        (
            [node("MatMul", ["x", "w"], ["t"], "first"), node("MatMul", ["t", "v"], ["y"], "second")],
            [node("MatMul", ["x", "v"], ["y"], "first")],
            ["first"],
            [],
        ),
        # A new node bears an old name.
        (
            [node("Relu", ["x"], ["y"], "r")],
            [node("Abs", ["x"], ["t"], "r"), node("Relu", ["t"], ["y"], "s")],
            [],
            ["r"],
        ),
        # Two nodes exchanged their names.
        (
            [node("MatMul", ["x", "w"], ["t"], "a"), node("MatMul", ["t", "v"], ["y"], "b")],
            [node("MatMul", ["x", "w"], ["t"], "b"), node("MatMul", ["t", "v"], ["y"], "a")],
            [],
            [],
        ),
    ],
)
def test_a_name_that_is_used_again_elsewhere_misleads_nobody(before, after, gone, come):
    diff = graph.diff(model(before), model(after))
    assert ([one.name for one in diff.gone], [one.name for one in diff.come]) == (gone, come)
    assert not diff.changed


def test_parallel_branches_that_exchanged_their_names_are_told_apart_by_where_they_lead():
    def branches(first, second):
        nodes = [node("Relu", ["x"], ["y"], first), node("Relu", ["x"], ["z"], second), node("Abs", ["z"], ["u"])]
        return wire(model(nodes, outputs=("y", "u")))

    before, after = branches("a", "b"), branches("b", "a")
    pairs = {before.ops[one].name: after.ops[two].name for one, two in match(before, after).items()}
    assert (pairs["a"], pairs["b"]) == ("b", "a")


def test_names_decide_where_two_places_look_alike():
    before = chain("Relu", "Relu", "Relu")
    after = model(
        [
            node("Relu", ["x"], ["t0"], "Relu_0"),
            node("Relu", ["t0"], ["new"], "inserted"),
            node("Relu", ["new"], ["t1"], "Relu_1"),
            node("Relu", ["t1"], ["y"], "Relu_2"),
        ]
    )
    assert [one.name for one in graph.diff(before, after).come] == ["inserted"]


@QUICK
@given(networks(least=3, most=25), st.data())
def test_a_node_taken_out_is_the_only_one_gone(source, data):
    numbers = [n for n, one in enumerate(source.graph.node) if one.op_type in UNARY]
    read = {name for one in source.graph.node for name in one.input}
    numbers = [n for n in numbers if source.graph.node[n].output[0] in read]
    assume(numbers)
    removed = source.graph.node[data.draw(st.sampled_from(numbers))]
    after = onnx.ModelProto()
    after.CopyFrom(source)
    after.graph.node.remove(removed)
    for one in after.graph.node:
        one.input[:] = [removed.input[0] if name == removed.output[0] else name for name in one.input]
    diff = graph.diff(source, after)
    assert types(diff.gone) - types(diff.come) == Counter([removed.op_type])
    # The neighbours of the gap may change places with their like, but no more than they.
    assert len(diff.gone) <= 1 + len(diff.come)


def test_another_operator_in_the_same_place_is_a_change():
    diff = graph.diff(
        chain(("MatMul", "w"), "Relu", ("MatMul", "v")), chain(("MatMul", "w"), "Sigmoid", ("MatMul", "v"))
    )
    assert [change.how for change in diff.changed] == ["Relu -> Sigmoid"]
    assert not diff.gone
    assert not diff.come


def test_an_activation_does_not_become_a_layout_change():
    diff = graph.diff(
        chain(("MatMul", "w"), "Relu", ("MatMul", "v")), chain(("MatMul", "w"), "Transpose", ("MatMul", "v"))
    )
    assert (types(diff.gone), types(diff.come)) == (Counter(Relu=1), Counter(Transpose=1))


def convolution(**attributes):
    return model([node("Conv", ["x", "w"], ["y"], "c", **attributes)])


def test_other_attributes_are_a_change_with_both_values():
    (change,) = graph.diff(convolution(group=1), convolution(group=8, pads=[1, 1, 1, 1])).changed
    assert change.attributes == {"group": (1, 8), "pads": (None, (1, 1, 1, 1))}
    assert change.how == "Conv: group 1 -> 8, pads nothing -> [1, 1, 1, 1]"


def test_an_attribute_that_only_spells_out_the_default_is_no_change():
    spelt = convolution(group=1, auto_pad="NOTSET", strides=[1, 1], dilations=[1, 1], pads=[0] * 4, kernel_shape=[3, 3])
    assert is_empty(graph.diff(convolution(), spelt))


def test_another_domain_is_a_change():
    after = model([node("Conv", ["x", "w"], ["y"], "c_nchwc", domain="com.microsoft.nchwc")])
    diff = graph.diff(convolution(), after)
    assert [change.how for change in diff.changed] == ["Conv -> com.microsoft.nchwc.Conv"]
    standard = model([node("Conv", ["x", "w"], ["y"], "c", domain="ai.onnx")])
    assert is_empty(graph.diff(convolution(), standard))


def constant(value, name="", raw=True):
    tensor = numpy_helper.from_array(np.float32(value)) if raw else helper.make_tensor("", 1, np.shape(value), value)
    tensor.name = name
    return model([node("Constant", [], ["c"], value=tensor), node("Add", ["x", "c"], ["y"])])


def test_a_constant_is_compared_by_its_values_not_by_its_name_or_encoding():
    assert is_empty(graph.diff(constant([1, 2]), constant([1, 2], "other", raw=False)))
    (change,) = graph.diff(constant(1.5), constant(2.5)).changed
    assert change.how == "Constant: value 1.5 -> 2.5"


def test_a_change_inside_a_branch_is_found(tmp_path):
    path = blocks.branches(tmp_path)
    after = onnx.load(path)
    choice = next(one for one in after.graph.node if one.op_type == "If")
    for attribute in choice.attribute:
        if attribute.name == "then_branch":
            attribute.g.node.append(node("Relu", [attribute.g.output[0].name], ["rectified"]))
            attribute.g.output[0].name = "rectified"
    diff = graph.diff(path, after)
    assert types(diff.come) == Counter(Relu=1)
    assert diff.same == 6
    assert is_empty(graph.diff(blocks.loop(tmp_path), blocks.loop(tmp_path)))


def test_functions_are_compared_by_what_they_contain(tmp_path):
    flat = model([node("MatMul", ["x", "w"], ["h"], "one"), node("MatMul", ["h", "v"], ["y"], "two")])
    assert is_empty(graph.diff(blocks.functions(tmp_path), flat))


def test_unrelated_models_share_little():
    diff = graph.diff(chain("Relu", "Abs", "Relu"), chain(("MatMul", "w"), "Sigmoid"))
    assert types(diff.gone) == Counter(Relu=2, Abs=1)
    assert types(diff.come) == Counter(MatMul=1, Sigmoid=1)


def test_a_diff_prints_its_counts():
    source = chain(("MatMul", "a"), "Relu", ("MatMul", "b"), names=False)
    after = dynamic(source)
    after.graph.node.append(node("Abs", ["x"], ["z"]))
    assert repr(graph.diff(source, after)).splitlines() == [
        "come         9: 4 Mul, 2 DynamicQuantizeLinear, 2 Cast, 1 Abs",
        "changed      2: 2 MatMul -> MatMulInteger",
        "same         1",
    ]
    assert repr(graph.diff(source, source)) == "same         3"


def test_a_node_is_listed_with_its_name_domain_and_operator():
    (gone,) = graph.diff(chain("Relu", "Abs"), chain("Abs")).gone
    assert (gone.name, gone.domain, gone.op_type) == ("Relu_0", "", "Relu")
    (unnamed,) = graph.diff(chain("Relu", "Abs", names=False), chain("Abs")).gone
    assert unnamed.name == "t0"


def test_paths_and_models_are_taken_alike(tmp_path):
    path = tmp_path / "m.onnx"
    onnx.save(chain("Relu", "Abs"), path)
    assert is_empty(graph.diff(str(path), graph.load(path)))
    with pytest.raises(FileNotFoundError, match="no such model file"):
        graph.diff(path, tmp_path / "nothing.onnx")
    with pytest.raises(ValueError, match=r"model is a list; expected the path of a model file, or an onnx\.ModelProto"):
        graph.diff(path, [])


def test_a_circle_is_named():
    circle = model([node("Relu", ["b"], ["a"], "one"), node("Abs", ["a"], ["b"], "two")], outputs=("a",))
    with pytest.raises(ValueError, match=r"nodes feed each other in a circle: .*one.*two"):
        graph.diff(circle, circle)


@pytest.mark.slow
def test_four_times_the_nodes_are_about_four_times_the_work():
    work = {}
    for size in (250, 1000):
        source = chain(*[("MatMul", f"w{n}") if n % 3 == 0 else UNARY[n % 4] for n in range(size)])
        after = renamed(dynamic(source))
        work[size] = calls_made(lambda source=source, after=after: graph.diff(source, after))
    assert work[1000] < 5 * work[250]
    assert len(graph.diff(source, after).changed) == 334


def test_constants_that_are_read_on_many_ways_are_looked_at_once():
    nodes = [
        one
        for n in range(60)  # 2 to the power of 60 ways from the last to the first
        for one in (
            node("Neg", [f"c{n}"], [f"a{n}"]),
            node("Abs", [f"c{n}"], [f"b{n}"]),
            node("Add", [f"a{n}", f"b{n}"], [f"c{n + 1}"]),
        )
    ]
    source = model([*nodes, node("Add", ["x", "c60"], ["y"])])
    assert graph.diff(source, renamed(source)).same == 181
