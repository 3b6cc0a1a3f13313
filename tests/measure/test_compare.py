"""compare: what it measures, in which order, and what it refuses."""

from collections import Counter

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper
from onnxruntime.quantization import CalibrationDataReader

from qlab import measure
from qlab.graph.model import opened
from qlab.measure.compare import time_models
from tests.builders.linear import WIDTH, feed, linear, save, weights


@pytest.fixture
def models(tmp_path):
    """The same product, nearly the same product, and the same with a lot more work."""
    w = weights()
    return {
        "light": linear(tmp_path / "light.onnx", w),
        "rounded": linear(tmp_path / "rounded.onnx", np.round(w, 2)),
        "heavy": linear(tmp_path / "heavy.onnx", w, ballast=8192),
    }


def taking(**seconds):
    """A timer by which a round of each model takes so long, within 1 %; no clock runs."""
    rng = np.random.default_rng(0)
    rounds_of = lambda name, rounds: seconds[name] * rng.uniform(0.99, 1.01, rounds)
    return lambda sessions, feeds, rounds: {name: rounds_of(name, rounds) for name in sessions}


def test_the_table_has_one_row_a_model_with_every_figure(models):
    result = measure.compare(models, feed())
    assert [row.name for row in result.rows] == ["light", "rounded", "heavy"]
    for row in result.rows:
        assert row.size_mb == opened(models[row.name]).size_mb
        assert row.median_ms > 0
        assert row.speedup_low <= row.speedup_high
        assert row.verdict in {"faster", "slower", "cannot tell"}
    reference = result.rows[0]
    assert (reference.speedup, reference.speedup_low, reference.speedup_high) == (1, 1, 1)
    assert (reference.is_reference, reference.sqnr_db, reference.verdict) == (True, np.inf, "cannot tell")


def test_a_model_that_takes_four_times_as_long_is_slower_and_the_reverse_faster(models):
    timer = taking(light=0.5, heavy=2.0)
    slower = measure.compare({"light": models["light"], "heavy": models["heavy"]}, feed(), timer=timer)
    faster = measure.compare({"heavy": models["heavy"], "light": models["light"]}, feed(), timer=timer)
    assert slower.rows[1].verdict == "slower"
    assert slower.rows[1].speedup_low <= slower.rows[1].speedup == pytest.approx(0.25, rel=0.02)
    assert faster.rows[1].verdict == "faster"
    assert faster.rows[1].speedup_high >= faster.rows[1].speedup == pytest.approx(4, rel=0.02)


def test_a_model_against_itself_is_exact_and_the_winner_cannot_be_told(models):
    result = measure.compare({"a": models["heavy"], "b": models["heavy"]}, feed(), timer=taking(a=1.0, b=1.0))
    assert result.rows[1].sqnr_db == np.inf
    assert result.rows[1].verdict == "cannot tell"


def test_sqnr_is_that_of_the_answers_themselves(models):
    x = feed()["x"]
    exact, rounded = x @ weights(), x @ np.round(weights(), 2)
    expected = 20 * np.log10(np.linalg.norm(exact) / np.linalg.norm(exact - rounded))
    result = measure.compare(models, {"x": x})
    assert result.rows[1].sqnr_db == pytest.approx(expected, abs=0.01)
    assert result.sqnr_by_output["rounded"] == {"y": result.rows[1].sqnr_db}


def test_the_worst_float_output_stands_in_the_table_and_every_output_is_kept(tmp_path):
    def two_outputs(path, first, second):
        nodes = [helper.make_node("MatMul", ["x", name], [f"y_{name}"]) for name in ("a", "b")]
        nodes.append(helper.make_node("Shape", ["x"], ["size"]))
        outputs = {name: (TensorProto.FLOAT, ["rows", WIDTH]) for name in ("y_a", "y_b")}
        outputs["size"] = (TensorProto.INT64, [2])
        return save(path, nodes, outputs, initializers={"a": first, "b": second})

    w = weights()
    reference = two_outputs(tmp_path / "a.onnx", w, w)
    other = two_outputs(tmp_path / "b.onnx", np.round(w, 3), np.round(w, 1))
    result = measure.compare({"fp32": reference, "rounded": other}, feed())
    by_output = result.sqnr_by_output["rounded"]
    assert set(by_output) == {"y_a", "y_b"}
    assert by_output["y_a"] > by_output["y_b"] + 30
    assert result.rows[1].sqnr_db == by_output["y_b"]


def test_several_feeds_of_different_lengths_count_alike_whether_listed_generated_or_read(models):
    feeds = [feed(seed, rows) for seed, rows in ((1, 1), (2, 3), (3, 64))]

    class Reader(CalibrationDataReader):
        def __init__(self):
            self.feeds = iter(feeds)

        def get_next(self):
            return next(self.feeds, None)

    results = [measure.compare(models, given) for given in (feeds, iter(feeds), Reader())]
    assert [result.feeds for result in results] == [3, 3, 3]
    assert len({result.rows[1].sqnr_db for result in results}) == 1


