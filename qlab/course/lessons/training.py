"""A small trainer in NumPy for notebook 11: the digits network, read from its ONNX graph, forward and backward.

Arrays of pictures are [n, height, width, channels] inside, so that a 1 x 1 convolution is one matrix product. Where a
tensor has a scale, it flows on fake-quantized; backwards, two functions say what its gradients are: that of the tensor
and that of its scale. The reader writes both.
"""

from typing import NamedTuple

import numpy as np
from onnx import helper, numpy_helper


class Step(NamedTuple):
    """One node: its operator, the names that it reads and writes, its attributes."""

    op: str
    reads: tuple
    writes: str
    attributes: dict


class Network:
    """Steps in the graph's order, and `parameters`, {name: float32 array in ONNX's layout}.

    Knows Conv (one group, or depthwise), Relu, Add, ReduceMean over height and width, and Gemm with a transposed
    weight. Raises ValueError for another operator.
    """

    def __init__(self, model):
        held = {tensor.name: numpy_helper.to_array(tensor) for tensor in model.graph.initializer}
        self.steps = [_step(node) for node in model.graph.node]
        unknown = {step.op for step in self.steps} - set(_FORWARD)
        if unknown:
            raise ValueError(f"the trainer knows {', '.join(sorted(_FORWARD))}; this graph has {sorted(unknown)}")
        used = {name for step in self.steps for name in step.reads}
        self.parameters = {
            name: array.copy() for name, array in held.items() if name in used and array.dtype.kind == "f"
        }
        self.enters = model.graph.input[0].name
        self.leaves = model.graph.output[0].name

    def forward(self, images, parameters, scales=(), grids=(), *, watch=None, given=()):
        """(logits [n, classes], tape) of images [n, channels, height, width].

        scales: {name of a tensor: its scale, which broadcasts against it}, grids: {name: (quant_min, quant_max)}: these
        flow on fake-quantized. watch: a dictionary that gets {name: (the tensor before, as it flows on)}, in ONNX's
        layout. given: {name: array in ONNX's layout that flows on in the place of what was computed}.
        """
        raw = {self.enters: np.ascontiguousarray(images.transpose(0, 2, 3, 1)), **parameters}
        flows, keeps = {}, []

        def flow(name):
            if name in given:
                return np.ascontiguousarray(given[name].transpose(0, 2, 3, 1))
            return fake(raw[name], scales[name], *grids[name]) if name in grids else raw[name]

        for name in (self.enters, *parameters):
            flows[name] = flow(name)
        for step in self.steps:
            out, kept = _FORWARD[step.op](*(flows[name] for name in step.reads if name in flows), step.attributes)
            raw[step.writes] = out
            flows[step.writes] = flow(step.writes)
            keeps.append(kept)
        if watch is not None:
            watch.update((name, (_as_onnx(raw[name]), _as_onnx(flows[name]))) for name in raw if name not in parameters)
        return flows[self.leaves], (raw, keeps)

    def backward(self, tape, gradient, scales=(), grids=(), through=None, of_scale=None):
        """({parameter: gradient}, {name of a scale: gradient}) of a loss whose gradient by the logits is given.

        through(x, scale, quant_min, quant_max, gradient): of a fake-quantized tensor. of_scale(...): of its scale.
        """
        (raw, keeps), flowing, by_scale = tape, {self.leaves: gradient}, {}

        def behind(name):
            """The gradient of a tensor before its fake quantization; that of its scale is kept on the way."""
            upstream = flowing.pop(name)
            if name not in grids:
                return upstream
            by_scale[name] = of_scale(raw[name], scales[name], *grids[name], upstream)
            return through(raw[name], scales[name], *grids[name], upstream)

        for step, kept in zip(reversed(self.steps), reversed(keeps), strict=True):
            needed = step.reads[0] != self.enters or self.enters in grids
            results = _BACKWARD[step.op](behind(step.writes), kept, step.attributes, needed)
            for name, part in zip(step.reads, results, strict=False):
                if part is not None:
                    flowing[name] = flowing[name] + part if name in flowing else part
        parameters = {name: behind(name) for name in self.parameters if name in flowing}
        if self.enters in flowing:
            behind(self.enters)
        return parameters, by_scale


