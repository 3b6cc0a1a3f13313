"""Wrong answers to the exercises of notebook 03: name, code in the stub's place, what the refusal must say."""


def _nearest(body):
    return f"def nearest(x, levels):\n    return {body}\n"


def _log2_quantize(*lines):
    return "\n    ".join(["def log2_quantize(x, bits):", *lines])


def _with_levels(magnitudes, levels="[-powers, [0], powers[::-1]]", result="levels[codes]"):
    return _log2_quantize(
        f"powers = 0.5 ** np.arange({magnitudes})",
        f"levels = np.abs(x).max() * np.concatenate({levels})",
        "codes = np.abs(x[..., None] - levels).argmin(axis=-1)",
        f"return {result}",
    )


def _by_exponent(rounding, start="largest = np.abs(x).max() or 1.0"):
    return _log2_quantize(
        start,
        "lowest = 2 - 2 ** (bits - 1)",
        "size = np.abs(x) / largest",
        f"exponent = np.clip(np.{rounding}(np.log2(np.maximum(size, 1e-30))), lowest, 0)",
        "return np.sign(x) * largest * np.where(size <= 2.0**lowest / 2, 0, 2.0**exponent)",
    )


def _decode(bias=7, normal="1 + mantissa / 8", zero="0", sign="-1.0 if byte >> 7 else 1.0", more="pass"):
    return "\n    ".join(
        [
            "def decode_e4m3(byte):",
            f"sign = {sign}",
            "exponent, mantissa = byte >> 3 & 15, byte & 7",
            more,
            "if byte & 127 == 127: return float('nan')",
            f"if exponent == {zero}: return sign * mantissa / 8 * 2.0 ** (1 - {bias})",
            f"return sign * ({normal}) * 2.0 ** (exponent - {bias})",
        ]
    )


POWERS = "2 ** (bits - 1) - 1"

