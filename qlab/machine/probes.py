"""The two probes behind a machine card, and the two rates that a roofline needs."""

import platform

import numpy as np
import onnxruntime

from qlab.machine.card import SIGN_PAIRS, Card, cpu_name
from qlab.runtime import interleave, operator_session, usable_cores

DTYPES = {"u8": np.uint8, "s8": np.int8, "float32": np.float32}
ROWS, DEPTH, COLUMNS = 128, 512, 512  # the weights fit in a core's own cache: the product is bound by arithmetic


def measure(name=None, note=""):
    """A fresh card of this machine, in under 5 s. `name` replaces the CPU's own."""
    speed, float32_gflops = time_products()
    return Card(
        name=name or cpu_name(),
        platform=f"{platform.system()} {platform.machine()}",
        cores=usable_cores(),
        versions={
            "onnxruntime": onnxruntime.__version__,
            "numpy": np.__version__,
            "python": platform.python_version(),
        },
        speed=speed,
        saturates=saturates(),
        float32_gflops=float32_gflops,
        copy_gb_per_s=time_copy(),
        note=note,
    )


def time_products(rounds=40, budget_s=2.5):
    """Probe 1. Speed of each sign pair against float32, and float32's own rate in 10^9 operations a second.

    Constant weights, as in a model, so that onnxruntime packs them at load; one thread; medians of interleaved runs.
    """
    rng = np.random.default_rng(0)
    actions, without_kernel = {}, []
    for label in ("float32", *SIGN_PAIRS):
        left, right = (label, label) if label == "float32" else (label[:2], label[2:])
        x, weights = _random(rng, left, (ROWS, DEPTH)), _random(rng, right, (DEPTH, COLUMNS))
        try:
            product = product_of(x, weights)
            product()
        except Exception:  # onnxruntime's exceptions share no base class
            if label == "float32":
                raise
            without_kernel.append(label)
        else:
            actions[label] = product
    medians = {label: float(np.median(s)) for label, s in interleave(actions, rounds, budget_s=budget_s).items()}
    speed = {pair: None if pair in without_kernel else medians["float32"] / medians[pair] for pair in SIGN_PAIRS}
    return _rounded(speed), float(f"{2 * ROWS * DEPTH * COLUMNS / medians['float32'] / 1e9:.4g}")


def saturates(multiply=None):
    """Probe 2. Whether uint8 x int8 products come out wrong when every one of them is 255 * 127.

    `vpmaddubsw` adds two neighbouring products into 16 bits, where 64,770 becomes 32,767; `vpdpbusd` and others add
    into 32. Many columns and a long sum take the vector kernels; one row and many rows may take different ones.
    `multiply(x, weights)` stands in for onnxruntime's product in tests.
    """
    multiply = multiply or (lambda x, weights: product_of(x, weights)())
    for rows in (1, 16):
        x = np.full((rows, 256), 255, np.uint8)
        weights = np.full((256, 64), 127, np.int8)
        if np.any(multiply(x, weights) != 256 * 255 * 127):
            return True
    return False


def product_of(x, weights):
    """A callable that multiplies `x` by the constant `weights` in onnxruntime: MatMul, or MatMulInteger for codes."""
    session = operator_session("MatMul" if x.dtype == np.float32 else "MatMulInteger", x, weights, fed=1)
    return lambda: session.run(None, {"input_0": x})[0]


def time_copy(megabytes=64, rounds=7):
    """10^9 bytes read and written a second when NumPy copies an array of `megabytes`, more than most caches hold."""
    source = np.ones(megabytes * 1_000_000, np.uint8)
    target = np.empty_like(source)
    seconds = np.median(interleave({"copy": lambda: np.copyto(target, source)}, rounds)["copy"])
    return float(f"{2 * source.nbytes / seconds / 1e9:.4g}")


def _random(rng, kind, shape):
    if kind == "float32":
        return rng.standard_normal(shape, np.float32)
    limits = np.iinfo(DTYPES[kind])
    return rng.integers(limits.min, limits.max, shape, DTYPES[kind], endpoint=True)


def _rounded(speed):
    """Three digits: the noise is in the second."""
    return {pair: None if value is None else float(f"{value:.3g}") for pair, value in speed.items()}
