"""Wrong answers to the exercises of notebook 08: name, code in the stub's place, what the refusal must say."""

CHOICES = {"08.3"}

FACE = """\
class BatchReader(quantization.CalibrationDataReader):
    def __init__(self, frames, size):
        self.frames, self.size, self.at = {frames}, size, 0

    def get_next(self):
        some = self.frames[self.at : self.at + self.size]
        self.at += {step}
        if {end}:
            return None
        return {feed}


def quantize_face(model, output, frames):
    {call}
"""


def face(frames="frames", step="self.size", end="not some", call=None, types="activation_type=QuantType.QUInt8",
         feed='{name: np.concatenate([f.feed[name] for f in some]) for name in ("audio", "face")}'):  # fmt: skip
    call = call or f"quantize_static(model, output, BatchReader(frames, 4), {types})"
    return FACE.format(frames=frames, step=step, end=end, feed=feed, call=call)


WRITER = """\
def write_qdq(conv, weight, bias, x_qparams, y_qparams):
    name, tensors = {name}, []

    def keep(array, what):
        tensors.append(numpy_helper.from_array(array, name + what))
        return name + what

    def pair(start, end, qparams, what):
        held = [keep(np.float32(qparams[0]), what + "s"), keep(np.{code}(qparams[1]), what + "z")]
        quantize = onnx.helper.make_node("QuantizeLinear", [start, *held], [name + what + "q"])
        return [quantize, onnx.helper.make_node("DequantizeLinear", [name + what + "q", *held], [end])]

    largest = {largest}
    scale = {scale}
    shape = -1, *[1] * (weight.ndim - 1)
    codes = {codes}
    own = {own}
    own.input[0], own.input[1], own.output[0] = name + "x", name + "w", name + "y"
    nodes = pair(conv.input[0], own.input[0], {x}, "in")
    held = [keep(codes, "wc"), keep(scale, "ws")]
    nodes.append(onnx.helper.make_node("DequantizeLinear", held, [own.input[1]], axis={axis}))
    if {when}:
        own.input[2] = name + "b"
        unit = {unit}
        held = [keep({bias}, "bc"), keep(unit, "bs")]
        nodes.append(onnx.helper.make_node("DequantizeLinear", held, [own.input[2]], axis={bias_axis}))
    return {returned}
"""
COPY = "onnx.NodeProto.FromString(conv.SerializeToString())"


def writer(name="conv.name", code="uint8", when="bias is not None", bias_axis="0",
           largest="np.abs(weight).reshape(len(weight), -1).max(axis=1)",
           scale="np.where(largest > 0, largest / 127, 1).astype(np.float32)",
           codes="np.rint(weight / scale.reshape(shape)).astype(np.int8)", own=COPY, x="x_qparams", axis="0",
           unit="np.float32(x_qparams[0]) * scale", bias="np.rint(bias / unit).astype(np.int32)",
           returned='[*nodes, own, *pair(own.output[0], conv.output[0], y_qparams, "out")], tensors'):  # fmt: skip
    return WRITER.format(**locals())


QUANTIZER = """\
def my_quantizer(model, images):
    found = n08.convolutions(model)
    names = sorted({{name for each in found for name in (each.x, each.y)}})
    watch, observers = n08.watched(model, names), {{name: mine.Observer() for name in names}}
    for image in {images}:
        for name, x in watch({{"images": image[None]}}).items():
            observers[name].observe({seen})
    qparams = {{name: {qparams} for name in names}}
    written = {{
        each.node.name: mine.write_qdq({conv}, each.weight, {bias}, qparams[{x}], qparams[{y}]) for each in found
    }}
    return {returned}
"""


def quantizer(images="images", seen="x", qparams="mine.choose_qparams(*observers[name].range(), 0, 255)",
              conv="each.node", bias="each.bias", x="each.x", y="each.y",
              returned="n08.assembled(model, written)"):  # fmt: skip
    return QUANTIZER.format(**locals())


def configured(call):
    return f"def configure(model, output, images):\n    feeds = [{{'images': i[None]}} for i in images]\n    {call}\n"


