"""Right answers to the exercises of notebook 12 in other styles: name, code in the stub's place."""

PAIR = """\
def pack(codes):
{pack}


def unpack(packed):
{unpack}
"""
STACKED = """\
    low, high = packed % 16, packed // 16
    out = np.zeros((*packed.shape[:-1], 2 * packed.shape[-1]), np.int8)
    out[..., ::2], out[..., 1::2] = low, high
    return out - 8"""
SPLIT = """\
    pairs = (np.asarray(codes, np.int64) + 8).reshape(*codes.shape[:-1], -1, 2)
    return (pairs @ np.array([1, 16])).astype(np.uint8)"""

GPTQ = """\
def gptq(weight, hessian, bits, block_size):
    w, k_of = np.array(weight, dtype=float), range(len(weight))
    h = {damp}
    u = {factor}
    lowest, highest = -(2 ** (bits - 1)), 2 ** (bits - 1) - 1
    q, s = np.zeros(w.shape{dtype}), []
    for k in k_of:
        if k % block_size == 0:
            block = w[k : k + block_size]
            s.append({scale})
        q[k] = np.clip(np.round(w[k] / s[-1]), lowest, highest)
        e = (w[k] - q[k] * s[-1]) / u[k, k]
        {update}
    return {result}
"""
DAMP = "hessian + np.eye(len(w)) * 0.01 * hessian.diagonal().mean()"


def gptq(damp=DAMP, factor="np.linalg.cholesky(np.linalg.inv(h)).T", dtype=", np.int8",
         scale="signed_scale(block, bits)", update="w[k:] -= u[k, k:, None] * e",
         result="q, np.array(s, np.float32)"):  # fmt: skip
    return GPTQ.format(**locals())


LAZY = """\
def gptq(weight, hessian, bits, block_size):
    w = weight.T.astype(np.float64)
    h = hessian + 0.01 * np.trace(hessian) / len(hessian) * np.eye(len(hessian))
    u = np.linalg.cholesky(np.linalg.inv(h)).T
    top, codes, scales = 2 ** (bits - 1), np.zeros(w.shape), []
    for start in range(0, w.shape[1], block_size):
        end = min(start + block_size, w.shape[1])
        scale, errors = signed_scale(w[:, start:end].T, bits), np.zeros((len(w), end - start))
        scales.append(scale)
        for k in range(start, end):
            codes[:, k] = np.clip(np.rint(w[:, k] / scale), -top, top - 1)
            errors[:, k - start] = (w[:, k] - codes[:, k] * scale) / u[k, k]
            w[:, k:end] -= np.outer(errors[:, k - start], u[k, k:end])
        w[:, end:] -= errors @ u[start:end, end:]
    return codes.T.astype(np.int8), np.float32(scales)
"""
SHRINKING = """\
def gptq(weight, hessian, bits, block_size):
    w, most = weight.astype(np.float64), 2 ** (bits - 1)
    inverse = np.linalg.inv(hessian + 0.01 * np.diag(hessian).mean() * np.eye(len(w)))
    codes, scales = [], []
    for k in range(len(w)):
        if k % block_size == 0:
            scales.append(signed_scale(w[k : k + block_size], bits))
        codes.append(np.clip(np.rint(w[k] / scales[-1]), -most, most - 1))
        error = w[k] - codes[-1] * scales[-1]
        w -= np.outer(inverse[:, k], error / inverse[k, k])
        inverse = inverse - np.outer(inverse[:, k], inverse[k]) / inverse[k, k]
        inverse[k], inverse[:, k], inverse[k, k] = 0, 0, 1
    return np.array(codes, np.int8), np.array(scales, np.float32)
"""

BITS = """\
def bits_per_weight(k, bits, block_size, scale_bits, zero_points=False, group=None):
{body}
"""
NODE = """\
def nbits_model(codes, scales, block_size, level):
    k, n = codes.shape
    blocks = {blocks}
{stored}
    node = helper.make_node(
        "MatMulNBits", ["x", "w", "s"], ["y"], name="product", domain="com.microsoft",
        K=k, N=n, bits=4, block_size=block_size, accuracy_level=level)
    ends = [helper.make_tensor_value_info(*end) for end in (("x", 1, [{t}, k]), ("y", 1, [{t}, n]))]
    held = [numpy_helper.from_array({packed}, "w"), numpy_helper.from_array({scales}, "s")]
    graph = helper.make_graph([node], "g", ends[:1], ends[1:], initializer=held)
    return helper.make_model(graph, opset_imports=[{opsets}], ir_version={ir})
"""
PADDED = """\
    room = np.zeros((n, blocks * block_size), np.int8)
    room[:, :k] = codes.T"""
ALL = 'helper.make_opsetid("", 21), helper.make_opsetid("com.microsoft", 1)'


def node(blocks="len(scales)", stored=PADDED, packed="mine.pack(room.reshape(n, blocks, -1))",
         scales="np.ascontiguousarray(scales.T)", t='"rows"', opsets=ALL, ir=10):  # fmt: skip
    return NODE.format(**locals())


BYTES = """\
    room = np.full((n, blocks, block_size), 8, np.uint8)
    for b in range(blocks):
        part = codes[b * block_size : (b + 1) * block_size]
        room[:, b, : len(part)] = part.T + 8
    stored = room[..., ::2] + 16 * room[..., 1::2]"""

