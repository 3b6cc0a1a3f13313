"""layer_errors: each layer is charged with its own error, in every format that a quantizer writes."""

import math
from dataclasses import replace
from functools import partial

import numpy as np
import onnx
import pytest
from onnx import TensorProto
from onnxruntime.quantization import QuantFormat, QuantType

from qlab import choose_qparams, fake_quantize, machine, recipes, sqnr_db
from qlab.machine import probes
from qlab.measure.layer_errors import layer_errors
from qlab.numerics import kernels
from tests.builders import blocks
from tests.builders.blocks import FLOAT, node, noise, save, value, weights
from tests.builders.versions import answers, chain, dynamic, static

INTEGERS = partial(static, quant_format=QuantFormat.QOperator)
FLOAT16 = TensorProto.FLOAT16


def by_name(result):
    return {row.name: row for row in result.rows}


def rounded(matrix, bits):
    scale = np.abs(matrix).max() / (2 ** (bits - 1) - 1)
    return (np.round(matrix / scale) * scale).astype(np.float32)


def db(reference, approximation):
    return pytest.approx(float(sqnr_db(reference, approximation)), abs=0.01)


@pytest.fixture
def card():
    """One card, so that a test asks for the same model on every machine; it saturates where the machine does."""
    return replace(machine.card("x86-avx512-vnni"), saturates=probes.saturates())


@pytest.fixture
def three(tmp_path):
    """Three products, and a version in which the weights of the middle one are coarse."""
    w = [weights(16, 16, seed=seed) for seed in range(3)]
    coarse = [rounded(w[0], 8), rounded(w[1], 3), rounded(w[2], 8)]
    return chain(tmp_path / "fp32.onnx", *w), chain(tmp_path / "coarse.onnx", *coarse), w, coarse


# What is whose


def test_a_coarse_layer_is_charged_alone_and_the_next_one_only_inherits(three):
    fp32, quantized, w, coarse = three
    x = noise(32, 16, seed=5)
    rows = by_name(layer_errors(fp32, quantized, {"x": x}))
    assert list(rows) == ["h1", "h2", "y"]
    h1, h2 = x @ w[0], x @ w[0] @ w[1]
    assert rows["h1"].local_db == db(h1, x @ coarse[0])
    assert rows["h2"].local_db == db(h2, h1 @ coarse[1])
    assert rows["y"].local_db == db(h2 @ w[2], h2 @ coarse[2])
    assert rows["y"].accumulated_db == db(h2 @ w[2], x @ coarse[0] @ coarse[1] @ coarse[2])
    assert min(rows["h1"].local_db, rows["y"].local_db) > 35 > 20 > rows["h2"].local_db
    assert rows["y"].accumulated_db < 20
    assert rows["h1"].accumulated_db == rows["h1"].local_db


@pytest.fixture
def convolution(tmp_path):
    """A pointwise convolution between Q and DQ, written by hand: (fp32, quantized, w, qparams of x, w and y)."""
    w = weights(8, 4, 1, 1)
    nodes = [node("Conv", ["x", "w"], ["y"], "conv")]
    inputs, outputs = [value("x", FLOAT, [1, 4, 6, 6])], [value("y", FLOAT, [1, 8, 6, 6])]
    fp32 = save(tmp_path / "conv.onnx", nodes, inputs, outputs, {"w": w})
    qparams = {
        "x": choose_qparams(np.float32([-2, 2.5]), "uint8"),
        "w": choose_qparams(w, "int8", symmetric=True),
        "y": choose_qparams(np.float32([-3, 3]), "uint8"),
    }
    stored = {f"{name}_scale": np.float32(one.scale) for name, one in qparams.items()}
    stored |= {f"{name}_zero": np.array(one.zero_point, one.dtype) for name, one in qparams.items()}
    stored["codes"] = kernels.quantize_linear(w, stored["w_scale"], stored["w_zero"])
    nodes = [
        node("QuantizeLinear", ["x", "x_scale", "x_zero"], ["xq"]),
        node("DequantizeLinear", ["xq", "x_scale", "x_zero"], ["xd"]),
        node("DequantizeLinear", ["codes", "w_scale", "w_zero"], ["wd"]),
        node("Conv", ["xd", "wd"], ["y_QuantizeLinear_Input"], "conv"),
        node("QuantizeLinear", ["y_QuantizeLinear_Input", "y_scale", "y_zero"], ["yq"]),
        node("DequantizeLinear", ["yq", "y_scale", "y_zero"], ["y"]),
    ]
    return fp32, save(tmp_path / "qdq.onnx", nodes, inputs, outputs, stored), w[:, :, 0, 0], qparams


