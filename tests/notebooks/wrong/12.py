"""Wrong answers to the exercises of notebook 12: name, code in the stub's place, what the refusal must say."""

CHOICES = {"12.5"}

PAIR = """\
def pack(codes):
    {pack}


def unpack(packed):
    {unpack}
"""
PACK = "c = (codes + 8).astype(np.uint8); return c[..., ::2] | c[..., 1::2] << 4"
UNPACK = "return (np.stack([packed & 15, packed >> 4], -1).reshape(*packed.shape[:-1], -1)).astype(np.int8) - 8"


def pair(pack=PACK, unpack=UNPACK):
    return PAIR.format(pack=pack, unpack=unpack)


GPTQ = """\
def gptq(weight, hessian, bits, block_size):
    rows, most = weight.astype(np.float64), 2 ** (bits - 1)
    damped = {damped}
    upper = {upper}
    codes, scales = np.empty(rows.shape{dtype}), []
    for k in range(len(rows)):
        if {when}:
            scales.append(signed_scale({block}, {bits}))
        codes[k] = {code}
        error = (rows[k] - codes[k] * scales[-1]) / {by}
        {update}
    return {result}
"""


def gptq(damped="hessian + 0.01 * np.mean(np.diag(hessian)) * np.eye(len(rows))",
         upper="np.linalg.cholesky(np.linalg.inv(damped)).T", dtype=", np.int8", when="k % block_size == 0",
         bits="bits", block="rows[k : k + block_size]", code="np.clip(np.rint(rows[k] / scales[-1]), -most, most - 1)",
         by="upper[k, k]", update="rows[k + 1 :] -= np.outer(upper[k, k + 1 :], error)",
         result="codes, np.float32(scales)"):  # fmt: skip
    return GPTQ.format(**locals())


GPTQ_FIRST = gptq().replace("error = (rows[k]", "error = (weight[k]")

BITS = """\
def bits_per_weight(k, bits, block_size, scale_bits, zero_points=False, group=None):
    blocks = {blocks}
    total = {total}
    total += {zeros} if zero_points else 0
    total += {more} if group is not None else 0
    return {result}
"""


def size(blocks="-(-k // block_size)", total="blocks * (block_size * bits + scale_bits)",
         zeros="8 * -(-blocks * bits // 8)", more="32 * -(-blocks // group)", result="total / k"):  # fmt: skip
    return BITS.format(**locals())


NODE = """\
def nbits_model(codes, scales, block_size, level):
    (k, n), blocks = codes.shape, len(scales)
    padded = np.pad(codes, ((0, blocks * block_size - k), (0, 0)))
    stored = {stored}
    node = helper.make_node("{op}", ["x", "w", "s"], ["y"], {domain}K={k}, N={n}, bits=4, block_size=block_size{level})
    put = helper.make_tensor_value_info("x", 1, ["T", k])
    out = helper.make_tensor_value_info("y", 1, ["T", n])
    held = [numpy_helper.from_array(stored, "w"), numpy_helper.from_array({scales}, "s")]
    graph = helper.make_graph([node], "g", [put], [out], held)
    return helper.make_model(graph, opset_imports=[{opsets}], ir_version=10){end}
"""


def node(stored="n12.pack(padded.T.reshape(n, blocks, block_size))", op="MatMulNBits",
         domain='domain="com.microsoft", ',
         k="k", n="n", level=", accuracy_level=level", scales="scales.T.ravel()", end="",
         opsets='helper.make_opsetid("", 21), helper.make_opsetid("com.microsoft", 1)'):  # fmt: skip
    return NODE.format(**locals())


