"""Notebook 03: the nearest mark, powers of two, the winner in blocks of 32, and an fp8 byte."""

import ml_dtypes
import numpy as np
import onnx
from onnx import numpy_helper

from qlab import PerBlock, choose_qparams, fake_quantize, models, sqnr_db
from qlab.course.brief import brief
from qlab.course.expect import call, expect_array, expect_choice, expect_close, expect_equal, expect_number, tensors
from qlab.course.lessons import exercise
from qlab.course.verdict import Almost
from qlab.numerics.codebook import Codebook, normal_float, powers_of_two, uniform


@exercise("03.1", "the nearest mark")
def _(answer):
    random = np.random.default_rng(31)
    uneven = np.float32([-3, -1, 0, 0.5, 4])
    books = {"NF4": normal_float(4).levels, "powers of two": powers_of_two(4).levels, "uneven marks": uneven}
    for name, levels in books.items():
        reach = 1.5 * float(np.abs(levels).max())
        for shape in ((40,), (6, 7)):
            _expect_nearest(answer, random.uniform(-reach, reach, shape).astype(np.float32), levels, f"{name}, {shape}")
    _expect_nearest(answer, uneven, uneven, "numbers that are marks themselves")
    halfway = np.float32([-2, -0.5, 0.25, 2.25])
    codes = expect_array(call(answer, halfway, uneven, name="nearest"), "codes of numbers halfway")
    expect_equal(codes, [0, 1, 2, 3], "codes of numbers halfway", hint="between two marks the lower one is chosen")
    return "even or uneven marks, inside and far outside, arrays of one and of two axes"


def _expect_nearest(answer, x, levels, what):
    codes = expect_array(call(answer, x, levels, name="nearest"), f"the codes ({what})")
    reference = Codebook("reference", levels).encode(x).astype(int)  # finds borders between marks, measures no distance
    step = (levels[-1] - levels[0]) / (levels.size - 1)
    mistakes = {
        "these are the marks: what is asked for is their index, the code": levels[reference],
        "these are the indices of the next mark *above*, not of the nearest": np.searchsorted(levels, x),
        "these are the indices of the next mark *below*, not of the nearest": np.clip(
            np.searchsorted(levels, x, side="right") - 1, 0, levels.size - 1
        ),
        "this takes the marks to be evenly spaced, which only a uniform codebook is": np.clip(
            np.rint((x - levels[0]) / step), 0, levels.size - 1
        ),
        "the smallest *signed* difference: it lies far below 0, at the greatest mark": np.full(
            x.shape, levels.size - 1
        ),
    }
    expect_equal(codes, reference, f"the codes ({what})", mistakes=mistakes)


@exercise("03.2", "a log2 quantizer")
def _(answer):
    for bits in (2, 3, 4, 6):
        for name, x in tensors(seed=32 + bits):
            _expect_powers(answer, x, bits, f"{name} at {bits} bits")
    return "9 kinds of tensors at 2, 3, 4 and 6 bits, zeros among them"


def _expect_powers(answer, x, bits, what):
    seen = expect_array(call(answer, x, bits, name="log2_quantize"), what)
    if not np.isfinite(seen.astype(np.float64)).all():
        raise Almost(f"{what}: NaN or infinity came out: log2(0) is -infinity and 0 / 0 is NaN, so zeros need care")
    mistakes = {
        "rounded in the exponent: 1.45 lies nearer to 1 than to 2, although log2(1.45) rounds to 1": _by_exponent(
            x, bits, np.rint
        ),
        "the exponent is cut, not rounded: 1.9 lies nearer to 2 than to 1": _by_exponent(x, bits, np.floor),
        "the powers go on for ever, and 0 is missing: a few bits number a few marks": lambda: (
            np.sign(x) * np.abs(x).max() * 2.0 ** np.rint(np.log2(np.abs(x) / np.abs(x).max()))
        ),
        "0 is missing among the marks: small numbers belong to it": _nearest_of(x, _magnitudes(bits), zero=False),
        **_zero_by_exponent(x, bits),
        "the sign is lost": lambda: np.abs(powers_of_two(bits).fake_quantize(x)),
        "these are codes, the indices of the marks: what is asked for is the marks, numbers again": lambda: (
            powers_of_two(bits).encode(x / (np.abs(x).max() or 1))
        ),
        "m is x.max() here: the largest *magnitude* may be that of a negative number": lambda: _nearest_mark(
            x, x.max() * np.sort([*-_magnitudes(bits), 0, *_magnitudes(bits)])
        ),
        "too many marks: with a sign and 0, there is room for 2**(bits - 1) - 1 powers": _nearest_of(
            x, 0.5 ** np.arange(2**bits - 1)
        ),
        "one power too many: 0 takes a code as well, so that 2**(bits - 1) - 1 are left": _nearest_of(
            x, 0.5 ** np.arange(2 ** (bits - 1))
        ),
        "the greatest mark is 1 here, not the largest magnitude in x": lambda: Codebook(
            "", powers_of_two(bits).levels, unit=None
        ).fake_quantize(x),
    }
    expect_close(seen, powers_of_two(bits).fake_quantize(x), what, mistakes=mistakes)