def pointwise(w, x):
    return np.einsum("dc,bcij->bdij", w, x)


def test_a_convolution_between_q_and_dq_loses_what_numpy_says(convolution):
    fp32, quantized, w, qparams = convolution
    x = noise(1, 4, 6, 6, seed=5).clip(-2, 2.5)
    rows = by_name(layer_errors(fp32, quantized, {"x": x}))
    y, wq, xq = pointwise(w, x), fake_quantize(w, qparams["w"]), fake_quantize(x, qparams["x"])
    assert rows["x"].local_db == rows["x"].accumulated_db == db(x, xq)
    assert rows["y"].local_db == db(y, fake_quantize(pointwise(wq, x), qparams["y"]))
    assert rows["y"].accumulated_db == db(y, fake_quantize(pointwise(wq, xq), qparams["y"]))


def test_clipping_is_charged_to_the_tensor_whose_range_is_too_short(convolution):
    fp32, quantized, *_ = convolution
    inside = noise(1, 4, 6, 6, seed=5).clip(-1, 1)
    outside = inside.copy()
    outside[0, 0, 0, 0] = 20  # the range of x ends at 2.5
    outside[0, 1:, 0, 0] = 0
    rows = by_name(layer_errors(fp32, quantized, {"x": outside}))
    assert rows["x"].op_type == "input"
    assert rows["x"].local_db < 5
    assert by_name(layer_errors(fp32, quantized, {"x": inside}))["x"].local_db > 35


def test_a_dynamic_product_loses_what_its_integer_kernels_lose(tmp_path):
    w = weights(16, 12)
    fp32 = chain(tmp_path / "fp32.onnx", weights(16, 16, seed=9), w)
    # Unsigned weights: int8 ones may saturate here.
    quantized = dynamic(fp32, tmp_path / "int8.onnx", weight_type=QuantType.QUInt8)
    x = noise(20, 16, seed=5)
    rows = by_name(layer_errors(fp32, quantized, {"x": x}))
    stored = {one.name: onnx.numpy_helper.to_array(one) for one in onnx.load(quantized).graph.initializer}
    h = answers(chain(tmp_path / "h.onnx", weights(16, 16, seed=9)), {"x": x})["y"]
    codes, scale, zero_point = kernels.dynamic_quantize_linear(h)
    product = kernels.matmul_integer(codes, stored["w1_quantized"], zero_point, stored["w1_zero_point"])
    assert rows["y"].local_db == db(h @ w, product * (scale * stored["w1_scale"]))
    assert rows["y"].accumulated_db < rows["y"].local_db


def test_what_only_moves_codes_adds_no_error(tmp_path, card):
    fp32 = blocks.conformer_block(tmp_path)
    feeds = [blocks.conformer_feed(seed=seed) for seed in range(4)]
    quantized = recipes.static(fp32, tmp_path / "int8.onnx", feeds, card=card).path
    rows = by_name(layer_errors(fp32, quantized, feeds))
    assert rows["ht"].op_type == "Transpose"
    assert rows["ht"].local_db == math.inf
    assert rows["ht"].accumulated_db == rows["h"].accumulated_db < 50


