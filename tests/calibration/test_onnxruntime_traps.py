"""Three defects of onnxruntime's own calibration, which a notebook teaches: they are there, and not here.

Where a release mends one, the test fails and says so: then the notebook's text has to change with it.
"""

import contextlib

import numpy as np
import onnxruntime
import pytest
from onnxruntime.quantization import CalibrationMethod, quantize_static

from qlab import calibration
from tests.builders.watched import Reader, feeds, linear
from tests.calibration.test_collect_ranges import activation_qparams

MENDED = f"onnxruntime {onnxruntime.__version__} has mended this; notebook 05 teaches it as a trap: change it there: "


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return linear(tmp_path_factory.mktemp("traps") / "linear.onnx")


@pytest.fixture
def scales(tmp_path, model):
    """A function of quantize_static's settings: the scales that it gives to the activations."""

    def scales(given, **settings):
        quantize_static(model, tmp_path / "int8.onnx", Reader(given), **settings)
        return {name: float(scale) for name, (scale, _) in activation_qparams(tmp_path / "int8.onnx").items()}

    return scales


def growing(count):
    """Feeds whose spread shrinks: the first ones hold the extremes."""
    return [feed for i in range(count) for feed in feeds(1, rows=40, spread=float(count - i), seed=i)]


def test_entropy_through_quantize_static_gives_exactly_min_max_scales_there(scales):
    found = [
        scales(growing(8), calibrate_method=method) for method in (CalibrationMethod.Entropy, CalibrationMethod.MinMax)
    ]
    assert found[0] == found[1], MENDED + "128 bins for 128 codes leave the entropy search a single candidate"


def test_entropy_clips_here(model):
    entropy, minmax = (calibration.collect(model, growing(8), method=method) for method in ("entropy", "minmax"))
    assert all(np.ptp(entropy[name]) < 0.9 * np.ptp(minmax[name]) for name in minmax)


def test_max_intermediate_outputs_throws_batches_away_there(scales):
    given = growing(8)
    kept = scales(given, extra_options={"CalibMaxIntermediateOutputs": 3})
    assert kept != scales(given), MENDED + "CalibMaxIntermediateOutputs"
    assert kept == scales(given[-2:]), MENDED + "with 8 batches and k=3, the last 2 alone counted"
    with pytest.raises(ValueError, match="No data is collected"):
        scales(given, extra_options={"CalibMaxIntermediateOutputs": 4})


def test_every_batch_counts_here(model):
    given = growing(8)
    reader = Reader(given)
    assert calibration.collect(model, reader)["x"] == (
        min(f["x"].min() for f in given),
        max(f["x"].max() for f in given),
    )
    for index in range(8):
        without = calibration.collect(model, given[:index] + given[index + 1 :], method="entropy")
        count = without._observers["x"].histogram.count
        assert count == sum(feed["x"].size for feed in given) - given[index]["x"].size


@pytest.mark.parametrize(
    "method", [CalibrationMethod.Entropy, CalibrationMethod.Percentile, CalibrationMethod.Distribution], ids=str
)
def test_histogram_methods_fail_on_inputs_of_varying_length_there(scales, method):
    given = feeds(3, rows=[4, 9])
    with contextlib.suppress(ValueError):
        scales(given, calibrate_method=method)
        pytest.fail(MENDED + f"{method} takes inputs of varying length")
    with pytest.raises(ValueError, match="inhomogeneous shape"):
        scales(given, calibrate_method=method)


@pytest.mark.parametrize("method", ["minmax", "moving_average", "percentile", "mse", "entropy"])
def test_every_method_takes_inputs_of_varying_length_here(model, method):
    ranges = calibration.collect(model, feeds(3, rows=[4, 9]), method=method)
    assert ranges.feeds == 3
    assert set(ranges) == {"x", "h", "y"}