WRONG_ANSWERS = {
    "12.1": [
        ("the first in the high half", pair("c = (codes + 8).astype(np.uint8); return c[..., ::2] << 4 | c[..., 1::2]"),
         "the two halves are swapped"),
        ("without the 8", pair("c = codes.astype(np.uint8) & 15; return c[..., ::2] | c[..., 1::2] << 4"),
         "without the 8"),
        ("negative codes as they are", pair("return (codes[..., ::2] | codes[..., 1::2] << 4).astype(np.uint8)"),
         "add 8 first"),
        ("int8 bytes", pair("c = codes + 8; return c[..., ::2] | c[..., 1::2] << 4"), "make uint8 of the codes"),
        ("unpack wraps", pair(
            unpack="return np.stack([packed & 15, packed >> 4], -1).reshape(*packed.shape[:-1], -1) - 8"),
         "wraps around"),
        ("first half with second half", pair(
            "c, h = (codes + 8).astype(np.uint8), codes.shape[-1] // 2; return c[..., :h] | c[..., h:] << 4"),
         "neighbours belong together"),
        ("one code a byte", pair("return (codes + 8).astype(np.uint8)"), "expected shape"),
        ("int64 bytes", pair("c = codes.astype(int) + 8; return c[..., ::2] | c[..., 1::2] << 4"), "dtype uint8"),
        ("unpack keeps the 8", pair(unpack=UNPACK.removesuffix(" - 8")), "8 is still to be taken off"),
        ("unpack reads signs", pair(
            unpack="c = np.stack([packed & 15, packed >> 4], -1).reshape(*packed.shape[:-1], -1).astype(int); "
                   "return np.where(c > 7, c - 16, c)"), "numbers with a sign"),
        ("unpack all low halves first", pair(
            unpack="return np.concatenate([packed & 15, packed >> 4], -1).astype(np.int8) - 8"),
         "neighbours lie in one byte"),
        ("unpack the high half first", pair(unpack=UNPACK.replace("packed & 15, packed >> 4",
                                                                  "packed >> 4, packed & 15")),
         "the high half came first"),
        ("pack alone", "def pack(codes):\n    " + PACK + "\n\n\nunpack = 3", "two functions"),
    ],
    "12.2": [
        ("nothing is passed on", gptq(update="pass"), "round-to-nearest's"),
        ("added, not taken off", gptq(update="rows[k + 1 :] += np.outer(upper[k, k + 1 :], error)"), "wrong sign"),
        ("the Hessian, not its inverse", gptq(upper="np.linalg.cholesky(damped).T"), "its inverse belongs"),
        ("the lower triangle", gptq(upper="np.linalg.cholesky(np.linalg.inv(damped))"), "lower triangle"),
        ("another factor", gptq(upper="np.linalg.inv(np.linalg.cholesky(damped)).T"), "this U is upper too"),
        ("error of the first weight", GPTQ_FIRST, "the weight as it was"),
        ("rows of the inverse", gptq(upper="np.linalg.inv(damped)"), "rows of H⁻¹ as they are"),
        ("not divided", gptq(by="1"), "not divided"),
        ("one scale for a column", gptq(when="k == 0", result="codes, np.float32(np.repeat(scales, "
                                        "-(-len(rows) // block_size), axis=0))"), "scale at"),
        ("scales of the whole column", gptq(block="rows"), "scale at"),
        ("not clipped", gptq(code="np.rint(rows[k] / scales[-1])", dtype=", np.int16"), "codes from"),
        ("codes times scale", gptq(dtype="", result="codes * np.repeat(scales, block_size, axis=0)[: len(codes)], "
                                   "scales"),
         "codes are whole numbers"),
        ("floor", gptq(code="np.clip(np.floor(rows[k] / scales[-1]), -most, most - 1)"), "differ"),
        ("swapped", gptq(result="np.float32(scales), codes"), "swapped"),
        ("not damped", gptq(damped="hessian", upper="np.linalg.cholesky(np.linalg.pinv(damped)).T"),
         "Was the Hessian damped?"),
        ("damped by 10 %", gptq(damped="hessian + 0.1 * np.mean(np.diag(hessian)) * np.eye(len(rows))"),
         "10 % of that mean"),
        ("damped by 0.01", gptq(damped="hessian + 0.01 * np.eye(len(rows))"), "0.01 itself"),
        ("scales of the weight as it came", gptq(block="weight[k : k + block_size]"), "as it came"),
        ("in place", gptq().replace("weight.astype(np.float64)", "weight"), "work on a copy"),
    ],
    "12.3": [
        ("the last block is not padded", size(total="k * bits + blocks * scale_bits"), "padded"),
        ("blocks not rounded up", size(blocks="k / block_size"), "round the number of blocks up"),
        ("divided by the padded length", size(result="total / (blocks * block_size)"), "divide by k itself"),
        ("the last block left out", size(blocks="k // block_size"), "the short last block is left out"),
        ("no zero points", size(zeros="0"), "zero points are missing"),
        ("zero points not in whole bytes", size(zeros="blocks * bits"), "whole bytes"),
        ("no scales of scales", size(more="0"), "scales of the scales are missing"),
        ("a scale for each of the group", size(more="32 * group"), "share one more scale"),
        ("the last group left out", size(more="32 * blocks / group"), "number of groups up"),
        ("bytes", size(result="total / k / 8"), "in bytes"),
        ("the whole column", size(result="total"), "not for a weight"),
        ("no scales", size(total="blocks * block_size * bits"), "the scales are missing"),
        ("a scale for each weight", size(total="k * (bits + scale_bits)"), "shared by a block"),
    ],
    "12.4": [
        ("row by row", node("n12.pack(padded.reshape(n, blocks, block_size))"), "row by row"),
        ("without the 8", node("(lambda c: c[..., ::2] | c[..., 1::2] << 4)"
                               "(padded.T.reshape(n, blocks, block_size).astype(np.uint8) & 15)"), "8 is to be added"),
        ("scales block by block", node(scales="scales.ravel()"), "scales.T"),
        ("scales of float16", node(scales="scales.T.astype(np.float16)"), "float32 too"),
        ("no domain", node(domain=""), "com.microsoft"),
        ("no opset for the domain", node(opsets='helper.make_opsetid("", 21)'), "opset_imports lack"),
        ("K and N swapped", node(k="n", n="k"), "swapped"),
        ("no level", node(level=""), "accuracy_level"),
        ("always level 4", node(level=", accuracy_level=4"), "accuracy_level=4, asked for 1"),
        ("one code a byte", node("(padded.T.reshape(n, blocks, block_size) + 8).astype(np.uint8)"), "two codes a byte"),
        ("not padded", node("n12.pack(codes.T)"), "the last one padded"),
        ("one row only", node().replace('["T", k]', "[1, k]"), "leave T open"),
        ("a MatMul", node(op="MatMul"), "expected one MatMulNBits"),
        ("bytes of a model", node(end=".SerializeToString()"), "expected an onnx.ModelProto"),
    ],
    "12.5": [
        ("int8 on both", 'choice_12_5 = "int8 and int8"', "reading takes the time"),
        ("int4 on both", 'choice_12_5 = "int4 and int4"', "with 2,000 rows arithmetic takes the time"),
        ("the other way round", 'choice_12_5 = "int8 and int4"', "the other way round"),
        ("fp32 on the phone", 'choice_12_5 = "fp32 and int8"', "32 bits a weight"),
        ("fp32 on the server", 'choice_12_5 = "int4 and fp32"', "only slow"),
    ],
}  # fmt: skip
