"""Models of several layers of which one, a known one, is to blame for what quantization loses; or none."""

import numpy as np

from tests.builders.blocks import FLOAT, node, noise, save, value, weights

WIDTH, ROWS, DEPTH = 32, 48, 5
VICTIM = "side"


def network(folder):
    """A chain of DEPTH products with ReLU between, and a product of another input `z` that is taken from its result.

    The weights of the first feature of z are zero: however large it is, it changes nothing but the range of z.
    """
    w = {f"w{k}": weights(WIDTH, WIDTH, seed=k) * np.float32(1.4) for k in range(DEPTH)}
    w["wz"] = weights(WIDTH, WIDTH, seed=99)
    w["wz"][0] = 0
    nodes, x = [], "x"
    for k in range(DEPTH):
        nodes += [node("MatMul", [x, f"w{k}"], [f"m{k}"], f"layer{k}"), node("Relu", [f"m{k}"], [f"r{k}"], f"relu{k}")]
        x = f"r{k}"
    nodes += [node("MatMul", ["z", "wz"], ["mz"], VICTIM), node("Sub", [x, "mz"], ["y"], "sum")]
    inputs = [value(name, FLOAT, ["rows", WIDTH]) for name in "xz"]
    return save(folder / "suspects.onnx", nodes, inputs, [value("y", FLOAT, ["rows", WIDTH])], w)


def feeds(count=2, *, outlier=0.0):
    """Feeds of noise; `outlier` is the first feature of z."""
    found = [{"x": noise(ROWS, WIDTH, seed=7 + k), "z": noise(ROWS, WIDTH, seed=70 + k)} for k in range(count)]
    for feed in found:
        feed["z"][:, 0] = outlier
    return found
