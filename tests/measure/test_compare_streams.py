"""A model whose state is fed back is judged over a stream; where that is not certain, it is said how it was judged."""

import re

import numpy as np
import pytest

from qlab import measure, recipes
from qlab.runtime import open_session
from tests.builders.blocks import FLOAT, node, noise, save, value, weights

WIDTH = 16


def integrator(folder, state="state", following="stateN", head="Sigmoid"):
    """Adds up what comes in: an error of each step stays for all that follow."""
    w = {"w": weights(WIDTH, WIDTH), "v": weights(WIDTH, WIDTH, seed=1)}
    nodes = [
        node("MatMul", ["x", "w"], ["u"], "in"),
        node("Add", [state, "u"], [following], "sum"),
        node("MatMul", [following, "v"], ["z"], "head"),
        node(head, ["z"], ["y"], "answer"),
    ]
    inputs, outputs = ([value(name, FLOAT, [1, WIDTH]) for name in names] for names in (("x", state), ("y", following)))
    return save(folder / "integrator.onnx", nodes, inputs, outputs, w)


def feed(state="state", seed=3, begin=0.0):
    return {"x": noise(1, WIDTH, seed=seed) / 10, state: np.full((1, WIDTH), begin, np.float32)}


def compared(model, folder, feeds):
    int8 = recipes.dynamic(model, folder / "int8.onnx").path
    return measure.compare({"fp32": model, "int8": int8}, feeds, rounds=1)


def by_hand(model, folder, steps):
    """Answers y of both models, each with its own state."""
    found = []
    for path in (model, recipes.dynamic(model, folder / "again.onnx").path):
        session, state, answers = open_session(path), feed()["state"], []
        for _ in range(steps):
            y, state = session.run(["y", "stateN"], {"x": feed()["x"], "state": state})
            answers.append(y)
        found.append(np.concatenate(answers))
    return found


def test_the_error_that_comes_together_over_a_stream_is_the_one_that_is_told(tmp_path):
    model = integrator(tmp_path)
    result = compared(model, tmp_path, feed())
    expected, got = by_hand(model, tmp_path, 32)
    error = expected - got
    last = 20 * np.log10(np.linalg.norm(expected[-8:]) / np.linalg.norm(error[-8:]))
    assert set(result.sqnr_by_output["int8"]) == {"y"}  # the state is no answer
    assert result.rows[1].sqnr_db == pytest.approx(last, abs=0.1)
    note = result.rows[1].note
    assert note.startswith("a stream of 32 steps with its own state fed back (state -> stateN): ")
    first, end = map(float, re.search(r"([\d.]+) dB in the first step, ([\d.]+) in the last 8", note).groups())
    assert first > end + 10
    assert float(re.search(r"y drifts by up to ([\d.]+)", note)[1]) == pytest.approx(np.abs(error).max(), rel=0.01)
    assert result.rows[0].note == ""


def test_given_feeds_are_the_stream_in_their_order(tmp_path):
    model = integrator(tmp_path)
    result = compared(model, tmp_path, [feed(seed=seed) for seed in range(40)])
    assert "a stream of 40 steps" in result.rows[1].note
    assert "in the last 30; " in result.rows[1].note
    assert result.feeds == 40


@pytest.mark.parametrize(
    ("state", "following"),
    [
        ("att_cache", "r_att_cache"), ("cached_key_0", "new_cached_key_0"), ("past_key_values.0.key", "present.0.key"),
        ("past_0", "present_0"), ("h", "hn"), ("c0", "cn"), ("hx", "hy"), ("state_in", "state_out"),
        ("stateIn", "stateOut"), ("input_states", "output_states"), ("cache", "cache_next"), ("memory", "out_memory"),
        ("s", "s_out"),
    ],
)  # fmt: skip
def test_a_state_is_known_by_what_its_next_value_is_called(tmp_path, state, following):
    result = compared(integrator(tmp_path, state, following), tmp_path, feed(state))
    assert f"({state} -> {following})" in result.rows[1].note


@pytest.mark.parametrize(
    ("state", "following"), [("other", "logits"), ("input", "output"), ("input1", "output1"), ("state", "logits")]
)
def test_what_is_no_state_by_its_name_is_judged_a_step_at_a_time(tmp_path, state, following):
    result = compared(integrator(tmp_path, state, following), tmp_path, feed(state, begin=1.0))
    assert "stream" not in result.rows[1].note
    assert set(result.sqnr_by_output["int8"]) == {"y", following}


def test_what_may_be_a_state_is_noted_with_how_it_was_judged(tmp_path):
    result = compared(integrator(tmp_path, "b", "b_out"), tmp_path, feed("b", begin=1.0))
    assert result.rows[1].note == "b_out may be the next b: judged a step at a time"


def cached(folder, mask):
    """A cache that grows by a row each step; with a mask of a fixed length over it no second step runs."""
    w = {"w": weights(WIDTH, WIDTH), "v": weights(WIDTH, WIDTH, seed=1)}
    nodes = [
        node("MatMul", ["x", "w"], ["u"], "in"),
        node("Concat", ["past", "u"], ["present"], "cache", axis=1),
        node(*(("Add", ["present", "mask"]) if mask else ("Identity", ["present"])), ["seen"], "masking"),
        node("ReduceMean", ["seen"], ["mean"], "mean", axes=[1]),
        node("MatMul", ["mean", "v"], ["y"], "head"),
    ]  # fmt: skip
    sizes = {"x": [1, 1, WIDTH], "past": [1, "t", WIDTH]} | ({"mask": [1, 5, 1]} if mask else {})
    inputs = [value(name, FLOAT, shape) for name, shape in sizes.items()]
    outputs = [value("y", FLOAT, [1, 1, WIDTH]), value("present", FLOAT, [1, "t1", WIDTH])]
    return save(folder / "cached.onnx", nodes, inputs, outputs, w)


@pytest.mark.parametrize("mask", [False, True])
def test_a_cache_grows_with_the_stream_and_where_it_cannot_that_is_said(tmp_path, mask):
    given = {"x": noise(1, 1, WIDTH), "past": noise(1, 4, WIDTH, seed=2)}
    given |= {"mask": np.zeros((1, 5, 1), np.float32)} if mask else {}
    note = compared(cached(tmp_path, mask), tmp_path, given).rows[1].note
    if mask:
        assert note == "its state (past -> present) cannot be fed back on these feeds: judged a step at a time"
    else:
        assert note.startswith("a stream of 32 steps")
