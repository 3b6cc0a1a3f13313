"""Exercise 02.4: quantize_dynamic with options from a machine card, judged by the graph that comes out."""

import tempfile
from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np
import onnx
from onnx import numpy_helper
from onnxruntime.quantization import QuantType, quantize_dynamic
from onnxruntime.quantization.shape_inference import quant_pre_process

from qlab import machine, models
from qlab.course.brief import kind
from qlab.course.verdict import Almost

FEED_FORWARD = (["mul_72"], ["linear_2"])  # where the conformer's first feed-forward module begins and ends
AS_GOOD = 0.95  # speeds of one machine differ by some percent from run to run


def quantize_for(card, source, target):
    """Dynamic quantization of the matrix products by the fastest pair that `card` has for uint8 activations."""
    signed, unsigned = card.speed["u8s8"] or 0, card.speed["u8u8"] or 0
    if max(signed, unsigned) <= 1:
        return
    weight_type = QuantType.QInt8 if signed >= unsigned else QuantType.QUInt8
    quantize_dynamic(
        source,
        target,
        op_types_to_quantize=["MatMul"],
        weight_type=weight_type,
        per_channel=True,
        reduce_range=card.saturates and weight_type == QuantType.QInt8,
    )


def finished(answer):
    """The answer, but with something returned: it may well return nothing."""
    if not callable(answer):
        return answer

    def quantize_for(*arguments):
        result = answer(*arguments)
        return ... if result is ... else True

    return quantize_for


@cache
def feed_forward():
    """The conformer's first feed-forward module, two products, and a convolution beside it, pre-processed: bytes."""
    with tempfile.TemporaryDirectory() as folder:
        cut, ready = Path(folder) / "cut.onnx", Path(folder) / "ready.onnx"
        onnx.utils.extract_model(str(models.path("conformer")), str(cut), *FEED_FORWARD)
        onnx.save(_with_convolution(onnx.load(cut)), cut)
        quant_pre_process(cut, ready, skip_symbolic_shape=True)
        return ready.read_bytes()


def _with_convolution(model):
    """The model with one more branch: it tells whether an answer quantizes MatMuls alone."""
    weight = np.random.default_rng(24).normal(size=(4, 2, 3)).astype(np.float32)
    model.graph.initializer.append(numpy_helper.from_array(weight, "conv_weight"))
    model.graph.input.append(onnx.helper.make_tensor_value_info("bands", onnx.TensorProto.FLOAT, [1, 2, 16]))
    model.graph.output.append(onnx.helper.make_tensor_value_info("convolved", onnx.TensorProto.FLOAT, [1, 4, 14]))
    model.graph.node.append(onnx.helper.make_node("Conv", ["bands", "conv_weight"], ["convolved"], name="conv"))
    return model


def cards():
    """The course's cards, then machines made up to differ from them."""
    vnni, avx2 = machine.card("x86-avx512-vnni"), machine.card("x86-avx2")

    def made_up(name, u8s8, u8u8, s8s8, s8u8, saturates=False):
        speed = {"u8s8": u8s8, "u8u8": u8u8, "s8s8": s8s8, "s8u8": s8u8}
        return replace(vnni, name=name, speed=speed, saturates=saturates, note="made up")

    return [
        vnni,
        avx2,
        made_up("a card of ARM's kind", 3.4, 3.4, 3.5, None),
        made_up("a card on which s8 x u8 is fastest", 3.6, 2.2, 3.6, 3.9),
        made_up("a card on which u8 x u8 is fastest", 1.2, 1.9, 0.3, 0.3),
        made_up("a card that saturates and has u8 x u8 fastest", 1.2, 1.9, 0.3, 0.3, saturates=True),
        made_up("a card on which u8 x u8 alone is faster than float32", 0.8, 1.4, 0.3, 0.3),
        made_up("a card that saturates and has u8 x s8 alone faster", 1.4, 0.8, 0.3, 0.3, saturates=True),
        made_up("a card on which both are fast, u8 x u8 more so", 1.8, 2.4, 0.3, 0.3),
        made_up("a card that saturates and has a fast s8 x s8", 2.2, 1.3, 2.1, None, saturates=True),
        made_up("a card on which no integer product is faster", 0.8, 0.7, 0.3, 0.3),
    ]


