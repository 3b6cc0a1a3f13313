"""Notebook 11: the trainer against finite differences and onnxruntime, the file, the pictures."""

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from qlab import models
from qlab.course.lessons import n11, training
from qlab.runtime import open_session


def tiny_model():
    """A residual network in small: a full, a depthwise of stride 2, and a 1 x 1 convolution, Add, mean, Gemm."""
    model = onnx.parser.parse_model("""<ir_version: 10, opset_import: ["": 18]>
        tiny (float[N, 2, 6, 6] images) => (float[N, 3] logits) <int64[2] axes = {2, 3}> {
        a = Conv<pads = [1, 1, 1, 1], kernel_shape = [3, 3], strides = [1, 1], group = 1>(images, w0, b0) b = Relu(a)
        c = Conv<pads = [1, 1, 1, 1], kernel_shape = [3, 3], strides = [2, 2], group = 4>(b, w1, b1) d = Relu(c)
        e = Conv<pads = [0, 0, 0, 0], kernel_shape = [1, 1], strides = [1, 1], group = 1>(d, w2, b2)
        f = Add(d, e) g = ReduceMean<keepdims = 0>(f, axes) logits = Gemm<transB = 1>(g, w3, b3) }""")
    random = np.random.default_rng(11)
    for place, shape in enumerate(((4, 2, 3, 3), (4, 1, 3, 3), (4, 4, 1, 1), (3, 4))):
        for name, size in ((f"w{place}", shape), (f"b{place}", shape[:1])):
            model.graph.initializer.append(numpy_helper.from_array(np.float32(random.normal(0, 0.6, size)), name))
    return model


@pytest.fixture(scope="module")
def tiny():
    network, random = n11.Network(tiny_model()), np.random.default_rng(12)
    x = np.float32(random.normal(size=(5, 2, 6, 6)))
    return network, x, random.integers(0, 3, 5)


def test_forward_is_what_onnxruntime_computes(tiny):
    network, x, _ = tiny
    (expected,) = open_session(tiny_model().SerializeToString()).run(None, {"images": x})
    np.testing.assert_allclose(network.forward(x, network.parameters)[0], expected, rtol=1e-5, atol=1e-5)


def numerical(network, x, labels, values, name, place, h=1e-5):
    """The derivative of the loss by one entry, in float64."""
    found = []
    for sign in (1, -1):
        moved = {key: np.array(value, np.float64) for key, value in values.items()}
        moved[name][place] += sign * h
        found.append(n11.cross_entropy(network.forward(x.astype(float), moved)[0], labels)[0])
    return (found[0] - found[1]) / (2 * h)


def test_every_parameter_s_gradient_is_that_of_finite_differences(tiny):
    network, x, labels = tiny
    values = {name: np.array(value, np.float64) for name, value in network.parameters.items()}
    logits, tape = network.forward(x.astype(float), values)
    gradients, _ = network.backward(tape, n11.cross_entropy(logits, labels)[1])
    assert set(gradients) == set(values)
    random = np.random.default_rng(13)
    for name, gradient in gradients.items():
        assert gradient.shape == values[name].shape
        for _ in range(3):
            place = tuple(random.integers(0, size) for size in gradient.shape)
            expected = numerical(network, x, labels, values, name, place)
            assert gradient[place] == pytest.approx(expected, rel=1e-4, abs=1e-8), (name, place)


def test_a_scale_s_gradient_is_that_of_finite_differences_where_its_numbers_clip(tiny):
    """Beyond the last code x^ = scale * quant_max is smooth in the scale: there the gradient is no estimate."""
    network, x, labels = tiny
    scales, grids = {"d": np.float64(1e-3), "w2": np.full((4, 1, 1, 1), 1e-4)}, {"d": (0, 3), "w2": (-2, 1)}
    parameters = {name: np.array(value, np.float64) for name, value in network.parameters.items()}

    def loss(scales):
        logits, tape = network.forward(x.astype(float), parameters, scales, grids)
        return *n11.cross_entropy(logits, labels), tape

    _, gradient, tape = loss(scales)
    ways = n11.fake_quantize_backward, n11.scale_gradient
    by_parameter, by_scale = network.backward(tape, gradient, scales, grids, *ways)
    assert not by_parameter["w2"].any()
    for name in scales:
        place = (1, 0, 0, 0)[: np.ndim(scales[name])]
        found = []
        for sign in (1, -1):
            moved = {key: np.array(value) for key, value in scales.items()}
            moved[name][place] += sign * 1e-8
            found.append(loss(moved)[0])
        assert by_scale[name][place] == pytest.approx((found[0] - found[1]) / 2e-8, rel=1e-3)


def test_an_operator_that_the_trainer_does_not_know_is_refused_by_name():
    model = tiny_model()
    model.graph.node[1].op_type = "Sigmoid"
    with pytest.raises(ValueError, match="Sigmoid"):
        n11.Network(model)