class FakeSession:
    """Answers like a model, writes down when it ran, and needs `cost` on a clock of the test's own."""

    def __init__(self, name, log, clock, cost):
        self.name, self.log, self.clock, self.cost = name, log, clock, cost

    def run(self, outputs, feed):
        self.log.append((self.name, feed["x"]))
        self.clock.now += self.cost


class Clock:
    now = 0.0

    def __call__(self):
        return self.now


def test_every_round_runs_every_model_on_every_feed_in_an_order_drawn_anew():
    clock, log = Clock(), []
    sessions = {name: FakeSession(name, log, clock, cost) for name, cost in (("a", 0.5), ("b", 0.25), ("c", 0.1))}
    seconds = time_models(sessions, [{"x": 0}, {"x": 1}], 30, clock=clock)
    measured = log[-30 * 3 * 2 :]
    orders = []
    for start in range(0, len(measured), 6):
        turn = measured[start : start + 6]
        assert sorted(turn) == [(name, x) for name in "abc" for x in (0, 1)]
        assert [x for _, x in turn] == [0, 1] * 3
        orders.append(tuple(name for name, _ in turn[::2]))
    assert len(set(orders)) == 6
    assert {name: len(values) for name, values in seconds.items()} == {"a": 30, "b": 30, "c": 30}


def test_each_model_runs_as_often_in_a_round_as_fills_a_sample_by_its_own_speed(monkeypatch):
    monkeypatch.setenv("QLAB_FAST", "0")
    clock, log = Clock(), []
    costs = {"tiny": 1e-4, "small": 3e-3, "large": 0.5}
    sessions = {name: FakeSession(name, log, clock, cost) for name, cost in costs.items()}
    seconds = time_models(sessions, [{"x": 0}], 10, clock=clock)
    ran = Counter(name for name, _ in log)
    assert 10 * 100 < ran["tiny"] < 13 * 100
    assert 10 * 4 < ran["small"] < 13 * 4
    assert ran["large"] == 1 + 1 + 10  # to see how long it takes, untimed, timed
    assert {name: np.median(values) for name, values in seconds.items()} == pytest.approx(costs)


def test_qlab_fast_repeats_a_quick_model_a_tenth_as_often():
    clock, log = Clock(), []
    time_models({"tiny": FakeSession("tiny", log, clock, 1e-5)}, [{"x": 0}], 10, clock=clock)
    assert len(log) == pytest.approx(11 * 100, rel=0.05)


def test_a_pause_of_the_machine_in_one_run_of_ten_does_not_show_in_the_time_of_a_quick_model(monkeypatch):
    monkeypatch.setenv("QLAB_FAST", "0")
    clock, log = Clock(), []

    class Interrupted(FakeSession):
        def run(self, outputs, feed):
            super().run(outputs, feed)
            self.clock.now += 4e-3 if len(self.log) % 10 == 0 else 0.0

    seconds = time_models({"tiny": Interrupted("tiny", log, clock, 3e-4)}, [{"x": 0}], 10, clock=clock)
    assert seconds["tiny"] == pytest.approx(np.full(10, 3e-4))


def test_qlab_fast_means_fewer_rounds(models, monkeypatch):
    monkeypatch.setenv("QLAB_FAST", "0")
    assert len(measure.compare(models, feed(), rounds=20).times_ms["light"]) == 20
    monkeypatch.setenv("QLAB_FAST", "1")
    assert len(measure.compare(models, feed(), rounds=20).times_ms["light"]) == 7
    assert len(measure.compare(models, feed(), rounds=6).times_ms["light"]) == 6


def test_nothing_is_printed_by_a_short_comparison(models, capfd, no_bar_is_due):
    measure.compare(models, feed(), threads=2)
    assert capfd.readouterr() == ("", "")


def test_random_weights_are_said_so_and_the_quality_is_still_shown(tmp_path):
    marked = linear(tmp_path / "noise.onnx", weights(), metadata={"qlab.weights": "random"})
    result = measure.compare({"fp32": marked, "again": linear(tmp_path / "again.onnx", weights())}, feed())
    assert [row.note for row in result.rows] == ["random weights: latency only", ""]
    assert result.rows[1].sqnr_db == np.inf
    assert "random weights: latency only" in repr(result)
    assert "random weights: latency only" in result.plot().axes[0].get_xlabel()


@pytest.mark.parametrize("given", [{}, {"fp32": "a.onnx"}, ["a.onnx", "b.onnx"], "a.onnx"])
def test_fewer_than_two_named_models_are_refused(given):
    with pytest.raises(ValueError, match="at least two, the reference first"):
        measure.compare(given, feed())