def test_a_layer_that_the_quantizer_fused_is_one_row_with_the_name_to_exclude(tmp_path, card):
    fp32 = blocks.residual_cnn(tmp_path)
    feeds = [blocks.cnn_feed(seed=seed) for seed in range(4)]
    quantized = recipes.static(fp32, tmp_path / "int8.onnx", feeds, card=card).path
    result = layer_errors(fp32, quantized, feeds[0])
    row = by_name(result)["r1"]
    assert (row.op_type, row.node) == ("Conv+BatchNormalization+Relu", "stem")
    assert "fused into another" in result.skipped["c1"]
    spared = recipes.static(fp32, tmp_path / "spared.onnx", feeds, exclude=(row.node,), card=card).path
    assert by_name(layer_errors(fp32, spared, feeds[0]))["r1"].local_db > row.local_db


def test_weights_are_not_layers_wherever_they_are_stored(tmp_path):
    fp32 = blocks.constants(tmp_path)
    quantized = dynamic(fp32, tmp_path / "int8.onnx", weight_type=QuantType.QUInt8)
    result = layer_errors(fp32, quantized, blocks.narrow_feed())
    assert set(by_name(result)) == {"h", "y"}
    assert set(result.skipped) == set()


def test_of_two_ways_to_read_a_tensor_the_worse_counts(tmp_path):
    w = weights(16, 16)
    nodes = [node("MatMul", ["x", "w"], ["h"]), node("Neg", ["h"], ["y"]), node("Relu", ["h"], ["z"])]
    inputs = [value("x", FLOAT, ["rows", 16])]
    outputs = [value(name, FLOAT, ["rows", 16]) for name in "yz"]
    fp32 = save(tmp_path / "fp32.onnx", nodes, inputs, outputs, {"w": w})
    pairs = [
        made
        for name in ("fine", "coarse")
        for made in (
            node("QuantizeLinear", ["h", name, "zero"], [f"{name}_codes"]),
            node("DequantizeLinear", [f"{name}_codes", name, "zero"], [f"{name}_h"]),
        )
    ]
    nodes = [nodes[0], *pairs, node("Neg", ["fine_h"], ["y"]), node("Relu", ["coarse_h"], ["z"])]
    stored = {"w": w, "zero": np.array(128, np.uint8), "fine": np.float32(0.04), "coarse": np.float32(0.5)}
    quantized = save(tmp_path / "int8.onnx", nodes, inputs, outputs, stored)
    x = noise(32, 16, seed=5)
    rows = by_name(layer_errors(fp32, quantized, {"x": x}))
    h = x @ w
    assert rows["h"].local_db == rows["h"].accumulated_db == db(h, np.round(h / 0.5) * np.float32(0.5))
    assert rows["y"].local_db == rows["z"].local_db == math.inf


@pytest.fixture
def behind_a_wrong_product(tmp_path):
    """build(nodes, outputs): a model in which h = x w and then these nodes, and a version with a wrong w.

    Nodes called "only quantized ..." are left out of the fp32 model.
    """

    def build(nodes, outputs, inputs=(), **stored):
        inputs = [value("x", FLOAT, ["rows", 16]), *inputs]
        outputs = [value(name, FLOAT, None) for name in outputs]
        product = node("MatMul", ["x", "w"], ["h"], "product")
        plain = [one for one in nodes if not one.name.startswith("only quantized")]
        renamed = []
        for one in plain:
            copy = onnx.NodeProto()
            copy.CopyFrom(one)
            copy.input[:] = ["h" if name.startswith("h_") else name for name in one.input]
            renamed.append(copy)
        w = weights(16, 16)
        fp32 = save(tmp_path / "fp32.onnx", [product, *renamed], inputs, outputs, {"w": w})
        return fp32, save(tmp_path / "wrong.onnx", [product, *nodes], inputs, outputs, {"w": rounded(w, 3)} | stored)

    return build


