"""Right answers to the exercises of notebook 06 in other styles than the solutions': name, code in the stub's place."""

RIGHT_ANSWERS = {
    "06.1": [
        (
            "through float64",
            """\
def matmul_integer(a, b, a_zero_point=0, b_zero_point=0):
    a = np.asarray(a, float) - a_zero_point
    b = np.asarray(b, float) - np.asarray(b_zero_point, float)
    return (a @ b).astype(np.int32)
""",
        ),
        (
            "loops",
            """\
def matmul_integer(a, b, a_zero_point=0, b_zero_point=0):
    m, k, n = len(a), len(b), b.shape[1]
    zb = [int(z) for z in np.broadcast_to(b_zero_point, n)]
    y = np.zeros((m, n), np.int32)
    for i in range(m):
        for j in range(n):
            y[i, j] = sum((int(a[i, t]) - int(a_zero_point)) * (int(b[t, j]) - zb[j]) for t in range(k))
    return y
""",
        ),
        (
            "four terms",
            """\
def matmul_integer(a, b, a_zero_point=0, b_zero_point=0):
    A, B = a.astype(np.int64), b.astype(np.int64)
    za, zb = np.int64(a_zero_point), np.asarray(b_zero_point, np.int64)
    y = A @ B - za * B.sum(0) - A.sum(1)[:, None] * zb + len(B) * za * zb
    return y.astype('int32')
""",
        ),
        (
            "einsum",
            """\
def matmul_integer(a, b, a_zero_point=0, b_zero_point=0):
    left = a.astype(np.int64) - int(a_zero_point)
    right = b.astype(np.int64) - np.array(b_zero_point, dtype=np.int64)
    return np.int32(np.einsum('mk,kn->mn', left, right))
""",
        ),
        (
            "a NumPy function",
            """\
def matmul_integer(a, b, a_zero_point=0, b_zero_point=0):
    return np.matmul(np.subtract(a, a_zero_point, dtype=np.int32), np.subtract(b, b_zero_point, dtype=np.int32))
""",
        ),
        (
            "onnx.reference",
            """\
def matmul_integer(a, b, a_zero_point=0, b_zero_point=0):
    from onnx.reference import ReferenceEvaluator

    node = helper.make_node('MatMulInteger', ['a', 'b', 'c', 'd'], ['y'])
    c, d = np.asarray(a_zero_point, a.dtype), np.asarray(b_zero_point, b.dtype)
    return ReferenceEvaluator(node).run(None, {'a': a, 'b': b, 'c': c, 'd': d})[0]
""",
        ),
        (
            "other names",
            """\
def product(x, w, x_zero=0, w_zero=0):
    x = x.astype(np.int32) - np.int32(x_zero)
    w = w.astype(np.int32) - np.int32(w_zero)
    return np.dot(x, w)


matmul_integer = product
""",
        ),
        (
            "column by column",
            """\
def matmul_integer(a, b, a_zero_point=0, b_zero_point=0):
    zeros = np.zeros(b.shape[1], int) + b_zero_point
    a = a.astype(int) - int(a_zero_point)
    columns = [a @ (b[:, j].astype(int) - zeros[j]) for j in range(b.shape[1])]
    return np.stack(columns, axis=1).astype(np.int32)
""",
        ),
    ],
    "06.2": [
        (
            "float64",
            """\
def requantize(sums, multiplier, zero_point):
    real = sums * np.asarray(multiplier, np.float64)
    low, high = np.iinfo(zero_point.dtype).min, np.iinfo(zero_point.dtype).max
    return np.clip(np.rint(real) + float(zero_point), low, high).astype(zero_point.dtype)
""",
        ),
        (
            "loops",
            """\
def requantize(sums, multiplier, zero_point):
    low, high = (0, 255) if zero_point.dtype == np.uint8 else (-128, 127)
    factors = np.broadcast_to(multiplier, sums.shape[1])
    y = np.empty(sums.shape, zero_point.dtype)
    for (i, j), value in np.ndenumerate(sums):
        y[i, j] = min(max(round(float(np.float32(value) * factors[j])) + int(zero_point), low), high)
    return y
""",
        ),
        (
            "minimum and maximum",
            """\
def requantize(sums, multiplier, zero_point):
    info = np.iinfo(zero_point)
    y = np.round(sums.astype('f4') * np.float32(multiplier)).astype(np.int64) + np.int64(zero_point)
    return np.minimum(np.maximum(y, info.min), info.max).astype(type(zero_point))
""",
        ),
        (
            "saturating before the zero point",
            """\
def requantize(sums, multiplier, zero_point):
    info, z = np.iinfo(zero_point.dtype), int(zero_point)
    y = np.clip(np.rint(np.float32(sums) * multiplier), info.min - z, info.max - z) + z
    return y.astype(zero_point.dtype)
""",
        ),
        (
            "divided by the inverse",
            """\
def requantize(sums, multiplier, zero_point):
    real = sums.astype(np.float64) / (1 / np.asarray(multiplier, float))
    y = np.around(real) + int(zero_point)
    info = np.iinfo(zero_point.dtype)
    return y.clip(info.min, info.max).astype(info.dtype)
""",
        ),
        (
            "onnxruntime's QuantizeLinear in NumPy",
            """\
def requantize(sums, multiplier, zero_point):
    from qlab.numerics.kernels import quantize_linear

    return quantize_linear(sums.astype(np.float32) * multiplier, np.float32(1), zero_point)
""",
        ),
    ],
    "06.3": [
        (
            "all in one",
            """\
def linear(x_codes, x_scale, x_zero_point, w_codes, w_scale, bias, y_scale, y_zero_point):
    sums = (x_codes.astype(int) - int(x_zero_point)) @ w_codes.astype(int)
    sums = sums + np.rint(bias / (x_scale * w_scale)).astype(int)
    real = sums.astype(np.float32) * (x_scale * w_scale / y_scale)
    return np.clip(np.rint(real) + int(y_zero_point), 0, 255).astype(np.uint8)
""",
        ),
        (
            "float64",
            """\
def linear(x_codes, x_scale, x_zero_point, w_codes, w_scale, bias, y_scale, y_zero_point):
    x = x_codes.astype(float) - float(x_zero_point)
    b = np.round(bias / (x_scale * w_scale))
    real = (x @ w_codes.astype(float) + b) * (np.float64(x_scale) * w_scale / y_scale)
    return np.clip(np.round(real) + float(y_zero_point), 0, 255).astype(np.uint8)
""",
        ),
        (
            "loops over outputs",
            """\
def linear(x_codes, x_scale, x_zero_point, w_codes, w_scale, bias, y_scale, y_zero_point):
    out = []
    for j in range(w_codes.shape[1]):
        scale = x_scale * w_scale[j]
        sums = (x_codes.astype(np.int64) - int(x_zero_point)) @ w_codes[:, j].astype(np.int64)
        sums = sums + int(np.rint(bias[j] / scale))
        codes = np.rint(np.float32(sums) * (scale / y_scale)) + int(y_zero_point)
        out.append(np.clip(codes, 0, 255))
    return np.array(out, np.uint8).T
""",
        ),
        (
            "the bias as one more row",
            """\
def linear(x_codes, x_scale, x_zero_point, w_codes, w_scale, bias, y_scale, y_zero_point):
    b = np.rint(bias / (x_scale * w_scale)).astype(np.int64)
    x = np.hstack([x_codes.astype(np.int64) - int(x_zero_point), np.ones((len(x_codes), 1), np.int64)])
    w = np.vstack([w_codes.astype(np.int64), b])
    return mine.requantize((x @ w).astype(np.int32), x_scale * w_scale / y_scale, y_zero_point)
""",
        ),
        (
            "keywords and other names",
            """\
def linear(x_codes, x_scale, x_zero_point, w_codes, w_scale, bias, y_scale, y_zero_point):
    s = x_scale * w_scale
    acc = mine.matmul_integer(x_codes, w_codes, a_zero_point=x_zero_point)
    acc += np.rint(bias / s).astype('int32')
    return mine.requantize(acc, multiplier=s / y_scale, zero_point=y_zero_point)
""",
        ),
    ],
    "06.4": [
        (
            "255 everywhere, tried",
            """\
def worst_input(w):
    x = np.full((1, len(w)), 255, np.uint8)
    return x if np.any(in_pairs(x, w) != x.astype(int) @ w.astype(int)) else None


def mended(model):
    options = onnxruntime.SessionOptions()
    options.add_session_config_entry("session.x64quantprecision", "1")
    return onnxruntime.InferenceSession(model.SerializeToString(), options)
""",
        ),
        (
            "weights judged first",
            """\
def worst_input(w):
    w = np.asarray(w, int)
    for k in range(0, len(w) // 2 * 2, 2):
        both = np.maximum(w[k], 0) + np.maximum(w[k + 1], 0), np.minimum(w[k], 0) + np.minimum(w[k + 1], 0)
        for sums, sign in zip(both, (1, -1)):
            for n in range(w.shape[1]):
                if not -32768 <= 255 * sums[n] <= 32767:
                    x = np.zeros((1, len(w)), np.uint8)
                    x[0, k] = 255 if sign * w[k, n] > 0 else 0
                    x[0, k + 1] = 255 if sign * w[k + 1, n] > 0 else 0
                    return x
    return None


def mended(model):
    options = onnxruntime.SessionOptions()
    options.add_session_config_entry("session.x64quantprecision", "1")
    return onnxruntime.InferenceSession(model.SerializeToString(), options)
""",
        ),
        (
            "the largest pair",
            """\
def worst_input(w):
    even = w[: len(w) // 2 * 2].astype(int).reshape(-1, 2, w.shape[1])
    sums = np.abs(even.sum(axis=1)).max(axis=1)
    if sums.size == 0 or sums.max() < 129:
        return None
    x = np.zeros(len(w), np.uint8)
    x[2 * sums.argmax() : 2 * sums.argmax() + 2] = 255
    return x[None]


def mended(model):
    options = onnxruntime.SessionOptions()
    options.add_session_config_entry("session.x64quantprecision", "1")
    return onnxruntime.InferenceSession(model.SerializeToString(), options)
""",
        ),
        (
            "a list, without the outer one",
            """\
def worst_input(w):
    w = w.astype(int)
    for k in range(0, len(w) - 1, 2):
        if any(abs(column) > 128 for column in w[k] + w[k + 1]):
            return [255 if row in (k, k + 1) else 0 for row in range(len(w))]


def mended(model):
    options = onnxruntime.SessionOptions()
    options.add_session_config_entry("session.x64quantprecision", "1")
    return onnxruntime.InferenceSession(model.SerializeToString(), options)
""",
        ),
        (
            "the options by keyword",
            """\
def worst_input(w):
    for k in range(0, len(w) - 1, 2):
        x = np.zeros((1, len(w)), np.uint8)
        x[0, k : k + 2] = 255
        if np.any(in_pairs(x, w) != x.astype(int) @ w.astype(int)):
            return x
    return None


def mended(model):
    so = onnxruntime.SessionOptions()
    so.log_severity_level = 3
    so.add_session_config_entry("session.x64quantprecision", "1")
    return onnxruntime.InferenceSession(
        model.SerializeToString(), sess_options=so, providers=["CPUExecutionProvider"]
    )
""",
        ),
        (
            "from a file",
            """\
def worst_input(w):
    for k in range(0, len(w) - 1, 2):
        x = np.zeros((1, len(w)), np.uint8)
        x[0, k : k + 2] = 255
        if np.any(in_pairs(x, w) != x.astype(int) @ w.astype(int)):
            return x
    return None


def mended(model):
    import tempfile
    from pathlib import Path

    path = Path(tempfile.mkdtemp()) / "model.onnx"
    onnx.save(model, path)
    options = onnxruntime.SessionOptions()
    options.add_session_config_entry("session.x64quantprecision", "1")
    return onnxruntime.InferenceSession(path, options)
""",
        ),
        (
            "all weights of one sign in a column",
            """\
def worst_input(w):
    from qlab.numerics.saturation import can_saturate

    for n in np.flatnonzero(can_saturate(w)):
        for k in range(0, len(w) - 1, 2):
            if can_saturate(w[k : k + 2, [n]])[0]:
                x = np.zeros((1, len(w)), np.int64)
                x[0, [k, k + 1]] = 255
                return x
    return None


def mended(model):
    options = onnxruntime.SessionOptions()
    options.add_session_config_entry("session.x64quantprecision", "1")
    return onnxruntime.InferenceSession(model.SerializeToString(), options)
""",
        ),
    ],
    "06.5": [
        (
            "all codes tried",
            """\
def largest_k(a_dtype, b_dtype, any_zero_point):
    a, b = (np.arange(np.iinfo(t).min, np.iinfo(t).max + 1) for t in (a_dtype, b_dtype))
    if any_zero_point:
        a, b = (np.unique(x[:, None] - x[None]) for x in (a, b))
    p = np.multiply.outer(a, b)
    low, high = int(p.min()), int(p.max())
    return min((2**31 - 1) // high, 2**31 // -low if low < 0 else 2**31)
""",
        ),
        (
            "a float floor",
            """\
def largest_k(a_dtype, b_dtype, any_zero_point):
    ranges = {"uint8": (0, 255), "int8": (-128, 127)}
    a, b = ranges[a_dtype], ranges[b_dtype]
    if any_zero_point:
        a = b = (-255, 255)
    products = [x * y for x in a for y in b]
    k = np.floor((2**31 - 1) / max(products))
    if min(products) < 0:
        k = min(k, np.floor(2**31 / abs(min(products))))
    return k
""",
        ),
        (
            "by cases",
            """\
def largest_k(a_dtype, b_dtype, any_zero_point):
    if any_zero_point or a_dtype == b_dtype == "uint8":
        return (2**31 - 1) // 255**2
    if a_dtype == b_dtype:
        return (2**31 - 1) // 128**2
    return 2**31 // (255 * 128)
""",
        ),
        (
            "a search",
            """\
def largest_k(a_dtype, b_dtype, any_zero_point):
    reach = lambda t: (-255, 255) if any_zero_point else (int(np.iinfo(t).min), int(np.iinfo(t).max))
    low = min(x * y for x in reach(a_dtype) for y in reach(b_dtype))
    high = max(x * y for x in reach(a_dtype) for y in reach(b_dtype))
    fits = lambda k: k * high <= 2**31 - 1 and k * low >= -(2**31)
    step, k = 2**20, 0
    while step:
        if fits(k + step):
            k += step
        step //= 2
    return np.int64(k)
""",
        ),
        (
            "with NumPy's limits",
            """\
def largest_k(a_dtype, b_dtype, any_zero_point):
    top, bottom = int(np.iinfo(np.int32).max), int(np.iinfo(np.int32).min)
    ends = []
    for t in (np.dtype(a_dtype), np.dtype(b_dtype)):
        i = np.iinfo(t)
        z = [int(i.min), int(i.max)] if any_zero_point else [0]
        ends.append([code - zero for code in (int(i.min), int(i.max)) for zero in z])
    products = [x * y for x in ends[0] for y in ends[1]]
    return min(top // p if p > 0 else bottom // p for p in products if p)
""",
        ),
    ],
    "06.6": [
        (
            "loops over the window",
            """\
def qlinear_conv(x, x_scale, x_zero_point, w, w_scale, bias, y_scale, y_zero_point):
    n, c, h, width = x.shape
    padded = np.pad(x.astype(np.int64) - int(x_zero_point), [(0, 0), (0, 0), (1, 1), (1, 1)])
    sums = np.zeros((n, len(w), h, width), np.int64)
    for i in range(3):
        for j in range(3):
            part = padded[:, :, i : i + h, j : j + width]
            sums += np.einsum("nchw,mc->nmhw", part, w[:, :, i, j].astype(np.int64))
    sums += bias[:, None, None]
    real = sums.astype(np.float32) * (x_scale * w_scale / y_scale)[:, None, None]
    return np.clip(np.rint(real) + int(y_zero_point), 0, 255).astype(np.uint8)
""",
        ),
        (
            "loops all the way",
            """\
def qlinear_conv(x, x_scale, x_zero_point, w, w_scale, bias, y_scale, y_zero_point):
    n, c, h, width = x.shape
    y = np.zeros((n, len(w), h, width), np.uint8)
    for p, m, i, j in np.ndindex(y.shape):
        total = int(bias[m])
        for ch, di, dj in np.ndindex(c, 3, 3):
            r, s = i + di - 1, j + dj - 1
            if 0 <= r < h and 0 <= s < width:
                total += (int(x[p, ch, r, s]) - int(x_zero_point)) * int(w[m, ch, di, dj])
        code = np.rint(np.float32(total) * (x_scale * w_scale[m] / y_scale)) + int(y_zero_point)
        y[p, m, i, j] = min(max(code, 0), 255)
    return y
""",
        ),
        (
            "einsum over windows",
            """\
def qlinear_conv(x, x_scale, x_zero_point, w, w_scale, bias, y_scale, y_zero_point):
    p = np.pad(x, ((0, 0), (0, 0), (1, 1), (1, 1)), mode="constant", constant_values=int(x_zero_point))
    view = np.lib.stride_tricks.sliding_window_view(p, (3, 3), axis=(2, 3)).astype(float) - float(x_zero_point)
    sums = np.einsum("nchwij,mcij->nmhw", view, w.astype(float)) + bias[:, None, None]
    real = sums * (np.float64(x_scale) * w_scale / y_scale)[:, None, None]
    return np.clip(np.rint(real) + float(y_zero_point), 0, 255).astype(np.uint8)
""",
        ),
        (
            "qlab's kernel",
            """\
def qlinear_conv(x, x_scale, x_zero_point, w, w_scale, bias, y_scale, y_zero_point):
    from qlab.numerics import kernels

    zero = np.zeros(len(w), np.int8)
    return kernels.qlinear_conv(
        x, x_scale, x_zero_point, w, w_scale, zero, y_scale, y_zero_point, bias, pads=[1, 1, 1, 1]
    )
""",
        ),
        (
            "picture by picture",
            """\
def qlinear_conv(x, x_scale, x_zero_point, w, w_scale, bias, y_scale, y_zero_point):
    out = []
    for picture in x:
        c, h, width = picture.shape
        big = np.full((c, h + 2, width + 2), x_zero_point)
        big[:, 1:-1, 1:-1] = picture
        rows = np.array([big[:, i : i + 3, j : j + 3].ravel() for i in range(h) for j in range(width)])
        sums = mine.matmul_integer(rows, w.reshape(len(w), -1).T, x_zero_point) + bias
        codes = mine.requantize(sums, x_scale * w_scale / y_scale, y_zero_point)
        out.append(codes.T.reshape(len(w), h, width))
    return np.array(out)
""",
        ),
    ],
}
