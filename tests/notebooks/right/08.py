"""Right answers to the exercises of notebook 08 in other styles: name, code in the stub's place."""

READER = """\
class BatchReader(quantization.CalibrationDataReader):
    def __init__(self, frames, size):
        self.feeds = iter([
            {name: np.concatenate([frame.feed[name] for frame in frames[at : at + size]]) for name in ("audio", "face")}
            for at in range(0, len(frames), size)
        ])

    def get_next(self):
        return next(self.feeds, None)


"""
CALL = """\
def quantize_face(model, output, frames):
    quantize_static(model, output, BatchReader(frames, 4), quant_format=QuantFormat.QDQ, {types})
"""
WRITER = """\
def write_qdq(conv, weight, bias, x_qparams, y_qparams):
    nodes, tensors = [], []
    x, y, own = conv.input[0], conv.output[0], conv.name

    def add(op, inputs, output, **attributes):
        nodes.append(onnx.helper.make_node(op, inputs, [output], **attributes))

    def put(name, value, dtype):
        tensors.append(numpy_helper.from_array(np.asarray(value, dtype), own + name))
        return own + name

    put("xs", {one}(x_qparams[0]), np.float32), put("xz", {one}(x_qparams[1]), np.uint8)
    add("QuantizeLinear", [x, own + "xs", own + "xz"], own + "xq")
    add("DequantizeLinear", [own + "xq", own + "xs", own + "xz"], own + "xd")
{scales}
    add("DequantizeLinear", [own + "wq", own + "ws"{zero}], own + "wd", axis={axis})
    inputs = [own + "xd", own + "wd"]
    if bias is not None:
        sums = float(x_qparams[0]) * np.array(scales)
        put("bs", sums, np.float32)
        put("bq", {round}(np.array(bias, np.float64) / sums), np.int32)
        put("bz", np.zeros(len(sums)), np.int32)
        add("DequantizeLinear", [own + "bq", own + "bs"{bias_zero}], own + "bd", axis=0)
        inputs.append(own + "bd")
    put("ys", {one}(y_qparams[0]), np.float32), put("yz", {one}(y_qparams[1]), np.uint8)
    node = onnx.helper.make_node("Conv", inputs, [own + "yf"], name=own)
    node.attribute.extend(conv.attribute)
    nodes.append(node)
    add("QuantizeLinear", [own + "yf", own + "ys", own + "yz"], own + "yq")
    add("DequantizeLinear", [own + "yq", own + "ys", own + "yz"], y)
    return {returned}
"""
LOOP = """\
    scales = []
    codes = np.zeros(weight.shape)
    for channel, numbers in enumerate(weight):
        top = float(np.abs(numbers).max())
        scales.append(top / 127 if top else 1.0)
        codes[channel] = np.round(numbers / scales[-1])
    put("wq", codes, np.int8), put("ws", scales, np.float32), put("wz", [0] * len(scales), np.int8)"""
WHOLE = """\
    axes = tuple(range(1, weight.ndim))
    top = np.abs(weight.astype(np.float64)).max(axis=axes, keepdims=True)
    scales = np.where(top == 0, 127, top) / 127
    put("wq", np.clip(np.rint(weight / scales), -127, 127), np.int8)
    scales = scales.ravel()
    put("ws", scales, np.float32), put("wz", np.zeros(len(scales)), np.int8)"""


def writer(scales=LOOP, zero=', own + "wz"', axis="0", round="np.rint", returned="nodes, tensors",
           bias_zero="", one=""):  # fmt: skip
    return WRITER.format(**locals())


QUANTIZER = """\
def my_quantizer(model, images):
    parts = n08.convolutions(model)
    names = list({{name: None for part in parts for name in (part.x, part.y)}})
    watch = n08.watched(model, names)
{ranges}
    return n08.assembled(model, {{
        part.node.name: {write}(part.node, part.weight, part.bias, ends[part.x], ends[part.y]) for part in parts
    }})
"""
OBSERVED = """\
    observers = [mine.Observer() for _ in names]
    for index in range(len(images)):
        seen = watch({"images": images[index : index + 1]})
        for name, observer in zip(names, observers):
            observer.observe(seen[name])
    ends = {name: mine.choose_qparams(*each.range(), 0, 255) for name, each in zip(names, observers)}"""
BATCH = """\
    ends = {name: mine.choose_qparams(x.min(), x.max(), 0, 255) for name, x in watch({"images": images}).items()}"""
PLAIN = """\
    ends = {}
    for name in names:
        values = [watch({"images": image[np.newaxis]})[name] for image in images[::1]]
        low, high = min(0.0, *(float(v.min()) for v in values)), max(0.0, *(float(v.max()) for v in values))
        scale = (high - low) / 255
        ends[name] = scale, int(round(-low / scale))"""
MERGED = """\
    observers = {name: mine.Observer() for name in names}
    for some in (images[::2], images[1::2]):
        others = {name: mine.Observer() for name in names}
        for image in some:
            for name, x in watch({"images": image[None]}).items():
                others[name].observe(x)
        for name in names:
            observers[name].merge(others[name])
    ends = {name: mine.choose_qparams(*observers[name].range(), 0, 255) for name in names}"""