WRONG_ANSWERS = {
    "03.1": [
        ("the next mark above", _nearest("np.searchsorted(levels, x)"), "the next mark *above*"),
        (
            "the next mark below",
            _nearest("np.clip(np.searchsorted(levels, x, side='right') - 1, 0, len(levels) - 1)"),
            "the next mark *below*",
        ),
        (
            "even spacing taken for granted",
            _nearest(
                "np.clip(np.rint((x - levels[0]) / (levels[-1] - levels[0]) * (len(levels) - 1)), 0, len(levels) - 1)"
            ),
            "evenly spaced",
        ),
        (
            "the mark instead of its code",
            _nearest("levels[np.abs(x[..., None] - levels).argmin(-1)]"),
            "what is asked for is their index",
        ),
        ("distance without its magnitude", _nearest("(x[..., None] - levels).argmin(-1)"), "*signed* difference"),
        ("made for one axis only", _nearest("np.abs(x - levels[:, None]).argmin(0)"), "nearest raised ValueError"),
        (
            "halfway up",
            _nearest("np.searchsorted((levels[1:] + levels[:-1]) / 2, x, side='right')"),
            "the lower one is chosen",
        ),
    ],
    "03.2": [
        ("rounded in the exponent", _by_exponent("rint"), "rounded in the exponent"),
        ("exponent cut off", _by_exponent("floor"), "the exponent is cut"),
        (
            "powers without end",
            _log2_quantize(
                "largest = np.abs(x).max()",
                "return np.sign(x) * largest * 2.0 ** np.rint(np.log2(np.abs(x) / largest))",
            ),
            "the powers go on for ever",
        ),
        (
            "zeros divided by zero",
            _log2_quantize(
                "size = np.abs(x) / np.abs(x).max()",
                "powers = 0.5 ** np.append(np.arange(2 ** (bits - 1) - 1), np.inf)",
                "nearest = powers[np.abs(size[..., None] - powers).argmin(axis=-1)]",
                "return np.where(np.isnan(size), size, np.sign(x) * nearest * np.abs(x).max())",
            ),
            "NaN or infinity came out",
        ),
        ("no mark at 0", _with_levels(POWERS, levels="[-powers, powers[::-1]]"), "0 is missing among the marks"),
        ("sign lost", _with_levels(POWERS, result="np.abs(levels[codes])"), "the sign is lost"),
        ("a power for every code", _with_levels("2**bits - 1"), "too many marks"),
        ("the code of 0 forgotten", _with_levels("2 ** (bits - 1)"), "one power too many"),
        (
            "m without its magnitude",
            _with_levels(POWERS).replace("np.abs(x).max()", "x.max()"),
            "may be that of a negative number",
        ),
        ("codes instead of numbers", _with_levels(POWERS, result="codes"), "these are codes"),
        (
            "0 where the exponent rounds below the smallest",
            _with_levels(
                POWERS,
                result="np.where(np.abs(x) < np.abs(x).max() * powers[-1] / np.sqrt(2), 0, np.sign(x)"
                " * np.maximum(np.abs(levels[codes]), np.abs(x).max() * powers[-1]))",
            ),
            "0 begins where the exponent *rounds*",
        ),
        (
            "0 right below the smallest power",
            _with_levels(POWERS, result="np.where(np.abs(x) < np.abs(x).max() * powers[-1], 0, levels[codes])"),
            "0 begins right below the smallest power",
        ),
        (
            "exponents rounded, 0 among them",
            _by_exponent("rint").replace("size <= 2.0**lowest / 2", "size < 2.0 ** (lowest - 0.5)"),
            "0 begins where the exponent *rounds*",
        ),
        (
            "exponents cut, 0 among them",
            _by_exponent("floor").replace("size <= 2.0**lowest / 2", "size < 2.0**lowest"),
            "0 begins right below the smallest power",
        ),
        (
            "no scale",
            _with_levels(POWERS).replace("np.abs(x).max() * ", ""),
            "the greatest mark is 1 here",
        ),
    ],
    "03.3": [
        ("NF4", 'winner = "NF4"', "because weights are Gaussian"),
        ("log2", 'winner = "log2"', "an error of up to a third is too coarse"),
        ("int4", 'winner = "int4"', "leaves codes unused"),
        ("no option", 'winner = "k-means"', "expected one of 'int4', 'int4 with zero point', 'NF4', 'log2'"),
    ],
    "03.4": [
        ("bias 8", _decode(bias=8), "the exponent's bias is 7"),
        ("no leading 1", _decode(normal="mantissa / 8"), "the leading 1 is missing"),
        ("no subnormal numbers", _decode(zero="-1"), "exponent field 0000 marks subnormal"),
        ("tenths", _decode(normal="1 + mantissa / 10").replace("mantissa / 8 *", "mantissa / 10 *"), "eighths"),
        ("no sign", _decode(sign="1.0"), "the first bit is the sign"),
        (
            "infinity, as in IEEE 754",
            _decode(more="if exponent == 15: return sign * float('inf') if mantissa == 0 else float('nan')"),
            "gives the exponent 1111 to numbers",
        ),
        ("480", _decode(more="if byte & 127 == 127: return sign * 480.0"), "is NaN, not 480"),
        ("the byte as an integer", "def decode_e4m3(byte):\n    return float(byte)\n", "the byte as an integer"),
        (
            "two's complement of the fields",
            _decode(more="if byte >> 7: exponent, mantissa = -byte >> 3 & 15, -byte & 7").replace(
                "byte & 127 == 127", "(-byte if byte >> 7 else byte) & 127 == 127"
            ),
            "no two's complement",
        ),
        (
            "a signed integer",
            "def decode_e4m3(byte):\n    return float(byte - 256 if byte > 127 else byte)\n",
            "no two's complement",
        ),
        (
            "E5M2's fields",
            "def decode_e4m3(byte):\n"
            "    return (-1.0) ** (byte >> 7) * (1 + (byte & 3) / 4) * 2.0 ** ((byte >> 2 & 31) - 15)",
            "look at",
        ),
    ],
}

CHOICES = {"03.3"}
