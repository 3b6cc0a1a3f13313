"""Notebook 00: exercise 00.1, models that do not run here, the two pictures."""

import dataclasses

import numpy as np
import pytest
from onnx import TensorProto, helper, load, numpy_helper, save

from qlab import machine, models
from qlab.course import check
from qlab.course.lessons import common, n00
from qlab.runtime import open_session

SOLUTION = {"model", "method", "input shape", "cpu", "threads", "versions", "dtypes", "op types", "spread"}
OTHERS = set(n00.FACTS) - SOLUTION


def test_the_facts_are_listed_in_an_order_that_tells_nothing():
    assert list(n00.FACTS) == sorted(n00.FACTS)


@pytest.mark.parametrize(
    "answer",
    [
        SOLUTION,
        frozenset(SOLUTION),
        list(SOLUTION),
        tuple(f" {x.upper()} " for x in SOLUTION),
        dict.fromkeys(SOLUTION).keys(),
        dict.fromkeys(SOLUTION, "stated"),
        {fact: fact in SOLUTION for fact in n00.FACTS},
        {fact: np.bool_(fact in SOLUTION) for fact in n00.FACTS},
        {fact: int(fact in SOLUTION) for fact in n00.FACTS},
        {fact: what for fact, what in n00.FACTS.items() if fact in SOLUTION},
        np.array(sorted(SOLUTION)),
        np.array(sorted(SOLUTION), dtype=object),
        {fact.replace(" ", "_") for fact in SOLUTION},
        [fact.replace(" ", "-").title() for fact in SOLUTION],
    ],
)
def test_00_1_takes_the_solution_in_any_container_and_spelling(answer):
    assert check("00.1", answer).status == "passed"


def test_00_1_takes_an_iterator():
    assert check("00.1", (fact for fact in sorted(SOLUTION))).status == "passed"
    assert check("00.1", filter(SOLUTION.__contains__, n00.FACTS)).status == "passed"


@pytest.mark.parametrize("answer", [..., {...}, {"cpu", ...}])
def test_00_1_blank_is_not_yet(answer):
    assert check("00.1", answer).status == "not yet"


@pytest.mark.parametrize("missing", sorted(SOLUTION))
def test_00_1_names_the_fact_that_is_missing_and_why_it_matters(missing):
    verdict = check("00.1", SOLUTION - {missing})
    assert verdict.status == "almost"
    assert verdict.message == f"{missing!r} is missing: {n00.words('00', 'facts')[missing]['why']}"


@pytest.mark.parametrize("extra", sorted(OTHERS))
def test_00_1_names_the_fact_that_is_not_needed(extra):
    assert f"{extra!r} is not needed: " in check("00.1", SOLUTION | {extra}).message


@pytest.mark.parametrize(
    ("answer", "says"),
    [
        ({"cpu"}, "only the CPU is named"),
        ({"cpu": 1}, "only the CPU is named"),
        (set(), "no fact is named yet"),
        (dict.fromkeys(n00.FACTS, False), "no fact is named yet"),
        (n00.FACTS, "that is the whole list"),
        (OTHERS, "those are the facts that are *not* needed"),
        ({"cpu", "threads", "versions"}, "Missing is what ran on it"),
        ({"cpu", "threads"}, "Missing is what ran on it"),
        ({"model", "input shape", "dtypes", "op types"}, "Missing is on what machine"),
        ({"model", "cpu"}, "(6 more missing)"),
        ("cpu", "expected a set of names"),
        (b"cpu", "expected a set of names"),
        (np.array("cpu"), "expected a set of names"),
        (None, "expected a set of names"),
        (8, "expected a set of names"),
        ({"cpu", 1}, "expected names in quotes, seen 1"),
        ([["cpu", "model"]], "expected names in quotes, seen ['cpu', 'model']"),
        ({"cpu, model"}, 'give every name its own quotes, "cpu", "model"'),
        ({"cpus"}, "'cpus' is not in the list: do you mean 'cpu'?"),
        ({"input"}, "'input' is not in the list: do you mean 'input shape'?"),
        ({"operators"}, "do you mean 'op types'?"),
        ({"runtime"}, "do you mean 'threads' or 'versions'?"),
        ([n00.FACTS["spread"]], "tells what 'spread' is: give the name"),
        ({"weather"}, "'weather' is not in the list: accuracy, author"),
        ({"<b>"}, "'<b>' is not in the list"),
        (lambda: SOLUTION, "expected a set of names"),
    ],
)
def test_00_1_refuses_with_the_reason(answer, says):
    verdict = check("00.1", answer)
    assert verdict.status == "almost"
    assert says in verdict.message