def patches(x, step):
    """What each output of a convolution reads, as its weight's rows do: [N, K], or [groups, N, K] for depthwise.

    x: [n, channels, height, width].
    """
    (k, _), (stride, _), (pad, *_) = (step.attributes[name] for name in ("kernel_shape", "strides", "pads"))
    padded = np.pad(x, ((0, 0), (0, 0), (pad, pad), (pad, pad)))
    views = np.lib.stride_tricks.sliding_window_view(padded, (k, k), axis=(2, 3))[:, :, ::stride, ::stride]
    if step.attributes["group"] > 1:
        return views.transpose(1, 0, 2, 3, 4, 5).reshape(x.shape[1], -1, k * k)
    return views.transpose(0, 2, 3, 1, 4, 5).reshape(-1, x.shape[1] * k * k)


def fake(x, scale, quant_min, quant_max):
    """x as codes of this scale tell it; float32, as onnxruntime computes it."""
    v = x / scale
    np.rint(v, out=v)
    np.clip(v, quant_min, quant_max, out=v)
    v *= scale
    return v


def log_softmax(logits):
    """The logarithm of each row's softmax, of logits of any size."""
    shifted = logits - logits.max(axis=1, keepdims=True)
    return shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))


def cross_entropy(logits, labels):
    """(mean loss, its gradient by the logits) of integer labels."""
    log_p, rows = log_softmax(logits), np.arange(len(labels))
    gradient = np.exp(log_p)
    gradient[rows, labels] -= 1
    return float(-log_p[rows, labels].mean()), gradient / np.float32(len(labels))


class Adam:
    """Adam over a dictionary of arrays, which it changes in place. rates: {name: step size}, broadcast."""

    def __init__(self, values, rates, betas=(0.9, 0.999)):
        self.values, self.rates, self.betas, self.count = values, rates, betas, 0
        self.first = {name: np.zeros_like(value) for name, value in values.items()}
        self.second = {name: np.zeros_like(value) for name, value in values.items()}

    def step(self, gradients, times=1.0):
        """One step down the gradients; times: of the step size, for a schedule."""
        self.count += 1
        (b1, b2), count = self.betas, self.count
        for name, gradient in gradients.items():
            first, second = self.first[name], self.second[name]
            first += (1 - b1) * (gradient - first)
            second += (1 - b2) * (np.square(gradient) - second)
            direction = first / (1 - b1**count) / (np.sqrt(second / (1 - b2**count)) + 1e-12)
            self.values[name] -= (times * self.rates[name] * direction).astype(self.values[name].dtype)


def _as_onnx(x):
    return x.transpose(0, 3, 1, 2) if x.ndim == 4 else x


def _step(node):
    attributes = {each.name: helper.get_attribute_value(each) for each in node.attribute}
    return Step(node.op_type, tuple(node.input), node.output[0], attributes)


def _conv(x, weight, bias, attributes):
    if attributes["group"] > 1:
        return _depthwise(x, weight, bias, attributes)
    patches, kept = _patches(x, attributes)
    flat = weight.transpose(0, 2, 3, 1).reshape(len(weight), -1)
    n, height, width = kept[1]
    out = (patches @ flat.T).reshape(n, height, width, -1)
    out += bias
    return out, (patches, flat, kept, x.shape, weight.shape)


def _patches(x, attributes):
    """([n * height * width, kernel * channels], (padded shape, (n, height, width))) for a product with the weight."""
    (k, _), (stride, _), (pad, *_) = attributes["kernel_shape"], attributes["strides"], attributes["pads"]
    if k == 1 and stride == 1:
        return x.reshape(-1, x.shape[-1]), (None, x.shape[:3])
    padded = np.pad(x, ((0, 0), (pad, pad), (pad, pad), (0, 0)))
    views = np.lib.stride_tricks.sliding_window_view(padded, (k, k), axis=(1, 2))[:, ::stride, ::stride]
    patches = views.transpose(0, 1, 2, 4, 5, 3).reshape(np.prod(views.shape[:3]), -1)
    return np.ascontiguousarray(patches), (padded.shape, views.shape[:3])


