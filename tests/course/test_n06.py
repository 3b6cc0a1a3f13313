"""Notebook 06: what the harness of right and wrong answers does not reach."""

import numpy as np
import onnx
import onnx.parser
import onnxruntime
import pytest
from onnx import numpy_helper
from onnxruntime.quantization import CalibrationDataReader, QuantType, quantize_static

from qlab import models, sqnr_db
from qlab.course.check import judge
from qlab.course.lessons import n06
from qlab.numerics import kernels
from qlab.numerics.saturation import can_saturate, largest_safe_k, vpmaddubsw_matmul


def exact(a, b):
    return a.astype(np.float64) @ b.astype(np.float64)


def test_the_integer_digits_answer_nearly_as_onnxruntimes_float_network_does():
    *_, pictures, _ = models.digit_split()
    (logits,) = onnxruntime.InferenceSession(models.path("digits")).run(None, {"images": pictures[:60]})
    assert sqnr_db(logits, n06.IntegerDigits()(pictures[:60], exact)) > 30


def test_seven_bit_weights_make_no_pair_of_the_digits_network_saturate_and_eight_bit_weights_do():
    pictures, _ = n06.noisy_digits()
    seven, eight = n06.IntegerDigits(weight_bits=7), n06.IntegerDigits()
    assert np.array_equal(seven(pictures[:20], exact), seven(pictures[:20], vpmaddubsw_matmul))
    assert sqnr_db(eight(pictures[:20], exact), eight(pictures[:20], vpmaddubsw_matmul)) < 25


def test_onnxruntime_without_int16_pairs_is_exact_where_every_pair_would_saturate():
    x, w = np.full((2, 64), 255, np.uint8), np.full((64, 32), 127, np.int8)
    assert (n06.precise("MatMulInteger", x, w) == 64 * 255 * 127).all()


LEVEL = onnxruntime.GraphOptimizationLevel


@pytest.mark.parametrize(("largest", "level"), [(64, LEVEL.ORT_ENABLE_ALL), (127, LEVEL.ORT_ENABLE_BASIC)])
def test_the_option_leaves_7_bit_weights_as_they_are_and_does_nothing_below_the_extended_level(
    tmp_path, largest, level
):
    options = onnxruntime.SessionOptions()
    options.add_session_config_entry(n06.ENTRY, "1")
    options.graph_optimization_level = level
    options.optimized_model_filepath = str(tmp_path / "optimized.onnx")
    model = n06.product_model(np.full((64, 32), largest, np.int8))
    onnxruntime.InferenceSession(model.SerializeToString(), options)
    optimized = onnx.load(tmp_path / "optimized.onnx")
    weights = [held.data_type for held in optimized.graph.initializer if list(held.dims) == [64, 32]]
    assert weights == [onnx.TensorProto.INT8]


def test_the_static_quantizer_gives_matmul_and_add_an_8_bit_bias_and_a_gemm_an_int32_one(tmp_path):
    random = np.random.default_rng(0)
    x, w, b = (random.normal(size=shape).astype(np.float32) for shape in ((9, 16), (16, 5), (5,)))

    class Reader(CalibrationDataReader):
        feeds = None

        def get_next(self):
            self.feeds = self.feeds or iter([{"x": x}])
            return next(self.feeds, None)

    found = {}
    for name, body in (("two", "m = MatMul(x, w)\n y = Add(m, b)"), ("one", "y = Gemm(x, w, b)")):
        text = f'<ir_version: 10, opset_import: ["": 21]> g (float[T, 16] x) => (float[T, 5] y) {{ {body} }}'
        model = onnx.parser.parse_model(text)
        model.graph.initializer.extend([numpy_helper.from_array(w, "w"), numpy_helper.from_array(b, "b")])
        onnx.save(model, tmp_path / "float.onnx")
        types = {"activation_type": QuantType.QUInt8, "weight_type": QuantType.QInt8}
        quantize_static(tmp_path / "float.onnx", tmp_path / "int8.onnx", Reader(), **types)
        held = onnx.load(tmp_path / "int8.onnx").graph.initializer
        found[name] = next(t.data_type for t in held if t.name == "b_quantized")
    assert found == {"two": onnx.TensorProto.UINT8, "one": onnx.TensorProto.INT32}