def test_patches_times_the_weight_s_rows_are_the_convolution(tiny):
    network, x, _ = tiny
    flows = {}
    network.forward(x, network.parameters, watch=flows)
    for step in network.steps[:5:2]:
        weight = network.parameters[step.reads[1]]
        read = training.patches(flows[step.reads[0]][1], step)
        rows = weight.reshape(len(weight), -1)
        product = np.einsum("gnk,gk->ng", read, rows) if read.ndim == 3 else read @ rows.T
        given = flows[step.writes][0].transpose(0, 2, 3, 1).reshape(-1, len(weight))
        np.testing.assert_allclose(product + network.parameters[step.reads[2]], given, rtol=1e-4, atol=1e-5)


def test_the_log_of_a_softmax_is_finite_for_logits_of_any_size():
    found = training.log_softmax(np.float32([[0, 0], [1e4, 0]]))
    np.testing.assert_allclose(found, [[-np.log(2), -np.log(2)], [0, -1e4]], rtol=1e-6)


def test_adam_s_first_step_is_as_long_as_its_rate_and_goes_down():
    values = {"w": np.float32([1.0, -1.0])}
    n11.Adam(values, {"w": 0.1}).step({"w": np.float32([5.0, -1e-3])}, times=0.5)
    np.testing.assert_allclose(values["w"], [0.95, -0.95], rtol=1e-5)


def test_a_step_learns_and_the_file_computes_the_same_codes():
    network, (x, y, *_) = n11.digits_network(), n11.split()
    run = n11.start(network, 3, x[:16])
    logits, tape = network.forward(x[:16], *run[:3])
    loss, gradient = n11.cross_entropy(logits, y[:16])
    ways = n11.fake_quantize_backward, n11.scale_gradient
    by_weights, by_scales = network.backward(tape, gradient, *run[1:3], *ways)
    assert set(by_scales) == set(run.scales)
    n11.Adam(run.parameters, dict.fromkeys(run.parameters, 1e-3)).step(by_weights)
    n11.Adam(run.scales, {name: 0.01 * scale for name, scale in run.scales.items()}).step(by_scales)
    assert n11.loss_of(network, run, x[:16], y[:16]) < loss
    model = n11.exported(network, run, n11.learned_qdq)
    onnx.checker.check_model(model)
    codes, _ = n11.codes_inside(model, x[:16])
    rows = n11.compare_codes(network, n11.with_bias_as_codes(network, run), codes, x[:16])
    assert {row.name for row in rows} == {name for name in run.grids if not name.endswith("weight")}
    assert all(row.most <= 1 and row.tie < 1e-3 for row in rows), rows


@pytest.mark.parametrize("bits", [4, 2])
def test_a_packed_file_holds_the_same_codes_in_fewer_bytes_and_runs(bits, tmp_path):
    network, (x, *_) = n11.digits_network(), n11.split()
    wide = n11.exported(network, n11.start(network, bits, x[:8]), n11.learned_qdq)
    small = n11.packed(wide, bits)
    codes, packed = n11.weight_codes(wide), n11.weight_codes(small)
    assert all(np.array_equal(codes[name], packed[name].astype(np.int8)) for name in codes)
    assert small.ByteSize() < wide.ByteSize()
    onnx.save(small, tmp_path / "small.onnx")
    said, logits = n11.opened(tmp_path / "small.onnx", x[:4])
    assert logits.shape == (4, 10)
    assert "Conv" in said


def test_no_digit_to_choose_by_is_learned_from_or_tested():
    x_fit, _, x_held, _ = n11.split()
    assert len(x_fit) + len(x_held) == len(models.digit_split()[0])
    assert n11.leaks({"held": x_held, "test": models.digit_split()[2]}, x_fit) == {"held": 0, "test": 0}


def test_the_figures_say_in_words_what_they_show():
    assert len(n11.fake_node().alt) > 100
    assert "8 levels from -0.8 to 0.6" in n11.explored(3, 0.8).alt
    curves = {how: {4: (0.9, 0.8, 1.0), 2: (0.5, 0.4, 0.6)} for how in ("nearest", "AdaRound", "QAT")}
    figure = n11.accuracy_against_bits(curves, 0.99, title="three methods")
    assert figure.axes[0].get_legend().get_texts()[0].get_text() == "round to nearest"
    assert n11.weights_on_levels(np.zeros(9), np.ones(9), (-2, 1), title="moved").axes
    assert n11.loss_curves({4: [1.0, 0.1], 2: [2.0, 1.0]}, title="two").axes
    assert n11.foretold_and_changed(np.ones(3), np.ones(3), title="alike").axes
    assert "the level changes at 1.0" in n11.loss_of_one([0.0, 1.0], [2.0, 1.0], 0.5, -1.0, 0.5).alt