def _magnitudes(bits):
    return 0.5 ** np.arange(2 ** (bits - 1) - 1)


def _nearest_of(x, magnitudes, zero=True):
    def result():
        levels = [*-magnitudes, 0, *magnitudes] if zero else [*-magnitudes, *magnitudes]
        return Codebook("", levels).fake_quantize(x)

    return result


def _nearest_mark(x, levels):
    return levels[np.abs(x[..., None] - levels).argmin(axis=-1)]


def _zero_by_exponent(x, bits):
    """{mistake: result} where 0 begins at a whole or a rounded exponent, below which no power is left."""
    smallest = np.abs(x).max() * _magnitudes(bits)[-1]
    right = powers_of_two(bits).fake_quantize(x)
    up = np.sign(x) * smallest
    edge = "0 and the smallest power p meet at p/2, on the number line"
    return {
        f"0 begins where the exponent *rounds* to less than the smallest one, at p/√2. {edge}": lambda: np.where(
            np.abs(x) < smallest / np.sqrt(2), 0, np.where(np.abs(x) < smallest, up, right)
        ),
        f"0 begins right below the smallest power p. {edge}": lambda: np.where(np.abs(x) < smallest, 0, right),
    }


def _by_exponent(x, bits, to_whole):
    """Powers of two chosen by log2, as one is tempted to: 0 only where half of the smallest power is not reached."""

    def result():
        largest = np.abs(x).max() or np.float32(1)
        size = np.maximum(np.abs(x) / largest, 1e-30)
        lowest = 2 - 2 ** (bits - 1)
        power = 2.0 ** np.clip(to_whole(np.log2(size)), lowest, 0)
        return np.sign(x) * largest * np.where(size <= 2.0**lowest / 2, 0, power)

    return result


@exercise("03.3", "the winner in blocks of 32")
def _(answer):
    measured = _in_blocks()
    table = ", ".join(f"{name} {value:.1f}" for name, value in sorted(measured.items(), key=lambda entry: -entry[1]))
    why_not = {
        "NF4": "NF4 'because weights are Gaussian'? Divided by the largest of their block, they no longer are: one "
        f"always lies at the very end, where NF4's marks are sparse: {measured['NF4']:.1f} dB, and another keeps more",
        "log2": "with one scale for the tensor, marks for tiny and huge weights at once were worth much. A block of 32 "
        f"spans little, and there an error of up to a third is too coarse: {measured['log2']:.1f} dB",
        "int4": "a block has no far outlier, which helps even marks most. Yet most blocks reach further to one side "
        f"than to the other, which leaves codes unused: {measured['int4']:.1f} dB, and another keeps more",
    }
    options = ("int4", "int4 with zero point", "NF4", "log2")  # in the order of the cell: none stands out
    if not isinstance(answer, str) or answer not in options:
        raise Almost(f"the winner: expected one of {', '.join(map(repr, options))}, seen {brief(answer)}")
    expect_choice(answer, "int4 with zero point", why_not, "the winner")
    return f"dB on the conv2d weight in blocks of 32: {table}"


