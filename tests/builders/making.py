"""Make a quantized model with any recipe, and say what became of its products."""

import numpy as np

from qlab import recipes
from tests.builders.blocks import FLOAT, INT64, node, save, value, weights

RECIPES = ("dynamic", "static", "hybrid")


def made(recipe, model, feeds, card, **options):
    reader = () if recipe == "dynamic" else (feeds,)
    return getattr(recipes, recipe)(model, model.with_name("int8.onnx"), *reader, card=card, **options)


def fates(quantized):
    return {fate.name: fate.how for fate in quantized.products}


def padded(folder, axes, *, moving=False, mode="constant"):
    """Two convolutions with a Pad of some axes between them; `moving`, the pads are an input."""
    w = {"w": weights(8, 3, 3, 3), "v": weights(4, 8, 3, 3, seed=1), "axes": np.array(axes)}
    inputs = [value("x", FLOAT, ["n", 3, "h", "w"])]
    if moving:
        inputs.append(value("pads", INT64, [2 * len(axes)]))
    else:
        w["pads"] = np.arange(1, 2 * len(axes) + 1)
    nodes = [
        node("Conv", ["x", "w"], ["c"], "first"),
        node("Relu", ["c"], ["r"], "relu"),
        node("Pad", ["r", "pads", "", "axes"], ["p"], "pad", mode=mode),
        node("Conv", ["p", "v"], ["y"], "second"),
    ]
    return save(folder / "pad.onnx", nodes, inputs, [value("y", FLOAT, None)], w, opset=18)
