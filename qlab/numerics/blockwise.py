"""Weights in blocks: every row of a matrix is cut into blocks, and each block has a scale (and zero point) of its own.

A matrix here is [N, K], a row for each output: what a product sums over lies along the row. Three ways to the codes:

    round_to_nearest(w)    each weight by itself; needs nothing but the weights
    half_quadratic(w)      HQQ: scales and zero points such that most weights err little, and few err much
    gptq(w, hessian(x))    column by column: what rounding one weight spoils, the columns that follow make good

All give `BlockCodes`: unsigned codes, as onnxruntime's MatMulNBits stores them; `pack` lays them out in bytes. The
scales are float32, all sums float64.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from qlab.numerics.affine import LARGEST, SMALLEST_SCALE
from qlab.numerics.dtypes import Array, Floats, check_flags, finite_float32, plain_array, whole_number

BITS = (2, 3, 4, 8)  # of a code
STORED = {2: 2, 3: 4, 4: 4, 8: 8}  # bits that a code takes in bytes that are filled evenly
SMALLEST_BLOCK = 16  # MatMulNBits takes none below
DAMPING = 0.01  # of the mean diagonal: a Hessian from few rows has no inverse
ASYMMETRY = 1e-6  # of the largest number: what sums in another order may differ by
NORM, ROUNDS = 0.7, 20  # of HQQ: the power of the errors that is summed, and how often it is gone through
# Beta and kappa in HQQ: what an error costs that is not taken out, and how that grows. In steps of the grid, so that no
# unit of the weights matters: errors beyond 10**(-1/1.3), a sixth of a step, are taken out. (With 1 they would be
# those beyond a whole step, which has only what is clipped.)
FIRST_WEIGHT, GROWTH = 10.0, 1.01


@dataclass(frozen=True, eq=False, repr=False)
class BlockCodes:
    """A matrix [N, K] as codes: weight = scale * (code - zero_point) of its block.

    codes        uint8 [N, K], from 0 to 2**bits - 1
    scales       float32 [N, blocks], never 0; negative where a symmetric block's extreme is positive
    zero_points  uint8 [N, blocks]: 2**(bits-1) everywhere if `symmetric`, which then nobody stores
    The last block of a row is short where `block_size` does not divide K.
    """

    codes: np.ndarray
    scales: np.ndarray
    zero_points: np.ndarray
    bits: int
    block_size: int
    symmetric: bool

    def __repr__(self):
        kind = "symmetric" if self.symmetric else "with zero points"
        return f"BlockCodes({self.codes.shape}, {self.bits} bits, blocks of {self.block_size}, {kind})"

    def dequantize(self) -> Floats:
        """What the codes stand for, float32 [N, K]."""
        scales, zero_points = (_spread(one, self.block_size, self.codes.shape[1]) for one in (self.scales, self._zeros))
        with np.errstate(over="ignore"):  # the outermost code may stand for a number just beyond float32's largest
            return np.clip((self.codes - zero_points) * scales, -LARGEST, LARGEST)

    @property
    def stored_bits(self) -> int:
        """Bits that a code takes in memory: codes of 3 bits ride in 4."""
        return STORED[self.bits]

    @property
    def bits_per_weight(self) -> float:
        """Bits in memory for each weight: its code, and its share of the block's float32 scale and zero point."""
        depth, blocks = self.codes.shape[1], self.scales.shape[1]
        bits = blocks * self.block_size * self.stored_bits + 32 * blocks
        bits += 0 if self.symmetric else 8 * -(-blocks * self.stored_bits // 8)
        return bits / depth

    def packed(self) -> Array:
        """The codes as MatMulNBits takes them, uint8 [N, blocks, block_size * stored_bits / 8]; a short block padded.

        The padding stands for 0. Codes of 3 bits are moved to the middle of 4, where the zero point is 8.
        """
        rows, depth = self.codes.shape
        blocks = self.scales.shape[1]
        room = np.repeat(self.zero_points, self.block_size, axis=1)
        room[:, :depth] = self.codes
        return pack(room.reshape(rows, blocks, self.block_size) + self._moved, self.stored_bits)

    def packed_zero_points(self) -> Array | None:
        """The zero points, uint8 [N, bytes of a row of blocks], as MatMulNBits takes them; None where symmetric."""
        return None if self.symmetric else pack(self.zero_points + self._moved, self.stored_bits)

    @property
    def _moved(self):
        return np.uint8(_middle(self.stored_bits) - _middle(self.bits))

    @property
    def _zeros(self):
        return self.zero_points.astype(np.float32)


def round_to_nearest(
    weights: npt.ArrayLike, *, bits: int = 4, block_size: int = 32, symmetric: bool = True
) -> BlockCodes:
    """Codes of `weights` [N, K], each the nearest to its weight.

    >>> round_to_nearest([[-8.0, 0.0, 3.4, 7.0]]).codes - 8
    array([[248,   0,   3,   7]], dtype=uint8)
    >>> round_to_nearest([[-8.0, 0.0, 3.4, 7.0]]).dequantize()
    array([[-8.,  0.,  3.,  7.]], dtype=float32)

    symmetric: all 2**bits levels are used, by a scale with a sign: the extreme of the block, as signed, becomes the
    lowest code. Otherwise the levels run from the least weight to the greatest, 0 always taken in.
    Raises ValueError for no matrix, NaN or infinity, bits other than 2, 3, 4, 8, or a block size that is no power of
    two from 16 up.
    Source: onnxruntime's MatMulNBits and its quantizer; llama.cpp's Q4_0.
    """
    weights = _matrix(weights, bits, block_size, symmetric)
    blocks = _cut(weights, block_size)
    scales, zero_points = _block_range(blocks, bits, symmetric)
    return _codes(blocks, scales, zero_points, weights.shape[1], bits, symmetric)


def half_quadratic(
    weights: npt.ArrayLike, *, bits: int = 4, block_size: int = 32, symmetric: bool = True
) -> BlockCodes:
    """Codes of `weights` [N, K] for which the sum of |error|**0.7 is small; no data needed.

    Beginning with `round_to_nearest`, in turn: take out of each weight that part of its error which is large (an
    outlier's), and fit scale and zero point (whole, as it is stored) to what is left. A block keeps the best that it
    met, rounding among it: the sum is never larger. Squared errors, and those of the outputs, may be: where there are
    few levels, scales that are fitted make all weights smaller on the whole, which a deep network may feel more than
    errors that cancel out.
    Raises as `round_to_nearest`. Source: Badri and Shaji 2023, "Half-Quadratic Quantization of Large Models", which
    moves a zero point of floats only.
    """
    weights = _matrix(weights, bits, block_size, symmetric)
    blocks, depth = _cut(weights, block_size), weights.shape[1]
    counted = _cut(np.ones_like(weights), block_size)  # padding is always exact, and fits nothing
    scales, zero_points = _block_range(blocks, bits, symmetric)
    best, least = (scales, zero_points), _norm(blocks, scales, zero_points, bits)
    penalty = FIRST_WEIGHT
    for _ in range(ROUNDS):
        steps = _steps(blocks, scales, zero_points, bits)
        told = blocks - _shrunk(blocks / _each(scales) - steps, penalty) * _each(scales)
        if not symmetric:
            wanted = steps + _each(zero_points) - told / _each(scales)
            zero_points = np.clip(np.rint(_mean(wanted, counted)), 0, 2**bits - 1)
            steps = _steps(blocks, scales, zero_points, bits)
        scales = _fitted(told, steps * counted, scales)
        found = _norm(blocks, scales, zero_points, bits)
        better = found < least
        best = tuple(np.where(better, new, old) for new, old in zip((scales, zero_points), best, strict=True))
        least, penalty = np.minimum(found, least), penalty * GROWTH
    return _codes(blocks, *best, depth, bits, symmetric)


def hessian(x: npt.ArrayLike) -> Array:
    """X^T X of the rows [..., K] that a product reads, float64 [K, K]: add up those of further rows.

    Half the second derivative of the output's squared error by the weights of one row; alike for all rows.
    """
    x = plain_array(x, "x")
    if x.ndim == 0 or x.dtype.kind not in "fiu":
        raise ValueError(f"x is {x.dtype} of shape {x.shape}; expected real numbers [..., K], a row for each product")
    x = x.reshape(-1, x.shape[-1]).astype(np.float64)
    if not np.isfinite(x).all():
        raise ValueError("x holds NaN or infinity; find where they come from before anything is weighed with them")
    return x.T @ x


def gptq(
    weights: npt.ArrayLike,
    hessian: npt.ArrayLike,
    *,
    bits: int = 4,
    block_size: int = 32,
    symmetric: bool = True,
    damping: float = DAMPING,
) -> BlockCodes:
    """Codes of `weights` [N, K] for which the outputs err little on inputs with that `hessian`, X^T X [K, K].

    1. The columns are rounded in order. A block's scales are fixed from what its weights have become when it begins.
    2. U, upper triangular with U^T U = (H + damping)^-1, says how the columns that follow make good what rounding one
       has spoilt: w[:, j+1:] -= (w[:, j] - rounded) / U[j, j] * U[j, j+1:].
    3. Within a block that is done at once, on all that follow it when the block ends: one product.

    An input that is always 0 leaves its weights to be rounded. With a diagonal Hessian all is round_to_nearest.
    Raises as `round_to_nearest`, and ValueError for a Hessian of another shape, not symmetric, or with NaN.
    Source: Frantar et al. 2022, "GPTQ" (arXiv 2210.17323).
    """
    w = _matrix(weights, bits, block_size, symmetric).astype(np.float64)
    factor = _inverse_factor(hessian, w.shape[1], damping)
    rows, depth = w.shape
    rounded, parts = np.empty((rows, depth), np.uint8), []
    for start in range(0, depth, block_size):
        end = min(start + block_size, depth)
        inner = factor[start:end, start:end]
        block, errors = w[:, start:end], np.empty((rows, end - start))
        scales, zero_points = _block_range(block[:, None], bits, symmetric)
        parts.append((scales, zero_points))
        for j in range(end - start):
            steps = _steps(block[:, j, None, None], scales, zero_points, bits)[:, 0, 0]
            rounded[:, start + j] = steps + zero_points[:, 0]
            errors[:, j] = (block[:, j] - steps * scales[:, 0]) / inner[j, j]
            block[:, j + 1 :] -= np.outer(errors[:, j], inner[j, j + 1 :])
        w[:, end:] -= errors @ factor[start:end, end:]
    scales, zero_points = (np.concatenate(some, axis=1) for some in zip(*parts, strict=True))
    return BlockCodes(rounded, scales.astype(np.float32), zero_points.astype(np.uint8), bits, block_size, symmetric)


def pack(codes: npt.ArrayLike, bits: int) -> Array:
    """Codes of 2, 4 or 8 bits along the last axis, put into bytes, the first in the lowest bits; the rest is 0.

    >>> pack([1, 2, 3], 4)
    array([33,  3], dtype=uint8)
    >>> unpack(pack([1, 2, 3], 4), 4)
    array([1, 2, 3, 0], dtype=uint8)
    """
    codes, each = plain_array(codes, "codes"), 8 // _width(bits)
    if (
        codes.ndim == 0
        or codes.dtype.kind not in "iu"
        or (codes.size and not 0 <= codes.min() <= codes.max() < 2**bits)
    ):
        raise ValueError(
            f"codes are {codes.dtype} of shape {codes.shape}; expected whole numbers from 0 to {2**bits - 1}"
        )
    count = -(-codes.shape[-1] // each)
    room = np.zeros((*codes.shape[:-1], count * each), np.uint8)
    room[..., : codes.shape[-1]] = codes
    places = np.arange(each, dtype=np.uint8) * np.uint8(bits)
    return np.bitwise_or.reduce(room.reshape(*codes.shape[:-1], count, each) << places, axis=-1)


def unpack(packed: npt.ArrayLike, bits: int) -> Array:
    """The codes of 2, 4 or 8 bits in bytes, along the last axis: uint8, those of filled-up places too."""
    packed = plain_array(packed, "packed")
    if packed.dtype != np.uint8 or packed.ndim == 0:
        raise ValueError(f"packed is {packed.dtype} of shape {packed.shape}; expected bytes, uint8, what pack gave")
    places = np.arange(8 // _width(bits), dtype=np.uint8) * np.uint8(bits)
    return (packed[..., None] >> places & np.uint8(2**bits - 1)).reshape(*packed.shape[:-1], -1)


def check_blocks(bits, block_size, symmetric):
    """Raise ValueError unless there are such codes, in such blocks."""
    check_flags(symmetric=symmetric)
    if whole_number(bits, "bits") not in BITS:
        raise ValueError(f"bits is {bits}; expected one of {', '.join(map(str, BITS))}")
    size = whole_number(block_size, "block_size")
    if size < SMALLEST_BLOCK or size & (size - 1):
        raise ValueError(f"block_size is {size}; expected a power of two from {SMALLEST_BLOCK} up: 16, 32, 64, 128 ...")


def _matrix(weights, bits, block_size, symmetric):
    check_blocks(bits, block_size, symmetric)
    weights = finite_float32(weights, "weights")
    if weights.ndim != 2:
        raise ValueError(f"weights have shape {weights.shape}; expected a matrix [N, K], a row for each output")
    return weights


def _width(bits):
    if whole_number(bits, "bits") not in STORED.values():
        raise ValueError(f"bits is {bits}; bytes are filled evenly by codes of 2, 4 or 8 bits: 3 ride in 4")
    return bits


def _middle(bits):
    return 2 ** (bits - 1)


def _cut(weights, size):
    """[N, K] as [N, blocks, size], float64, the last block filled up with zeros."""
    rows, depth = weights.shape
    room = np.zeros((rows, -(-depth // size) * size))
    room[:, :depth] = weights
    return room.reshape(rows, -1, size)


def _each(parameters):
    return parameters[..., None].astype(np.float64)


def _spread(parameters, size, depth):
    return np.repeat(parameters, size, axis=1)[:, :depth]


def _block_range(blocks, bits, symmetric):
    """(scales, zero points) [N, blocks] that span each block of [N, blocks, size]; the scales as float32 holds them."""
    low, high = np.minimum(blocks.min(axis=-1), 0), np.maximum(blocks.max(axis=-1), 0)
    middle = _middle(bits)
    if symmetric:
        scales = np.where(high > -low, high, low) / -middle
        zero_points = np.full(scales.shape, float(middle))
    else:
        scales = (high - low) / (2**bits - 1)
        zero_points = np.clip(np.rint(-low / _held(scales)), 0, 2**bits - 1)
    return _held(scales), zero_points


def _held(scales):
    """Scales as float32 holds them, in float64: 1 for a block of zeros, none so small that digits are lost."""
    sized = np.copysign(np.maximum(np.abs(scales), SMALLEST_SCALE), scales)
    return np.where(scales == 0, 1.0, sized).astype(np.float32).astype(np.float64)


def _steps(blocks, scales, zero_points, bits):
    """Codes less their zero point, float64: the nearest that there are."""
    zero_points = _each(zero_points)
    return np.clip(np.rint(blocks / _each(scales)), -zero_points, 2**bits - 1 - zero_points)


def _codes(blocks, scales, zero_points, depth, bits, symmetric):
    codes = _steps(blocks, scales, zero_points, bits) + _each(zero_points)
    codes = codes.reshape(len(codes), -1)[:, :depth].astype(np.uint8)
    size = blocks.shape[-1]
    return BlockCodes(codes, scales.astype(np.float32), zero_points.astype(np.uint8), bits, size, symmetric)


def _norm(blocks, scales, zero_points, bits):
    errors = np.abs(blocks - _steps(blocks, scales, zero_points, bits) * _each(scales))
    return np.sum(errors**NORM, axis=-1)


def _shrunk(errors, penalty):
    """The part of each error, in steps, that is no rounding: the larger it is, the more of it; 0 for small ones."""
    sizes = np.abs(errors)
    powers = np.where(sizes > 0, np.maximum(sizes, np.finfo(float).tiny) ** (NORM - 1), 0)
    return np.sign(errors) * np.maximum(sizes - powers / penalty, 0)


def _mean(values, counted):
    return (values * counted).sum(axis=-1) / counted.sum(axis=-1)


def _fitted(told, steps, otherwise):
    """The scales for which `steps` come nearest to `told`; as they were where all steps, or that scale, are 0."""
    square = np.square(steps).sum(axis=-1)
    scales = (told * steps).sum(axis=-1) / np.where(square > 0, square, 1)
    return np.where((square > 0) & (scales != 0), _held(scales), otherwise)


def _inverse_factor(hessian, depth, damping):
    """U, upper triangular, with U^T U = (H + damping * its mean diagonal)^-1."""
    hessian = np.array(plain_array(hessian, "hessian"), np.float64)
    if hessian.shape != (depth, depth):
        raise ValueError(
            f"hessian has shape {hessian.shape}; expected ({depth}, {depth}), X^T X of what the weights read"
        )
    if not np.isfinite(hessian).all() or np.abs(hessian - hessian.T).max() > ASYMMETRY * np.abs(hessian).max():
        raise ValueError("hessian is not symmetric, or holds NaN or infinity; expected X^T X: see `hessian`")
    if not damping > 0:
        raise ValueError(f"damping is {damping!r}; expected a share of the mean diagonal above 0, such as {DAMPING}")
    if (diagonal := hessian.diagonal().copy()).min() < 0:
        raise ValueError("hessian has negative numbers on its diagonal; expected X^T X")
    typical = diagonal.mean() or 1.0
    diagonal[diagonal == 0] = typical  # an input that never was: nothing is known, so its weights are rounded
    np.fill_diagonal(hessian, diagonal + damping * typical)
    try:
        return np.linalg.cholesky(np.linalg.inv(hessian)).T
    except np.linalg.LinAlgError:
        raise ValueError("hessian has negative eigenvalues beyond what damping mends; expected X^T X") from None