def test_the_groups_that_are_named_alone_are_made_of_facts_that_are_needed():
    assert all(side < SOLUTION for side in n00.SIDES.values())


def test_a_model_that_fails_when_it_runs_is_left_out_and_the_reason_is_printed(tmp_path, capsys):
    node = helper.make_node("MatMulInteger", ["x", "w"], ["y"])
    inputs = [helper.make_tensor_value_info(name, TensorProto.UINT8, [None, None]) for name in "xw"]
    graph = helper.make_graph(
        [node], "fails", inputs, [helper.make_tensor_value_info("y", TensorProto.INT32, [None, None])]
    )
    save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), tmp_path / "fails.onnx")
    files = {"fp32": models.path("digits"), "the same": models.path("digits"), "other": tmp_path / "fails.onnx"}
    kept = common.that_run(files, {"images": np.zeros((1, 1, 8, 8), np.float32)})
    assert list(kept) == ["fp32", "the same"]
    assert capsys.readouterr().out.startswith("other does not run here, and is left out: ")


def test_the_card_picture_says_what_saturates_what_has_no_kernel_and_whether_signs_matter():
    card = machine.card("x86-avx2")
    equal = dataclasses.replace(card, name="equal", speed=dict.fromkeys(machine.SIGN_PAIRS, 3.5), saturates=False)
    lacking = dataclasses.replace(equal, name="lacking", speed=equal.speed | {"s8u8": None})
    figure = n00.draw_signs(card, equal, lacking)
    texts = [[text.get_text() for text in axes.texts] for axes in figure.axes]
    assert texts == [
        ["1.99 saturates", "1.61", "0.33", "0.33"],
        ["3.50", "3.50", "3.50", "3.50"],
        ["3.50", "3.50", "3.50", "no kernel"],
    ]
    titles = [n00.draw_signs(one).get_suptitle() for one in (card, equal, lacking)]
    assert titles == [
        "x86-avx2: u8 × s8, which saturates, runs at 2.0 times float32, s8 × s8 at 0.33",
        "equal: every pair of signs runs at 3.5 times float32 or more",
        "lacking: each pair that has a kernel runs at 3.5 times float32 or more",
    ]


def test_the_schematic_names_every_operator_in_words_as_well():
    alt = n00.draw_layer().alt
    for operator in ("MatMulInteger", "DynamicQuantizeLinear", "DequantizeLinear", "QuantizeLinear", "Cast and Mul"):
        assert operator in alt


def test_the_drawn_network_is_the_one_that_the_course_quantizes():
    figure = n00.network()
    drawn = " ".join(text.get_text() for text in figure.axes[0].texts)
    model = load(models.path("conformer"))
    names = {tensor.name for tensor in model.graph.initializer}
    feed = models.feed(np.zeros(10 * 16_000, np.float32))
    frames, bands = feed["speech"].shape[1:]
    (scores,) = open_session(models.path("conformer")).run(["ctc_log_probs"], feed)
    blocks = {name.split(".")[2] for name in names if name.startswith("encoder.encoders.")}
    assert f"{len(blocks)} blocks" in drawn
    assert f"{scores.shape[2]} scores" in drawn
    assert f"{bands} logarithms" in drawn
    assert round(frames, -1) == 10 * 100  # one every 10 ms, but for what no whole window is left for
    assert round(scores.shape[1], -1) == 10 * 25  # one every 40 ms
    for part in ("feed_forward_macaron", "self_attn.linear_q", "conv_module", "feed_forward", "norm_final"):
        assert any(part in name for name in names)
    for part in ("macaron", "query", "convolution", "LayerNorm"):
        assert part in drawn
        assert part in figure.alt


def test_a_graph_without_signs_holds_the_same_real_numbers_in_as_many_bytes():
    codes, scale = np.int8([[-128, 0], [5, 127]]), np.float32([0.5])
    tensors = {"w": codes, "w_zero": np.int8(-3), "w_scale": scale}
    before = [numpy_helper.from_array(np.asarray(value), name) for name, value in tensors.items()]
    model = helper.make_model(helper.make_graph([], "signs", [], [], before))
    after = {tensor.name: numpy_helper.to_array(tensor) for tensor in n00.without_signs(model).graph.initializer}
    assert after["w"].dtype == after["w_zero"].dtype == np.uint8
    np.testing.assert_array_equal(after["w"].astype(int) - after["w_zero"].astype(int), codes.astype(int) + 3)
    np.testing.assert_array_equal(after["w_scale"], scale)
