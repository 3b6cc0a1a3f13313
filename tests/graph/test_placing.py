"""Q and DQ placed in one pass are those that onnxruntime's quantizer places one by one, to the last bit."""

import copy

import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnxruntime.quantization import QuantType
from onnxruntime.quantization.qdq_quantizer import QDQQuantizer

from qlab import calibration, graph
from qlab.graph.placing import Placing
from tests.builders import blocks, random_graphs

OP_TYPES = [
    "Add",
    "Clip",
    "Concat",
    "Conv",
    "Gemm",
    "MatMul",
    "MaxPool",
    "Mul",
    "Relu",
    "Reshape",
    "Sigmoid",
    "Softmax",
]
S4, S8, U8 = QuantType.QInt4, QuantType.QInt8, QuantType.QUInt8
TYPES = [(S8, U8), (U8, U8), (S8, S8), (S4, U8), (QuantType.QInt16, QuantType.QUInt16)]


def settings_of(model, feeds, per_channel, reduce_range, types, symmetric, exclude):
    ranges = calibration.collect(model, feeds).as_tensors_data()
    proto = onnx.shape_inference.infer_shapes(graph.opened(model).proto)
    extra = {"ActivationSymmetric": symmetric, "WeightSymmetric": True}
    return proto, (per_channel, reduce_range, *types, ranges, [], exclude, OP_TYPES, extra)


def quantized(make, proto, arguments):
    """The nodes as bytes, {constant: its array}, and what else the file says of itself."""
    quantizer = make(copy.deepcopy(proto), *arguments)
    quantizer.quantize_model()
    made = quantizer.model.model
    nodes = sorted(node.SerializeToString(deterministic=True) for node in made.graph.node)
    constants = {one.name: onnx.numpy_helper.to_array(one) for one in made.graph.initializer}
    for field in ("node", "initializer"):
        made.graph.ClearField(field)
    return nodes, constants, made.SerializeToString(deterministic=True)


def assert_same(found, expected):
    assert (found[0], found[2]) == (expected[0], expected[2])
    assert found[1].keys() == expected[1].keys()
    for name, constant in expected[1].items():
        assert found[1][name].dtype == constant.dtype, name
        np.testing.assert_array_equal(found[1][name], constant, err_msg=name)


@given(
    plan=random_graphs.drawn(),
    per_channel=st.booleans(),
    reduce_range=st.booleans(),
    types=st.sampled_from(TYPES),
    symmetric=st.booleans(),
)
@settings(max_examples=12, deadline=None)
def test_of_a_drawn_graph(plan, per_channel, reduce_range, types, symmetric, tmp_path_factory):
    model, feeds, _ = random_graphs.built(tmp_path_factory.mktemp("drawn"), plan)
    chosen = settings_of(model, feeds, per_channel and plan[1] >= 13, reduce_range, types, symmetric, [])
    codes = {}
    expected = quantized(QDQQuantizer, *chosen)
    for _ in range(2):  # then with the codes of the first
        assert_same(quantized(lambda *given: Placing(codes, *given), *chosen), expected)


@pytest.mark.parametrize("per_channel", [False, True])
def test_of_a_conformers_block_without_some_of_its_layers_and_with_the_codes_of_those_before(per_channel, tmp_path):
    model, feeds, codes = blocks.conformer_block(tmp_path), [blocks.conformer_feed()], {}
    names = [node.name for node in graph.nodes(graph.opened(model).proto) if node.op_type in OP_TYPES]
    for exclude in (names[::3], [], names[1::2]):
        chosen = settings_of(model, feeds, per_channel, False, TYPES[0], False, exclude)
        assert_same(quantized(lambda *given: Placing(codes, *given), *chosen), quantized(QDQQuantizer, *chosen))