def _in_blocks():
    """dB that each 4-bit method keeps of the conv2d weight, in blocks of 32."""
    initializers = {tensor.name: tensor for tensor in onnx.load(models.path("conformer")).graph.initializer}
    weight = numpy_helper.to_array(initializers["encoder.embed.conv.2.weight"])
    weight, blocks = weight.reshape(len(weight), -1), PerBlock(1, 32)
    books = {"int4": uniform(4), "NF4": normal_float(4), "log2": powers_of_two(4)}
    kept = {name: sqnr_db(weight, book.fake_quantize(weight, blocks)) for name, book in books.items()}
    qparams = choose_qparams(weight, "int4", granularity=blocks)
    return kept | {"int4 with zero point": sqnr_db(weight, fake_quantize(weight, qparams))}


@exercise("03.4", "decode an E4M3 byte")
def _(answer):
    bytes_ = np.arange(256, dtype=np.uint8)
    reference = bytes_.view(ml_dtypes.float8_e4m3fn).astype(np.float64)
    seen = np.array([expect_number(call(answer, int(byte), name="decode_e4m3"), _bits(byte)) for byte in bytes_])
    for mistake, values in _misread(bytes_.astype(int)).items():
        if not np.array_equal(values, reference, equal_nan=True) and np.array_equal(values, seen, equal_nan=True):
            raise Almost(f"{_first_difference(seen, reference)}: {mistake}")
    if not np.array_equal(seen, reference, equal_nan=True):
        kinds = _kind_of(int(np.flatnonzero(~_same(seen, reference))[0]))
        raise Almost(f"{_first_difference(seen, reference)}: look at {kinds}")
    return "all 256 bytes, the 14 subnormal numbers, both zeros and both NaN among them"


def _same(seen, reference):
    return (seen == reference) | (np.isnan(seen) & np.isnan(reference))


def _bits(byte):
    return f"0b{byte >> 7:b}_{byte >> 3 & 15:04b}_{byte & 7:03b}"


def _first_difference(seen, reference):
    apart = np.flatnonzero(~_same(seen, reference))
    byte = int(apart[0])
    return f"{_bits(byte)}: expected {reference[byte]:g}, seen {seen[byte]:g} ({apart.size} of 256 bytes differ)"


def _kind_of(byte):
    if byte & 127 == 127:
        return "the one pattern, but for the sign, that is NaN: exponent 1111 with mantissa 111"
    if byte >> 3 & 15 == 0:
        return "exponent field 0000: there the number is mantissa/8 * 2**-6, without the leading 1"
    if byte >> 3 & 15 == 15:
        return "exponent field 1111: E4M3 has no infinity, so that these are ordinary numbers, up to 448"
    return "an ordinary number: sign * (1 + mantissa/8) * 2**(exponent - 7)"


def _misread(byte):
    """{mistake: what it makes of all 256 bytes}: each differs from the right reading in one thing only."""

    def read(bias=7, lead=1.0, subnormal=True, eighths=8, signed=True, ieee=False, nan=True):
        exponent, mantissa = byte >> 3 & 15, byte & 7
        value = (lead + mantissa / eighths) * 2.0 ** (exponent - bias)
        if subnormal:
            value = np.where(exponent == 0, mantissa / eighths * 2.0 ** (1 - bias), value)
        if nan:
            value = np.where(byte & 127 == 127, np.nan, value)
        if ieee:
            value = np.where(exponent == 15, np.where(mantissa == 0, np.inf, np.nan), value)
        return np.where((byte >> 7 == 1) & signed, -value, value)

    sign_bit = "the first bit is the sign, and the other seven stay as they are: no two's complement"
    return {
        "the exponent's bias is 7, so that 0111 means 2**0": read(bias=8),
        "the leading 1 is missing: a stored mantissa of 100 means 1.5": read(lead=0.0),
        "exponent field 0000 marks subnormal numbers: mantissa/8 * 2**-6, without a leading 1": read(subnormal=False),
        "the three mantissa bits count eighths, not tenths": read(eighths=10),
        "the first bit is the sign": read(signed=False),
        "that is how E5M2 and float32 do it; E4M3 gives the exponent 1111 to numbers, up to 448": read(ieee=True),
        "exponent 1111 with mantissa 111 is NaN, not 480": read(nan=False),
        "this is the byte as an integer": byte.astype(float),
        f"this is the byte as a signed integer; {sign_bit}": np.where(byte > 127, byte - 256.0, byte),
        sign_bit: np.where(byte > 127, -read()[(256 - byte) & 127], read()),
    }