def test_the_way_of_onnxruntimes_own_arithmetic_gives_its_codes_at_ties_too():
    sums = np.rint(np.random.default_rng(1).normal(0, 800, (100, 100))).astype(np.int32)
    for scales in ((0.1, 0.02, 0.02), (2**-4, 2**-8, 2**-8), (0.031, 0.0021, 0.0009)):
        ways = n06.ways_to_a_code(sums, *scales, zero_point=128)
        assert np.array_equal(ways["onnxruntime"], ways["float32, x_scale * w_scale / y_scale"])
        assert max(np.abs(codes.astype(int) - ways["onnxruntime"]).max() for codes in ways.values()) <= 1


def test_the_references_of_the_layers_are_qlabs_kernels_too():
    for _, given in n06.linears():
        codes, _ = n06.linear_of(**given)
        bias = np.rint(given["bias"] / (given["x_scale"] * given["w_scale"])).astype(np.int32)
        sums = kernels.matmul_integer(given["x_codes"], given["w_codes"], given["x_zero_point"]) + bias
        multiplier = given["x_scale"] * given["w_scale"] / given["y_scale"]
        np.testing.assert_array_equal(codes, kernels.requantize(sums, multiplier, given["y_zero_point"]))
    for _, given in n06.convolutions():
        codes, _ = n06.conv_of(**given)
        bias, zero = given.pop("bias"), np.zeros(len(given["w"]), np.int8)
        first = [given[name] for name in ("x", "x_scale", "x_zero_point", "w", "w_scale")]
        rest = [given[name] for name in ("y_scale", "y_zero_point")]
        np.testing.assert_array_equal(codes, kernels.qlinear_conv(*first, zero, *rest, bias, pads=[1, 1, 1, 1]))


@pytest.mark.parametrize("exercise", ["06.1", "06.2", "06.3", "06.6"])
def test_every_mistake_that_a_check_names_gives_another_result_in_some_case(exercise):
    silent = {}
    for given, right, mistakes in _cases(exercise):
        for said, wrong in mistakes(*given).items():
            wrong = np.asarray(wrong)
            silent[said] = silent.get(said, True) and wrong.shape == right.shape and np.array_equal(wrong, right)
    assert [said for said, always in silent.items() if always] == []


def _cases(exercise):
    if exercise == "06.1":
        for _, a, b, za, zb in n06.products():
            given = a, b, 0 if za is None else za, 0 if zb is None else zb
            yield given, n06.product_of(*given), n06.product_mistakes
    elif exercise == "06.2":
        for _, *given in n06.sums_to_requantize():
            yield given, n06.requantized(*given), n06.code_mistakes
    else:
        cases, of, mistakes = {
            "06.3": (n06.linears, n06.linear_of, n06.linear_mistakes),
            "06.6": (n06.convolutions, n06.conv_of, n06.conv_mistakes),
        }[exercise]
        for _, given in cases():
            yield given.values(), of(**given)[0], mistakes


def test_weights_of_both_kinds_are_among_those_of_06_4():
    kinds = {can_saturate(w).any() for _, w in n06.weights_to_break()}
    assert kinds == {True, False}


def test_the_longest_safe_sum_is_that_of_all_codes_and_zero_points_tried():
    for a, b in (("uint8", "uint8"), ("uint8", "int8"), ("int8", "int8")):
        codes = [np.arange(np.iinfo(dtype).min, np.iinfo(dtype).max + 1) for dtype in (a, b)]
        moved = [np.unique(each[:, None] - each[None]) for each in codes]
        for zeros, (left, right) in (({"a_zero_point": 0, "b_zero_point": 0}, codes), ({}, moved)):
            products = np.multiply.outer(left, right)
            k = largest_safe_k(a, b, **zeros)
            fits = [n * int(products.min()) >= -(2**31) and n * int(products.max()) < 2**31 for n in (k, k + 1)]
            assert fits == [True, False]


def test_the_first_part_of_06_4_alone_is_not_yet():
    def worst_input(w):
        x = np.full((1, len(w)), 255, np.uint8)
        return x if can_saturate(w).any() else None

    verdict = judge("06.4", worst_input)
    assert (verdict.status, "mended is next" in verdict.message) == ("not yet", True)


@pytest.mark.parametrize("weights", [(127, 127), (-128, -128), (127, -128), (0, 0)])
def test_the_square_of_pairs_counts_what_leaves_int16(weights):
    inputs = np.arange(256)
    sums = inputs[None] * weights[0] + inputs[:, None] * weights[1]
    share = 100 * ((sums > 32_767) | (sums < -32_768)).mean()
    assert f"{share:.1f} %" in n06.pair_square(*weights).alt


def test_the_schematics_say_what_they_show():
    for figure in (n06.dataflow(), n06.instructions()):
        assert len(figure.alt) > 100
        assert figure.png()[:4] == b"\x89PNG"
