"""A profile's rows are the census with times; every node's own time counts once."""

import json
from collections import Counter

import numpy as np
import onnx
import onnxruntime
import pytest

from qlab import graph, measure, recipes
from qlab.measure.profile import Ledger, Line, profile_models
from qlab.measure.trace import read_runs
from tests.builders import blocks, faults

MODELS = {
    "linear": (blocks.linear, blocks.linear_feed),
    "cnn": (blocks.residual_cnn, blocks.cnn_feed),
    "conformer": (blocks.conformer_block, blocks.conformer_feed),
    "no names": (blocks.constants, blocks.narrow_feed),
    "functions": (blocks.functions, blocks.narrow_feed),
    "branches": (blocks.branches, blocks.branches_feed),
    "loop": (blocks.loop, blocks.loop_feed),
}


@pytest.mark.parametrize("kind", MODELS)
def test_the_rows_count_what_the_census_counts(tmp_path, kind):
    make, feed = MODELS[kind]
    path = make(tmp_path)
    profile, census = measure.profile(path, feed(), rounds=2), graph.census(path)
    for where in ("integer", "float", "boundary", "other"):
        counted = Counter({(row.domain, row.op_type): row.count for row in profile.rows if row.kind == where})
        assert counted == getattr(census, where)


@pytest.mark.parametrize("kind", MODELS)
def test_the_nodes_of_a_run_take_no_longer_than_the_run(tmp_path, kind):
    make, feed = MODELS[kind]
    profile = measure.profile(make(tmp_path), feed(), rounds=3)
    assert 0 < profile.kernel_ms <= profile.total_ms * 1.0001
    assert sum(row.share for row in profile.rows) == pytest.approx(1)
    assert sum(row.ms for row in profile.rows) == pytest.approx(profile.kernel_ms)
    assert [row.ms for row in profile.rows] == sorted((row.ms for row in profile.rows), reverse=True)


def test_what_never_ran_is_there_without_time(tmp_path):
    nodes = {node.name: node for node in measure.profile(blocks.branches(tmp_path), blocks.branches_feed()).nodes}
    assert nodes["yes_product"].macs == 32 * 16 * 16
    assert (nodes["no_product"].ms, nodes["no_product"].macs) == (0.0, 0)


def test_the_body_of_a_loop_counts_as_often_as_it_ran(tmp_path):
    nodes = {node.name: node for node in measure.profile(blocks.loop(tmp_path), blocks.loop_feed()).nodes}
    assert nodes["step"].macs == 3 * 32 * 16 * 16
    assert nodes["after"].macs == 32 * 16 * 16


def multiply_adds(path, feed):
    return {node.name: node.macs for node in measure.profile(path, feed, rounds=1).nodes if node.macs}


def test_multiply_adds_are_those_of_the_layers(tmp_path):
    found = multiply_adds(blocks.linear(tmp_path), blocks.linear_feed(rows=64))
    assert sorted(found.values()) == [64 * 32 * 16, 64 * 24 * 32]
    found = multiply_adds(blocks.transposed_conv(tmp_path), blocks.image_feed())
    assert found["up"] == 8 * 8 * 8 * 4 * 4
    found = multiply_adds(faults.residual(tmp_path), faults.image_feed())
    pixels = faults.SIDE**2 * faults.CHANNELS
    assert sorted(found.values()) == [pixels * 3 * 9] + [pixels * faults.CHANNELS * 9] * 4
    found = multiply_adds(blocks.recurrent(tmp_path, "LSTM"), {"x": blocks.noise(5, 2, 16)})
    assert sorted(found.values()) == sorted([5 * 2 * 96 * (16 + 24), 5 * 2 * 24 * 8])


@pytest.mark.parametrize("dtype", ["uint8", "int8"])
def test_a_quantized_product_has_the_multiply_adds_of_the_float_one_and_its_signs(tmp_path, dtype):
    model, feed = faults.layers(tmp_path), faults.layers_feed()
    before = measure.profile(model, feed, rounds=1)
    after = measure.profile(faults.by_hand(model, tmp_path, dtype), feed, rounds=1)
    work = faults.ROWS * faults.WIDTH**2
    assert [node.macs for node in before.nodes if node.macs] == [work] * 3
    products = [node for node in after.nodes if node.macs]
    assert [node.macs for node in products] == [work] * 3
    assert {node.sign_pair for node in products} == {"u8u8" if dtype == "uint8" else "u8s8"}
    assert {node.weights for node in products} == {(faults.WIDTH, faults.WIDTH)}


