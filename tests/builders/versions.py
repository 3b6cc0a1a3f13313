"""Small models and their quantized versions, written by hand or by onnxruntime's own quantizers."""

import onnxruntime
from onnxruntime.quantization import CalibrationDataReader, QuantFormat, quantize_dynamic, quantize_static

from qlab.recipes.quantizers import captured_logs
from tests.builders.blocks import FLOAT, node, save, value


class Reader(CalibrationDataReader):
    def __init__(self, feeds):
        self._feeds = iter(feeds)

    def get_next(self):
        return next(self._feeds, None)


def dynamic(model, path, **options):
    with captured_logs():
        quantize_dynamic(model, path, **options)
    return path


def static(model, path, feeds, *, quant_format=QuantFormat.QDQ, **options):
    with captured_logs():
        quantize_static(model, path, Reader(feeds), quant_format=quant_format, **options)
    return path


def chain(path, *matrices, width=16):
    """x times each matrix in turn: h1, h2, ..., y."""
    names = [*(f"h{place}" for place in range(1, len(matrices))), "y"]
    before = ["x", *names]
    nodes = [
        node("MatMul", [before[place], f"w{place}"], [name], f"product{place}") for place, name in enumerate(names)
    ]
    w = {f"w{place}": matrix for place, matrix in enumerate(matrices)}
    inputs, outputs = [value("x", FLOAT, ["rows", width])], [value("y", FLOAT, ["rows", matrices[-1].shape[1]])]
    return save(path, nodes, inputs, outputs, w)


def answers(path, feed):
    """What a model answers without optimizations: {output: array}."""
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    return dict(zip([one.name for one in session.get_outputs()], session.run(None, feed), strict=True))
