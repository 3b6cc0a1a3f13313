"""Right answers to the exercises of notebook 03 in other styles than the solutions': name, code in the stub's place."""

CROSSING_BY_LOOPS = """
def decibels(x, y):
    signal = sum(float(a) ** 2 for a in x)
    noise = sum((float(a) - float(b)) ** 2 for a, b in zip(x, y))
    return 10 * np.log10(signal / noise)


def int4_block(block):
    low, high = min(block.min(), 0.0), max(block.max(), 0.0)
    step = (high - low) / 15
    zero = round(-low / step)
    codes = np.clip(np.round(block / step) + zero, 0, 15)
    return (codes - zero) * step


def crossing(x, block_sizes, levels):
    flat, first = x.ravel().astype(np.float64), None
    borders = (levels[:-1] + levels[1:]) / 2
    a, b = [], []
    for size in block_sizes:
        even, uneven = np.empty_like(flat), np.empty_like(flat)
        for start in range(0, flat.size, size):
            part = slice(start, start + size)
            even[part] = int4_block(flat[part])
            top = abs(flat[part]).max()
            uneven[part] = levels[np.searchsorted(borders, flat[part] / top)] * top
        a.append(decibels(flat, even))
        b.append(decibels(flat, uneven))
        if first is None and b[-1] > a[-1]:
            first = size
    return a, b, first
"""

CROSSING_BY_QLAB = """
def crossing(x, block_sizes, levels):
    int4_db, levels_db = [], []
    for n in block_sizes:
        rows = x.reshape(-1, n)
        int4_db.append(sqnr_db(rows, fake_quantize(rows, choose_qparams(rows, "int4", granularity=PerAxis(0)))))
        levels_db.append(sqnr_db(rows, on_levels(rows, levels)))
    better = np.array(levels_db) > np.array(int4_db)
    return int4_db, levels_db, int(np.array(block_sizes)[better][0]) if better.any() else None
"""

CROSSING_SIGNED_CODES = """
def crossing(x, block_sizes, levels):
    results = {}
    for k in block_sizes:
        b = x.reshape(-1, k).astype(float)
        lo, hi = np.minimum(b.min(1), 0)[:, None], np.maximum(b.max(1), 0)[:, None]
        s = (hi - lo) / 15
        z = np.clip(np.rint(-8 - lo / s), -8, 7)
        q = np.clip(np.rint(b / s) + z, -8, 7)
        y = (q - z) * s
        m = np.maximum(-lo, hi)
        u = levels[mine.nearest(b / m, levels)] * m
        snr = lambda other: 20 * np.log10(np.sqrt((b**2).mean()) / np.sqrt(((b - other) ** 2).mean()))
        results[k] = snr(y), snr(u)
    first = next((k for k in results if results[k][1] > results[k][0]), None)
    return [pair[0] for pair in results.values()], [pair[1] for pair in results.values()], first
"""

CROSSING_ARRAYS = """
def crossing(x, block_sizes, levels):
    def one(size):
        blocks = np.ravel(x).reshape((x.size // size, size))
        qparams = choose_qparams(blocks, "uint4", granularity=PerAxis(0))
        scale = np.max(np.abs(blocks), axis=1)[:, np.newaxis]
        nearest_level = np.argmin(np.square(blocks[:, :, np.newaxis] / scale[:, :, None] - levels), axis=2)
        return sqnr_db(blocks, fake_quantize(blocks, qparams)), sqnr_db(blocks, np.take(levels, nearest_level) * scale)

    table = np.array([one(size) for size in block_sizes])
    wins = np.flatnonzero(table[:, 1] > table[:, 0])
    return [table[:, 0], table[:, 1], block_sizes[wins[0]] if wins.size else None]
"""

CROSSING_PER_BLOCK = """
def crossing(x, block_sizes, levels):
    from qlab import PerBlock
    from qlab.numerics.codebook import Codebook

    book, flat = Codebook("NF4", levels), x.reshape(1, -1)
    even = [sqnr_db(flat, fake_quantize(flat, choose_qparams(flat, "int4", granularity=PerBlock(1, size))))
            for size in block_sizes]
    uneven = [sqnr_db(flat, book.fake_quantize(flat, PerBlock(1, size))) for size in block_sizes]
    for size, a, b in zip(block_sizes, even, uneven):
        if a < b:
            break
    else:
        size = None
    return tuple(even), tuple(uneven), size
"""

