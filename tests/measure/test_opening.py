"""A quantized model that does not open: the cause, where it is known, then the way out."""

import numpy as np
import onnx
import pytest
from onnx import TensorProto

from qlab import graph, measure, recipes
from qlab.runtime import open_session
from tests.builders import faults


def refused(model, quantized, feed):
    """What each function says that is given the file `quantized`: the same to all."""
    said = []
    for call in (
        lambda: measure.diagnose(model, quantized, feed),
        lambda: measure.compare({"fp32": model, "int8": quantized}, feed, rounds=1),
    ):
        with pytest.raises(ValueError, match="onnxruntime cannot open this quantized model") as error:
            call()
        said.append(str(error.value))
    assert said[0] == said[1]
    assert said[0].startswith(f"{quantized}: onnxruntime cannot open")
    assert f"makes one of {model} anew" in said[0]
    assert "In onnxruntime's words: " in said[0]
    return said[0]


def changed(path, change):
    """The file, changed by `change`, beside it."""
    model = onnx.load(path)
    change(model)
    onnx.save(model, path.with_name("changed.onnx"))
    return path.with_name("changed.onnx")


def test_scales_per_channel_before_opset_13_come_first(tmp_path):
    model, feed = faults.residual(tmp_path), faults.image_feed()
    good = recipes.static(model, tmp_path / "int8.onnx", feed).path

    def older(proto):
        proto.opset_import[0].version = 12

    said = refused(model, changed(good, older), feed)
    assert "has scales per channel, for which opset 13 is needed, and the file is of opset 12" in said
    assert said.index("opset 13") < said.index("recipes.static makes one") < said.index("In onnxruntime's words")
    assert "axis" not in said.partition("In onnxruntime's words")[0]
    plain = recipes.static(model, tmp_path / "plain.onnx", feed, per_channel=False).path
    open_session(changed(plain, older))  # the cause alone: one scale a tensor opens at that opset


def test_codes_of_a_type_that_the_opset_lacks_are_named(tmp_path):
    model, feed = faults.residual(tmp_path), faults.image_feed()
    good = recipes.static(model, tmp_path / "int8.onnx", feed, per_channel=False).path

    def wider(proto):
        for tensor in proto.graph.initializer:
            if tensor.name == "x_zero_point":
                tensor.CopyFrom(onnx.numpy_helper.from_array(np.uint16(0), tensor.name))

    assert "has codes of uint16, for which opset 21 is needed, and it has 17" in refused(
        model, changed(good, wider), feed
    )


def test_a_tensor_that_nothing_makes_is_named(tmp_path):
    model, feed = faults.layers(tmp_path), faults.layers_feed()
    good = recipes.dynamic(model, tmp_path / "int8.onnx").path

    def without(proto):
        lost = next(tensor for tensor in proto.graph.initializer if tensor.name == "w0_scale")
        proto.graph.initializer.remove(lost)

    assert "reads 'w0_scale', which is nothing that it can see in the file" in refused(
        model, changed(good, without), feed
    )


def test_an_operator_set_that_is_not_imported_is_named(tmp_path):
    model, feed = faults.layers(tmp_path), faults.layers_feed()
    good = recipes.dynamic(model, tmp_path / "int8.onnx").path

    def foreign(proto):
        proto.graph.node[1].domain = "my.ops"

    said = refused(model, changed(good, foreign), feed)
    assert "it uses operators of 'my.ops', which it does not import" in said


def test_what_is_in_a_body_is_sent_to_the_recipe_that_reaches_it(tmp_path):
    model, feed = faults.branching(tmp_path), faults.image_feed(faults.CHANNELS) | {"first": np.array(True)}
    good = faults.by_hand(model, tmp_path, "uint8", inside=True)

    def broken(proto):
        node = next(one for one in graph.nodes(proto) if one.op_type == "ConvInteger")
        node.attribute.append(onnx.helper.make_attribute("group", [TensorProto.FLOAT]))

    assert "recipes.dynamic makes one of" in refused(model, changed(good, broken), feed)


def test_a_float_model_that_does_not_open_is_told_as_before(tmp_path):
    model = changed(faults.layers(tmp_path), lambda proto: proto.graph.initializer.pop())
    with pytest.raises(ValueError, match="onnxruntime cannot open it; is it a complete ONNX file"):
        measure.profile(model, faults.layers_feed())
