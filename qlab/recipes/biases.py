"""The products of a Q/DQ file whose bias can be corrected, and what their bias is made of there."""

from collections import Counter
from dataclasses import dataclass

import numpy as np
from onnx import NodeProto, TensorProto, helper

from qlab import graph
from qlab.graph.editing import Weights
from qlab.graph.network import Network
from qlab.graph.operators import CONVOLUTION, PRODUCTS, of
from qlab.numerics.affine import choose_qparams, quantize

CORRECTED = ("Conv", "ConvTranspose", "Gemm", "MatMul")
LIMITS = np.iinfo(np.int32)


@dataclass(frozen=True)
class Layer:
    """A product between DequantizeLinear nodes, and the node that adds its bias: itself, or an Add behind a MatMul.

    axis  of the channels in what `adder` gives
    """

    product: NodeProto
    adder: NodeProto
    axis: int

    @property
    def name(self):
        """The product's."""
        return self.product.name or self.product.output[0]

    @property
    def output(self):
        """The tensor whose means are compared: products and biases summed up, nothing rounded yet."""
        return self.adder.output[0]


class Biases:
    """The layers of a quantized ModelProto with its weights inside, and the way to change their biases in place.

    layers  in graph order
    left    {why: [names]} of products that have no bias to correct
    """

    def __init__(self, model):
        self.model, self.network, self.weights = model, Network(model), Weights(model, "")
        self._uses = Counter(name for node in graph.nodes(model) for name in node.input)
        self.layers, self.left, self._replaced = [], {}, []
        for node in self.network.items:
            if node.op_type in PRODUCTS:
                found = self._layer(node)
                if isinstance(found, Layer):
                    self.layers.append(found)
                else:
                    self.left.setdefault(found, []).append(node.name or node.output[0])

    def weight(self, layer):
        """The float64 numbers that the codes of a layer's weights stand for."""
        return self._real(layer.product.input[1])

    def add(self, layer, difference):
        """Add `difference` [channels] to a layer's bias, as near as its codes come. Returns what was added, float64.

        None, and nothing changes, where it would not fit the bias's int32 codes.
        """
        if layer.adder is not layer.product:
            return self._to_summand(layer, difference)
        name = layer.product.input[2] if len(layer.product.input) > 2 else ""
        if name in self.weights:  # a bias in float
            return self._to_float(layer.product, 2, difference)
        if name:
            made_by = self.network.producers[name]
            codes, scale = (self.weights[one].astype(np.float64) for one in made_by.input[:2])
        else:
            scale = self._scale(layer.product.input[0]) * self._scale(layer.product.input[1])
            scale = scale.astype(np.float32).astype(np.float64)
            codes = np.zeros(len(difference))
        with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
            changed = np.rint(codes + difference / scale)
        if not np.all((changed >= LIMITS.min) & (changed <= LIMITS.max)):
            return None
        if np.array_equal(changed, codes):
            return np.zeros(len(difference))
        self._dequantized(layer.product, changed.astype(np.int32), scale.astype(np.float32))
        return (changed - codes) * scale

    def finish(self):
        """The ModelProto, without the biases, now replaced, that nobody reads any more."""
        for node in [self.network.producers[name] for name in self._replaced if name in self.network.producers]:
            if not self.network.behind(node):
                self.model.graph.node.remove(node)
        read = {name for node in graph.nodes(self.model) for name in node.input}
        read |= {value.name for value in self.model.graph.output}
        gone = [one for one in self.model.graph.initializer if one.name not in read and one.name in self._uses]
        for tensor in gone:
            self.model.graph.initializer.remove(tensor)
        return self.model

    def _layer(self, node):
        if node.op_type not in CORRECTED:
            return f"{node.op_type}: no product with a bias in Q/DQ format"
        if not (self._is_codes(node.input[0]) and self._real(node.input[1]) is not None):
            return "not between Q and DQ, with constant weights: in float, or quantized while it runs"
        if node.op_type == "MatMul":
            adder = self._adder(node)
            if adder is None:
                return "a MatMul without a constant added behind it: there is no bias, and none that would stay fused"
            return Layer(node, adder, -1)
        bias = node.input[2] if len(node.input) > 2 else ""
        if bias and (self._real(bias) is None or self._real(bias).ndim != 1):
            return "its bias is computed, or has more than one dimension"
        return Layer(node, node, 1 if of(node.op_type).family == CONVOLUTION else -1)

    def _is_codes(self, name):
        made_by = self.network.producers.get(name)
        return made_by is not None and made_by.op_type == "DequantizeLinear"

    def _adder(self, node):
        """The Add of a constant vector that reads what a MatMul gives, by way of Q and DQ or directly."""
        reader = self.network.sole_reader(node.output[0])
        while reader is not None and reader.op_type in ("QuantizeLinear", "DequantizeLinear"):
            reader = self.network.sole_reader(reader.output[0])
        if reader is None or reader.op_type != "Add":
            return None
        sizes = [value.shape for value in map(self._real, reader.input) if value is not None]
        return reader if sizes in ([self._real(node.input[1]).shape[-1:]], [(1, *self._real(node.input[1]).shape[-1:])]
                                   ) else None  # fmt: skip

    def _real(self, name):
        """The float64 numbers of a constant, or of one behind a DequantizeLinear; None of what is computed."""
        if name in self.weights:
            return self.weights[name].astype(np.float64) if self.weights.kind(name) == TensorProto.FLOAT else None
        node = self.network.producers.get(name)
        if node is None or node.op_type != "DequantizeLinear" or any(one not in self.weights for one in node.input):
            return None
        codes, scale, *zero = (self.weights[one].astype(np.float64) for one in node.input)
        axis = helper.get_attribute_value(node.attribute[0]) if node.attribute else 1
        sizes = [1] * codes.ndim
        if scale.ndim == 1 and scale.size > 1 and codes.ndim:
            sizes[axis] = scale.size
        elif scale.ndim > 1:  # in blocks
            return self._blocks(codes, scale, zero, axis)
        return (codes - (zero[0].reshape(sizes) if zero and zero[0].ndim else zero[0] if zero else 0)) * (
            scale.reshape(sizes) if scale.ndim else scale
        )

    def _blocks(self, codes, scale, zero, axis):
        times = -(-codes.shape[axis] // scale.shape[axis])
        spread = [np.repeat(one, times, axis).take(range(codes.shape[axis]), axis) for one in (scale, *zero)]
        return (codes - (spread[1] if zero else 0)) * spread[0]

    def _scale(self, name):
        return self.weights[self.network.producers[name].input[1]].astype(np.float64)

    def _dequantized(self, node, codes, scale):
        """Let the bias of `node` be `codes` of that scale: a DequantizeLinear ahead of it, its own."""
        name = self.weights.free(f"{node.name or node.output[0]}/bias")
        zero = np.zeros(scale.shape, np.int32)
        inputs = [self.weights.add(f"{name}_{what}", array)
                  for what, array in (("quantized", codes), ("scale", scale), ("zero_point", zero))]  # fmt: skip
        axis = {"axis": 0} if scale.ndim else {}
        made_by = helper.make_node("DequantizeLinear", inputs, [name], f"{name}_DequantizeLinear", **axis)
        self.model.graph.node.insert(0, made_by)
        if len(node.input) > 2:
            self._replaced.append(node.input[2])
            node.input[2] = name
        else:
            node.input.append(name)
        self.network = Network(self.model)

    def _to_float(self, node, place, difference):
        name = node.input[place]
        old = self.weights[name]
        new = (old + difference).astype(np.float32)
        node.input[place] = self.weights.add(f"{name}/{node.name or node.output[0]}", new)
        return (new.astype(np.float64) - old).reshape(-1)

    def _to_summand(self, layer, difference):
        """Let an Add's constant be another one, with codes of the same type and a scale of its own."""
        place = next(place for place, name in enumerate(layer.adder.input) if self._real(name) is not None)
        name = layer.adder.input[place]
        if name in self.weights:
            return self._to_float(layer.adder, place, difference)
        made_by, old = self.network.producers[name], self._real(name)
        dtype = self.weights[made_by.input[0]].dtype.name
        zero = self.weights[made_by.input[2]] if len(made_by.input) > 2 else np.zeros(1)
        wanted = old + difference
        qparams = choose_qparams(wanted.astype(np.float32), dtype, symmetric=bool(np.all(zero == 0)) and dtype[0] == "i")
        fresh = self.weights.free(f"{name}/{layer.name}")
        arrays = (quantize(wanted.astype(np.float32), qparams), np.float32(qparams.scale), qparams.zero_point)
        inputs = [self.weights.add(f"{fresh}_{what}", np.asarray(array))
                  for what, array in zip(("quantized", "scale", "zero_point"), arrays, strict=True)]  # fmt: skip
        inputs[2:] = [self.weights.add(f"{fresh}_zero", np.asarray(arrays[2]).astype(arrays[0].dtype))]
        node = helper.make_node("DequantizeLinear", inputs, [fresh], f"{fresh}_DequantizeLinear")
        self.model.graph.node.insert(0, node)
        self._replaced.append(name)
        layer.adder.input[place] = fresh
        self.network = Network(self.model)
        return (self._real(fresh) - old).reshape(-1)