@pytest.mark.parametrize(("dtype", "pair"), [("uint8", "u8u8"), ("int8", "s8u8")])
def test_conv_integer_has_its_weights_on_the_left(tmp_path, dtype, pair):
    path = faults.by_hand(faults.residual(tmp_path), tmp_path, dtype)
    nodes = [
        node for node in measure.profile(path, faults.image_feed(), rounds=1).nodes if node.family == "convolution"
    ]
    assert {(node.op_type, node.sign_pair) for node in nodes} == {("ConvInteger", pair)}


def test_a_static_convolution_is_recognized_with_its_channels_last(tmp_path):
    model, feed = blocks.residual_cnn(tmp_path), blocks.cnn_feed(batch=1)
    quantized = recipes.static(model, tmp_path / "int8.onnx", feed, activation_dtype="uint8", weight_dtype="int8")
    nodes = [node for node in measure.profile(quantized, feed, rounds=1).nodes if node.op_type == "QLinearConv"]
    assert {node.sign_pair for node in nodes} == {"u8s8"}
    assert sorted(node.macs for node in nodes) == sorted([144 * 8 * 3 * 9, 144 * 8 * 9, 144 * 8 * 8])
    assert sorted(node.depthwise for node in nodes) == [False, False, True]


def test_times_and_work_are_means_over_several_feeds(tmp_path):
    profile = measure.profile(blocks.linear(tmp_path), [blocks.linear_feed(rows=20), blocks.linear_feed(rows=60)])
    assert sorted(node.macs for node in profile.nodes if node.macs) == [40 * 32 * 16, 40 * 24 * 32]
    assert profile.rounds == 7  # QLAB_FAST


def test_a_quick_model_runs_several_times_a_round_and_the_rounds_are_those_asked_for(tmp_path, monkeypatch):
    monkeypatch.setenv("QLAB_FAST", "0")
    ran, run = Counter(), onnxruntime.InferenceSession.run
    monkeypatch.setattr(
        onnxruntime.InferenceSession, "run", lambda self, *args: ran.update([id(self)]) or run(self, *args)
    )
    profile = measure.profile(blocks.linear(tmp_path), blocks.linear_feed(), rounds=3)
    assert profile.rounds == 3
    assert min(ran.values()) > 1 + 2 * 3  # of the plain session and the profiled one
    assert 0 < profile.kernel_ms <= profile.total_ms * 1.0001


def test_several_models_take_turns(tmp_path):
    paths = {"fp32": blocks.linear(tmp_path), "int8": tmp_path / "int8.onnx"}
    recipes.dynamic(paths["fp32"], paths["int8"])
    profiles = profile_models(paths, blocks.linear_feed(), rounds=3)
    assert list(profiles) == ["fp32", "int8"]
    lines = measure.ledger(profiles["fp32"], profiles["int8"])
    assert lines.total.fp32_ms == pytest.approx(profiles["fp32"].total_ms)
    assert lines.total.quantized_ms == pytest.approx(profiles["int8"].total_ms)
    assert sum(line.difference_ms for line in lines.lines) == pytest.approx(lines.total.difference_ms)
    assert "a whole run" in repr(lines)


def test_weights_stored_beside_the_model_are_no_obstacle(tmp_path):
    path = blocks.linear(tmp_path, save_as_external_data=True, location="weights.bin", size_threshold=0)
    assert measure.profile(path, blocks.linear_feed(), rounds=1).nodes


def test_the_table_names_operators_kinds_and_the_rest(tmp_path):
    text = repr(measure.profile(faults.by_hand(faults.residual(tmp_path), tmp_path, "int8"), faults.image_feed()))
    head, *rows, last = text.splitlines()
    assert head.split() == ["operator", "computes", "on", "nodes", "ms", "share"]
    assert any(row.startswith("ConvInteger") and "integer" in row for row in rows)
    assert "medians of 7 rounds" in last