def test_whoever_reads_a_tensor_is_cut_off_from_it_in_whatever_way_it_reads(behind_a_wrong_product):
    quantizer = {"scale": np.float32(0.04), "zero": np.array(128, np.uint8)}
    nodes = [
        node("QuantizeLinear", ["h", "scale", "zero"], ["codes"], "only quantized 1"),
        node("DequantizeLinear", ["codes", "scale", "zero"], ["h_1"], "only quantized 2"),
        node("DequantizeLinear", ["codes", "scale", "zero"], ["h_2"], "only quantized 3"),
        node("Neg", ["h"], ["raw"]),
        node("Neg", ["h_1"], ["first"]),
        node("Neg", ["h_2"], ["second"]),
    ]
    models = behind_a_wrong_product(nodes, ["raw", "first", "second"], **quantizer)
    rows = by_name(layer_errors(*models, blocks.narrow_feed()))
    assert list(rows) == ["h", "raw", "first", "second"]
    assert rows["h"].local_db < 20
    for name in ("raw", "first", "second"):
        assert rows[name].local_db == math.inf
        assert rows[name].accumulated_db < 20


@pytest.mark.parametrize("flag", [True, False])
def test_a_body_reads_the_fp32_value_of_a_tensor_outside(flag, behind_a_wrong_product):
    def branch(op_type):
        inner = [node(op_type, ["h"], [f"{op_type}_h"])]
        return onnx.helper.make_graph(inner, op_type, [], [value(f"{op_type}_h", FLOAT, None)])

    nodes = [node("If", ["flag"], ["y"], then_branch=branch("Neg"), else_branch=branch("Abs"))]
    models = behind_a_wrong_product(nodes, ["y"], [value("flag", blocks.BOOL, [])])
    row = by_name(layer_errors(*models, blocks.branches_feed(flag=flag)))["y"]
    assert row.local_db == math.inf
    assert row.accumulated_db < 20


def test_a_body_keeps_what_it_calls_by_the_same_name_itself(behind_a_wrong_product):
    inner = [node("Neg", ["h"], ["h_after"]), node("Identity", ["go"], ["go_on"])]
    flags = [value("go", blocks.BOOL, []), value("go_on", blocks.BOOL, [])]
    states = [value("h", FLOAT, None), value("h_after", FLOAT, None)]
    number = value("i", blocks.INT64, [])
    body = onnx.helper.make_graph(inner, "body", [number, flags[0], states[0]], [flags[1], states[1]])
    nodes = [node("Loop", ["times", "", "x"], ["z"], body=body), node("Add", ["z", "h"], ["y"])]
    models = behind_a_wrong_product(nodes, ["y"], [value("times", blocks.INT64, [])])
    rows = by_name(layer_errors(*models, blocks.loop_feed()))
    assert rows["z"].local_db == rows["z"].accumulated_db == rows["y"].local_db == math.inf
    assert rows["y"].accumulated_db < 25


# Every format, every kind of model


@pytest.mark.parametrize(
    ("build", "feed", "quantize"),
    [
        (blocks.residual_cnn, blocks.cnn_feed, static),
        (blocks.residual_cnn, blocks.cnn_feed, INTEGERS),
        (blocks.crossroads, blocks.crossroads_feed, static),
        (blocks.crossroads, blocks.crossroads_feed, INTEGERS),
        (blocks.transposed_conv, blocks.image_feed, INTEGERS),
        (blocks.conformer_block, blocks.conformer_feed, INTEGERS),
        (blocks.linear, blocks.linear_feed, INTEGERS),
        (blocks.constants, blocks.narrow_feed, static),
    ],
)
def test_what_comes_together_at_the_outputs_is_what_the_model_answers(build, feed, quantize, tmp_path):
    fp32 = build(tmp_path)
    types = {"activation_type": QuantType.QUInt8, "weight_type": QuantType.QUInt8}
    quantized = quantize(fp32, tmp_path / "int8.onnx", [feed(seed=seed) for seed in range(4)], **types)
    result = layer_errors(fp32, quantized, feed())
    rows, expected, got = by_name(result), answers(fp32, feed()), answers(quantized, feed())
    for name in result.outputs:
        if expected[name].dtype == np.float32:
            assert rows[name].accumulated_db == db(expected[name], got[name])
    assert all(row.local_db > 20 for row in result.rows), result
    assert any(row.local_db < 50 for row in result.rows), result


