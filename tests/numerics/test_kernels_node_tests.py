"""Every node test of the installed onnx package that holds one of our operators runs on our kernels."""

import re
import warnings

import numpy as np
import onnx
import pytest
from onnx.backend.test.loader import load_model_tests
from onnx.reference import ReferenceEvaluator

from qlab.numerics import kernels

OPERATORS = {
    "ConvInteger",
    "DequantizeLinear",
    "DynamicQuantizeLinear",
    "MatMulInteger",
    "QLinearConv",
    "QLinearMatMul",
    "QuantizeLinear",
}


def snake_case(operator):
    """QuantizeLinear -> quantize_linear, MatMulInteger -> matmul_integer, QLinearConv -> qlinear_conv."""
    return re.sub(r"(?<=[a-z])(?=[A-Z])", "_", operator).lower().replace("mat_mul", "matmul")


def collect():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # onnx computes these tests' data as it loads them, and overflows on purpose
        tests = load_model_tests(kind="node")
    return {test.name: test for test in tests if OPERATORS & {node.op_type for node in test.model.graph.node}}


NODE_TESTS = collect()


def as_array(value):
    """The test's data as NumPy has it; types that NumPy lacks come as a TensorProto."""
    return onnx.numpy_helper.to_array(value) if isinstance(value, onnx.TensorProto) else value


def run(model, feeds):
    """The model's outputs, with our kernels for our operators and onnx.reference for all others."""
    values = {"": None, **feeds}
    for node in model.graph.node:
        inputs = [values[name] for name in node.input]
        if node.op_type in OPERATORS:
            attributes = {a.name: onnx.helper.get_attribute_value(a) for a in node.attribute}
            outputs = getattr(kernels, snake_case(node.op_type))(*inputs, **attributes)
            outputs = outputs if isinstance(outputs, tuple) else (outputs,)
        else:
            outputs = ReferenceEvaluator(node).run(None, dict(zip(node.input, inputs, strict=True)))
        values.update(zip(node.output, outputs, strict=False))
    return [values[output.name] for output in model.graph.output]


@pytest.mark.parametrize("name", NODE_TESTS)
def test_the_kernels_give_the_expected_output_of(name):
    test = NODE_TESTS[name]
    assert test.data_sets
    for inputs, expected in test.data_sets:
        names = [i.name for i in test.model.graph.input]
        outputs = run(test.model, dict(zip(names, map(as_array, inputs), strict=True)))
        for output, wanted in zip(outputs, map(as_array, expected), strict=True):
            assert output.dtype == wanted.dtype
            np.testing.assert_array_equal(output, wanted)


def test_no_node_test_of_these_operators_escapes_the_collection():
    single = [t for t in NODE_TESTS.values() if len(t.model.graph.node) == 1]
    assert len(single) >= 42  # what onnx 1.23.2 ships; newer ones bring more
    assert {t.model.graph.node[0].op_type for t in single} == OPERATORS