RIGHT_ANSWERS = {
    "12.1": [
        ("sums", PAIR.format(pack="    c = codes.astype(np.int16) + 8\n"
                                  "    return (c[..., ::2] + 16 * c[..., 1::2]).astype(np.uint8)", unpack=STACKED)),
        ("a product with 1 and 16", PAIR.format(pack=SPLIT, unpack=STACKED)),
        ("exclusive or", PAIR.format(
            pack="    c = codes.astype(np.uint8) & 15 ^ 8\n    return c[..., ::2] | c[..., 1::2] << 4",
            unpack="    low, high = packed & 15, packed >> 4\n"
                   "    woven = np.stack((low, high), -1).reshape(packed.shape[:-1] + (-1,))\n"
                   "    return woven.astype(np.int8) - np.int8(8)")),
        ("in place", PAIR.format(
            pack="    codes += 8\n    return (codes[..., ::2] | codes[..., 1::2] << 4).astype(np.uint8)",
            unpack=STACKED)),
        ("repeat", PAIR.format(
            pack="    c = np.uint8(codes + 8)\n    return c[..., 0::2] | np.left_shift(c[..., 1::2], 4)",
            unpack="    twice = np.repeat(packed, 2, axis=-1)\n"
                   "    twice[..., 1::2] >>= 4\n    return (twice & 15).astype(np.int32) - 8")),
        ("one by one", PAIR.format(
            pack="    flat = [int(c) + 8 for c in codes.ravel()]\n"
                 "    out = [a | b << 4 for a, b in zip(flat[::2], flat[1::2])]\n"
                 "    return np.array(out, np.uint8).reshape(*codes.shape[:-1], codes.shape[-1] // 2)",
            unpack="    out = [half - 8 for byte in packed.ravel().tolist() for half in (byte & 15, byte >> 4)]\n"
                   "    return np.array(out, np.int8).reshape(*packed.shape[:-1], packed.shape[-1] * 2)")),
    ],
    "12.2": [
        ("other names", gptq()),
        ("the transpose of a solve", gptq(factor="np.linalg.cholesky(np.linalg.solve(h, np.eye(len(h)))).T")),
        ("only later rows, float codes", gptq(dtype="", update="w[k + 1 :] -= np.outer(u[k, k + 1 :], e)",
                                              result="[q.astype(np.int8), np.array(s, np.float32)]")),
        ("in batches, a row for each output", LAZY),
        ("the inverse shrinks, no Cholesky", SHRINKING),
        ("more damping", gptq(damp=DAMP.replace("0.01", "0.02"))),
        ("the scale by hand", gptq(
            scale="np.array([c[np.argmax(np.abs(c))] / lowest or 1 for c in block.T])")),
    ],
    "12.3": [
        ("ceil", BITS.format(body="    blocks = int(np.ceil(k / block_size))\n"
            "    size = blocks * block_size * bits + blocks * scale_bits\n"
            "    size += 8 * int(np.ceil(blocks * bits / 8)) if zero_points else 0\n"
            "    size += 32 * int(np.ceil(blocks / group)) if group else 0\n    return size / k")),
        ("counted block by block", BITS.format(body="    total = blocks = 0\n"
            "    for _ in range(0, k, block_size):\n        total += block_size * bits + scale_bits\n"
            "        blocks += 1\n"
            "    if zero_points:\n        total += (blocks * bits + 7) // 8 * 8\n"
            "    if group:\n        total += 32 * len(range(0, blocks, group))\n    return total / k")),
        ("in bytes first", BITS.format(body="    blocks = (k + block_size - 1) // block_size\n"
            "    size = blocks * (block_size * bits / 8 + scale_bits / 8)\n"
            "    if zero_points:\n        size += -(-blocks * bits // 8)\n"
            "    if group is not None:\n        size += 4 * -(-blocks // group)\n    return 8 * size / k")),
        ("divmod", BITS.format(body="    full, rest = divmod(k, block_size)\n    blocks = full + bool(rest)\n"
            "    zeros = 8 * ((blocks * bits + 7) // 8) * bool(zero_points)\n"
            "    more = 0 if group is None else 32 * -(-blocks // group)\n"
            "    return (blocks * (block_size * bits + scale_bits) + zeros + more) / k")),
        ("an array of one", BITS.format(body="    blocks = -(-k // block_size)\n"
            "    parts = [blocks * block_size * bits, blocks * scale_bits, zero_points * 8 * -(-blocks * bits // 8),\n"
            "             32 * -(-blocks // group) if group else 0]\n    return np.array([sum(parts) / k])")),
    ],
    "12.4": [
        ("a room for the blocks", node()),
        ("bytes written out", node(stored=BYTES, packed="stored", scales="scales.T.reshape(-1)")),
        ("a fixed symbol, flat scales", node(t="None", scales="scales.T.flatten()")),
        ("the course's pack, contiguous", node(packed="n12.pack(room.reshape(n, blocks, block_size))")),
        ("blocks counted", node(blocks="-(-k // block_size)", ir=9, opsets=ALL.replace("21", "20"))),
        ("padded in K first", node(
            stored="    more = np.zeros((blocks * block_size - k, n), np.int8)\n"
                   "    room = np.vstack([codes, more]).T.copy()")),
    ],
}  # fmt: skip
