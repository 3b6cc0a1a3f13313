"""Notebook 08: what the harness of right and wrong answers does not reach."""

import platform
from collections import Counter

import numpy as np
import onnx
import onnxruntime
import pytest

from qlab import models, sqnr_db
from qlab.course.check import judge
from qlab.course.lessons import common, n08

ON_X86 = pytest.mark.skipif(platform.machine() not in ("x86_64", "AMD64"), reason="what x86 does with signed codes")


def operators(path_or_bytes, **keywords):
    return Counter(node.op_type for node in n08.running(path_or_bytes, **keywords).node)


@pytest.mark.parametrize("case", list(n08._convolution_cases()), ids=lambda case: case[0])
def test_the_reference_s_convolution_fuses_and_is_near_the_real_one(case):
    _, conv, weight, bias, x_qparams, y_qparams, x = case
    written = n08.model_of(*n08.write_qdq(conv, weight, bias, x_qparams, y_qparams), conv, x)
    onnx.checker.check_model(onnx.ModelProto.FromString(written))
    assert operators(written)["QLinearConv"] == 1
    (codes,) = n08._unfused(written).run(None, {conv.input[0]: x})
    assert sqnr_db(n08._real(conv, weight, bias, x), codes) > 30


def test_a_bias_of_another_scale_keeps_a_convolution_in_float():
    node, weight, bias, x_qparams, y_qparams, x = n08.one_convolution()
    found = {}
    for times in (0.5, 1, 2):
        parts = n08.write_qdq(node, weight, bias, x_qparams, y_qparams, bias_scale=times)
        found[times] = operators(n08.model_of(*parts, node, x))["QLinearConv"]
    assert found == {0.5: 0, 1: 1, 2: 0}


def test_the_convolutions_of_the_digits_are_found_with_their_relus():
    model = onnx.load(models.path("digits"))
    found = n08.convolutions(model)
    assert len(found) == sum(node.op_type == "Conv" for node in model.graph.node)
    relus = {node.output[0] for node in model.graph.node if node.op_type == "Relu"}
    assert sum(each.y in relus for each in found) == 8  # the three before an Add have none of their own
    assert all(each.node.output[0] == each.y for each in found)


def test_what_is_assembled_has_one_pair_for_each_activation_and_every_convolution_fused():
    model, (images, *_) = onnx.load(models.path("digits")), models.digit_split()
    before = model.SerializeToString()
    built = n08.my_quantizer(model, images[:8])
    assert model.SerializeToString() == before
    onnx.checker.check_model(built)
    quantized = [node.input[0] for node in built.graph.node if node.op_type == "QuantizeLinear"]
    assert len(set(quantized)) == len(quantized) == 14
    assert operators(built.SerializeToString())["QLinearConv"] == 11


def test_readers_count_through_a_pair_each_as_through_one(tmp_path):
    onnx.save(n08.residual_model(), tmp_path / "block.onnx")
    found = []
    for dedicated in (False, True):
        feeds = common.Feeds([{"x": np.ones((1, 3, 8, 8), np.float32)}])
        options = {"DedicatedQDQPair": dedicated}
        n08.quantize_static(tmp_path / "block.onnx", tmp_path / "int8.onnx", feeds, extra_options=options)
        found.append(n08.shared(onnx.load(tmp_path / "int8.onnx").graph))
    assert found == [["t"], ["t"]]


def test_one_product_is_of_the_same_codes_for_both_integer_operators():
    found = {op: session.run(None, feed)[0] for op, (session, feed) in n08.one_product().items()}
    assert found["ConvInteger"].shape == found["QLinearConv"].shape == found["Conv"].shape
    whole = np.rint(found["ConvInteger"] * 1e-4) + 3
    assert np.abs(np.clip(whole, 0, 255) - found["QLinearConv"]).max() <= 1


@ON_X86
def test_in_the_residual_block_stem_and_widen_stay_in_float(tmp_path):
    onnx.save(n08.residual_model(), tmp_path / "block.onnx")
    random = np.random.default_rng(0)
    feeds = common.Feeds([{"x": random.normal(size=(1, 3, 8, 8)).astype(np.float32)} for _ in range(2)])
    types = {"activation_type": n08.QuantType.QInt8, "weight_type": n08.QuantType.QInt8}
    n08.quantize_static(tmp_path / "block.onnx", tmp_path / "int8.onnx", feeds, **types)
    floats = {node.name for node in n08.running(tmp_path / "int8.onnx").node if node.op_type == "Conv"}
    assert floats == {"stem", "widen"}
    assert n08.shared(onnx.load(tmp_path / "int8.onnx").graph) == ["t"]


def test_exactly_one_option_of_the_residual_block_is_right():
    assert [name for name in n08.RESIDUAL if judge("08.3", name).status == "passed"] == ["stem and widen"]


def test_boxes_and_scores_of_the_head_differ_in_size():
    x = np.random.default_rng(0).normal(size=(1, 16, 9, 9)).astype(np.float32)
    (found,) = onnxruntime.InferenceSession(n08.head(640).SerializeToString()).run(None, {"x": x})
    assert found.shape == (1, 6, 9, 9)
    assert np.abs(found[:, :4]).max() > 100
    assert (found[:, 4:] >= 0).all() and (found[:, 4:] <= 1).all()  # noqa: PT018


def test_the_first_part_of_08_1_can_be_checked_alone_and_passes_nothing():
    class BatchReader:
        def __init__(self, frames, size):
            self.groups = [frames[at : at + size] for at in range(0, len(frames), size)]

        def get_next(self):
            if not self.groups:
                return None
            group = self.groups.pop(0)
            return {name: np.concatenate([frame.feed[name] for frame in group]) for name in ("audio", "face")}

    verdict = judge("08.1", BatchReader)
    assert verdict.status == "not yet"
    assert "BatchReader is right" in verdict.message


def test_the_figures_say_in_words_what_they_show():
    assert len(n08.qdq().alt) > 100
    assert len(n08.residual().alt) > 100
    points = {"S8S8": (32, (1.1, 1.0, 1.2)), "U8U8": (49, (1.2, 1.1, 1.3)), "U8S8": (49, (1.25, 1.2, 1.3))}
    figure = n08.fused_against_speed(points, convolutions=49, title="three files")
    told = {text.get_text() for text in figure.axes[0].texts}
    assert told == {"fp32", "S8S8, 1.10×", "U8U8, 1.20×", "U8S8, 1.25×"}
    assert figure.axes[0].get_xticks().tolist() == [0, 32, 49]
    picture = np.zeros((3, 8, 8), np.float32)
    assert n08.beside(picture, picture, title="none", said="the same").axes


def test_a_table_is_text_and_html():
    table = common.Table(("a", "b"), [["1", "2"]], "below")
    assert "below" in repr(table)
    assert "<table" in table._repr_html_()
