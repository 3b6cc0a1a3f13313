"""The ranges of activations that calibration wrote into a quantized model."""

from onnx import TensorProto, numpy_helper

from qlab.measure.matching import find
from qlab.measure.network import Network
from qlab.numerics.dtypes import code_range


def stored_ranges(model, fp32, names, folder):
    """{tensor: (low, high, scale)} of the fp32 tensors `names` that the quantized ModelProto `model` has as codes.

    fp32     the ModelProto that it was made from
    folder   where the quantized model's file lies, for constants stored outside it
    One range each: tensors with a scale per channel, or with scales found while the model runs, have none here.
    """
    network = Network(model)
    kept, _ = find(names, network, Network(fp32))
    ranges = {}
    for name, one in kept.items():
        for codes in one.codes:
            scale = _constant(network, codes.scale, folder)
            zero_point = _constant(network, codes.zero_point, folder)
            if scale is None or scale.size != 1:
                continue
            dtype = "uint8" if zero_point is None else TensorProto.DataType.Name(_dtype(network, codes)).lower()
            first, last = code_range(dtype)
            middle = 0 if zero_point is None else int(zero_point.item())
            step = float(scale.item())
            ranges[name] = (step * (first - middle), step * (last - middle), step)
    return ranges


def _dtype(network, codes):
    return network.constants[codes.zero_point].data_type


def _constant(network, name, folder):
    tensor = network.constants.get(name)
    return None if tensor is None else numpy_helper.to_array(tensor, base_dir=str(folder))
