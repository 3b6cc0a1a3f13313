"""Wrong answers to the exercises of notebook 02: name, code in the stub's place, what the refusal must say."""

SYMMETRIC = """\
def symmetric_qparams(x):
    largest = np.abs(x).max()
    return {}
"""

RELU = """\
def quantize_relu(x):
    largest = max(float(x.max()), 1e-30)
    scale = np.float32({scale})
    codes = {codes}
    decoded = scale * np.asarray(codes, np.float32)
    noise = np.linalg.norm((x - decoded).ravel())
    sqnr = {sqnr}
    return codes, scale, sqnr
"""
ROUND = "np.rint(x / scale).astype(np.uint8)"
SQNR = "20 * np.log10(np.linalg.norm(x.ravel()) / noise) if noise else np.inf"

SCHEMES_CHOSEN = """\
def choose_schemes(tensors, zero_points):
    chosen, gains = {{}}, []
    for name, x in tensors.items():
        errors, free = {{}}, []
        for scheme, (dtype, symmetric) in SCHEMES.items():
            qparams = choose_qparams(x, dtype, symmetric=symmetric)
            errors[scheme] = {total}
            if {is_free}:
                free.append(scheme)
        chosen[name], best = min(free, key=errors.get), {best}
        gain = {gain}
        if {worth}:
            gains.append((gain, name, best))
    for _, name, best in {order}:
        chosen[name] = best
    return chosen
"""

QUANTIZED = """\
def quantize_for(card, source, target):
    quantize_dynamic(source, target, op_types_to_quantize=["MatMul"], {})
"""
BY_CARD = """\
def quantize_for(card, source, target):
    {first}
    signed = {signed}
    weight_type = QuantType.QInt8 if signed else QuantType.QUInt8
    reduced = {reduced}
    quantize_dynamic(
        source, target, op_types_to_quantize=["MatMul"], per_channel={per_channel}, weight_type=weight_type,
        reduce_range=reduced
    )
"""


def relu(scale="largest / 255", codes=ROUND, sqnr=SQNR):
    return RELU.format(scale=scale, codes=codes, sqnr=sqnr)


def schemes(
    is_free="int(qparams.zero_point) == 0",
    best="min(errors, key=errors.get)",
    gain='(errors[chosen[name]] - errors[best]) / errors["symmetric int8"]',
    worth="gain > 0",
    order="sorted(gains, reverse=True)[:zero_points]",
    total="np.sum(np.square(x - fake_quantize(x, qparams), dtype=float))",
):
    return SCHEMES_CHOSEN.format(is_free=is_free, best=best, gain=gain, worth=worth, order=order, total=total)


def by_card(
    signed='card.speed["u8s8"] >= card.speed["u8u8"]',
    reduced="signed and card.saturates",
    per_channel=True,
    first="",
):
    return BY_CARD.format(signed=signed, reduced=reduced, per_channel=per_channel, first=first)