def test_the_figures_say_what_takes_the_time(tmp_path):
    model, feed = faults.layers(tmp_path), faults.layers_feed()
    profiles = profile_models({"fp32": model, "int8": faults.by_hand(model, tmp_path, "int8")}, feed, rounds=2)
    assert "takes" in profiles["fp32"].plot().axes[0].get_title("left")
    axes = measure.ledger(*profiles.values()).plot().axes[0]
    assert axes.get_xlabel() == "time in one run (ms)"
    assert "matrix products" in [label.get_text() for label in axes.get_yticklabels()]


def test_what_cannot_be_profiled_is_refused(tmp_path):
    model = blocks.linear(tmp_path)
    with pytest.raises(FileNotFoundError, match="nowhere"):
        measure.profile(tmp_path / "nowhere.onnx", blocks.linear_feed())
    with pytest.raises(ValueError, match="takes"):
        measure.profile(model, {"y": np.zeros(3, np.float32)})
    with pytest.raises(ValueError, match="rounds is 0"):
        measure.profile(model, blocks.linear_feed(), rounds=0)
    (tmp_path / "text.onnx").write_text("no model")
    with pytest.raises(ValueError, match=r"not an ONNX file|no ONNX graph"):
        measure.profile(tmp_path / "text.onnx", blocks.linear_feed())


def test_external_data_outside_the_folder_are_not_read(tmp_path):
    (tmp_path / "inner").mkdir()
    path = blocks.linear(tmp_path / "inner", save_as_external_data=True, location="weights.bin", size_threshold=0)
    model = onnx.load(path, load_external_data=False)
    (tmp_path / "inner" / "weights.bin").rename(tmp_path / "weights.bin")
    for tensor in model.graph.initializer:
        tensor.external_data[0].value = "../weights.bin"
    path.write_bytes(model.SerializeToString())
    with pytest.raises(ValueError, match="outside the model's folder"):
        measure.profile(path, blocks.linear_feed())


def event(name, start, microseconds, op_type="Add", index=0):
    return {
        "cat": "Node", "name": f"{name}_kernel_time", "ts": start, "dur": microseconds,
        "args": {"op_name": op_type, "node_index": str(index), "input_type_shape": [], "output_type_shape": []},
    }  # fmt: skip


def test_a_node_is_not_charged_for_what_it_ran_inside(tmp_path):
    """Events arrive when they end: body before loop, the inner loop's body before the inner loop."""
    entries = [
        event("before", 0, 10),
        event("deep", 21, 5), event("deep", 27, 5), event("inner", 20, 15, "Loop"), event("beside", 36, 4),
        event("outer", 15, 30, "Loop"),
        event("after", 46, 7),
        {"cat": "Session", "name": "model_run", "ts": 0, "dur": 60, "args": {}},
        event("cut off", 70, 7),
    ]  # fmt: skip
    path = tmp_path / "profile.json"
    path.write_text(json.dumps(entries))
    (run,) = read_runs(path)
    own = [(one.name, one.self_us) for one in run]
    assert own == [("before", 10), ("deep", 5), ("deep", 5), ("inner", 5), ("beside", 4), ("outer", 11), ("after", 7)]
    assert sum(microseconds for _, microseconds in own) == 10 + 30 + 7


def test_the_legend_of_a_ledger_hides_no_bar_and_no_label():
    lines = (Line("convolution", 9.0, 3.0), Line("the rest", 2.0, 2.5), Line("between", 10.0, 12.5))
    figure = Ledger(lines).plot()
    figure.draw_without_rendering()
    axes, (legend,) = figure.axes[0], figure.legends
    labels = [*axes.texts, *axes.get_xticklabels(), *axes.get_yticklabels(), axes.xaxis.label]
    taken = [part.get_window_extent() for part in [*labels, *axes.patches]]
    assert legend.get_window_extent().count_overlaps(taken) == 0
    assert figure.bbox.count_contains(legend.get_window_extent().get_points()) == 2
