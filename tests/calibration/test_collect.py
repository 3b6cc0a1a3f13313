"""collect: what each method gives, how a reader is read, what is refused."""

import sys
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import helper

from qlab import calibration
from tests.builders.watched import WIDTH, Reader, feeds, linear, save, value

OBSERVERS = {
    "minmax": calibration.MinMaxObserver,
    "moving_average": calibration.MovingAverageObserver,
    "percentile": calibration.PercentileObserver,
    "mse": calibration.MseObserver,
    "entropy": calibration.EntropyObserver,
}


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return linear(tmp_path_factory.mktemp("collect") / "linear.onnx")


def tensors_of(model, feed):
    """Every tensor of `linear` for one feed, by NumPy."""
    (weight,) = onnx.load(model).graph.initializer
    h = feed["x"] @ onnx.numpy_helper.to_array(weight)
    return {"x": feed["x"], "h": h, "y": np.maximum(h, 0)}


@pytest.mark.parametrize(("method", "kind"), OBSERVERS.items())
@pytest.mark.parametrize(("dtype", "symmetric"), [("uint8", False), ("int8", True)])
def test_each_method_gives_every_tensor_the_range_of_its_observer(model, method, kind, dtype, symmetric):
    given = feeds(5, rows=[3, 90, 17])
    ranges = calibration.collect(model, given, method=method, dtype=dtype, symmetric=symmetric)
    expected = {name: kind(dtype, symmetric=symmetric) for name in ("x", "h", "y")}
    for feed in given:
        for name, x in tensors_of(model, feed).items():
            expected[name].observe(x)
    assert list(ranges) == ["x", "h", "y"]
    for name, observer in expected.items():
        np.testing.assert_allclose(ranges[name], observer.range(), rtol=1e-4)


def test_percentile_and_bins_reach_the_observers(model):
    wide, narrow = (calibration.collect(model, feeds(4), method="percentile", percentile=p) for p in (100, 90))
    assert wide["x"] == calibration.collect(model, feeds(4))["x"]
    assert narrow["x"][1] < wide["x"][1]
    coarse = calibration.collect(model, feeds(4), method="percentile", percentile=90, bins=16)
    assert coarse["x"] != narrow["x"]


@pytest.mark.parametrize(
    "reader",
    [list, iter, lambda f: (feed for feed in f), Reader],
    ids=["list", "iterator", "generator", "calibration data reader"],
)
def test_any_reader_is_read_once_to_its_end(model, reader):
    assert calibration.collect(model, reader(feeds(3))).feeds == 3


def test_one_feed_alone_is_a_reader_too(model):
    assert calibration.collect(model, feeds(1)[0]).feeds == 1


def test_a_reader_is_never_asked_twice_nor_ahead(model):
    reader = Reader(feeds(3))
    calibration.collect(model, reader)
    assert reader.asked == 4  # three feeds and the None that ends them
    alive = []

    def generator():
        for feed in feeds(3):
            alive.append(len(alive))
            yield feed
            assert len(alive) == alive[-1] + 1  # the next was not taken before this one was done with

    calibration.collect(model, generator())


def test_an_empty_or_used_up_reader_is_refused(model):
    used = iter(feeds(2))
    calibration.collect(model, used)
    for empty in ([], used, Reader([])):
        with pytest.raises(ValueError, match=r"the reader gave no feed.*gives its feeds once: make a new one"):
            calibration.collect(model, empty)


def test_a_wrong_feed_is_refused_with_its_number(model):
    for wrong, message in [
        ({"speech": np.zeros(3)}, r"feed 1 of the reader: feed has \['speech'\]; model 'linear.onnx' takes \['x'\]"),
        ({"x": np.zeros((1, 5, WIDTH))}, r"feed 1 of the reader: feed\['x'\] is float64"),
        ({"x": np.zeros((1, 5, 9), np.float32)}, r"feed 1 .* has shape \(1, 5, 9\)"),
        ({"x": np.full((1, 5, WIDTH), np.nan, np.float32)}, r"feed 1 .*feed\['x'\] holds 40 NaN or infinite"),
    ]:
        with pytest.raises(ValueError, match=message):
            calibration.collect(model, [*feeds(1), wrong])
    with pytest.raises(ValueError, match="feed holds int"):
        calibration.collect(model, [*feeds(1), 7])


def test_a_setting_is_refused_before_the_reader_is_touched(model):
    reader = Reader(feeds(1))
    for settings, message in [
        ({"method": "max"}, "method is 'max'; expected one of minmax, moving_average, percentile, mse, entropy"),
        ({"method": "percentile", "percentile": 0}, "percentile is 0"),
        ({"method": "entropy", "bins": 128}, "bins is 128"),
        ({"dtype": "float32"}, "does not hold quantized codes"),
    ]:
        with pytest.raises(ValueError, match=message):
            calibration.collect(model, reader, **settings)
    assert reader.asked == 0


def test_a_file_that_is_no_model_is_refused(tmp_path, model):
    with pytest.raises(FileNotFoundError, match="no such model file"):
        calibration.collect(tmp_path / "absent.onnx", feeds(1))
    broken = tmp_path / "broken.onnx"
    broken.write_bytes(model.read_bytes()[:100])
    with pytest.raises(ValueError, match=r"broken\.onnx: "):
        calibration.collect(broken, feeds(1))
    nodes = [helper.make_node("Nonsense", ["x"], ["y"], domain="nowhere")]
    strange = save(tmp_path / "strange.onnx", nodes, [value("x")], [value("y")])
    with pytest.raises(ValueError, match=r"strange.onnx: onnxruntime cannot open it"):
        calibration.collect(strange, feeds(1))


def test_nan_inside_the_model_is_refused_with_the_tensors_name(tmp_path):
    nodes = [helper.make_node("Sqrt", ["x"], ["root"]), helper.make_node("Relu", ["root"], ["y"])]
    model = save(tmp_path / "nan.onnx", nodes, [value("x", shape=["n"])], [value("y", shape=["n"])])
    good, bad = {"x": np.float32([1, 4])}, {"x": np.float32([1, -4])}
    with pytest.raises(ValueError, match="feed 1 of the reader: tensor 'root' holds 1 NaN of 2 values"):
        calibration.collect(model, [good, bad])


def test_the_memory_held_for_the_ranges_does_not_grow_with_the_feeds(model):
    def held(count):
        ranges = calibration.collect(model, feeds(count, rows=[3, 40, 11]), method="entropy")
        return [len(ranges), *(o.histogram._counts.nbytes for o in ranges._observers.values())]

    assert held(10) == held(100) == [3, *[8 * 2048] * 3]


def test_a_short_calibration_prints_nothing(model, capfd):
    calibration.collect(model, feeds(5), method="entropy")
    assert capfd.readouterr() == ("", "")


def test_collect_visits_at_most_three_rooms_of_its_floor(tmp_path):
    model, rooms = linear(tmp_path / "linear.onnx"), set()

    def visit(frame, event, _):
        path = Path(frame.f_code.co_filename)
        if event == "call" and path.parent.name == "calibration" and path.parent.parent.name == "qlab":
            rooms.add(path.name)

    sys.setprofile(visit)
    try:
        calibration.collect(model, feeds(2))
    finally:
        sys.setprofile(None)
    assert "collect.py" in rooms
    assert len(rooms) <= 3, rooms
