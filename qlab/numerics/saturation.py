"""Where integer sums go wrong: two overflows, kept apart.

int16: on x86 without VNNI, u8 x s8 products go through `vpmaddubsw`, which adds two neighbours in 16 bits and
*saturates*: a wrong answer already at K = 2. Guards are `reduce_range` (7-bit weights) and, with nearly all 8 bits, a
scale fitted to the pairs (`fitting`). int32: any accumulator overflows when K is long enough; most paths then wrap
around, VNNI's `vpdpbusds` stays at the largest number. Here both can be seen on any computer.
"""

import numpy as np

from qlab.numerics.dtypes import code_range, plain_array, storage_dtype, whole_number

INT16 = np.iinfo(np.int16)
INT32 = np.iinfo(np.int32)


def vpmaddubsw_matmul(a, b):
    """a @ b as `vpmaddubsw` computes it: each pair of neighbours along K is added in int16 and saturates there; int32.

    >>> a, b = np.uint8([[255, 255]]), np.int8([[127], [127]])
    >>> vpmaddubsw_matmul(a, b), a.astype(int) @ b
    (array([[32767]], dtype=int32), array([[64770]]))

    a (M, K) uint8, b (K, N) int8, no zero points (they are subtracted elsewhere). An odd K is filled up with a zero.
    Source: Intel's intrinsics guide, _mm256_maddubs_epi16; onnxruntime's docs on quantization, "reduce_range".
    """
    return _grouped_sum(*_checked(a, b), 2, lambda total, pair: total + np.clip(pair, INT16.min, INT16.max))


def accumulate(a, b, overflow):
    """a @ b in an int32 accumulator that, once full, does what `overflow` says: "wrap" or "saturate".

    >>> a, b = np.full((1, 66_000), 255, np.uint8), np.full((66_000, 1), 127, np.int8)
    >>> int(accumulate(a, b, "wrap")[0, 0]), int(accumulate(a, b, "saturate")[0, 0]), 66_000 * 255 * 127
    (2137410000, 2137410000, 2137410000)
    >>> a, b = np.full((1, 67_000), 255, np.uint8), np.full((67_000, 1), 127, np.int8)
    >>> int(accumulate(a, b, "wrap")[0, 0]), int(accumulate(a, b, "saturate")[0, 0]), 67_000 * 255 * 127
    (-2125172296, 2147483647, 2169795000)

    "wrap" is arithmetic modulo 2**32: intermediate overflows cancel, so only the final sum must fit. "saturate" adds
    four products at a time, as VNNI's `vpdpbusds` does, and what it lost on the way never comes back.
    """
    if overflow == "wrap":
        return _grouped_sum(*_checked(a, b), 4, lambda total, four: total + four)
    if overflow == "saturate":
        return _grouped_sum(*_checked(a, b), 4, lambda total, four: np.clip(total + four, INT32.min, INT32.max))
    raise ValueError(f"overflow={overflow!r}; expected 'wrap' or 'saturate'")


def _checked(a, b):
    a, b = plain_array(a, "a"), plain_array(b, "b")
    if a.dtype != np.uint8 or b.dtype != np.int8 or a.ndim != 2 or b.ndim != 2 or a.shape[1] != b.shape[0]:
        raise ValueError(
            f"a is {a.dtype} {a.shape}, b is {b.dtype} {b.shape}; expected uint8 (M, K) and int8 (K, N), "
            "the sign pair of these instructions"
        )
    return a.astype(np.int64), b.astype(np.int64)


def _grouped_sum(a, b, size, add):
    """Fold a @ b along K, `size` products at a time, with add(total, their sum); wraps to int32 at the end."""
    total = np.zeros((a.shape[0], b.shape[1]), np.int64)
    for k in range(0, a.shape[1], size):
        total = add(total, a[:, k : k + size] @ b[k : k + size])
    return total.astype(np.int32)


def can_saturate(b):
    """For each column of b (K, N) int8: is there any uint8 input for which `vpmaddubsw` saturates?

    >>> can_saturate(np.int8([[127, 64, 127], [127, 64, -127]]))
    array([ True, False, False])

    The worst input puts 255 on all weights of one sign in a pair: 255 * 129 is beyond int16, 255 * 128 is not. Weights
    from -64 to 64, which is what reduce_range leaves, can never saturate.
    """
    _, b = _checked(np.zeros((1, len(b)), np.uint8), b)
    b = np.pad(b, [(0, len(b) % 2), (0, 0)])
    pairs = b.reshape(-1, 2, b.shape[1])
    highest, lowest = 255 * np.maximum(pairs, 0).sum(axis=1), 255 * np.minimum(pairs, 0).sum(axis=1)
    return ((highest > INT16.max) | (lowest < INT16.min)).any(axis=0)


def largest_safe_k(a_dtype="uint8", b_dtype="int8", *, a_zero_point=None, b_zero_point=None):
    """The greatest K for which sum_k (a - a_zero_point)(b - b_zero_point) fits int32, whatever the codes.

    >>> largest_safe_k("uint8", "uint8"), largest_safe_k("uint8", "int8", a_zero_point=0, b_zero_point=0)
    (33025, 65793)

    Without a zero point the answer holds for every zero point of the type: then |a - a_zero_point| reaches 255 for 8
    bits. Every partial sum fits as well. 16-bit codes with any zero points give 0: one product is too many.
    """
    a_low, a_high = _differences(a_dtype, a_zero_point)
    b_low, b_high = _differences(b_dtype, b_zero_point)
    products = [a * b for a in (a_low, a_high) for b in (b_low, b_high)]
    largest = max(products) or 1  # 0 only for a type whose codes all equal the zero point
    return min(INT32.max // largest, -INT32.min // max(-min(products), 1))


def _differences(dtype, zero_point):
    first, last = code_range(dtype)
    if zero_point is None:
        return first - last, last - first
    if not first <= whole_number(zero_point, "zero_point") <= last:
        raise ValueError(f"zero_point {zero_point} is not one of the codes {first} to {last} of {storage_dtype(dtype)}")
    return first - int(zero_point), last - int(zero_point)
