"""What products read, by channel, and the scales that their weights get by it."""

import numpy as np
import onnx
import pytest

from qlab import calibration
from qlab.calibration.fitting import fitted_scales
from qlab.calibration.observers import Inputs
from qlab.graph.operators import summed_rows
from qlab.numerics.fitting import pair_limited_scale
from tests.builders.blocks import FLOAT, node, save, value

RNG = np.random.default_rng(0)
WEIGHTS = {
    "full": RNG.standard_normal((6, 4, 3, 3)),
    "grouped": RNG.standard_normal((4, 3, 3, 3)),
    "depthwise": RNG.standard_normal((4, 1, 3, 3)),
    "matrix": RNG.standard_normal((8, 5)),
    "turned": RNG.standard_normal((3, 5)),
    "stack": RNG.standard_normal((2, 3, 3)),
}
WEIGHTS = {name: array.astype(np.float32) for name, array in WEIGHTS.items()}
NODES = [
    node("Conv", ["x", "full"], ["a"], "full"),
    node("Conv", ["a", "grouped"], ["b"], "grouped", group=2),
    node("Conv", ["b", "depthwise"], ["c"], "depthwise", group=4),
    node("MatMul", ["c", "matrix"], ["d"], "matrix"),
    node("Reshape", ["d", "flat"], ["e"], "flatten"),
    node("Gemm", ["e", "turned"], ["f"], "turned", transB=1),
    node("MatMul", ["f", "stack"], ["y"], "stack"),
]
EVERYTHING = {"Conv", "MatMul", "Gemm"}


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    ends = [value("x", FLOAT, [1, 4, 14, 14])], [value("y", FLOAT, None)]
    file = tmp_path_factory.mktemp("fitting") / "products.onnx"
    save(file, NODES, *ends, WEIGHTS | {"flat": np.int64([-1, 5])})
    return file


@pytest.fixture(scope="module")
def model(path):
    return onnx.load(path)


def feeds(count, low=0.0):
    rng = np.random.default_rng(1)
    return [{"x": rng.uniform(low, 1, (1, 4, 14, 14)).astype(np.float32) * scale} for scale in range(1, count + 1)]


def test_the_moments_are_those_of_each_channel_over_all_feeds(path, model):
    ranges = calibration.collect(path, feeds(3))
    mean, variance = ranges.inputs.moments(model.graph.node[0])
    every = np.concatenate([feed["x"] for feed in feeds(3)]).astype(np.float64)
    np.testing.assert_allclose(mean, every.mean(axis=(0, 2, 3)))
    np.testing.assert_allclose(variance, every.var(axis=(0, 2, 3)))
    assert [len(ranges.inputs.moments(one)[0]) for one in model.graph.node if one.op_type in EVERYTHING] == [
        4, 6, 4, 8, 5, 3,
    ]  # fmt: skip


def test_shards_give_the_moments_of_the_whole(path, model):
    whole, *shards = (calibration.collect(path, some) for some in (feeds(3), feeds(3)[:1], feeds(3)[1:]))
    merged = shards[0].merge(shards[1]).inputs
    for product in model.graph.node[:4]:
        np.testing.assert_allclose(merged.moments(product), whole.inputs.moments(product), rtol=1e-6)


def test_a_channel_axis_that_changes_its_length_has_no_moments(model):
    inputs = Inputs(model)
    assert inputs.moments(model.graph.node[0]) is None
    for channels in (4, 5, 4):
        inputs.observe("x", np.ones((1, channels, 2, 2), np.float32))
    assert inputs.moments(model.graph.node[0]) is None
    other = Inputs(model)
    other.observe("x", np.ones((1, 4, 2, 2), np.float32))
    other.merge(inputs)
    assert other.moments(model.graph.node[0]) is None


@pytest.mark.parametrize("seen", [False, True])
def test_each_product_gets_scales_that_fit_along_its_outputs(path, model, seen):
    inputs = calibration.collect(path, feeds(1)).inputs if seen else None
    found = fitted_scales(model, inputs, op_types=EVERYTHING)
    assert {name: axis for name, (axis, _) in found.items()} == {
        "full": 0, "grouped": 0, "depthwise": 0, "matrix": 1, "turned": 0,
    }  # fmt: skip
    for product in model.graph.node:
        if product.input[1] in found:
            _, scale = found[product.input[1]]
            rows = summed_rows(product, WEIGHTS[product.input[1]])
            least = pair_limited_scale(WEIGHTS["depthwise"].reshape(4, -1), pairs=False)
            least = least if rows is None else pair_limited_scale(rows)
            assert np.all(scale >= least)
            assert np.array_equal(scale, least) != seen


def test_one_scale_for_all_is_that_of_the_row_that_needs_most(model):
    found = fitted_scales(model, op_types=EVERYTHING, per_channel=False)
    assert all(axis is None and scale.shape == () for axis, scale in found.values())
    assert found["full"][1] == pair_limited_scale(summed_rows(NODES[0], WEIGHTS["full"])).max()
    assert "stack" in found


def test_groups_weigh_errors_by_their_own_channels(model):
    """Where the channels of the second group are always 0, its rows keep their least scale."""
    inputs = Inputs(model)
    x = np.abs(np.random.default_rng(2).standard_normal((1, 6, 9, 9))).astype(np.float32)
    x[:, 3:] = 0
    inputs.observe("a", x)
    _, scale = fitted_scales(model, inputs, op_types={"Conv"})["grouped"]
    least = pair_limited_scale(summed_rows(NODES[1], WEIGHTS["grouped"]))
    assert np.all(scale[2:] == least[2:])
    assert np.any(scale[:2] > least[:2])


def test_what_is_not_asked_for_or_read_in_two_ways_gets_none(model):
    assert set(fitted_scales(model, op_types={"MatMul"})) == {"matrix"}
    assert "full" not in fitted_scales(model, op_types=EVERYTHING, exclude={"full"})
    twice = onnx.ModelProto()
    twice.CopyFrom(model)
    twice.graph.node.append(node("Gemm", ["d", "matrix"], ["z"], "again", transB=1))
    twice.graph.node.append(node("Gather", ["turned", "places"], ["rows"], "looked up"))
    assert "turned" in fitted_scales(twice, op_types=EVERYTHING)
    assert "turned" not in fitted_scales(twice, op_types=EVERYTHING | {"Gather"})


def test_what_was_found_is_kept_for_the_next_draft(model):
    known = {}
    first = fitted_scales(model, op_types=EVERYTHING, known=known)
    again = fitted_scales(model, op_types=EVERYTHING, known=known)
    assert all(again[name][1] is scale for name, (_, scale) in first.items())
