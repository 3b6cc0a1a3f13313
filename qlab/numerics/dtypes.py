"""The types that codes are stored in, and the one door through which real numbers come in.

NumPy has no integers under 8 bits and no floats under 16; `ml_dtypes` adds them (int4, float8_e4m3fn, bfloat16 ...),
and once it is imported `np.dtype("int4")` works like `np.dtype("int8")`.
"""

import re
from typing import Any

import ml_dtypes
import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]
Floats = npt.NDArray[np.float32]
DType = npt.DTypeLike  # of codes, "int4" and its like among them

# ONNX's TensorProto.DataType, which node attributes such as output_dtype carry as a number.
ONNX_DTYPES = {
    1: "float32", 2: "uint8", 3: "int8", 4: "uint16", 5: "int16", 6: "int32", 10: "float16", 16: "bfloat16",
    17: "float8_e4m3fn", 18: "float8_e4m3fnuz", 19: "float8_e5m2", 20: "float8_e5m2fnuz", 21: "uint4", 22: "int4",
    23: "float4_e2m1fn", 24: "float8_e8m0fnu", 25: "uint2", 26: "int2", 27: "float6_e2m3fn", 28: "float6_e3m2fn",
}  # fmt: skip
INTEGER_NAME = re.compile(r"(u?)int([2-9]|1[0-6])")


def as_dtype(dtype):
    """The np.dtype that a name ("int4"), a type (np.int8, ml_dtypes.int4) or ONNX's number (22) means.

    >>> as_dtype("int4") == as_dtype(22) == as_dtype(ml_dtypes.int4)
    True
    """
    if isinstance(dtype, int) and not isinstance(dtype, bool):
        if dtype not in ONNX_DTYPES:
            raise ValueError(f"ONNX data type {dtype} is unknown here; known are {ONNX_DTYPES}")
        dtype = ONNX_DTYPES[dtype]
    try:
        return np.dtype(dtype)
    except (TypeError, ValueError, SyntaxError):
        raise ValueError(f"dtype {dtype!r} is unknown; use a name such as 'int8', 'uint4' or 'float8_e4m3fn'") from None


def integer_name(dtype):
    """Canonical name of integer codes: "int8", "uint4" ..., of any width from 2 to 16 bits; ValueError for all else."""
    name = dtype if isinstance(dtype, str) and INTEGER_NAME.fullmatch(dtype) else as_dtype(dtype).name
    if not INTEGER_NAME.fullmatch(name):
        raise ValueError(f"dtype {name!r} does not hold quantized codes; use 'int2' to 'int16' or 'uint2' to 'uint16'")
    return name


def storage_dtype(dtype):
    """The np.dtype that holds integer codes: int2, int4, int8 or int16; other widths live in the next wider.

    >>> storage_dtype("int4").name, storage_dtype("uint5").name
    ('int4', 'uint8')
    """
    unsigned, bits = INTEGER_NAME.fullmatch(integer_name(dtype)).groups()
    return np.dtype(f"{unsigned}int{next(width for width in (2, 4, 8, 16) if width >= int(bits))}")


def code_range(dtype, *, narrow_range=False, reduce_range=False):
    """First and last integer code, quant_min and quant_max.

    >>> code_range("int8"), code_range("int8", narrow_range=True), code_range("uint4")
    ((-128, 127), (-127, 127), (0, 15))
    >>> code_range("int8", reduce_range=True), code_range("uint8", reduce_range=True)
    ((-64, 64), (0, 127))

    `narrow_range` leaves out the lowest signed code, so that the codes mirror at 0. `reduce_range` gives up one bit of
    8, so that two products of 8-bit codes fit in 16 bits (see `saturation`); the ranges are onnxruntime's.
    """
    name = integer_name(dtype)
    unsigned, bits = INTEGER_NAME.fullmatch(name).groups()
    if reduce_range and bits != "8":
        raise ValueError(f"reduce_range guards 8-bit products; with {name} leave it False")
    if narrow_range and unsigned:
        raise ValueError(f"narrow_range drops the lowest signed code; {name} is unsigned, leave it False")
    if reduce_range:
        return (0, 127) if unsigned else (-64, 64)
    if unsigned:
        return 0, 2 ** int(bits) - 1
    half = 2 ** (int(bits) - 1)
    return (1 - half if narrow_range else -half), half - 1


def bit_width(dtype):
    """Bits that one code needs in storage: 4 for int4, although ml_dtypes keeps each in a byte of its own.

    >>> bit_width("int4"), bit_width("float8_e5m2"), bit_width("float32")
    (4, 8, 32)
    """
    if isinstance(dtype, str) and (integer := INTEGER_NAME.fullmatch(dtype)):
        return int(integer[2])
    dtype = as_dtype(dtype)
    return int((ml_dtypes.iinfo if is_integer(dtype) else ml_dtypes.finfo)(dtype).bits)


def is_integer(dtype):
    """Whether `dtype` holds integers. (To NumPy, ml_dtypes' int4 is no np.integer: hence the name.)"""
    return np.dtype(dtype).name.startswith(("int", "uint"))


def plain_array(value, name="x"):
    """`value` as an array in this machine's byte order; a mask is refused, since what it hides would count."""
    parts = value if isinstance(value, list | tuple) else (value,)
    if any(isinstance(part, np.ma.MaskedArray) and np.ma.is_masked(part) for part in parts):
        raise ValueError(
            f"{name} is a masked array, and what its mask hides would count as numbers: leave it out with "
            ".compressed(), or put a number there with .filled(0)"
        )
    array = np.asarray(value)
    return array if array.dtype.isnative else array.astype(array.dtype.newbyteorder("="))


def whole_number(value, name):
    """`value` as an int; ValueError for a fraction, a bool or a text: none is cut to size."""
    if isinstance(value, bool | np.bool_) or not isinstance(value, int | np.integer):
        raise ValueError(f"{name} is {value!r}; expected a whole number")
    return int(value)


def check_flags(**flags):
    """Raise ValueError unless all are True or False: "no" would count as True."""
    for name, flag in flags.items():
        if not isinstance(flag, bool | np.bool_):
            raise ValueError(f"{name} is {flag!r}; expected True or False")


def finite_float32(x, name="x"):
    """`x` as a float32 array: float16, bfloat16, float64, integers and lists come in; float32 is not copied.

    Raises ValueError if x is empty, is not real, or holds NaN, infinity or a number beyond float32.
    """
    x = plain_array(x, name)
    if x.size == 0:
        raise ValueError(f"{name} is empty, shape {x.shape}; pass at least one number")
    try:
        with np.errstate(over="ignore"):  # what float32 cannot hold becomes infinite, and is named below
            x = x.astype(np.float32, casting="same_kind", copy=False)
    except TypeError:
        raise ValueError(f"{name} has dtype {x.dtype}; expected real numbers such as float32") from None
    finite = np.isfinite(x)
    if not finite.all():
        bad = x.size - np.count_nonzero(finite)
        raise ValueError(
            f"{name} holds {bad} of {x.size} values that are NaN, infinite or beyond float32; find where they come "
            "from (np.isfinite tells them), or leave them out first"
        )
    return x


def positive_scale(scale, name="scale"):
    """`scale` itself, or ValueError unless every entry is positive and finite."""
    values = np.asarray(plain_array(scale, name), np.float64)
    if values.size == 0:
        raise ValueError(f"{name} is empty, shape {values.shape}; expected at least one number")
    good = np.isfinite(values) & (values > 0)
    if not good.all():
        raise ValueError(
            f"{name} holds {values[~good].flat[0]:g}; a scale is the distance between two codes, "
            "expected positive and finite"
        )
    return scale
