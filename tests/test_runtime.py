"""A wrong feed is refused with what came and what was expected."""

import numpy as np
import pytest
from onnx import TensorProto, helper
from onnxruntime.quantization import CalibrationDataReader

from qlab.runtime import as_feeds, check_feed, iterate_feeds, open_session
from tests.builders.linear import INPUT, WIDTH, save, weights

LENGTHS = helper.make_tensor_value_info("lengths", TensorProto.INT64, ["rows"])


@pytest.fixture(scope="module")
def session(tmp_path_factory):
    """A model of two inputs, x float32 [rows, 32] and lengths int64 [rows]."""
    path = tmp_path_factory.mktemp("feeds") / "two.onnx"
    nodes = [
        helper.make_node("MatMul", ["x", "w"], ["y"]),
        helper.make_node("Identity", ["lengths"], ["lengths_out"]),
    ]
    outputs = {"y": (TensorProto.FLOAT, ["rows", WIDTH]), "lengths_out": (TensorProto.INT64, ["rows"])}
    return open_session(save(path, nodes, outputs, initializers={"w": weights()}, inputs=[INPUT, LENGTHS]))


def good():
    return {"x": np.zeros((2, WIDTH), np.float32), "lengths": np.array([3, 4])}


def test_a_right_feed_passes(session):
    check_feed(session, good(), "fp32")
    check_feed(session, good() | {"x": np.zeros((0, WIDTH), np.float32)}, "fp32")  # an empty cache of a streaming model


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"speech": np.zeros(1)},
            r"feed has \['lengths', 'speech', 'x'\]; model 'fp32' takes \['lengths', 'x'\]; not an",
        ),
        ({"x": None}, r"feed\['x'\] is a NoneType; model 'fp32' takes a NumPy array"),
        ({"x": [[0.0] * WIDTH]}, r"feed\['x'\] is a list; model 'fp32' takes a NumPy array"),
        ({"x": np.zeros((2, WIDTH))}, r"feed\['x'\] is float64; model 'fp32' takes float32: convert it with .astype"),
        ({"lengths": np.array([3, 4], np.int32)}, r"feed\['lengths'\] is int32; model 'fp32' takes int64"),
        ({"x": np.zeros((2, 31), np.float32)}, r"feed\['x'\] has shape \(2, 31\); model 'fp32' takes \[rows, 32\]"),
        ({"x": np.zeros(WIDTH, np.float32)}, r"feed\['x'\] has shape \(32,\); model 'fp32' takes \[rows, 32\]"),
        ({"x": np.full((2, WIDTH), np.nan, np.float32)}, r"feed\['x'\] holds 64 NaN or infinite values of 64"),
        ({"x": np.full((2, WIDTH), np.inf, np.float32)}, r"feed\['x'\] holds 64 NaN or infinite values of 64"),
    ],
)
def test_a_wrong_feed_is_refused_with_what_came_and_what_was_expected(session, changes, message):
    with pytest.raises(ValueError, match=message):
        check_feed(session, good() | changes, "fp32")


def test_a_missing_input_is_named(session):
    with pytest.raises(
        ValueError, match=r"feed has \['x'\]; model 'fp32' takes \['lengths', 'x'\]; missing: \['lengths'\]"
    ):
        check_feed(session, {"x": good()["x"]}, "fp32")


def test_text_and_half_precision_inputs_are_checked_as_well(tmp_path):
    inputs = [
        helper.make_tensor_value_info("words", TensorProto.STRING, ["n"]),
        helper.make_tensor_value_info("half", TensorProto.FLOAT16, None),
    ]
    nodes = [helper.make_node("Identity", ["words"], ["a"]), helper.make_node("Identity", ["half"], ["b"])]
    outputs = {"a": (TensorProto.STRING, ["n"]), "b": (TensorProto.FLOAT16, None)}
    session = open_session(save(tmp_path / "text.onnx", nodes, outputs, initializers={}, inputs=inputs))
    feed = {"words": np.array(["on", "off"]), "half": np.zeros((1, 2, 3), np.float16)}
    check_feed(session, feed, "text")
    check_feed(session, feed | {"words": np.array(["on"], object)}, "text")
    check_feed(session, feed | {"half": np.float16([1])}, "text")  # any rank
    with pytest.raises(ValueError, match=r"feed\['half'\] is float32; model 'text' takes float16"):
        check_feed(session, feed | {"half": np.zeros(2, np.float32)}, "text")
    with pytest.raises(ValueError, match=r"feed\['words'\] is int64"):
        check_feed(session, feed | {"words": np.array([1])}, "text")


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ([], "empty list"),
        (None, "feed holds NoneType; expected {input name: array}"),
        (np.zeros((2, 3)), "feed holds ndarray; expected {input name: array}"),
        ([{"x": 1}, 7], "feed holds int; expected {input name: array}"),
    ],
)
def test_what_is_no_feed_is_refused(given, message):
    with pytest.raises(ValueError, match=message):
        as_feeds(given)


def test_numbers_that_onnxruntime_would_misread_are_refused(session):
    for x, says in (
        (np.ones((2, WIDTH), ">f4"), r"is float32 in the other byte order \(>f4\).*\.astype\('float32'\)"),
        (np.ma.masked_less(good()["x"], 1), r"is a masked array.*\.filled\(0\)"),
    ):
        with pytest.raises(ValueError, match=says):
            check_feed(session, good() | {"x": x}, "fp32")
    with pytest.raises(ValueError, match=r"feed has the keys \['x', 1\]; expected names of inputs"):
        check_feed(session, {"x": 1, 1: 2}, "fp32")


def test_one_feed_is_a_list_of_one():
    assert as_feeds({"x": 1}) == [{"x": 1}]


class Reader(CalibrationDataReader):
    """Two feeds, as onnxruntime's calibrators take them."""

    def __init__(self):
        self.feeds = [{"x": 1}, {"x": 2}]

    def get_next(self):
        return self.feeds.pop(0) if self.feeds else None


@pytest.mark.parametrize("make", [list, iter, lambda feeds: (feed for feed in feeds)])
def test_any_iterable_of_feeds_is_read_once_in_order(make):
    assert list(iterate_feeds(make([{"x": 1}, {"x": 2}]))) == [{"x": 1}, {"x": 2}]


def test_a_calibration_data_reader_is_read_to_its_none():
    assert list(iterate_feeds(Reader())) == as_feeds(Reader()) == [{"x": 1}, {"x": 2}]


def test_feeds_are_taken_one_at_a_time():
    taken = []
    feeds = iterate_feeds(taken.append(number) or {"x": number} for number in range(9))
    next(feeds)
    assert taken == [0]