def static(more, feeds="feeds"):
    types = "" if "activation_type" in more else "activation_type=QuantType.QUInt8, "
    return configured(f"quantize_static(model, output, common.Feeds({feeds}), {types}{more})")


WRONG_ANSWERS = {
    "08.1": [
        ("the article's types", face(types="activation_type=QuantType.QInt8, weight_type=QuantType.QInt8"),
         "with several readers have codes with a sign"),
        ("the last call dropped", face(end="len(some) < self.size"), "the last call has the rest"),
        ("one frame a call", face(step="1", feed="{n: some[0].feed[n] for n in ('audio', 'face')}"),
         "1 frames in this call, 4 are asked for"),
        ("overlapping calls", face(step="1"), "not the frames' numbers, or not in order"),
        ("stacked", face(feed="{n: np.stack([f.feed[n] for f in some]) for n in ('audio', 'face')}"),
         "has a batch axis already"),
        ("audio alone", face(feed="{'audio': np.concatenate([f.audio for f in some])}"), "expected {'audio': array"),
        ("filled up with the last frame", face(feed="{n: np.concatenate([(some + [some[-1]] * self.size)[i].feed[n] "
                                                    "for i in range(self.size)]) for n in ('audio', 'face')}"),
         "of which"),
        ("float64", face(feed="{n: np.concatenate([f.feed[n] for f in some]).astype(float) for n in ('audio', "
                              "'face')}"), "takes float32"),
        ("begins anew", face(end="False", frames="frames * 2"), "asked for None"),
        ("calibrated on the first frame", face(call="quantize_static(model, output, BatchReader(frames[:1], 1), "
                                                    "activation_type=QuantType.QUInt8)"), "the first frame"),
        ("every other frame", face(call="quantize_static(model, output, BatchReader(frames[::2], 4), "
                                        "activation_type=QuantType.QUInt8)"), "every other frame"),
        ("the first frame left out", face(call="quantize_static(model, output, BatchReader(frames[1:], 4), "
                                               "activation_type=QuantType.QUInt8)"), "1 of 11 frames were never read"),
        ("the two ends alone", face(call="quantize_static(model, output, BatchReader([frames[3], frames[-1]], 4), "
                                         "activation_type=QuantType.QUInt8)"), "9 of 11 frames were never read"),
        ("a pair for each reader", face(types="activation_type=QuantType.QInt8, weight_type=QuantType.QInt8, "
                                              "extra_options={'DedicatedQDQPair': True}"),
         "with several readers have codes with a sign"),
        ("takes frames out of the list", "class BatchReader(quantization.CalibrationDataReader):\n"
         "    def __init__(self, frames, size):\n        self.frames, self.size = frames, size\n\n"
         "    def get_next(self):\n        some = self.frames[: self.size]\n        del self.frames[: self.size]\n"
         "        if not some:\n            return None\n"
         "        return {name: np.concatenate([f.feed[name] for f in some]) for name in ('audio', 'face')}\n\n\n"
         "def quantize_face(model, output, frames):\n"
         "    quantize_static(model, output, BatchReader(frames, 4), activation_type=QuantType.QUInt8)\n",
         "takes frames out of the list"),
        ("QOperator", face(types="activation_type=QuantType.QUInt8, quant_format=QuantFormat.QOperator"),
         "asked for Q/DQ"),
        ("dynamic", face(call="quantization.quantize_dynamic(model, output)"), "dynamic quantization"),
        ("some left out", face(types="activation_type=QuantType.QUInt8, op_types_to_quantize=['Add']"),
         "is not quantized"),
        ("nothing written", face(call="return model"), "wrote no file"),
        ("4-bit weights", face(types="activation_type=QuantType.QUInt8, weight_type=QuantType.QInt4"),
         "stay float in the graph that runs"),
        ("a percentile", face(call="quantize_static(model, output, BatchReader(frames, 1), activation_type=QuantType"
                                   ".QUInt8, calibrate_method=quantization.CalibrationMethod.Percentile, "
                                   "extra_options={'CalibPercentile': 90})"), "the frames, all 11 of them"),
    ],
    "08.2": [
        ("one scale", writer(largest="np.abs(weight).max()", scale="np.float32(largest / 127)",
                             codes="np.rint(weight / scale).astype(np.int8)",
                             unit="np.float32(x_qparams[0]) * np.full(len(weight), scale)"),
         "the weight has one scale"),
        ("divided by 128", writer(scale="np.where(largest > 0, largest / 128, 1).astype(np.float32)",
                                  codes="np.clip(np.rint(weight / scale.reshape(shape)), -128, 127).astype(np.int8)"),
         "its largest weight / 128"),
        ("the axis forgotten", writer(axis="1"), "output channels are axis 0"),
        ("the bias with the weight's scale", writer(unit="scale"), "the weight's scale alone"),
        ("the bias with x's scale", writer(unit="np.full_like(scale, x_qparams[0])"), "x's scale alone"),
        ("the bias with y's scale", writer(unit="np.float32(y_qparams[0]) * scale"), "y's scale times the weight's"),
        ("the bias with twice the scale", writer(unit="np.float32(2 * x_qparams[0]) * scale"),
         "that is 2 times as much"),
        ("the bias truncated", writer(bias="(bias / unit).astype(np.int32)"), "the bias' codes are one off"),
        ("the bias floored", writer(bias="np.floor(bias / unit).astype(np.int32)"), "the bias' codes are one off"),
        ("a guard of 0.001", writer(scale="(np.maximum(largest, 1e-3) / 127).astype(np.float32)"),
         "a guard against zeros must not reach small weights"),
        ("a guard of 0.05", writer(scale="(np.maximum(largest, 0.05) / 127).astype(np.float32)"),
         "a guard against zeros must not reach small weights"),
        ("a guard that overflows", writer(scale="(np.maximum(largest, 1e-7) / 127).astype(np.float32)",
                                          bias="np.clip(np.rint(bias / unit), -2.0**31, 2.0**31 - 1)"
                                               ".astype(np.int64).astype(np.int32)"), "more than int32 holds"),
        ("names of the input", writer(name="conv.input[0]"), "is given twice"),
        ("names of the weight", writer(name="conv.input[1]"), "is given twice"),
        ("the bias in 8 bits", writer(bias="np.clip(np.rint(bias / unit), -128, 127).astype(np.int8)"),
         "asked for int32"),
        ("x and y swapped", writer(x="y_qparams"), "that is the other side's"),
        ("signed activations", writer(code="int64").replace("np.int64(qparams[1])",
                                                            "np.int8(int(qparams[1]) - 128)"), "asked for uint8"),
        ("zeros divide by zero", writer(scale="(largest / 127).astype(np.float32)",
                                        codes="np.nan_to_num(np.rint(weight / np.maximum(scale, 1e-9).reshape(shape)))"
                                              ".astype(np.int8)",
                                        bias="np.rint(bias / np.maximum(unit, 1e-9)).astype(np.int32)"),
         "wants a positive one"),
        ("floor", writer(codes="np.floor(weight / scale.reshape(shape)).astype(np.int8)"), "round, np.rint"),
        ("attributes lost", writer(own='onnx.helper.make_node("Conv", list(conv.input), ["y"])'), "has the attributes"),
        ("no pair behind", writer(own=COPY + "; y = conv.output[0]", returned="[*nodes, own], tensors").replace(
            'own.output[0] = name + "x", name + "w", name + "y"',
            'own.output[0] = name + "x", name + "w", conv.output[0]'), "with no pair behind it"),
        ("names that collide", writer(name='"conv"'), "is given twice"),
        ("swapped", writer(returned='tensors, [*nodes, own, *pair(own.output[0], conv.output[0], y_qparams, "out")]'),
         "the two are swapped"),
        ("the nodes alone", writer(returned='[*nodes, own, *pair(own.output[0], conv.output[0], y_qparams, "out")]'),
         "expected (nodes, tensors)"),
        ("the weight as floats", writer(codes="weight"), "codes are float32, asked for int8"),
        ("wrapped codes", writer(codes="np.rint(weight / scale.reshape(shape) * 1.5).astype(np.int64).astype(np.int8)"),
         "are not weight / scale"),
        ("the bias' axis forgotten", writer(bias_axis="1"), "the bias has axis 0 alone"),
        ("the bias as it was", writer(when="False"), "comes from no DequantizeLinear"),
        ("the bias left out", writer(when="own.input.__delitem__(slice(2, None))"), "lost its bias"),
        ("halved bias codes", writer(bias="np.rint(bias / unit / 2).astype(np.int32)"), "are not bias / scale"),
        ("the order turned round", writer(
            returned='[own, *nodes, *pair(own.output[0], conv.output[0], y_qparams, "out")], tensors'),
         "sorted"),
    ],
    "08.3": [
        ("depthwise", 'in_float_there = "the depthwise one"', "fuses like any other"),
        ("around the Add", 'in_float_there = "narrow and last"', "one reader each"),
        ("the branch", 'in_float_there = "widen, depthwise and narrow"', "inside the branch"),
        ("all", 'in_float_there = "all of them"', "one tensor"),
        ("none", 'in_float_there = "none"', "needed and not enough"),
    ],
    "08.4": [
        ("the last image alone", quantizer(images="images[-1:]"), "the last image alone"),
        ("the first image alone", quantizer(images="images[:1]"), "the first image alone"),
        ("all but the last", quantizer(images="images[:-1]"), "have not the range of all"),
        ("magnitudes", quantizer(seen="np.abs(x)"), "have not the range of all"),
        ("7 bits", quantizer(qparams="mine.choose_qparams(*observers[name].range(), 0, 127)"),
         "have not the range of all"),
        ("x and y swapped", quantizer(x="each.y", y="each.x"), "have not the range of all"),
        ("no bias", quantizer(bias="None"), "onnxruntime does not open it"),
        ("no bias, by a writer that honours it", quantizer(conv="bare(each.node)", bias="None").replace(
            "def my_quantizer", "def bare(conv):\n    conv = onnx.NodeProto.FromString(conv.SerializeToString())\n"
            "    del conv.input[2:]\n    return conv\n\n\ndef my_quantizer"), "lost their bias"),
        ("quantize_static", "def my_quantizer(model, images):\n    onnx.save(model, folder / 'before.onnx')\n"
         "    feeds = common.Feeds([{'images': image[None]} for image in images])\n"
         "    quantize_static(folder / 'before.onnx', folder / 'after.onnx', feeds, per_channel=True)\n"
         "    return onnx.load(folder / 'after.onnx')\n", "that quantize_static makes"),
        ("the model unchanged", quantizer(returned="model"), "0 activations have codes"),
        ("bytes", quantizer(returned="n08.assembled(model, written).SerializeToString()"), "expected a ModelProto"),
        ("the dictionary", quantizer(returned="written"), "expected a ModelProto"),
    ],
    "08.5": [
        ("a scale per channel", static("weight_type=QuantType.QUInt8, per_channel=True"), "bytes, at most 80,000"),
        ("the article's types", static("activation_type=QuantType.QInt8, weight_type=QuantType.QInt8"),
         "have codes with a sign"),
        ("4-bit weights", static("weight_type=QuantType.QInt4"), "of 12 products compute in float"),
        ("one image", static("weight_type=QuantType.QUInt8", feeds="feeds[:1]"), "at least 27 are wanted"),
        ("the Gemm left out", static("weight_type=QuantType.QUInt8, op_types_to_quantize=['Conv', 'Add', 'Relu']"),
         "1 of 12 products compute in float"),
        ("dynamic", configured("quantization.quantize_dynamic(model, output)"), "ConvInteger"),
        ("fp32", configured("onnx.save(onnx.load(model), output)"), "12 of 12 products compute in float"),
        ("16-bit activations", static("activation_type=QuantType.QUInt16, weight_type=QuantType.QUInt8"),
         "products compute in float"),
        ("nothing", configured("pass"), "wrote no file"),
    ],
}  # fmt: skip
