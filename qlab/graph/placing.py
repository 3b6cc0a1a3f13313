"""onnxruntime's static quantizer, faster: Q and DQ placed in one pass, and each weight rounded once for many drafts.

Which tensors get codes, with which scales, is onnxruntime's to say, node by node. What follows it does tensor by
tensor, each time over all nodes and all constants; here it is done over all at once, under the same names: the file is
the same to the last bit.
"""

import onnx
from onnxruntime.quantization.base_quantizer import QuantizationParams
from onnxruntime.quantization.qdq_quantizer import QDQQuantizer, QDQTensorQuantizedValue
from onnxruntime.quantization.quant_utils import (
    QuantizedValue,
    QuantizedValueType,
    __producer__,
    __version__,
    quantize_onnx_initializer,
)
from onnxruntime.quantization.registry import CreateQDQQuantizer

Q, DQ = "QuantizeLinear", "DequantizeLinear"


class Placing(QDQQuantizer):
    """A QDQQuantizer of which `codes` keeps the rounded weights from one model to the next.

    codes  {key: parameters or tensor}; of one model only, with the same settings
    """

    def __init__(self, codes, *arguments):
        super().__init__(*arguments)
        self._codes, self._added = codes, {}

    def quantize_model(self):
        """Quantize the model in place, and return its ModelProto."""
        for node in self.model.nodes():
            if self.should_quantize_node(node):
                CreateQDQQuantizer(self, node).quantize()
        weights = {name: one for name, one in self.tensors_to_quantize.items() if name in self.initializers}
        self._find_parameters(weights)
        self._adjust_weight_quant_params_for_bias_tensors()
        read, nodes = {}, []
        for name in weights:
            nodes.append(self._placed_weight(name))
            read[name] = f"{name}_{DQ}_Output"
        written, ends = {}, {value.name for value in self.model.graph().output}
        for name in [name for name in self.tensors_to_quantize if name not in weights]:
            if name in ends:
                written[name] = f"{name}_{Q}_Input"
            else:
                read[name] = f"{name}_{DQ}_Output"
            nodes += self._placed(name, written.get(name, name), read.get(name, name))
        for node in self.model.nodes():
            node.input[:] = [read.get(name, name) for name in node.input]
            node.output[:] = [written.get(name, name) for name in node.output]
        self.model.graph().node.extend(nodes)
        self.model.graph().initializer.extend(self._added.values())
        self._quantize_bias_tensors()
        self.remove_nodes()
        self.model.clean_initializers()
        self.model.model.producer_name, self.model.model.producer_version = __producer__, __version__
        if self.qdq_op_domain:
            self.model.set_opset_import(self.qdq_op_domain, 1)
        return self.model.model

    def _find_parameters(self, weights):
        """Scales and zero points of the weights: those that no draft before had."""
        keys = {name: (name, one.axis, one.tensor_type) for name, one in weights.items()}
        asked, self.tensors_to_quantize = (
            self.tensors_to_quantize,
            {name: weights[name] for name, key in keys.items() if key not in self._codes},
        )
        for name, found in self._calc_initializer_quant_params().items():
            self._codes[keys[name]] = found
        self.tensors_to_quantize = asked
        self.initializer_quant_params = {
            name: QuantizationParams(**self._codes[key].data) for name, key in keys.items() if key in self._codes
        }

    def _placed_weight(self, name):
        """The DQ of a weight, whose codes become a constant."""
        found = self.initializer_quant_params[name]
        axis = found.get("axis")
        key = name, axis, found["quant_type"], found["scale"].tobytes(), found["zero_point"].tobytes()
        if key not in self._codes:
            self._codes[key] = quantize_onnx_initializer(
                self.initializers[name], found["quant_type"], found["zero_point"], found["scale"], axis
            )
        codes = self._codes[key]
        self._added[codes.name] = codes
        scales = self._scales(name, found)
        self._note(name, codes.name, scales, QuantizedValueType.Initializer, axis)
        return self._node(DQ, [codes.name, *scales], f"{name}_{DQ}_Output", f"{name}_{DQ}", axis=axis)

    def _placed(self, name, before, after):
        """The Q and DQ of what the model computes or is fed: from the tensor `before` to `after`."""
        owner, seen = name, set()
        while (shared := self.tensors_to_quantize[owner].quant_para_provider) and owner not in seen:
            seen.add(owner)
            owner = shared.input_name
        if owner in self.initializers:
            found = self.initializer_quant_params[owner]
        elif owner in self.quantization_params:
            found = self.quantization_params[owner].original
        else:
            raise ValueError(f"Quantization parameters are not specified for param {owner}.")
        scales, codes = self._scales(owner, found), f"{name}_{Q}_Output"
        self._note(name, after, scales, QuantizedValueType.Input)
        yield self._node(Q, [before, *scales], codes, f"{name}_{Q}")
        yield self._node(DQ, [codes, *scales], after, f"{name}_{DQ}")

    def _node(self, op_type, inputs, output, name, **attributes):
        """A Q or DQ: of onnxruntime's own domain where ONNX's, in the model's opset, lack the type of the codes."""
        return onnx.helper.make_node(op_type, inputs, [output], name, domain=self.qdq_op_domain, **attributes)

    def _scales(self, name, found):
        """The names of the constants of a scale and zero point."""
        scale, zero_point = f"{name}_scale", f"{name}_zero_point"
        for one, kind in ((scale, onnx.TensorProto.FLOAT), (zero_point, found["quant_type"])):
            if one not in self._added:
                numbers = found["scale" if one == scale else "zero_point"]
                self._added[one] = onnx.helper.make_tensor(one, kind, numbers.shape, numbers.ravel().tolist())
        return scale, zero_point

    def _note(self, name, codes, scales, kind, axis=None):
        value = QuantizedValue(name, codes, *scales, kind, axis=axis)
        self.quantized_value_map[name] = QDQTensorQuantizedValue(value, None, None)