RIGHT_ANSWERS = {
    "03.1": [
        (
            "a loop over numbers",
            "def nearest(x, levels):\n"
            "    codes = []\n"
            "    for value in x.flat:\n"
            "        codes.append(min(range(len(levels)), key=lambda k: abs(float(value) - float(levels[k]))))\n"
            "    return np.array(codes).reshape(x.shape)\n",
        ),
        (
            "borders",
            "def nearest(x, levels):\n    return np.searchsorted((levels[:-1] + levels[1:]) / 2, x)\n",
        ),
        (
            "digitize, closed on the right",
            "def nearest(x, levels):\n    return np.digitize(x, (levels[:-1] + levels[1:]) / 2, right=True)\n",
        ),
        (
            "squares in float64",
            "def nearest(values, marks):\n"
            "    values = np.asarray(values, np.float64)\n"
            "    return np.argmin((values[..., np.newaxis] - np.asarray(marks, np.float64)) ** 2, axis=values.ndim)\n",
        ),
        (
            "a loop over levels",
            "def nearest(x, levels):\n"
            "    best, distance = np.zeros(x.shape, int), np.full(x.shape, np.inf)\n"
            "    for k, level in enumerate(levels):\n"
            "        d = abs(x - level)\n"
            "        best[d < distance] = k\n"
            "        distance = np.minimum(d, distance)\n"
            "    return best\n",
        ),
        (
            "counting the borders below, in int8",
            "def nearest(x, levels):\n"
            "    middle = levels[:-1] + np.diff(levels) / 2\n"
            "    return (x[..., None] > middle).sum(-1).astype(np.int8)\n",
        ),
        (
            "the first axis",
            "def nearest(x, levels):\n    return np.abs(np.subtract.outer(levels, x)).argmin(0)\n",
        ),
    ],
    "03.2": [
        (
            "float64, a sorted list",
            "def log2_quantize(x, bits):\n"
            "    m = float(abs(x).max())\n"
            "    powers = [m / 2**k for k in range(2 ** (bits - 1) - 1)]\n"
            "    levels = np.array(sorted([-p for p in powers] + [0.0] + powers))\n"
            "    return levels[abs(x.astype(np.float64)[..., None] - levels).argmin(-1)]\n",
        ),
        (
            "by 03.1",
            "def log2_quantize(x, bits):\n"
            "    powers = 2.0 ** -np.arange(2 ** (bits - 1) - 1)\n"
            "    levels = np.r_[-powers, 0, powers[::-1]] * np.abs(x).max()\n"
            "    return levels[mine.nearest(x, levels)]\n",
        ),
        (
            "a loop over numbers",
            "def log2_quantize(x, bits):\n"
            "    m = max(abs(v) for v in x.flat)\n"
            "    levels = [0.0] + [s * m * 0.5**k for k in range(2 ** (bits - 1) - 1) for s in (-1, 1)]\n"
            "    levels.sort()\n"
            "    y = [min(levels, key=lambda level: abs(v - level)) for v in x.flat]\n"
            "    return np.array(y).reshape(x.shape)\n",
        ),
        (
            "scaled to 1 first, borders",
            "def log2_quantize(x, bits):\n"
            "    m = np.abs(x).max() or np.float32(1)\n"
            "    p = np.exp2(-np.arange(2 ** (bits - 1) - 1, dtype=np.float32))\n"
            "    levels = np.sort(np.concatenate((p, -p, np.zeros(1, np.float32))))\n"
            "    return levels[np.searchsorted((levels[1:] + levels[:-1]) / 2, x / m)] * m\n",
        ),
        (
            "magnitudes, the lower one by hand",
            "def log2_quantize(x, bits):\n"
            "    powers = np.abs(x).max() * np.append(0, 0.5 ** np.arange(2 ** (bits - 1) - 1)[::-1])\n"
            "    borders = (powers[1:] + powers[:-1]) / 2\n"
            "    up, down = (np.searchsorted(borders, abs(x), side=s) for s in ('left', 'right'))\n"
            "    return np.where(x > 0, powers[up], -powers[down])\n",
        ),
        (
            "the frexp of each number",
            "import math\n\n\n"
            "def log2_quantize(x, bits):\n"
            "    m, n = float(np.abs(x).max()), 2 ** (bits - 1) - 1\n"
            "    ladder = np.array([math.ldexp(m, -k) for k in range(n)])\n"
            "    levels = np.unique([*ladder, *-ladder, 0])\n"
            "    out = np.empty(x.shape)\n"
            "    for index in np.ndindex(*x.shape):\n"
            "        out[index] = levels[np.argmin(np.abs(levels - x[index]))]\n"
            "    return out\n",
        ),
    ],
    "03.3": [
        ("loops in float64", CROSSING_BY_LOOPS),
        ("qlab's own quantizer", CROSSING_BY_QLAB),
        ("signed codes, a dict", CROSSING_SIGNED_CODES),
        ("unsigned codes, arrays, a list of three", CROSSING_ARRAYS),
        ("PerBlock on one row", CROSSING_PER_BLOCK),
    ],
    "03.4": [
        (
            "ldexp",
            "import math\n\n\n"
            "def decode_e4m3(byte):\n"
            "    s, e, m = (-1) ** (byte >> 7), (byte >> 3) & 0xF, byte & 0x7\n"
            "    if (e, m) == (15, 7):\n"
            "        return math.nan\n"
            "    return math.copysign(math.ldexp(m + 8 * (e > 0), max(e, 1) - 10), s)\n",
        ),
        (
            "bits as text",
            "def decode_e4m3(byte):\n"
            "    bits = f'{byte:08b}'\n"
            "    sign = 1.0 if bits[0] == '0' else -1.0\n"
            "    exponent, mantissa = int(bits[1:5], 2), int(bits[5:], 2)\n"
            "    if bits[1:] == '1111111':\n"
            "        return float('nan')\n"
            "    if exponent:\n"
            "        return sign * 2.0 ** (exponent - 7) * (1 + mantissa * 0.125)\n"
            "    return sign * 2.0**-6 * mantissa * 0.125\n",
        ),
        (
            "ml_dtypes",
            "def decode_e4m3(byte):\n"
            "    import ml_dtypes\n\n"
            "    return float(np.uint8(byte).view(ml_dtypes.float8_e4m3fn))\n",
        ),
        (
            "float32 from NumPy",
            "def decode_e4m3(byte):\n"
            "    if byte in (127, 255):\n"
            "        return np.float32('nan')\n"
            "    e, m = byte // 8 % 16, byte % 8\n"
            "    value = np.float32(m / 512) if e == 0 else np.float32((8 + m) * 2.0 ** (e - 10))\n"
            "    return -value if byte >= 128 else value\n",
        ),
        (
            "a table made once",
            "def _table():\n"
            "    half = [m / 512 for m in range(8)]\n"
            "    half += [(1 + m / 8) * 2.0 ** (e - 7) for e in range(1, 16) for m in range(8)]\n"
            "    half[127] = float('nan')\n"
            "    return half + [-v for v in half]\n\n\n"
            "TABLE = _table()\n\n\n"
            "def decode_e4m3(byte):\n"
            "    return TABLE[byte]\n",
        ),
        (
            "recursion for the sign",
            "def decode_e4m3(byte):\n"
            "    if byte > 127:\n"
            "        return -decode_e4m3(byte - 128)\n"
            "    if byte == 127:\n"
            "        return float('nan')\n"
            "    exponent, mantissa = divmod(byte, 8)\n"
            "    if exponent == 0:\n"
            "        return mantissa / 8 / 64\n"
            "    return (1 + mantissa / 8) * 2.0 ** (exponent - 7)\n",
        ),
    ],
    "03.5": [
        (
            "itertools, a dict",
            "from itertools import product as pairs\n\n\n"
            "def four_bits(path, x, at_least):\n"
            "    y = onnxruntime.InferenceSession(path).run(['y'], {'x': x})[0]\n"
            "    sizes = {}\n"
            "    for setting in pairs((128, 64, 32, 16), (False, True)):\n"
            "        q = MatMulNBitsQuantizer(onnx.load(path), block_size=setting[0], is_symmetric=setting[1])\n"
            "        q.process()\n"
            "        model = q.model.model.SerializeToString()\n"
            "        z = onnxruntime.InferenceSession(model).run(['y'], {'x': x})[0]\n"
            "        if sqnr_db(y, z) >= at_least:\n"
            "            sizes[setting] = len(model)\n"
            "    return min(sizes, key=sizes.get, default=None)\n",
        ),
        (
            "files beside, and their sizes",
            "import os\nimport tempfile\n\n\n"
            "def four_bits(path, x, at_least):\n"
            "    with tempfile.TemporaryDirectory() as folder:\n"
            "        return search(path, x, at_least, os.path.join(folder, 'q.onnx'))\n\n\n"
            "def search(path, x, at_least, beside):\n"
            "    best, bytes_of_best = None, float('inf')\n"
            "    reference = onnxruntime.InferenceSession(path).run(None, {'x': x})[0].astype(np.float64)\n"
            "    for block in [16, 32, 64, 128]:\n"
            "        for symmetric in [False, True]:\n"
            "            quantizer = MatMulNBitsQuantizer(path, block_size=block, is_symmetric=symmetric)\n"
            "            quantizer.process()\n"
            "            quantizer.model.save_model_to_file(beside, False)\n"
            "            y = onnxruntime.InferenceSession(beside).run(None, {'x': x})[0]\n"
            "            db = 20 * np.log10(np.linalg.norm(reference) / np.linalg.norm(reference - y))\n"
            "            if db >= at_least and os.path.getsize(beside) < bytes_of_best:\n"
            "                best, bytes_of_best = [block, symmetric], os.path.getsize(beside)\n"
            "    return best\n",
        ),
        (
            "sorted by bytes, the first that keeps enough",
            "def four_bits(path, x, at_least):\n"
            "    run = lambda model: onnxruntime.InferenceSession(model).run(None, {'x': x})[0]\n"
            "    versions = []\n"
            "    for size in 16, 32, 64, 128:\n"
            "        for symmetric in True, False:\n"
            "            q = MatMulNBitsQuantizer(onnx.load(path), block_size=size, is_symmetric=symmetric)\n"
            "            q.process()\n"
            "            versions.append((q.model.model.SerializeToString(), size, symmetric))\n"
            "    for data, size, symmetric in sorted(versions, key=lambda v: len(v[0])):\n"
            "        if sqnr_db(run(path), run(data)) >= at_least:\n"
            "            return size, symmetric\n"
            "    return None\n",
        ),
        (
            "copies of one model",
            "def four_bits(path, x, at_least):\n"
            "    model, found = onnx.load(path), (None, None, None)\n"
            "    y = onnxruntime.InferenceSession(path, providers=['CPUExecutionProvider']).run(None, {'x': x})[0]\n"
            "    for i in range(8):\n"
            "        copy = onnx.ModelProto()\n"
            "        copy.CopyFrom(model)\n"
            "        block_size, symmetric = 16 * 2 ** (i // 2), i % 2 == 0\n"
            "        q = MatMulNBitsQuantizer(copy, 4, block_size, symmetric)\n"
            "        q.process()\n"
            "        z = onnxruntime.InferenceSession(copy.SerializeToString()).run(None, {'x': x})[0]\n"
            "        if sqnr_db(y, z) >= at_least and (found[0] is None or copy.ByteSize() < found[0]):\n"
            "            found = copy.ByteSize(), block_size, symmetric\n"
            "    return found[1:] if found[0] else None\n",
        ),
        (
            "numbers for truth values, the word None",
            "def four_bits(path, x, at_least):\n"
            "    (y,) = onnxruntime.InferenceSession(path).run(None, {'x': x})\n"
            "    table = np.zeros((0, 3))\n"
            "    for block_size in np.array([16, 32, 64, 128]):\n"
            "        for symmetric in (1, 0):\n"
            "            q = MatMulNBitsQuantizer(onnx.load(path), 4, int(block_size), bool(symmetric))\n"
            "            q.process()\n"
            "            data = q.model.model.SerializeToString()\n"
            "            (z,) = onnxruntime.InferenceSession(data).run(None, {'x': x})\n"
            "            if 10 * np.log10(np.sum(y**2) / np.sum((y - z) ** 2)) >= at_least:\n"
            "                table = np.vstack([table, [len(data), block_size, symmetric]])\n"
            "    return tuple(table[table[:, 0].argmin(), 1:]) if len(table) else 'None'\n",
        ),
    ],
}