WRONG_ANSWERS = {
    "02.1": [
        (
            "divides by 128",
            SYMMETRIC.format("(largest / 128 if largest else 1.0), 0"),
            "+largest needs the code 128, which does not exist",
        ),
        (
            "divides by 127.5",
            SYMMETRIC.format("(largest / 127.5 if largest else 1.0), 0"),
            "half a step beyond the last code",
        ),
        (
            "divides by 255",
            SYMMETRIC.format("(largest / 255 if largest else 1.0), 0"),
            "int8 has 127 there",
        ),
        (
            "looks at the positive end only",
            "def symmetric_qparams(x):\n    return (x.max() / 127 if x.any() else 1.0), 0\n",
            "looks at the positive end only",
        ),
        (
            "looks at the negative end only",
            "def symmetric_qparams(x):\n    return (-x.min() / 127 if x.any() else 1.0), 0\n",
            "looks at the negative end only",
        ),
        (
            "the asymmetric scale",
            "def symmetric_qparams(x):\n    return ((x.max() - x.min()) / 255 if x.any() else 1.0), 0\n",
            "the asymmetric scale",
        ),
        (
            "forgets the tensor of zeros",
            SYMMETRIC.format("largest / 127, 0"),
            "where all is 0, use scale 1",
        ),
        (
            "returns the zero point first",
            SYMMETRIC.format("0, (largest / 127 if largest else 1.0)"),
            "return the scale first",
        ),
        (
            "the mid-code of uint8 as zero point",
            SYMMETRIC.format("(largest / 127 if largest else 1.0), 128"),
            "symmetric codes mirror at the code 0",
        ),
        (
            "returns the scale alone",
            SYMMETRIC.format("largest / 127"),
            "expected two values, scale and zero_point",
        ),
        ("divides by 126", SYMMETRIC.format("(largest / 126 if largest else 1.0), 0"), "this is largest / 126"),
        ("divides by 254", SYMMETRIC.format("(largest / 254 if largest else 1.0), 0"), "this is largest / 254"),
        ("divides by 256", SYMMETRIC.format("(largest / 256 if largest else 1.0), 0"), "this is largest / 256"),
        ("2 a over 127", SYMMETRIC.format("(2 * largest / 127 if largest else 1.0), 0"), "this is 2 a / 127"),
        ("one over the scale", SYMMETRIC.format("(127 / largest if largest else 1.0), 0"), "one over the scale"),
        ("does not divide", SYMMETRIC.format("(largest if largest else 1.0), 0"), "not yet divided"),
        (
            "takes small numbers for zeros",
            SYMMETRIC.format("(largest / 127 if largest > 1e-3 else 1.0), 0"),
            "a guard such as `if largest < 1e-3` takes small numbers for zeros",
        ),
        (
            "a guard of 1e-8, as np.allclose has",
            SYMMETRIC.format("(1.0 if np.allclose(x, 0) else largest / 127), 0"),
            "a guard such as",
        ),
        (
            "a guard of 1e-12",
            SYMMETRIC.format("(largest / 127 if largest > 1e-12 else 1.0), 0"),
            "a guard such as",
        ),
        (
            "a guard of 1e-20",
            SYMMETRIC.format("(1.0 if largest < 1e-20 else largest / 127), 0"),
            "a guard such as",
        ),
        (
            "Python's max of an array of several dimensions",
            "def symmetric_qparams(x):\n    largest = max(abs(x))\n    return (largest / 127 if largest else 1.0), 0\n",
            "`x.max()` takes the largest of all numbers",
        ),
        (
            "a floor of 1e-8 under the scale",
            SYMMETRIC.format("(max(largest / 127, 1e-8) if largest else 1.0), 0"),
            "a floor under the scale",
        ),
        (
            "a floor of 1e-8, for zeros too",
            SYMMETRIC.format("max(largest / 127, 1e-8), 0"),
            "where all is 0, use scale 1",
        ),
        (
            "an epsilon for zeros",
            SYMMETRIC.format("(largest / 127 or 1e-12), 0"),
            "where all is 0, use scale 1",
        ),
        ("0 for zeros", SYMMETRIC.format("(largest / 127 if largest else 0.0), 0"), "0 / 0 has no code"),
        (
            "the largest value with its sign",
            "def symmetric_qparams(x):\n    extreme = x.ravel()[np.abs(x).argmax()]\n"
            "    return (extreme / 127 if extreme else 1.0), 0\n",
            "take the absolute value",
        ),
        ("a scale cut off", SYMMETRIC.format("(largest // 127 if largest else 1.0), 0"), "nothing is left of it"),
        (
            "a percentile instead of the largest",
            SYMMETRIC.format("(float(np.percentile(np.abs(x), 99)) / 127 or 1.0), 0"),
            "the largest |x| lies beyond the code 127 and clips",
        ),
        (
            "half as many steps again",
            SYMMETRIC.format("(1.5 * largest / 127 or 1.0), 0"),
            "no value reaches the code 127",
        ),
        (
            "the signed extreme / -8, as for 4-bit blocks",
            SYMMETRIC.format("(x.ravel()[np.abs(x).argmax()] / -8 if largest else 1.0), 0"),
            "this is a / 8, as in 4 bits",
        ),
        ("multiplies", SYMMETRIC.format("(largest * 127 or 1.0), 0"), "this is a times 127"),
        ("16 bits", SYMMETRIC.format("(largest / 32767 or 1.0), 0"), "this is a / 32767, of 16 bits"),
        ("rounded", SYMMETRIC.format("(round(float(largest / 127), 3) or 1.0), 0"), "it was rounded"),
        ("int4's divisor", SYMMETRIC.format("(largest / 7 if largest else 1.0), 0"), "this is a / 7, as in 4 bits"),
        (
            "the end that is nearer to zero",
            "def symmetric_qparams(x):\n    return (min(abs(x.min()), abs(x.max())) / 127 or 1.0), 0\n",
            "the end that is nearer to 0",
        ),
        (
            "the whole range over 254",
            "def symmetric_qparams(x):\n    return ((x.max() - x.min()) / 254 if x.any() else 1.0), 0\n",
            "the whole range over 254",
        ),
        (
            "the mean of |x|",
            "def symmetric_qparams(x):\n    return (np.abs(x).mean() / 127 or 1.0), 0\n",
            "this takes the mean of |x|",
        ),
        (
            "the zero point of the asymmetric scheme",
            SYMMETRIC.format(
                "(largest / 127 if largest else 1.0), int(np.rint(-128 - x.min() / (largest / 127 or 1)))"
            ),
            "symmetric codes mirror at the code 0",
        ),
        (
            "a dictionary",
            SYMMETRIC.format('{"scale": largest / 127 or 1.0, "zero_point": 0}'),
            "expected two values, scale and zero_point",
        ),
    ],
    "02.2": [
        (
            "codes of 32 bits",
            relu(codes="np.rint(x / scale).astype(np.int32)"),
            "expected 8-bit codes",
        ),
        (
            "symmetric int8",
            relu("largest / 127", "np.rint(x / scale).astype(np.int8)"),
            "symmetric int8: no value needs a negative code",
        ),
        (
            "asymmetric int8, zero point -128",
            relu(codes="np.clip(np.rint(x / scale) - 128, -128, 127).astype(np.int8)"),
            "with no zero point",
        ),
        (
            "stored as int8, which wraps around",
            relu(codes="np.rint(x / scale).astype(np.uint8).view(np.int8)"),
            "store the codes as uint8",
        ),
        (
            "divides by 256 and does not clip",
            relu("largest / 256", "np.rint(x / scale)"),
            "8 bits hold 0 to 255",
        ),
        (
            "divides by 256 and clips",
            relu("largest / 256", "np.clip(np.rint(x / scale), 0, 255).astype(np.uint8)"),
            "largest / 256",
        ),
        (
            "rounds down",
            relu(codes="np.floor(x / scale).astype(np.uint8)"),
            "these are rounded down",
        ),
        (
            "does not round",
            relu(codes="x / scale"),
            "expected whole numbers",
        ),
        (
            "a ratio of squares under 20 log10",
            relu(sqnr="20 * np.log10(np.sum(x.astype(float) ** 2) / noise.astype(float) ** 2) if noise else np.inf"),
            "this is twice as much",
        ),
        (
            "a ratio of norms under 10 log10",
            relu(sqnr="10 * np.log10(np.linalg.norm(x.ravel()) / noise) if noise else np.inf"),
            "this is half of it",
        ),
        (
            "noise over signal",
            relu(sqnr="20 * np.log10(noise / np.linalg.norm(x.ravel())) if x.any() else np.inf"),
            "signal and noise have changed places",
        ),
        (
            "divides by zero where the ReLU never fires",
            relu("x.max() / 255", "np.nan_to_num(np.rint(x / scale)).astype(np.uint8)"),
            "where all is 0, take 1",
        ),
        (
            "one over the scale",
            relu("255 / largest", "np.clip(np.rint(x / scale), 0, 255).astype(np.uint8)"),
            "one over the scale",
        ),
        ("divides by 254", relu("largest / 254"), "largest / 254"),
        ("does not divide", relu("largest"), "not yet divided by the 255 steps"),
        (
            "twice the steps",
            relu("largest / 510", "np.clip(np.rint(x / scale), 0, 255).astype(np.uint8)"),
            "lie beyond the code 255 and clip",
        ),
        ("half the steps", relu("largest / 100"), "the codes above it lie idle"),
        (
            "takes small numbers for zeros",
            relu("largest / 255 if largest > 1e-3 else 1"),
            "takes small numbers for zeros",
        ),
        (
            "the range begins at the least value, codes do not",
            relu("(x.max() - x.min()) / 255 if x.any() else 1.0"),
            "(max - min) / 255: without a zero point the range begins at 0",
        ),
        (
            "np.ptp, clipped",
            relu("np.ptp(x) / 255 if x.any() else 1.0", "np.rint(x / scale).clip(0, 255).astype(np.uint8)"),
            "(max - min) / 255: without a zero point the range begins at 0",
        ),
        (
            "half a step too far",
            relu("largest / 255.5", "np.rint(x / scale).clip(0, 255).astype(np.uint8)"),
            "half a step beyond the code 255",
        ),
        (
            "a scale of 16 bits",
            relu("np.float16(largest / 255)", "np.rint(x / scale).clip(0, 255).astype(np.uint8)"),
            "rounded, to float16",
        ),
        (
            "a scale of four digits",
            relu(
                "np.round(largest / 255, 4) if largest > 1e-6 else largest / 255",
                "np.rint(x / scale).clip(0, 255).astype(np.uint8)",
            ),
            "rounded, to float16 or to a few digits",
        ),
        ("a floor of 1e-12", relu("max(largest / 255, 1e-12 / 255)"), "a floor under the scale"),
        ("an epsilon of 1e-13", relu("(largest + 1e-13) / 255"), "a floor under the scale"),
        ("a guard of 1e-12", relu("largest / 255 if largest > 1e-12 else 1"), "takes small numbers for zeros"),
        (
            "what was decoded as signal",
            relu(sqnr="20 * np.log10(np.linalg.norm(decoded) / noise) if noise else np.inf"),
            "above the bar stands |decoded|",
        ),
        (
            "a variance as signal",
            relu(sqnr="10 * np.log10(np.var(x) / np.mean((x - decoded) ** 2)) if noise else np.inf"),
            "the signal is a variance",
        ),
        (
            "the norm of a matrix",
            relu(
                sqnr="20 * np.log10(np.linalg.norm(x, 2) / np.linalg.norm(x - decoded, 2)) if x.ndim == 2 and noise "
                "else 20 * np.log10(np.linalg.norm(x) / noise) if noise else np.inf"
            ),
            "its largest singular value",
        ),
        (
            "rounded to one decimal",
            relu(sqnr="round(20 * np.log10(np.linalg.norm(x) / noise), 1) if noise else np.inf"),
            "it was rounded; leave its digits",
        ),
        ("a floor of 1e-8", relu("max(largest / 255, 1e-8)"), "a floor under the scale"),
        ("an epsilon of 1e-8", relu("(largest + 1e-8) / 255"), "a floor under the scale"),
        (
            "a range of three standard deviations",
            relu(
                "3 * x.std() / 255 if x.any() and x.size > 1 else largest / 255",
                "np.clip(np.rint(x / scale), 0, 255).astype(np.uint8)",
            ),
            "of the values lie beyond the code 255 and clip",
        ),
        ("clips at 127", relu(codes="np.clip(np.rint(x / scale), 0, 127).astype(np.uint8)"), "these clip at 127"),
        ("clips at 254", relu(codes="np.clip(np.rint(x / scale), 0, 254).astype(np.uint8)"), "these clip at 254"),
        ("rounds up", relu(codes="np.ceil(x / scale).clip(0, 255).astype(np.uint8)"), "these are rounded up"),
        (
            "a scale for 511 codes that wraps around",
            relu("largest / 300", "np.rint(x / scale).astype(np.int64).astype(np.uint8)"),
            "these wrap around",
        ),
        (
            "asymmetric codes with zero point 128",
            relu("largest / 127", "(np.rint(x / scale) + 128).astype(np.uint8)"),
            "a zero point of 128 was added",
        ),
        (
            "the natural logarithm",
            relu(sqnr="20 * np.log(np.linalg.norm(x) / noise) if noise else np.inf"),
            "the natural logarithm",
        ),
        (
            "the logarithm to base 2",
            relu(sqnr="20 * np.log2(np.linalg.norm(x) / noise) if noise else np.inf"),
            "to base 2",
        ),
        (
            "the plain ratio",
            relu(sqnr="np.linalg.norm(x) / noise if noise else np.inf"),
            "the ratio of the norms itself",
        ),
        (
            "the ratio of squares",
            relu(sqnr="np.square(np.linalg.norm(x) / noise) if noise else np.inf"),
            "the ratio of the squares itself",
        ),
        (
            "without the factor",
            relu(sqnr="np.log10(np.linalg.norm(x) / noise) if noise else np.inf"),
            "the factor 20 is missing",
        ),
        (
            "the norm of what was decoded",
            relu(sqnr="20 * np.log10(np.linalg.norm(x) / np.linalg.norm(decoded)) if noise else np.inf"),
            "below the bar stands |decoded|",
        ),
        (
            "PSNR",
            relu(sqnr="20 * np.log10(x.max() / np.sqrt(np.mean((x - decoded) ** 2))) if noise else np.inf"),
            "PSNR",
        ),
        (
            "variances",
            relu(sqnr="20 * np.log10(np.std(x.astype(float)) / np.std(x - decoded)) if noise else np.inf"),
            "takes the mean away",
        ),
        (
            "sums of absolute values",
            relu(sqnr="20 * np.log10(np.abs(x).sum() / np.abs(x - decoded).sum()) if noise else np.inf"),
            "sums absolute values",
        ),
        (
            "the least value as a zero point",
            """\
def quantize_relu(x):
    scale = np.ptp(x) / 255 or np.float32(1)
    codes = np.rint((x - x.min()) / scale).astype(np.uint8)
    return codes, scale, 20 * np.log10(np.linalg.norm(x) / np.linalg.norm(x - scale * codes))
""",
            "the least value was subtracted first",
        ),
        ("the noise alone", relu(sqnr="20 * np.log10(noise) if noise else 0.0"), "this is the noise alone"),
        (
            "the mean as signal",
            relu(sqnr="20 * np.log10(x.mean() / np.sqrt(np.mean((x - decoded) ** 2))) if noise else np.inf"),
            "the mean of x with the error",
        ),
        (
            "codes in place of what they decode to",
            relu(sqnr="20 * np.log10(np.linalg.norm(x) / np.linalg.norm(x - codes * 1.0)) if noise else np.inf"),
            "decode the codes first",
        ),
        (
            "largest value over largest error",
            relu(sqnr="20 * np.log10(x.max() / np.abs(x - decoded).max()) if noise else np.inf"),
            "the largest value with the largest error",
        ),
        ("the rule of 6 dB a bit", relu(sqnr="6.02 * 8"), "this is the rule of 6.02 dB a bit"),
        ("values up to 1", relu("1 / 255", "np.clip(np.rint(x / scale), 0, 255).astype(np.uint8)"), "this is 1 / 255"),
        (
            "the SQNR times itself",
            relu(sqnr="np.log10(np.linalg.norm(x) / noise) ** 2 if noise else np.inf"),
            "|x - scale * codes|",
        ),
        (
            "scale first",
            relu().replace("return codes, scale, sqnr", "return scale, codes, sqnr"),
            "return codes, scale, SQNR in this order",
        ),
        (
            "SQNR before scale",
            relu().replace("return codes, scale, sqnr", "return codes, sqnr, scale"),
            "scale and SQNR have changed places",
        ),
        (
            "what was decoded instead of the codes",
            relu().replace("return codes, scale, sqnr", "return decoded, scale, sqnr"),
            "these are the decoded numbers",
        ),
        (
            "returns the codes alone",
            "def quantize_relu(x):\n    return np.rint(x / (x.max() / 255)).astype(np.uint8)\n",
            "expected three values",
        ),
    ],
    "02.3": [
        (
            "symmetric int8 for all, as for weights",
            "def choose_schemes(tensors, zero_points):\n    return dict.fromkeys(tensors, 'symmetric int8')\n",
            "half of int8's codes lie idle",
        ),
        (
            "asymmetric for all",
            "def choose_schemes(tensors, zero_points):\n    return dict.fromkeys(tensors, 'asymmetric uint8')\n",
            "have a zero point other than 0",
        ),
        (
            "symmetric uint8 for all",
            "def choose_schemes(tensors, zero_points):\n    return dict.fromkeys(tensors, 'symmetric uint8')\n",
            "symmetric int8 in other clothes",
        ),
        (
            "symmetric taken for free, whatever the type",
            schemes(is_free="symmetric", gain='errors[chosen[name]] / errors["symmetric int8"] * 0'),
            "you have spent 0 of 3",
        ),
        (
            "a zero point of 0 counted as spent",
            schemes(is_free="scheme == 'symmetric int8'"),
            "It has no negative value",
        ),
        (
            "sorted the wrong way",
            schemes(order="sorted(gains)[:zero_points]"),
            "gains less",
        ),
        (
            "errors not divided by symmetric int8's",
            schemes(gain="errors[chosen[name]] - errors[best]"),
            "Was each error divided by that of symmetric int8?",
        ),
        (
            "by the largest error",
            schemes(total="np.abs(x - fake_quantize(x, qparams)).max()"),
            "Was the largest error compared, or the range alone?",
        ),
        (
            "by the sum of |error|",
            schemes(total="np.abs(x - fake_quantize(x, qparams)).sum(dtype=float)"),
            "Were the errors squared before they were added up?",
        ),
        (
            "divided by the signal's energy",
            schemes(gain="(errors[chosen[name]] - errors[best]) / np.sum(np.square(x, dtype=float))"),
            "Was it divided by the signal's energy?",
        ),
        (
            "divided by the variance",
            schemes(gain="(errors[chosen[name]] - errors[best]) / np.var(x.astype(float))"),
            "Was it divided by the variance",
        ),
        (
            "divided by a * a",
            schemes(gain="(errors[chosen[name]] - errors[best]) / np.abs(x).max() ** 2"),
            "or by a * a?",
        ),
        (
            "as they come",
            schemes(order="gains[:zero_points]"),
            "gains less",
        ),
        (
            "asymmetric taken for better wherever a zero point is left",
            schemes(best="'asymmetric uint8'", worth="True"),
            "does harm",
        ),
        (
            "spends one zero point too few",
            schemes(order="sorted(gains, reverse=True)[:max(zero_points - 1, 0)]"),
            "you have spent 2 of 3",
        ),
        (
            "spends one too many",
            schemes(order="sorted(gains, reverse=True)[:zero_points + 1]"),
            "4 have a zero point other than 0",
        ),
        (
            "always three zero points",
            schemes(order="sorted(gains, reverse=True)[:3]"),
            "for the eight tensors and 0 zero points: 3 have a zero point other than 0",
        ),
        (
            "unsigned codes without a look at the sign",
            "def choose_schemes(tensors, zero_points):\n"
            "    return {n: 'symmetric uint8' if x.min() > -1 else 'symmetric int8' for n, x in tensors.items()}\n",
            "symmetric int8 in other clothes",
        ),
        (
            "by the widest ranges",
            """\
def choose_schemes(tensors, zero_points):
    widest = sorted(tensors, key=lambda name: np.ptp(tensors[name]), reverse=True)[:zero_points]
    free = {n: "symmetric uint8" if x.min() >= 0 else "symmetric int8" for n, x in tensors.items()}
    return {n: "asymmetric uint8" if n in widest else free[n] for n in tensors}
""",
            "you have spent 2 of 3",
        ),
        (
            "by where zero lies, not by measuring",
            """\
def choose_schemes(tensors, zero_points):
    ends = {n: (max(-x.min(), 0), max(x.max(), 0)) for n, x in tensors.items() if x.min() < 0}
    order = sorted(ends, key=lambda n: min(ends[n]) / max(ends[n]))[:zero_points]
    free = {n: "symmetric uint8" if x.min() >= 0 else "symmetric int8" for n, x in tensors.items()}
    return {n: "asymmetric uint8" if n in order else free[n] for n in tensors}
""",
            "or the range alone? The error is the sum of all squares",
        ),
        (
            "the eight by heart",
            """\
def choose_schemes(tensors, zero_points):
    return {
        "convolution weight": "symmetric int8",
        "feed-forward weight": "symmetric int8",
        "filter banks": "asymmetric uint8",
        "ReLU": "symmetric uint8",
        "SiLU": "asymmetric uint8",
        "LayerNorm": "symmetric int8",
        "softmax": "symmetric uint8",
        "log-probabilities": "asymmetric uint8",
    }
""",
            "for the eight tensors and 0 zero points: 3 have a zero point",
        ),
        (
            "a scheme that does not exist",
            "def choose_schemes(tensors, zero_points):\n    return dict.fromkeys(tensors, 'uint8')\n",
            "expected one of 'symmetric int8'",
        ),
        (
            "a list",
            "def choose_schemes(tensors, zero_points):\n    return ['symmetric int8' for _ in tensors]\n",
            "expected {tensor: scheme}",
        ),
        (
            "only those with a zero point",
            "def choose_schemes(tensors, zero_points):\n    return {'SiLU': 'asymmetric uint8'}\n",
            "expected one scheme for each of 8",
        ),
        (
            "schemes as pairs",
            "def choose_schemes(tensors, zero_points):\n    return {name: ('int8', True) for name in tensors}\n",
            "expected one of 'symmetric int8'",
        ),
        (
            "a dictionary instead of the function",
            "choose_schemes = {name: 'symmetric int8' for name in tensors}",
            "expected the function `choose_schemes(tensors, zero_points)`",
        ),
    ],
    "02.4": [
        (
            "convolutions too, as without op_types_to_quantize",
            by_card().replace('op_types_to_quantize=["MatMul"], ', ""),
            "a Conv was quantized too",
        ),
        (
            "gives up by u8 x s8 alone",
            by_card(first='if card.speed["u8s8"] <= 1: return'),
            "for a card on which u8 x u8 alone is faster than float32: nothing was written",
        ),
        (
            "gives up by u8 x u8 alone",
            by_card(first='if card.speed["u8u8"] <= 1: return'),
            "for a card that saturates and has u8 x s8 alone faster: nothing was written",
        ),
        (
            "gives up where either is slower than float32",
            by_card(first='if min(card.speed["u8s8"], card.speed["u8u8"]) < 1: return'),
            "nothing was written to target",
        ),
        (
            "gives up below thresholds of its own",
            by_card(first='if card.speed["u8s8"] < 2 and card.speed["u8u8"] < 1.6: return'),
            "nothing was written to target",
        ),
        (
            "int8 weights from a threshold on",
            by_card(signed='card.speed["u8s8"] > 1.5'),
            "your products are u8 x u8, 0.80 times as fast as float32",
        ),
        (
            "uint8 weights wherever int8 saturates",
            by_card(signed='not card.saturates and card.speed["u8s8"] >= card.speed["u8u8"]'),
            "for a card that saturates and has u8 x s8 alone faster: your products are u8 x u8",
        ),
        (
            "7 bits by the speed of s8 x s8",
            by_card(reduced='signed and card.speed["s8s8"] < 1 and card.saturates'),
            "for a card that saturates and has a fast s8 x s8: its weights have codes from -127",
        ),
        ("the defaults", QUANTIZED.format("per_channel=False"), "one scale for a whole weight"),
        (
            "always int8 weights",
            QUANTIZED.format("per_channel=True, weight_type=QuantType.QInt8"),
            "which saturate there",
        ),
        (
            "always uint8 weights, as the article has them",
            QUANTIZED.format("per_channel=True, weight_type=QuantType.QUInt8"),
            "your products are u8 x u8, 1.72 times as fast as float32; u8 x s8 is 3.47 times as fast",
        ),
        (
            "always 7 bits",
            QUANTIZED.format("per_channel=True, weight_type=QuantType.QInt8, reduce_range=True"),
            "give a bit away; u8 x s8 does not saturate there",
        ),
        ("forgets the saturation", by_card(reduced="False"), "which saturate there"),
        (
            "7 bits for uint8 weights too",
            by_card(reduced="card.saturates"),
            "give a bit away; u8 x u8 does not saturate there",
        ),
        ("7 bits where it does not saturate", by_card(reduced="signed and not card.saturates"), "give a bit away"),
        ("one scale for the tensor", by_card(per_channel=False), "one scale for a whole weight"),
        (
            "the slower pair",
            by_card(signed='card.speed["u8s8"] < card.speed["u8u8"]'),
            "your products are u8 x u8, 1.72 times as fast as float32; u8 x s8 is 3.47 times as fast",
        ),
        (
            "weights x activations",
            by_card(signed='(card.speed["s8u8"] or 0) > card.speed["u8u8"]'),
            "your products are u8 x u8, 1.72 times as fast as float32; u8 x s8 is 3.47 times as fast",
        ),
        (
            "the best of all four pairs",
            by_card(signed='max(card.speed, key=lambda pair: card.speed[pair] or 0).endswith("s8")'),
            "Activations are always uint8: no s8 x u8 here",
        ),
        (
            "unsigned only where int8 saturates",
            by_card(signed="not card.saturates", reduced="False"),
            "for a card on which u8 x u8 is fastest: your products are u8 x s8",
        ),
        (
            "asks this machine, not the card",
            "def quantize_for(card, source, target):\n    here = machine.card('x86-avx512-vnni')\n"
            "    quantize_dynamic(source, target, ['MatMul'], per_channel=True,"
            " weight_type=QuantType.QInt8, reduce_range=here.saturates)\n",
            "which saturate there",
        ),
        (
            "writes nothing",
            "def quantize_for(card, source, target):\n    return QuantType.QInt8\n",
            "nothing was written to target",
        ),
        (
            "writes over the source",
            "def quantize_for(card, source, target):\n    quantize_dynamic(source, source, per_channel=True,"
            " weight_type=QuantType.QInt8)\n",
            "nothing was written to target",
        ),
        (
            "another operator",
            QUANTIZED.format("per_channel=True").replace("MatMul", "Conv"),
            "2 of 2 MatMuls are still float",
        ),
        (
            "a copy",
            "def quantize_for(card, source, target):\n    onnx.save(onnx.load(source), target)\n",
            "2 of 2 MatMuls are still float",
        ),
        (
            "int8 wherever it is faster than float32",
            by_card(signed='card.speed["u8s8"] > 1'),
            "for a card on which u8 x u8 is fastest: your products are u8 x s8",
        ),
        (
            "always int8, with 7 bits where that saturates",
            QUANTIZED.format("per_channel=True, weight_type=QuantType.QInt8, reduce_range=card.saturates"),
            "for a card on which u8 x u8 is fastest: your products are u8 x s8, 1.20 times as fast as float32",
        ),
        (
            "half of the products",
            QUANTIZED.format('per_channel=True, weight_type=QuantType.QInt8, nodes_to_quantize=["node_MatMul_77"]'),
            "1 of 2 MatMuls are still float",
        ),
        (
            "speeds above 2 only",
            """\
def quantize_for(card, source, target):
    if card.speed["u8s8"] > 2:
        quantize_dynamic(source, target, ["MatMul"], per_channel=True, weight_type=QuantType.QInt8)
""",
            "for x86-avx2: nothing was written to target, but u8 x s8 is 1.99 times as fast as float32 there",
        ),
        (
            "a pair without a kernel taken for a number",
            by_card(),
            "a card without a kernel for u8 x u8",
        ),
    ],
}