def judge(card, target):
    """The graph that came out against the card. -> what was chosen, in a few words"""
    where, speeds = f"for {card.name}", {pair: card.speed[pair] or 0 for pair in ("u8s8", "u8u8")}
    fastest = max(speeds, key=speeds.get)
    if not target.is_file():
        if speeds[fastest] > 1:
            said = f"{_spaced(fastest)} is {speeds[fastest]:.2f} times as fast as float32 there"
            raise Almost(f"{where}: nothing was written to target, but {said}")
        return "left in float32"
    graph = _opened(target, where)
    products, floats = _products(graph)
    if speeds[fastest] <= 1 and not products and floats:
        return "left in float32"
    dtype, low, high = _read_products(graph, products, floats, where)
    if dtype not in (np.int8, np.uint8):
        raise Almost(f"{where}: weights of type {dtype}: QuantType.QInt8 or QuantType.QUInt8")
    pair, reduced = ("u8s8" if dtype == np.int8 else "u8u8"), (high - low <= 128)
    if pair == "u8s8" and card.saturates and not reduced:
        raise Almost(
            f"{where}: its weights have codes from {low} to {high} in u8 x s8 products, which saturate there: "
            "255 * 127 + 255 * 127 = 64,770 becomes 32,767. Give them 7 bits (reduce_range), or take QUInt8"
        )
    if reduced and not (pair == "u8s8" and card.saturates):
        raise Almost(
            f"{where}: 7-bit weights ({low} to {high}) give a bit away; {_spaced(pair)} does not saturate there"
        )
    kept_exact = card.saturates and pair == "u8u8" and speeds[pair] > 1
    if speeds[pair] < AS_GOOD * speeds[fastest] and not kept_exact and speeds[fastest] > 1:
        tempting = max(card.speed, key=lambda name: card.speed[name] or 0)
        yours = f"your products are {_spaced(pair)}, {speeds[pair]:.2f} times as fast as float32"
        other = f". Activations are always uint8: no {_spaced(tempting)} here" if tempting[0] == "s" else ""
        raise Almost(f"{where}: {yours}; {_spaced(fastest)} is {speeds[fastest]:.2f} times as fast{other}")
    return f"{_spaced(pair)}{' with 7-bit weights' if reduced else ''}"


def products_in(target):
    """The integer products of the model at `target`, in a line."""
    if not Path(target).is_file():
        return "Nothing was written: on this card no product with uint8 activations is faster than float32."
    graph = onnx.load(target).graph
    products, left = _products(graph)
    dtype, low, high = _codes(graph, products)
    pair = f"u8 x {'s8' if dtype == np.int8 else 'u8'}"
    return (
        f"{len(products)} products {pair}, weights with codes {low} to {high}; {left} MatMuls of activations stay float"
    )


def _spaced(pair):
    return f"{pair[:2]} x {pair[2:]}"


def _opened(target, where):
    try:
        return onnx.load(target).graph
    except Exception as error:
        raise Almost(f"{where}: target is no ONNX file: did quantize_dynamic write it? ({kind(error)})") from None


def _read_products(graph, products, left, where):
    """dtype of the products' weights, and their least and greatest code; raises Almost if a product stayed float."""
    if left:
        raise Almost(f"{where}: {left} of {left + len(products)} MatMuls are still float")
    if not products:
        raise Almost(f"{where}: there is no MatMulInteger in target")
    if any(node.op_type == "ConvInteger" for node in graph.node):
        raise Almost(f'{where}: a Conv was quantized too: pass op_types_to_quantize=["MatMul"]')
    held = {entry.name: entry for entry in graph.initializer}
    if any(not held[node.input[3]].dims for node in products):
        raise Almost(f"{where}: one scale for a whole weight: with per_channel=True each output channel has its own")
    return _codes(graph, products)


def _products(graph):
    """Integer products, and how many MatMuls stayed float."""
    products = [node for node in graph.node if node.op_type == "MatMulInteger"]
    return products, sum(node.op_type == "MatMul" for node in graph.node)


def _codes(graph, products):
    """dtype of the products' weights, and their least and greatest code."""
    held = {entry.name: entry for entry in graph.initializer}
    weights = [numpy_helper.to_array(held[node.input[1]]) for node in products]
    return weights[0].dtype, min(int(w.min()) for w in weights), max(int(w.max()) for w in weights)
