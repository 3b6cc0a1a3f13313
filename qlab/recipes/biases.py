"""The products of a Q/DQ file whose bias can be corrected, and what their bias is made of there."""

from collections import Counter
from dataclasses import dataclass

import numpy as np
from onnx import NodeProto, TensorProto, helper

from qlab import graph
from qlab.graph.editing import Weights
from qlab.graph.network import Network
from qlab.graph.operators import CONVOLUTION, PRODUCTS, attribute, of
from qlab.numerics.affine import choose_qparams, quantize
from qlab.numerics.kernels import dequantize_linear

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
        return self._to_int32(layer, difference)

    def finish(self):
        """The ModelProto, without the biases, now replaced, that nobody reads any more."""
        network = Network(self.model)
        for node in {name: network.producers[name] for name in self._replaced if name}.values():
            if not network.behind(node):
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
        width = self._real(node.input[1]).shape[-1]
        summands = [value for value in map(self._real, reader.input) if value is not None]
        return reader if [one.shape for one in summands] == [(width,)] else None

    def _real(self, name):
        """The float64 numbers of a constant, or of one behind a DequantizeLinear; None of what is computed."""
        if name in self.weights:
            return self.weights[name].astype(np.float64) if self.weights.kind(name) == TensorProto.FLOAT else None
        node = self.network.producers.get(name)
        if node is None or node.op_type != "DequantizeLinear" or any(one not in self.weights for one in node.input):
            return None
        codes, *rest = (self.weights[one] for one in node.input)
        rest = [one.reshape(()) if one.size == 1 else one for one in rest]  # [1] is one scale for all, too
        how = {"axis": attribute(node, "axis", 1), "block_size": attribute(node, "block_size", 0)}
        return dequantize_linear(codes, *rest, **how).astype(np.float64)

    def _scale(self, name):
        return self.weights[self.network.producers[name].input[1]].astype(np.float64)

    def _dequantized(self, layer, codes, scale, zero_point):
        """The name of what a new DequantizeLinear gives, for `layer` alone: a vector of codes in the real."""
        name = self.weights.free(f"{layer.name}/bias")
        arrays = {"quantized": codes, "scale": np.asarray(scale, np.float32), "zero_point": zero_point}
        inputs = [self.weights.add(f"{name}_{what}", array) for what, array in arrays.items()]
        axis = {"axis": 0} if np.ndim(scale) else {}
        domain = self.network.maker(layer.product, 1).domain  # onnxruntime's own, with 4 bits before opset 21
        made_by = helper.make_node(
            "DequantizeLinear", inputs, [name], f"{name}_DequantizeLinear", domain=domain, **axis
        )
        self.model.graph.node.insert(0, made_by)
        self.network = Network(self.model)
        return name

    def _to_int32(self, layer, difference):
        """Change the codes of a product's bias; where it has none, the scale of new ones is that of its sums."""
        node = layer.product
        name = node.input[2] if len(node.input) > 2 else ""
        if name:
            codes, scale = (self.weights[one].astype(float) for one in self.network.producers[name].input[:2])
        else:
            scale = (self._scale(node.input[0]) * self._scale(node.input[1])).astype(np.float32).astype(float)
            codes = np.zeros(len(difference))
        if scale.shape not in ((), (1,), difference.shape):  # in blocks, or in the groups of a ConvTranspose
            return None
        with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
            changed = np.rint(codes + difference / scale)
        if not np.all((changed >= LIMITS.min) & (changed <= LIMITS.max)):  # NaN does not fit either
            return None
        if not np.array_equal(changed, codes):
            new = self._dequantized(layer, changed.astype(np.int32), scale, np.zeros(scale.shape, np.int32))
            self._replaced.append(name)
            del node.input[2:]
            node.input.append(new)
        return (changed - codes) * scale

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
        old, dtype = self._real(name), self.weights[self.network.producers[name].input[0]].dtype
        wanted = (old + difference).astype(np.float32)
        qparams = choose_qparams(wanted, dtype, symmetric=dtype.kind == "i")
        zero_point = np.asarray(qparams.zero_point).astype(dtype)
        self._replaced.append(name)
        layer.adder.input[place] = self._dequantized(layer, quantize(wanted, qparams), qparams.scale, zero_point)
        return (self._real(layer.adder.input[place]) - old).reshape(-1)