@pytest.mark.parametrize("rounds", [0, -3, 2.5, True])
def test_a_number_of_rounds_that_is_none_is_refused(models, rounds):
    with pytest.raises(ValueError, match=f"rounds is {rounds}"):
        measure.compare(models, feed(), rounds=rounds)


def test_a_path_that_is_not_there_and_a_file_cut_short_are_refused_by_name(models, tmp_path):
    with pytest.raises(FileNotFoundError, match=r"gone\.onnx"):
        measure.compare(models | {"gone": tmp_path / "gone.onnx"}, feed())
    whole = (tmp_path / "heavy.onnx").read_bytes()
    (tmp_path / "cut.onnx").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(ValueError, match=r"cut\.onnx: onnxruntime cannot open it; is it a complete ONNX file"):
        measure.compare(models | {"cut": tmp_path / "cut.onnx"}, feed())


def test_models_whose_outputs_differ_in_name_or_count_are_refused_with_both_lists(models, tmp_path):
    renamed = linear(tmp_path / "renamed.onnx", weights(), output="z")
    with pytest.raises(ValueError, match=r"'other' has the outputs \['z'\], 'light' has \['y'\]"):
        measure.compare({"light": models["light"], "other": renamed}, feed())


def test_models_whose_outputs_differ_in_shape_or_kind_are_refused_with_both(models, tmp_path):
    narrow = save(
        tmp_path / "narrow.onnx",
        [helper.make_node("MatMul", ["x", "w"], ["y"])],
        {"y": (TensorProto.FLOAT, ["rows", 8])},
        initializers={"w": weights()[:, :8]},
    )
    with pytest.raises(
        ValueError, match=r"output 'y' for feed 0 is float \[4, 8\] from 'narrow', float \[4, 32\] from"
    ):
        measure.compare({"light": models["light"], "narrow": narrow}, feed())
    whole = save(
        tmp_path / "whole.onnx",
        [helper.make_node("MatMul", ["x", "w"], ["f"]), helper.make_node("Cast", ["f"], ["y"], to=TensorProto.INT64)],
        {"y": (TensorProto.INT64, ["rows", WIDTH])},
        initializers={"w": weights()},
    )
    with pytest.raises(ValueError, match=r"int64 \[4, 32\] from 'whole', float \[4, 32\] from 'light'"):
        measure.compare({"light": models["light"], "whole": whole}, feed())


def test_a_model_that_fails_on_a_feed_that_looks_right_is_named(models, tmp_path):
    picky = save(
        tmp_path / "picky.onnx",
        [helper.make_node("Reshape", ["x", "shape"], ["f"]), helper.make_node("MatMul", ["f", "w"], ["y"])],
        {"y": (TensorProto.FLOAT, [2, WIDTH])},
        initializers={"w": weights(), "shape": np.array([2, WIDTH])},
    )
    with pytest.raises(ValueError, match="model 'picky' does not run on this feed"):
        measure.compare({"light": models["light"], "picky": picky}, feed(rows=4))


def test_a_feed_is_checked_against_every_model(models, tmp_path):
    named = helper.make_tensor_value_info("audio", TensorProto.FLOAT, ["rows", WIDTH])
    other = save(
        tmp_path / "audio.onnx",
        [helper.make_node("MatMul", ["audio", "w"], ["y"])],
        {"y": (TensorProto.FLOAT, ["rows", WIDTH])},
        initializers={"w": weights()},
        inputs=[named],
    )
    with pytest.raises(ValueError, match=r"feed has \['x'\]; model 'other' takes \['audio'\]"):
        measure.compare({"light": models["light"], "other": other}, feed())


def test_two_threads_are_two_threads(models):
    seen = {}

    def timer(sessions, feeds, rounds):
        seen.update({name: session.get_session_options() for name, session in sessions.items()})
        return time_models(sessions, feeds, rounds)

    assert "2 threads" in repr(measure.compare(models, feed(), threads=2, timer=timer))
    assert seen.keys() == models.keys()
    for options in seen.values():
        assert (options.intra_op_num_threads, options.inter_op_num_threads) == (2, 1)
        assert options.get_session_config_entry("session.force_spinning_stop") == "1"


def test_the_models_are_left_as_they_were(models):
    before = {name: onnx.load(path).SerializeToString() for name, path in models.items()}
    measure.compare(models, feed())
    assert {name: onnx.load(path).SerializeToString() for name, path in models.items()} == before


def test_a_column_of_few_numbers_may_be_small_by_luck_and_is_not_remarked_on(tmp_path):
    """One row: each column is one number, and some of 32 are near 0."""
    w = weights()
    paths = {"fp32": linear(tmp_path / "a.onnx", w), "other": linear(tmp_path / "b.onnx", w + np.float32(0.01))}
    one, many = (measure.compare(paths, feed(rows=rows), rounds=2) for rows in (1, 64))
    assert (one.worst_part["other"], one.rows[1].note) == (None, "")
    assert many.worst_part["other"].tensor == "y"
    assert many.rows[1].note == ""