COLLECTED = """\
    onnx.save(model, folder / "collected.onnx")
    ranges = calibration.collect(folder / "collected.onnx", [{"images": image[None]} for image in images])
    ends = {name: mine.choose_qparams(*ranges[name], 0, 255) for name in names}"""


def quantizer(ranges=OBSERVED, write="mine.write_qdq"):
    return QUANTIZER.format(ranges=ranges, write=write)


CONFIGURE = """\
def configure(model, output, images):
    {call}
"""
FEEDS = '[{"images": image[None]} for image in images]'
RIGHT_ANSWERS = {
    "08.1": [
        ("unsigned weights", READER + CALL.format(types="activation_type=QuantType.QUInt8, "
                                                        "weight_type=QuantType.QUInt8")),
        ("a scale per channel", READER + CALL.format(types="activation_type=QuantType.QUInt8, per_channel=True, "
                                                           "weight_type=QuantType.QInt8")),
        ("7 bits", READER + CALL.format(types="activation_type=QuantType.QUInt8, reduce_range=True, "
                                              "weight_type=QuantType.QInt8")),
        ("the defaults, all of them", READER + "def quantize_face(model, output, frames):\n"
         "    quantize_static(model, output, BatchReader(frames, 3), activation_type=QuantType.QUInt8)\n"),
        ("a position that moves", "class BatchReader(quantization.CalibrationDataReader):\n"
         "    def __init__(self, frames, size):\n        self.frames, self.size, self.at = frames, size, 0\n\n"
         "    def get_next(self):\n        some = self.frames[self.at : self.at + self.size]\n"
         "        self.at += self.size\n        if len(some) == 0:\n            return None\n"
         "        return {'face': np.vstack([f.face for f in some]), 'audio': np.vstack([f.audio for f in some])}\n\n\n"
         + CALL.format(types="activation_type=QuantType.QUInt8, weight_type=QuantType.QInt8")),
        ("no base class", "class BatchReader:\n    def __init__(self, frames, size):\n"
         "        self.groups = [frames[i : i + size] for i in range(0, len(frames), size)]\n\n"
         "    def get_next(self):\n        if not self.groups:\n            return None\n"
         "        group = self.groups.pop(0)\n"
         "        return {n: np.concatenate([f.feed[n] for f in group], axis=0) for n in group[0].feed}\n\n\n"
         + CALL.format(types="activation_type=QuantType.QUInt8, weight_type=QuantType.QUInt8, "
                             "calibrate_method=quantization.CalibrationMethod.MinMax")),
    ],
    "08.2": [
        ("a loop over channels", writer()),
        ("all channels at once, in float64", writer(scales=WHOLE)),
        ("no zero points for the weight", writer(zero="")),
        ("the axis from behind", writer(axis="-weight.ndim")),
        ("zero points for the bias", writer(bias_zero=', own + "bz"')),
        ("a bias' scale off by half of 0.1 %", writer().replace("sums = float(x_qparams[0]) *",
                                                                "sums = 1.0005 * float(x_qparams[0]) *")),
        ("1 / 127 for a channel of zeros", writer(scales=WHOLE.replace("top == 0, 127, top", "top == 0, 1, top"))),
        ("scales of one entry", writer(one="np.atleast_1d")),
        ("tuples", writer(returned="tuple(nodes), tuple(tensors)")),
        ("a list of two", writer(scales=WHOLE, round="np.around", returned="[nodes, tensors]")),
    ],
    "08.4": [
        ("a list of observers", quantizer()),
        ("all images at once", quantizer(BATCH)),
        ("no observer", quantizer(PLAIN)),
        ("merged observers", quantizer(MERGED)),
        ("calibration.collect", quantizer(COLLECTED)),
        ("qlab's writer", quantizer(BATCH, write="n08.write_qdq")),
    ],
    "08.5": [
        ("unsigned weights", CONFIGURE.format(call=f"quantize_static(model, output, common.Feeds({FEEDS}), "
                                                   "activation_type=QuantType.QUInt8, weight_type=QuantType.QUInt8)")),
        ("7 bits", CONFIGURE.format(call=f"quantize_static(model, output, common.Feeds({FEEDS}), "
                                         "activation_type=QuantType.QUInt8, weight_type=QuantType.QInt8, "
                                         "reduce_range=True)")),
        ("recipes.static, unsigned", CONFIGURE.format(call=f"return recipes.static(model, output, {FEEDS}, "
                                                           "per_channel=False, activation_dtype='uint8', "
                                                           "weight_dtype='uint8')")),
        ("recipes.static, 7 bits", CONFIGURE.format(call=f"recipes.static(model, output, {FEEDS}, per_channel=False, "
                                                         "activation_dtype='uint8', weight_dtype='int8', "
                                                         "reduce_range=True)")),
        ("one batch", CONFIGURE.format(call='quantize_static(model, output, common.Feeds([{"images": images}]), '
                                            "activation_type=QuantType.QUInt8, weight_type=QuantType.QUInt8)")),
        ("QOperator", CONFIGURE.format(call=f"quantize_static(model, output, common.Feeds({FEEDS}), "
                                            "quant_format=QuantFormat.QOperator, activation_type=QuantType.QUInt8, "
                                            "weight_type=QuantType.QUInt8)")),
    ],
}  # fmt: skip
