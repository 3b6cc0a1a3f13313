"""Which two products an integer kernel adds first: as onnxruntime's AVX2 kernels, whose answers are recorded, do."""

from dataclasses import dataclass, field

import numpy as np
import pytest
from onnx import helper

from qlab.graph.operators import summed_rows
from qlab.machine import probes
from qlab.numerics.kernels import requantize, windows
from qlab.numerics.saturation import vpmaddubsw_matmul
from qlab.runtime import operator_session

ONE, U8, S8 = np.float32(1), np.uint8(0), np.int8(0)


def codes(shape, dtype, step):
    """Large codes of both signs, the same everywhere: activations from 160 to 255, weights beyond 90 either way."""
    numbers = np.arange(np.prod(shape)) * step % 97
    signed = np.where(numbers % 3 == 0, -1, 1) * (numbers % 37 + 91)
    return (signed if dtype == np.int8 else 159 + numbers).astype(dtype).reshape(shape)


def exactly(a, b):
    return a.astype(int) @ b.astype(int)


@dataclass(frozen=True)
class Case:
    """A product of u8 x s8: shapes, attributes, what its codes of sums are divided by, and what AVX2 kernels gave."""

    op_type: str
    x: tuple
    w: tuple
    recorded: list
    divisor: float = 1.0
    attributes: dict = field(default_factory=dict)

    @property
    def factors(self):
        return codes(self.x, np.uint8, 29), codes(self.w, np.int8, 53)

    @property
    def node(self):
        return helper.make_node(self.op_type, [], [], **self.attributes)

    def run(self):
        """What onnxruntime gives here, the weights stored in the model as recipes store them."""
        x, w = self.factors
        inputs = x, w
        if self.op_type != "MatMulInteger":
            no_bias = [None] * (self.op_type == "QGemm")
            inputs = x, ONE, U8, w, ONE, S8, *no_bias, np.float32(self.divisor), np.uint8(128)
        domain = "com.microsoft" if self.op_type == "QGemm" else ""
        session = operator_session(self.op_type, *inputs, fed=1, domain=domain, **self.attributes)
        return session.run(None, {"input_0": x})[0]

    def simulated(self):
        """The same by `summed_rows` and the instruction's own arithmetic."""
        x, w = self.factors
        rows = summed_rows(self.node, w)
        if self.op_type == "QLinearConv":
            sums = self._convolved(x, w, rows)
        else:
            several = x.reshape(-1, *x.shape[-2:])
            right = rows.reshape(len(several), -1, rows.shape[1]).swapaxes(1, 2)
            sums = np.array([vpmaddubsw_matmul(*pair) for pair in zip(several, right, strict=True)])
        if self.op_type == "MatMulInteger":
            return sums
        return requantize(sums, ONE / np.float32(self.divisor), np.uint8(128))

    def _convolved(self, x, w, rows):
        groups = self.attributes.get("group", 1)
        kernel, n = w.shape[2:], w.ndim - 2
        view = windows(x, kernel, [0] * n, [0] * n, [1] * n, [1] * n)  # (N, C, out ..., kernel ...)
        out = view.shape[2 : 2 + n]
        view = view.reshape(len(x), groups, -1, *view.shape[2:])
        view = np.moveaxis(view, 2, -1).reshape(len(x), groups, np.prod(out), -1)  # channels last
        multiply = exactly if rows is None else vpmaddubsw_matmul
        rows = (w if rows is None else rows).reshape(groups, len(w) // groups, -1)
        sums = [[multiply(one[g], rows[g].T) for g in range(groups)] for one in view]
        return np.moveaxis(np.array(sums), -1, 2).reshape(len(x), len(w), *out)


CASES = {
    "a kernel over channels": Case(
        "QLinearConv", (1, 4, 4, 4), (2, 4, 3, 3), [197, 189, 199, 193, 211, 211, 203, 210], 2500
    ),
    "channels of an odd number": Case(
        "QLinearConv", (1, 3, 4, 4), (2, 3, 3, 3), [159, 153, 165, 162, 158, 154, 166, 161], 2500
    ),
    "pointwise": Case(
        "QLinearConv", (1, 8, 2, 2), (3, 8, 1, 1), [137, 137, 130, 131, 128, 128, 121, 120, 151, 151, 145, 143], 1500
    ),
    "over time": Case("QLinearConv", (1, 4, 8), (2, 4, 5), [129, 124, 129, 125, 194, 190, 194, 194], 2500),
    "groups": Case(
        "QLinearConv",
        (1, 6, 4, 4),
        (4, 3, 3, 3),
        [159, 153, 165, 162, 158, 154, 166, 161, 187, 200, 205, 191, 181, 187, 188, 182],
        2500,
        {"group": 2},
    ),
    "two outputs of a channel": Case(
        "QLinearConv",
        (1, 3, 4, 4),
        (6, 1, 3, 3),
        [
            103,
            100,
            115,
            99,
            146,
            148,
            134,
            153,
            226,
            217,
            217,
            219,
            217,
            225,
            215,
            224,
            143,
            159,
            145,
            138,
            110,
            94,
            107,
            116,
        ],
        900,
        {"group": 3},
    ),
    "depthwise": Case(
        "QLinearConv",
        (1, 4, 4, 4),
        (4, 1, 3, 3),
        [103, 100, 115, 99, 144, 133, 157, 148, 254, 239, 244, 249, 255, 255, 246, 251],
        900,
        {"group": 4},
    ),
    "a matrix": Case("MatMulInteger", (2, 9), (9, 3), [25121, 41125, 21407, 23200, 48058, 19906]),
    "matrices": Case(
        "MatMulInteger",
        (2, 2, 7),
        (2, 7, 3),
        [-11773, 6588, -18772, -12520, 7146, -19807, 43151, 87294, 42199, 54024, 78476, 50275],
    ),
    "a matrix that lies the other way": Case(
        "QGemm", (2, 8), (3, 8), [133, 124, 153, 134, 124, 147], 1500, {"transB": 1}
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_the_first_two_products_of_a_sum_are_neighbours_in_a_row(name):
    case = CASES[name]
    assert case.simulated().ravel().tolist() == case.recorded


@pytest.mark.parametrize("name", CASES)
def test_kernels_that_saturate_still_do_as_recorded_and_others_are_exact(name):
    case = CASES[name]
    assert (case.run().ravel().tolist() == case.recorded) == (probes.saturates() or name == "depthwise")


def test_what_is_multiplied_without_pairs_has_no_rows():
    w = np.zeros((4, 1, 3, 3), np.int8)
    assert summed_rows(helper.make_node("QLinearConv", [], [], group=4), w) is None
    assert summed_rows(helper.make_node("ConvInteger", [], [], group=2), w) is None
    assert summed_rows(helper.make_node("QLinearConv", [], [], group=2), w).shape == (4, 9)


def test_an_lstm_and_a_quantized_one_have_the_same_rows_and_a_vector_is_one():
    w = np.arange(2 * 8 * 3).reshape(2, 8, 3)  # directions, gates of outputs, K
    rows = summed_rows(helper.make_node("LSTM", [], []), w)
    np.testing.assert_array_equal(rows, w.reshape(16, 3))
    np.testing.assert_array_equal(summed_rows(helper.make_node("DynamicQuantizeLSTM", [], []), w.swapaxes(1, 2)), rows)
    assert summed_rows(helper.make_node("MatMulInteger", [], []), np.arange(5)).tolist() == [[0, 1, 2, 3, 4]]