def _conv_back(gradient, kept, attributes, needed):
    if attributes["group"] > 1:
        return _depthwise_back(gradient, kept, attributes, needed)
    patches, flat, (padded, _), shape, weight = kept
    rows = gradient.reshape(-1, gradient.shape[-1])
    out, inner, *kernel = weight
    by_weight = (rows.T @ patches).reshape(out, *kernel, inner).transpose(0, 3, 1, 2)
    if not needed:
        return None, by_weight, rows.sum(axis=0)
    back = rows @ flat
    if padded is None:
        return back.reshape(shape), by_weight, rows.sum(axis=0)
    by_x, back = np.zeros(padded, gradient.dtype), back.reshape(*gradient.shape[:3], *kernel, inner)
    for i, j, part in _shifts(by_x, gradient.shape, attributes):
        part += back[:, :, :, i, j]
    return _unpadded(by_x, attributes), by_weight, rows.sum(axis=0)


def _depthwise(x, weight, bias, attributes):
    pad = attributes["pads"][0]
    padded = np.pad(x, ((0, 0), (pad, pad), (pad, pad), (0, 0)))
    stride, k = attributes["strides"][0], attributes["kernel_shape"][0]
    height, width = ((size - k) // stride + 1 for size in padded.shape[1:3])
    out = np.empty((len(x), height, width, x.shape[-1]), x.dtype)
    out[:] = bias
    for i, j, part in _shifts(padded, out.shape, attributes):
        out += part * weight[:, 0, i, j]
    return out, (padded, weight)


def _depthwise_back(gradient, kept, attributes, needed):
    padded, weight = kept
    by_weight, by_x = np.empty_like(weight), np.zeros_like(padded)
    for i, j, part in _shifts(padded, gradient.shape, attributes):
        by_weight[:, 0, i, j] = np.einsum("nhwc,nhwc->c", part, gradient)
    for i, j, part in _shifts(by_x, gradient.shape, attributes):
        part += gradient * weight[:, 0, i, j]
    return _unpadded(by_x, attributes) if needed else None, by_weight, gradient.sum(axis=(0, 1, 2))


def _shifts(padded, shape, attributes):
    """(i, j, the part of the padded pictures that the kernel's place (i, j) sees)."""
    (k, _), (stride, _) = attributes["kernel_shape"], attributes["strides"]
    _, height, width, _ = shape
    for i in range(k):
        for j in range(k):
            yield i, j, padded[:, i : i + stride * height : stride, j : j + stride * width : stride]


def _unpadded(padded, attributes):
    pad = attributes["pads"][0]
    return padded[:, pad : padded.shape[1] - pad, pad : padded.shape[2] - pad]


def _relu(x, attributes):
    out = np.maximum(x, 0)
    return out, out > 0


def _add(a, b, attributes):
    return a + b, None


def _mean(x, *rest):
    return x.mean(axis=(1, 2)), x.shape


def _mean_back(gradient, shape, *_):
    return (np.broadcast_to(gradient[:, None, None] / np.float32(shape[1] * shape[2]), shape),)


def _gemm(x, weight, bias, attributes):
    return x @ weight.T + bias, (x, weight)


def _gemm_back(gradient, kept, *_):
    x, weight = kept
    return gradient @ weight, gradient.T @ x, gradient.sum(axis=0)


_FORWARD = {"Conv": _conv, "Relu": _relu, "Add": _add, "ReduceMean": _mean, "Gemm": _gemm}
_BACKWARD = {
    "Conv": _conv_back,
    "Relu": lambda gradient, kept, *_: (gradient * kept,),
    "Add": lambda gradient, *_: (gradient, gradient),
    "ReduceMean": _mean_back,
    "Gemm": _gemm_back,
}
