"""Exercise 04.2: scales and codes as they should be, and wrong ones by name."""

import numpy as np


def block_sizes(x, block_size, size=lambda block: np.abs(block).max(axis=1)):
    """What `size` says of each block, (rows, blocks): the largest |value|, 0 where a block is of zeros."""
    return np.stack([size(x[:, start : start + block_size]) for start in range(0, x.shape[1], block_size)], axis=1)


def block_scales(x, block_size, largest=127.0, size=lambda block: np.abs(block).max(axis=1)):
    """Scales (rows, blocks) from what `size` says of each block; 1 where that is 0."""
    sizes = block_sizes(x, block_size, size)
    return np.where(sizes == 0, 1, sizes / np.float32(largest)).astype(np.float32)


def spread(scales, x, block_size):
    return np.repeat(scales, block_size, axis=1)[:, : x.shape[1]]


def scale_mistakes(x, block_size, expected):
    of = lambda largest=127.0, **how: lambda: block_scales(x, block_size, largest, **how)
    parts = np.array_split(np.arange(x.shape[1]), expected.shape[1])
    sizes = block_sizes(x, block_size)
    some_zeros = {
        "one block of zeros is no reason for the others: only its own scale is 1": np.ones_like(expected),
        "one block of zeros is no reason for the others of its row: its own scale alone is 1": np.where(
            (sizes == 0).any(axis=1, keepdims=True), 1, expected
        ),
        "the *scale* of a block of zeros is 1; here its size was taken for 1, and divided by 127": np.where(
            sizes == 0, np.float32(1 / 127), expected
        ),
    }
    return (
        (some_zeros if (sizes == 0).any() else {})
        | _guards(sizes)
        | {
            "int8 has 127 positive codes: divide by 127": of(128),
            "this is largest / 127.5, half of 255 steps: the largest number then lies half a step beyond the last; "
            "divide by 127": of(127.5),
            "this is largest / 126; the last code is 127": of(126),
            "this is largest / 255: int8 has 127 codes on one side of 0": of(255),
            "this is largest / 7, the scale of int4; int8 has 127 positive codes": of(7),
            "this is the largest size itself; the scale is a 127th of it": of(1),
            "this is 1 / scale: a scale is the step between two codes, largest / 127": lambda: 1 / expected,
            "the range of int8 was divided by 255 steps; a symmetric scale is the largest size / 127": of(
                255, size=lambda block: np.ptp(block, axis=1)
            ),
            "this is the asymmetric scale, its range widened to 0, over 255": of(
                255, size=lambda block: np.maximum(block.max(axis=1), 0) - np.minimum(block.min(axis=1), 0)
            ),
            "a zero in a block is no block of zeros: its scale is 1 only if all its numbers are 0": lambda: np.where(
                block_sizes(x, block_size, lambda b: (b == 0).any(axis=1)), 1, expected
            ),
            "the first number of a block is 0, and the block is not of zeros: its scale is 1 only if all are 0": (
                lambda: np.where(block_sizes(x, block_size, lambda b: b[:, 0] == 0), 1, expected)
            ),
            "the numbers of a block add up to 0, and are no zeros: look at the largest size": lambda: np.where(
                block_sizes(x, block_size, lambda b: b.sum(axis=1)) == 0, 1, expected
            ),
            "the scale has the sign of the number that is largest in size; a scale is a size, largest |value| / 127": (
                of(128, size=lambda b: -_extreme(b))
            ),
            "the scale has the sign of the number that is largest in size; a scale is positive, largest |value|": (
                of(size=_extreme)
            ),
            "the last block has its neighbour's scale; it has numbers of its own": lambda: np.concatenate(
                [expected[:, :-1], expected[:, -2:-1]], axis=1
            ),
            "the largest number was taken, not the largest size: negative ones count as well": of(
                size=lambda block: block.max(axis=1)
            ),
            "the least number was taken: positive ones count as well": of(size=lambda block: -block.min(axis=1)),
            "this is |largest number|: take the size first, then the largest": of(size=lambda b: np.abs(b.max(axis=1))),
            "this is the mean size; the largest one must still have a code": of(size=lambda b: np.abs(b).mean(axis=1)),
            "this is the standard deviation; the largest size must have a code": of(size=lambda b: b.std(axis=1)),
            "this is the root of the mean square; the largest size must have a code": of(
                size=lambda b: np.sqrt((b**2).mean(axis=1))
            ),
            "this is the median size; the largest one must have a code": of(
                size=lambda b: np.median(np.abs(b), axis=1)
            ),
            "this is a percentile of the sizes; the largest one must have a code": of(
                size=lambda b: np.percentile(np.abs(b), 99, axis=1)
            ),
            "this is the sum of the sizes; the largest one is meant": of(size=lambda b: np.abs(b).sum(axis=1)),
            "only the first number of each block was looked at": of(size=lambda b: np.abs(b[:, 0])),
            "this is half the range; symmetric codes reach as far on both sides: largest |value|": of(
                size=lambda b: np.ptp(b, axis=1) / 2
            ),
            "the scales were rounded; keep them as they come": lambda: np.round(expected, 4),
            "these are float16 numbers; a scale is a float32 here": lambda: expected.astype(np.float16),
            "the blocks were made equally long; all have block_size numbers, and only the last may be short": lambda: (
                np.stack([np.abs(x[:, part]).max(axis=1) / 127 for part in parts], axis=1)
            ),
            "every block of a row has the row's scale": lambda: np.broadcast_to(
                np.abs(x).max(axis=1, keepdims=True) / 127, expected.shape
            ),
            "one scale for everything": lambda: np.full(expected.shape, np.abs(x).max() / 127),
            "all rows share a block's scale; each row has its own": lambda: np.broadcast_to(
                expected.max(axis=0), expected.shape
            ),
            "the short last block was left out": lambda: np.where(
                np.arange(expected.shape[1]) < x.shape[1] // block_size, expected, 1
            ),
        }
    )


