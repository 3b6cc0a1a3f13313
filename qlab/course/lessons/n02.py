"""Notebook 02: a symmetric scale, ReLU without a zero point, schemes for tensors, dynamic quantization by the card.

What each check judges by, and the pictures, stand beside this file, in n02_*.py.
"""

import tempfile
from pathlib import Path

import numpy as np

from qlab import choose_qparams, fake_quantize, sqnr_db
from qlab.course.brief import brief
from qlab.course.expect import call, tensors
from qlab.course.lessons import exercise, n02_dynamic, n02_relu, n02_schemes, n02_symmetric
from qlab.course.lessons.n02_dynamic import products_in
from qlab.course.lessons.n02_tensors import eight_tensors, many_tensors, matrices, product_times
from qlab.course.verdict import Almost

__all__ = ["eight_tensors", "many_tensors", "matrices", "product_times", "products_in"]


@exercise("02.1", "a symmetric scale", place="symmetric_qparams", otherwise=n02_symmetric.symmetric_qparams)
def _(answer):
    small = [(f"numbers around {size:g}", np.float32([-3, 1, 2]) * np.float32(size)) for size in (1e-10, 1e-30)]
    cases = [*tensors(2), *small]
    for name, x in cases:
        scale, zero_point = n02_symmetric.asked(answer, x)
        n02_symmetric.judge(x, scale, zero_point, f"for {name}", lambda x=x: n02_symmetric.asked(answer, -x)[0])
    return f"{len(cases)} tensors, zeros among them: each end has a code, and onnxruntime has the same scale"


@exercise("02.2", "ReLU without a zero point")
def _(answer):
    for name, x in n02_relu.relu_outputs():
        result = n02_symmetric.called(answer, x, "quantize_relu")
        if not isinstance(result, tuple | list) or len(result) != 3:
            raise Almost(f"expected three values, codes, scale and SQNR, seen {brief(result)}")
        seen = n02_relu.judge(x, *result, f"for {name}")
    mirrored = sqnr_db(x, fake_quantize(x, choose_qparams(x, "int8", symmetric=True)))
    return f"on the real ReLU {seen:.2f} dB without any zero point; symmetric int8 has {mirrored:.2f} dB"


@exercise("02.3", "a scheme for each tensor")
def _(answer):
    if isinstance(answer, dict):
        raise Almost("expected the function `choose_schemes(tensors, zero_points)`, seen a dictionary: let it choose")
    totals = []
    for where, given, allowed in n02_schemes.budgets():
        chosen = n02_schemes.read(call(answer, given, allowed, name="choose_schemes"), given, where)
        totals.append(n02_schemes.judge(chosen, given, allowed, where))
    return (
        f"8 tensors, 3 zero points: an error of {totals[0]:.2f} instead of 8; {len(totals) - 1} other budgets as well"
    )


@exercise("02.4", "quantize_dynamic by the card", place="quantize_for", otherwise=n02_dynamic.quantize_for)
def _(answer):
    said = {}
    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder) / "feed_forward.onnx"
        source.write_bytes(n02_dynamic.feed_forward())
        for index, card in enumerate(n02_dynamic.cards()):
            target = Path(folder) / f"quantized_{index}.onnx"
            call(n02_dynamic.finished(answer), card, source, target, name="quantize_for")
            said[card.name] = n02_dynamic.judge(card, target)
    return "; ".join(f"{name}: {what}" for name, what in said.items())
