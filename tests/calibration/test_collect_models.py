"""collect, on models of every kind: what is watched, and what is left out and said so."""

import numpy as np
import onnx
import pytest
from onnx import helper

from qlab import calibration, models
from qlab.calibration.collect import METHODS
from tests.builders.watched import BOOL, FLOAT, HALF, INT64, WIDTH, feeds, linear, save, value


@pytest.mark.parametrize("method", METHODS)
def test_a_tensor_that_holds_infinity_is_left_out_and_named(tmp_path, method):
    nodes = [
        helper.make_node("Where", ["mask", "x", "minus_infinity"], ["masked"]),
        helper.make_node("Softmax", ["masked"], ["y"]),
    ]
    inputs = [value("x", shape=["n"]), value("mask", BOOL, ["n"])]
    path = save(
        tmp_path / "mask.onnx", nodes, inputs, [value("y", shape=["n"])], {"minus_infinity": np.float32([-np.inf])}
    )
    whole, masked = np.ones(4, bool), np.array([True, True, False, True])
    x = np.arange(4, dtype=np.float32)
    ranges = calibration.collect(path, [{"x": x, "mask": whole}, {"x": x, "mask": masked}], method=method)
    assert list(ranges) == ["x", "y"]
    assert ranges.left_out == {"masked": "holds infinity, such as a mask: no code means that"}
    with pytest.raises(KeyError, match="'masked': holds infinity"):
        ranges["masked"]
    shards = [calibration.collect(path, {"x": x, "mask": mask}, method=method) for mask in (whole, masked)]
    assert shards[0].merge(shards[1]) == ranges
    assert shards[0].left_out == ranges.left_out


def test_a_model_of_several_inputs_of_any_type_is_watched(tmp_path):
    nodes = [
        helper.make_node("Gather", ["table", "ids"], ["embedded"]),
        helper.make_node("Where", ["keep", "embedded", "audio"], ["mixed"]),
        helper.make_node("Cast", ["half"], ["widened"], to=FLOAT),
        helper.make_node("Add", ["mixed", "widened"], ["y"]),
        helper.make_node("Shape", ["y"], ["shape"]),
    ]
    inputs = [
        value("ids", INT64, ["n"]), value("keep", BOOL, ["n", 1]), value("audio", FLOAT, ["n", 2]),
        value("half", HALF, ["n", 2]),
    ]  # fmt: skip
    table = np.float32([[0, 1], [2, 3], [-4, 5]])
    path = save(tmp_path / "many.onnx", nodes, inputs, [value("y"), value("shape", INT64)], {"table": table})
    feed = {
        "ids": np.array([0, 2, 1]), "keep": np.array([[True], [True], [False]]),
        "audio": np.float32([[9, 9], [9, 9], [-9, 9]]), "half": np.float16([[0.5, 0.5], [1, 1], [2, 2]]),
    }  # fmt: skip
    ranges = calibration.collect(path, feed)
    assert dict(ranges) == {
        "audio": (-9, 9), "half": (0.5, 2), "embedded": (-4, 5), "mixed": (-9, 9), "widened": (0.5, 2), "y": (-7, 11),
    }  # fmt: skip
    assert [type(end) for end in (*ranges["half"], *ranges["y"])] == [np.float16] * 2 + [np.float32] * 2


def test_a_tensor_of_a_type_that_no_quantizer_takes_is_left_out(tmp_path):
    nodes = [
        helper.make_node("Cast", ["x"], ["precise"], to=onnx.TensorProto.DOUBLE),
        helper.make_node("Cast", ["precise"], ["y"], to=FLOAT),
    ]
    path = save(tmp_path / "double.onnx", nodes, [value("x", shape=["n"])], [value("y")])
    ranges = calibration.collect(path, {"x": np.float32([1, 2])})
    assert (list(ranges), ranges.left_out) == (["x", "y"], {"precise": "holds tensor(double)"})


def test_operators_of_other_domains_and_functions_are_watched_from_outside(tmp_path):
    twice = helper.make_function(
        "local", "Twice", ["a"], ["b"], [helper.make_node("Add", ["a", "a"], ["b"])], [helper.make_opsetid("", 17)]
    )
    nodes = [
        helper.make_node("FusedMatMul", ["x", "x"], ["square"], domain="com.microsoft", transB=1),
        helper.make_node("Twice", ["square"], ["doubled"], domain="local"),
        helper.make_node("Neg", ["doubled"], ["y"]),
    ]
    path = save(tmp_path / "domains.onnx", nodes, [value("x", shape=["n", 2])], [value("y")])
    model = onnx.load(path)
    model.functions.append(twice)
    model.opset_import.extend([helper.make_opsetid("local", 1), helper.make_opsetid("com.microsoft", 1)])
    onnx.save(model, path)
    ranges = calibration.collect(path, {"x": np.float32([[1, 2]])})
    assert dict(ranges) == {"x": (1, 2), "square": (5, 5), "doubled": (10, 10), "y": (-10, -10)}