def _extreme(block):
    """The number of largest size in each row, with its sign."""
    return np.take_along_axis(block, np.abs(block).argmax(axis=1, keepdims=True), axis=1)[:, 0]


def _guards(sizes):
    """What becomes of blocks that are small, or of zeros, if a guard against 0 / 0 takes in too much."""
    scales = sizes / np.float32(127)
    guards = {}
    for least in (*(10.0**power for power in range(-20, 0)), np.finfo(np.float32).eps, np.finfo(np.float64).eps):
        least, said = np.float32(least), f"{least:.0e}"
        small = f"a block is not of zeros because it is small (a guard of about {said}): compare with 0"
        guards[small] = np.where(sizes < least, 1, scales)
        guards[f"{small} "] = np.where(scales < least, 1, scales)
        raised = f"the scale is held above about {said}: small blocks lose their codes, and zeros do not get scale 1"
        guards[raised] = np.maximum(scales, least)
        guards[f"{raised} "] = np.maximum(sizes, least) / 127
        added = f"about {said} was added against 0 / 0: no scale is right any more; use 1 for a block of zeros only"
        guards[added] = scales + least
        guards[f"{added} "] = (sizes + least) / 127
    return guards


def code_mistakes(x, scales, block_size):
    """{what was done wrong: the codes that it gives}."""
    quotient = x / spread(scales, x, block_size)
    tiled = x / np.tile(scales, (1, block_size))[:, : x.shape[1]]
    codes = np.rint(quotient)
    results = {
        "0.5 was added before flooring; round half to even, as np.rint does": np.floor(quotient + 0.5),
        "halves were rounded away from 0; round half to even, as np.rint does": np.trunc(
            quotient + np.copysign(np.float32(0.5), quotient)
        ),
        "halves were rounded down; round half to even, as np.rint does": np.ceil(quotient - 0.5),
        "halves were rounded towards 0; round half to even, as np.rint does": np.sign(quotient)
        * np.ceil(np.abs(quotient) - 0.5),
        "a cast to int8 truncates towards 0: round first": np.trunc(quotient),
        "floor always goes down: round to the nearest code": np.floor(quotient),
        "ceil always goes up: round to the nearest code": np.ceil(quotient),
        "np.tile repeats the whole row of scales; np.repeat(..., axis=1) repeats each one": np.rint(tiled),
        "np.tile repeats the whole row of scales; what was too large for int8 was clipped": np.clip(
            np.rint(tiled), -128, 127
        ),
        "x was multiplied by its scale; divide": np.rint(x * spread(scales, x, block_size)),
        "x was rounded before it was divided by its scale; round the quotient": np.rint(
            np.rint(x) / spread(scales, x, block_size)
        ),
        "x was rounded before it was divided by its scale, and the quotient was cut off": (
            np.rint(x) / spread(scales, x, block_size)
        ),
        "clipped to 7 bits, -64 to 63: the codes reach from -127 to 127": np.clip(codes, -64, 63),
        "codes of uint8 and not of int8: the zero point of symmetric codes is 0": codes + 128,
        "clipped to 126: 127 is a code too": np.clip(codes, -126, 126),
        "clipped to -127 to 126: 127 is a code too": np.clip(codes, -127, 126),
        "clipped to int4's codes": np.clip(codes, -7, 7),
        "negative codes were clipped away": np.clip(codes, 0, 127),
        "these are the sizes of the codes; the sign belongs to them": np.abs(codes),
        "all codes are 0: was x divided by 127 instead of by its scale?": np.zeros_like(codes),
    }
    # An int8 wraps around where a wrong code does not fit.
    return {said: np.clip(wrong, -(2**40), 2**40).astype(np.int64).astype(np.int8) for said, wrong in results.items()}