@pytest.mark.parametrize(
    ("build", "feed", "weight", "layer"),
    [
        (blocks.residual_cnn, blocks.cnn_feed, "w1", {"c1"}),
        (blocks.crossroads, blocks.crossroads_feed, "m", {"h"}),
        (blocks.conformer_block, blocks.conformer_feed, "wq", {"q"}),
        (blocks.linear, blocks.linear_feed, "w1", {"h", "r"}),  # without a node of its own, Relu is one with h
    ],
)
@pytest.mark.parametrize("quantize", [static, INTEGERS, lambda fp32, path, feeds, **types: dynamic(fp32, path)])
def test_however_wrong_a_layer_is_no_other_layers_own_error_changes(build, feed, weight, layer, quantize, tmp_path):
    fp32 = build(tmp_path)
    types = {"activation_type": QuantType.QUInt8, "weight_type": QuantType.QInt8}
    quantized = quantize(fp32, tmp_path / "int8.onnx", [feed(seed=seed) for seed in range(4)], **types)
    model = onnx.load(quantized)
    names = {one.name: one for one in model.graph.initializer if one.name.endswith("_quantized")}
    codes = next(one for name, one in names.items() if name.startswith(weight))
    codes.CopyFrom(onnx.numpy_helper.from_array(onnx.numpy_helper.to_array(codes) // 64 * 64, codes.name))
    onnx.save(model, tmp_path / "wrong.onnx")
    right, wrong = (layer_errors(fp32, path, feed()).rows for path in (quantized, tmp_path / "wrong.onnx"))
    changed = {one.name for one, other in zip(right, wrong, strict=True) if one.local_db != other.local_db}
    assert changed
    assert changed <= layer
    assert wrong[-1].accumulated_db < right[-1].accumulated_db - 3


def test_an_activation_that_codes_have_replaced_has_its_row_and_what_was_before_has_none(tmp_path):
    fp32 = blocks.linear(tmp_path)
    quantized = INTEGERS(fp32, tmp_path / "int8.onnx", [blocks.linear_feed(seed=seed) for seed in range(4)])
    assert "Relu" not in {one.op_type for one in onnx.load(quantized).graph.node}
    result = layer_errors(fp32, quantized, blocks.linear_feed())
    row = by_name(result)["r"]
    assert (row.op_type, row.node) == ("Gemm+Relu", "first")
    assert row.local_db > 30
    assert result.skipped == {"h": "holds what 'r' is in the fp32 model"}


def test_codes_with_negative_values_are_not_taken_for_those_behind_a_relu_that_is_gone(tmp_path):
    w = weights(16, 16)
    inputs, outputs = [value("x", FLOAT, ["rows", 16])], [value("y", FLOAT, ["rows", 16])]
    product, end = node("MatMul", ["x", "w"], ["h"], "product"), node("Neg", ["r"], ["y"])
    fp32 = save(tmp_path / "fp32.onnx", [product, node("Relu", ["h"], ["r"]), end], inputs, outputs, {"w": w})
    nodes = [
        product,
        node("QuantizeLinear", ["h", "scale", "zero"], ["codes"]),
        node("DequantizeLinear", ["codes", "scale", "zero"], ["d"]),
        node("Relu", ["d"], ["renamed"]),
        node("Neg", ["renamed"], ["y"]),
    ]
    stored = {"w": w, "scale": np.float32(0.04), "zero": np.array(128, np.uint8)}
    quantized = save(tmp_path / "int8.onnx", nodes, inputs, outputs, stored)
    rows = by_name(layer_errors(fp32, quantized, blocks.narrow_feed()))
    assert set(rows) == {"h", "y"}
    assert rows["h"].local_db > 30
    assert rows["y"].op_type == "Relu+Neg"
    assert rows["y"].local_db == math.inf


def test_random_weights_are_said_so(three):
    fp32, quantized, *_ = three
    model = onnx.load(fp32)
    onnx.helper.set_model_props(model, {"qlab.weights": "random"})
    onnx.save(model, fp32)
    result = layer_errors(fp32, quantized, blocks.narrow_feed())
    assert repr(result).endswith("\nrandom weights: latency only")


@pytest.mark.parametrize(
    ("build", "feed"),
    [
        (blocks.branches, blocks.branches_feed),
        (blocks.loop, blocks.loop_feed),
        (blocks.shared_weights, blocks.shared_feed),
        (blocks.functions, blocks.narrow_feed),
        (partial(blocks.recurrent, op_type="LSTM"), blocks.recurrent_feed),
    ],
)
def test_every_kind_of_model_quantized_dynamically_has_its_layers_measured(build, feed, tmp_path, card):
    fp32 = build(tmp_path)
    quantized = recipes.dynamic(fp32, tmp_path / "int8.onnx", card=card).path
    result = layer_errors(fp32, quantized, feed())
    finite = [row for row in result.rows if math.isfinite(row.local_db)]
    assert finite
    assert all(row.local_db > 25 for row in finite)
    assert by_name(result)["y"].accumulated_db == db(answers(fp32, feed())["y"], answers(quantized, feed())["y"])


@pytest.mark.parametrize("flag", [True, False])
def test_what_is_inside_an_if_is_charged_to_its_output_and_fed_with_the_fp32_input(flag, tmp_path, card):
    fp32 = blocks.branches(tmp_path)
    quantized = recipes.dynamic(fp32, tmp_path / "int8.onnx", card=card).path
    model = onnx.load(quantized)  # a coarse product before the If, which must not count in it
    before = next(one for one in model.graph.initializer if one.name == "w0_quantized")
    coarse = onnx.numpy_helper.to_array(before) // 32 * 32
    before.CopyFrom(onnx.numpy_helper.from_array(coarse.astype(np.int8), "w0_quantized"))
    onnx.save(model, tmp_path / "coarse.onnx")
    feed = blocks.branches_feed(flag=flag)
    rows, coarse = (by_name(layer_errors(fp32, path, feed)) for path in (quantized, tmp_path / "coarse.onnx"))
    assert coarse["h"].local_db < 20
    assert coarse["i"].op_type == "If"
    assert coarse["i"].local_db == rows["i"].local_db > 30
    assert coarse["i"].accumulated_db < 20
    skipped = layer_errors(fp32, quantized, feed).skipped
    assert skipped["yes_y"] == skipped["no_y"] == "inside the body of an If, Loop or Scan"


def test_weights_outside_the_file_are_read_where_they_lie(tmp_path):
    fp32 = blocks.linear(tmp_path, gemm=False, save_as_external_data=True, location="weights.bin", size_threshold=0)
    (tmp_path / "there").mkdir()
    quantized = dynamic(fp32, tmp_path / "there" / "int8.onnx")
    onnx.save(onnx.load(quantized), quantized, save_as_external_data=True, location="codes.bin", size_threshold=0)
    result = layer_errors(str(fp32), str(quantized), blocks.linear_feed())
    assert {row.name for row in result.worst()} == {"m1", "m2"}


def test_the_files_stay_as_they_are(three):
    fp32, quantized, *_ = three
    before = [path.read_bytes() for path in (fp32, quantized)]
    layer_errors(fp32, quantized, blocks.narrow_feed())
    assert [path.read_bytes() for path in (fp32, quantized)] == before


def test_float16_is_compared_with_float32(three, tmp_path):
    fp32, _, w, _ = three
    nodes = [node("Cast", ["x"], ["narrow"], to=FLOAT16), node("MatMul", ["narrow", "half"], ["h1"])]
    nodes += [node("Cast", ["h1"], ["wide"], to=FLOAT), node("MatMul", ["wide", "w1"], ["h2"])]
    nodes += [node("MatMul", ["h2", "w2"], ["y"])]
    stored = {"half": w[0].astype(np.float16), "w1": w[1], "w2": w[2]}
    inputs, outputs = [value("x", FLOAT, ["rows", 16])], [value("y", FLOAT, ["rows", 16])]
    halved = save(tmp_path / "half.onnx", nodes, inputs, outputs, stored)
    rows = by_name(layer_errors(fp32, halved, blocks.narrow_feed()))
    assert 55 < rows["h1"].local_db < 90
    assert 55 < rows["h2"].local_db < 90  # given h1 as float16, since that is what it reads
    assert rows["y"].local_db == math.inf


# Feeds


def test_feeds_count_together_as_if_they_were_one(three):
    fp32, quantized, *_ = three
    x = noise(40, 16, seed=5)
    together = layer_errors(fp32, quantized, {"x": x})
    apart = layer_errors(fp32, quantized, ({"x": part} for part in (x[:3], x[3:20], x[20:])))
    assert (together.feeds, apart.feeds) == (1, 3)
    for one, other in zip(together.rows, apart.rows, strict=True):
        assert other.local_db == pytest.approx(one.local_db, abs=1e-4)
        assert other.accumulated_db == pytest.approx(one.accumulated_db, abs=1e-4)


def test_nothing_is_printed_by_a_short_measurement(three, capfd, no_bar_is_due):
    layer_errors(three[0], three[1], blocks.narrow_feed())
    assert capfd.readouterr() == ("", "")


# Tensors that have no SQNR


def pair(tmp_path, nodes, changed, outputs=("y",), **stored):
    """Two models of x (rows, 16) that differ in the matrix w."""
    w = weights(16, 16)
    inputs = [value("x", FLOAT, ["rows", 16])]
    outputs = [value(name, FLOAT, None) for name in outputs]
    return [
        save(tmp_path / f"{name}.onnx", nodes, inputs, outputs, {"w": matrix} | stored)
        for name, matrix in (("fp32", w), ("other", changed(w)))
    ]


@pytest.mark.parametrize("fill", [-np.inf, -1e4, -3.4e38])
def test_masked_scores_do_not_hide_the_error_of_the_others(fill, tmp_path):
    nodes = [
        node("MatMul", ["x", "w"], ["scores"]),
        node("Where", ["masked", "fill", "scores"], ["open"]),
        node("Softmax", ["open"], ["y"]),
    ]
    masked = np.arange(16) > 9
    models = pair(tmp_path, nodes, lambda w: rounded(w, 6), masked=masked, fill=np.float32(fill))
    x = noise(32, 16, seed=5)
    rows = by_name(layer_errors(*models, {"x": x}))
    w = weights(16, 16)
    assert rows["open"].accumulated_db == db((x @ w)[:, ~masked], (x @ rounded(w, 6))[:, ~masked])


def test_a_mask_that_lets_through_what_it_hid_is_an_error(tmp_path):
    nodes = [node("Where", ["masked", "fill", "x"], ["y"])]
    inputs, outputs = [value("x", FLOAT, ["rows", 16])], [value("y", FLOAT, None)]
    paths = [
        save(tmp_path / f"{fill}.onnx", nodes, inputs, outputs, {"masked": np.arange(16) > 9, "fill": np.float32(fill)})
        for fill in (-10_000, -100, -5)
    ]
    fp32, harmless, leaking = paths
    assert layer_errors(fp32, harmless, blocks.narrow_feed()).rows[0].local_db == math.inf
    assert layer_errors(fp32, leaking, blocks.narrow_feed()).rows[0].local_db < 1


def test_nan_that_only_the_quantized_model_has_is_the_worst_and_says_so(tmp_path):
    nodes = [node("MatMul", ["x", "w"], ["h"]), node("Sqrt", ["h"], ["r"]), node("Relu", ["h"], ["y"])]
    models = pair(tmp_path, nodes, lambda w: -np.abs(w), outputs=("y", "r"))
    x = np.abs(noise(4, 16, seed=5)) @ np.linalg.pinv(weights(16, 16)).astype(np.float32)  # h is positive in fp32
    result = layer_errors(*models, {"x": np.float32(x)})
    row = by_name(result)["r"]
    assert math.isnan(row.accumulated_db)
    assert row.local_db == math.inf
    assert row.note == "has NaN or infinity where the reference has not, or the reverse"


def test_a_tensor_of_zeros_is_exact_or_beyond_measure(tmp_path):
    nodes = [node("MatMul", ["x", "w"], ["h"]), node("Mul", ["h", "zero"], ["y"]), node("Add", ["y", "bias"], ["z"])]
    w = np.zeros((16, 16), np.float32)
    inputs, outputs = [value("x", FLOAT, ["rows", 16])], [value("z", FLOAT, None)]
    paths = [
        save(tmp_path / f"{zero}.onnx", nodes, inputs, outputs, {"w": w + 1, "zero": np.float32(zero), "bias": w[0]})
        for zero in (0, 1)
    ]
    rows = by_name(layer_errors(*paths, blocks.narrow_feed()))
    assert (rows["h"].local_db, rows["y"].local_db, rows["z"].local_db) == (math.inf, -math.inf, math.inf)
    assert rows["z"].accumulated_db == -math.inf


def test_an_empty_tensor_and_one_of_another_shape_are_left_out_with_the_reason(tmp_path):
    def build(name, last):
        nodes = [
            node("MatMul", ["x", "w"], ["h"]),
            node("Slice", ["h", "start", "end"], ["none"]),
            node("Reshape", ["h", "shape"], ["turned"]),
            node("ReduceSum", ["turned"], ["y"], keepdims=0),
        ]
        stored = {"w": weights(16, 16), "start": np.array([0]), "end": np.array([0]), "shape": np.array(last)}
        inputs, outputs = [value("x", FLOAT, ["rows", 16])], [value("y", FLOAT, None)]
        return save(tmp_path / name, nodes, inputs, outputs, stored)

    result = layer_errors(build("a.onnx", [-1, 8]), build("b.onnx", [-1, 4]), blocks.narrow_feed())
    assert set(by_name(result)) == {"h", "y"}
    assert result.skipped == {"none": "empty", "turned": "has shape [128, 4], in the fp32 model [64, 8]"}


# What is refused


def test_models_without_a_common_tensor_are_no_versions_of_one_model(three, tmp_path):
    fp32, *_ = three
    other = chain(tmp_path / "other.onnx", weights(16, 4))
    with pytest.raises(ValueError, match=r"other\.onnx and .*fp32\.onnx share no tensor .* not versions of one model"):
        layer_errors(fp32, other, blocks.narrow_feed())


@pytest.mark.parametrize("what", ["inputs", "outputs"])
def test_models_with_other_inputs_or_outputs_are_refused_with_both_lists(what, three, tmp_path):
    fp32, *_ = three
    model = onnx.load(fp32)
    if what == "inputs":
        model.graph.input[0].name = model.graph.node[0].input[0] = "z"
    else:
        model.graph.output[0].name = model.graph.node[-1].output[0] = "z"
    onnx.save(model, tmp_path / "other.onnx")
    with pytest.raises(ValueError, match=rf"other\.onnx has the {what} \['z'\], .*fp32\.onnx has \['[xy]'\]"):
        layer_errors(fp32, tmp_path / "other.onnx", blocks.narrow_feed())


def test_an_fp32_model_that_is_quantized_already_is_refused(convolution):
    fp32, quantized, *_ = convolution
    with pytest.raises(ValueError, match=r"qdq\.onnx is quantized already: it has DequantizeLinear, QuantizeLinear"):
        layer_errors(quantized, fp32, {"x": noise(1, 4, 6, 6)})


def test_a_file_that_is_not_there_and_a_feed_that_does_not_fit_are_refused(three):
    fp32, quantized, *_ = three
    with pytest.raises(FileNotFoundError, match=r"gone\.onnx"):
        layer_errors(fp32, quantized.with_name("gone.onnx"), blocks.narrow_feed())
    with pytest.raises(ValueError, match=r"feed has \['z'\]; model 'fp32.onnx' takes \['x'\]"):
        layer_errors(fp32, quantized, {"z": noise(4, 16)})
    with pytest.raises(ValueError, match="feed is an empty list"):
        layer_errors(fp32, quantized, [])
