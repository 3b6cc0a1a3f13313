"""qlab.numerics beside onnxruntime and BLAS: run with `python -m tests.bench.bench_numerics`.

Each pair runs interleaved in one process, one thread each, so that both see the same machine; the ratio is taken round
by round and printed with its spread, which tells a noisy machine from a slow function.
"""

import os

os.environ.update(OMP_NUM_THREADS="1", OPENBLAS_NUM_THREADS="1", MKL_NUM_THREADS="1", VECLIB_MAXIMUM_THREADS="1")

import multiprocessing
import resource
import sys
from time import perf_counter

import numpy as np
import onnxruntime
from onnx import TensorProto, helper

from qlab import QParams, choose_qparams, quantize
from qlab.numerics import kernels

ROUNDS = 21
MEGABYTE = 2**20
ELEMENTS = 64 * MEGABYTE // 4


def quantize_linear_session():
    """onnxruntime's QuantizeLinear of a float32 vector to uint8, on one thread."""
    inputs = [("x", TensorProto.FLOAT, [None]), ("scale", TensorProto.FLOAT, []), ("zero_point", TensorProto.UINT8, [])]
    graph = helper.make_graph(
        [helper.make_node("QuantizeLinear", [name for name, *_ in inputs], ["y"])],
        "quantize",
        [helper.make_tensor_value_info(*value) for value in inputs],
        [helper.make_tensor_value_info("y", TensorProto.UINT8, None)],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=10)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    return onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])


def tensor():
    return np.random.default_rng(0).standard_normal(ELEMENTS, np.float32)  # directly: a detour would raise the peak


def ours(x, qparams):
    return lambda: quantize(x, qparams)


def theirs(x, qparams):
    session = quantize_linear_session()
    return lambda: session.run(None, {"x": x, "scale": qparams.scale, "zero_point": qparams.zero_point})[0]


def interleaved(first, second):
    """(milliseconds of first, of second): two arrays, one entry a round, after a warm-up that is thrown away."""
    times = []
    for _ in range(ROUNDS + 2):
        row = []
        for function in (first, second):
            start = perf_counter()
            function()
            row.append(1000 * (perf_counter() - start))
        times.append(row)
    return np.array(times[2:]).T


def peak_bytes(make):
    """How far one call raises this process's peak memory above input and runtime; run in a process of its own."""
    qparams = QParams(np.float32(0.04), np.uint8(128), "uint8")
    function = make(tensor(), qparams)
    unit = 1 if sys.platform == "darwin" else 1024
    make(np.zeros(1, np.float32), qparams)()
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    function()
    return (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * unit


def in_new_process(function, *arguments):
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        return pool.apply(function, arguments)


def row(name, first, second, expected):
    a, b = interleaved(first, second)
    low, ratio, high = np.quantile(a / b, [0.05, 0.5, 0.95])
    print(f"{name:<46} {np.median(a):8.2f} {np.median(b):8.2f} {ratio:7.2f} {low:6.2f} to {high:5.2f}   {expected}")


def main():
    # Memory first: a new process inherits the peak of the one that starts it.
    print(f"{'peak memory above the input, 64 MB float32':<46} {'MB':>8} {'of input':>8}")
    for name, make, expected in (
        ("quantize", ours, "expected at most 3"),
        ("onnxruntime's QuantizeLinear", theirs, ""),
    ):
        peak = in_new_process(peak_bytes, make)
        print(f"{name:<46} {peak / MEGABYTE:8.0f} {peak / (4 * ELEMENTS):8.2f}   {expected}")

    title = f"one thread, median of {ROUNDS} rounds"
    print(f"\n{title:<46} {'ours ms':>8} {'other ms':>8} {'ratio':>7} {'5 to 95 %':>15}")
    x = tensor()
    qparams = choose_qparams(x, "uint8")
    np.testing.assert_array_equal(ours(x, qparams)(), theirs(x, qparams)())
    row("quantize 64 MB / onnxruntime's QuantizeLinear", ours(x, qparams), theirs(x, qparams), "expected at most 10")

    rng = np.random.default_rng(0)
    a, b = rng.integers(0, 256, (256, 1024), np.uint8), rng.integers(-128, 128, (1024, 1024), np.int8)
    a_float, b_float = a.astype(np.float32), b.astype(np.float32)
    zero_points = np.uint8(128), np.int8(3)

    def product():
        return kernels.matmul_integer(a, b, *zero_points)

    row("matmul_integer 256x1024x1024 / float32 product", product, lambda: a_float @ b_float, "expected about 2 to 3")


if __name__ == "__main__":
    main()