def test_tensors_inside_subgraphs_are_left_out_and_said_so(tmp_path):
    def branch(name, op):
        return helper.make_graph([helper.make_node(op, ["h"], [name])], name, [], [value(name)])

    nodes = [
        helper.make_node("Abs", ["x"], ["h"]),
        helper.make_node("If", ["flag"], ["y"], then_branch=branch("inner_a", "Neg"), else_branch=branch("b", "Sqrt")),
        helper.make_node("Neg", ["y"], ["z"]),
    ]
    path = save(tmp_path / "if.onnx", nodes, [value("x", shape=["n"]), value("flag", BOOL, [])], [value("z")])
    x = np.float32([-4, 1])
    ranges = calibration.collect(path, [{"x": x, "flag": np.array(True)}, {"x": x, "flag": np.array(False)}])
    assert dict(ranges) == {"x": (-4, 1), "h": (1, 4), "y": (-4, 2), "z": (-2, 4)}
    assert ranges.left_out == dict.fromkeys(["inner_a", "b"], "inside the body of an If, Loop or Scan")
    assert "left out: 2, inside the body of an If, Loop or Scan" in repr(ranges)


def test_empty_tensors_say_nothing_until_they_are_filled(tmp_path):
    nodes = [helper.make_node("Concat", ["cache", "x"], ["y"], axis=0)]
    path = save(tmp_path / "cache.onnx", nodes, [value("cache", shape=["n"]), value("x", shape=["m"])], [value("y")])
    start, later = ({"cache": np.float32(cache), "x": np.float32([1, 2])} for cache in ([], [-3]))
    ranges = calibration.collect(path, start)
    assert list(ranges) == ["x", "y"]
    assert ranges.left_out == {"cache": "empty in every feed"}
    assert ranges.merge(calibration.collect(path, later))["cache"] == (-3, -3)
    assert ranges.left_out == {}


def test_optional_outputs_and_recurrent_layers_are_watched(tmp_path):
    rng = np.random.default_rng(0)
    weights = {"w": rng.standard_normal((1, 16, 3), np.float32), "r": rng.standard_normal((1, 16, 4), np.float32)}
    nodes = [helper.make_node("LSTM", ["x", "w", "r"], ["", "last"], hidden_size=4)]
    path = save(tmp_path / "lstm.onnx", nodes, [value("x", shape=["t", 1, 3])], [value("last")], weights)
    ranges = calibration.collect(path, {"x": rng.standard_normal((6, 1, 3), np.float32)})
    assert list(ranges) == ["x", "last"]
    assert -1 <= ranges["last"][0] < ranges["last"][1] <= 1


def test_weights_stored_outside_the_model_file_are_found_from_any_folder(tmp_path, monkeypatch):
    outside = linear(tmp_path / "external.onnx", save_as_external_data=True, location="external.data", size_threshold=0)
    assert (tmp_path / "external.data").stat().st_size >= 4 * WIDTH * WIDTH
    before = outside.read_bytes()
    monkeypatch.chdir("/")
    assert calibration.collect(outside, feeds(2)) == calibration.collect(linear(tmp_path / "inside.onnx"), feeds(2))
    assert outside.read_bytes() == before
    assert sorted(file.name for file in tmp_path.iterdir()) == ["external.data", "external.onnx", "inside.onnx"]


@pytest.mark.slow
def test_the_trained_conformer_is_calibrated_on_sentences_of_any_length():
    given = [
        {"speech": x[None], "speech_lengths": np.array([len(x)])}
        for x in (models.features(utterance.samples) for utterance in models.utterances("calibration")[:3])
    ]
    assert len({feed["speech"].shape for feed in given}) > 1
    path = models.path("conformer")
    minmax, entropy = (calibration.collect(path, given, method=method) for method in ("minmax", "entropy"))
    assert len(minmax) == len(entropy) > 400
    assert all(minmax[name][0] <= low <= high <= minmax[name][1] for name, (low, high) in entropy.items())
    assert minmax["speech"] == (min(f["speech"].min() for f in given), max(f["speech"].max() for f in given))
