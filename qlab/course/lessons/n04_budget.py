"""Exercise 04.3: effective bits, questions that tell habits apart, and wrong results by name."""

import math
from typing import NamedTuple

import numpy as np
import onnx

from qlab import PerAxis, PerBlock, PerTensor, choose_qparams, fake_quantize, models, sqnr_db
from qlab.course.brief import brief
from qlab.course.expect import call, expect_close, expect_number
from qlab.course.lessons.n04_graphs import linear
from qlab.course.verdict import Almost

SCALE_BITS = 16
CANDIDATES = [  # what exercise 04.3 chooses from: (bits, granularity) for a weight (out, in)
    (4, PerTensor()), (4, PerAxis(0)), (4, PerAxis(1)), (4, PerBlock(1, 128)), (4, PerBlock(1, 32)),
    (4, PerBlock(1, 8)), (5, PerTensor()), (5, PerAxis(0)), (5, PerBlock(1, 64)),
]  # fmt: skip


def cases():
    """The questions of 04.3: each habit below errs in one of them, and no two habits err alike in all."""
    random = np.random.default_rng(43)
    tailed = random.standard_t(3, size=(24, 160)).astype(np.float32)
    striped = random.normal(size=(24, 160)).astype(np.float32) * np.exp(random.normal(size=160)).astype(np.float32)
    spiked = random.normal(size=(24, 160)).astype(np.float32)
    spiked[np.arange(0, 24, 3), 7] *= 12
    whole = random.integers(-5, 6, size=(24, 160)) + random.normal(scale=0.03, size=(24, 160))
    whole[0, 0] = 7  # one scale of 1 fits all of them, finer ones do not
    whole = whole.astype(np.float32)
    even = random.uniform(-1, 1, size=(24, 160)).astype(np.float32)  # the best choice is a little too dear
    other = np.random.default_rng(1)  # on its numbers, mean, median and mean relative error choose differently
    small = other.normal(size=(24, 160)).astype(np.float32)
    small[other.random(small.shape) < 0.9] *= 0.02
    peaked = np.random.default_rng(1).laplace(size=(24, 160)).astype(np.float32)
    weight = linear(onnx.load(models.path("conformer")), "encoder.embed.out.0").weight.T
    asked = [
        *(("a heavy-tailed matrix", tailed, budget) for budget in (4.05, 4.5, 6.0, 7.0)),
        *(("a matrix with outlier columns", striped, budget) for budget in (4.15, 4.8, 5.5)),
        *(("a matrix with a few outliers", spiked, budget) for budget in (4.2, 5.02, 5.3)),
        ("a matrix of nearly whole numbers", whole, 4.7),
        ("an evenly spread matrix", even, 5.002),
        ("a matrix of many small numbers", small, 5.4),
        *(("a peaked matrix", peaked, budget) for budget in (4.2, 6.1)),
        *(("the real weight", weight, budget) for budget in (5.3, 4.2)),
    ]
    for name, x, budget in asked:
        yield Case(name, x, budget, [CANDIDATES[index] for index in random.permutation(len(CANDIDATES))])


def check_effective_bits(effective_bits, shape, bits, granularity, scale_bits):
    seen = call(effective_bits, shape, bits, granularity, scale_bits, name="effective_bits")
    numbers = math.prod(shape)
    scales = choose_qparams(np.ones(shape, np.float32), "int8", granularity=granularity).scale.size
    block = getattr(granularity, "block_size", None)
    mistakes = {
        "the scales were left out": bits,
        "these are all bits together; divide by how many numbers there are": bits * numbers + scale_bits * scales,
        "one scale was counted, whatever the granularity": bits + scale_bits / numbers,
        "16 bits were counted for a scale; it has `scale_bits`": bits + 16 * scales / numbers,
        "each number was given a scale of its own; count the scales": bits + scale_bits,
        "a scale was counted as 32 bits; it has `scale_bits`": bits + 32 * scales / numbers,
        "a scale was counted as one bit; it has `scale_bits`": bits + scales / numbers,
        "numbers were counted per scale; scales per number is its inverse": bits + scale_bits * numbers / scales,
        "these are the bits of the scales alone; each number has its code as well": scale_bits * scales / numbers,
        "the bits of the scales were not divided by how many numbers share them": bits + scale_bits * scales,
        "// drops what is behind the point: divide with /": bits + scale_bits * scales // numbers,
        "it was rounded up; a fraction of a bit is meant": math.ceil(bits + scale_bits * scales / numbers),
        "this is the product of code bits and the scales' share; they add up": bits * scale_bits * scales / numbers,
    }
    scale_shape = granularity.scale_shape(shape)
    mistakes |= {
        "len counts the axes of the scales' shape; multiply its entries": bits
        + scale_bits * len(scale_shape) / numbers,
        "the entries of the scales' shape were added; multiply them": bits + scale_bits * sum(scale_shape) / numbers,
        "the bits of the scales were divided by the number of axes; divide by that of the values": (
            bits + scale_bits * scales / len(shape)
        ),
        "the bits of a code were divided by 8; bits are asked for, not bytes": bits / 8 + scale_bits * scales / numbers,
        "these are bytes": (bits + scale_bits * scales / numbers) / 8,
        "the scales cost bits: add them": bits - scale_bits * scales / numbers,
        "one scale was divided by the number of scales; all of them by the number of values": bits
        + scale_bits / scales,
        "a zero point was counted for each scale; symmetric codes have none": (
            bits + (scale_bits + bits) * scales / numbers
        ),
        **{
            f"only axis {axis} of the scales' shape was counted": bits + scale_bits * length / numbers
            for axis, length in enumerate(scale_shape)
        },
        **{
            f"the bits of the scales were divided by the length of axis {axis}; divide by the number of values": (
                bits + scale_bits * scales / length
            )
            for axis, length in enumerate(shape)
        },
    }
    if block:
        mistakes["a short last block has a whole scale: count the scales, do not divide by block_size"] = (
            bits + scale_bits / block
        )
    said = f"effective_bits({shape}, {bits}, {granularity}, {scale_bits})"
    seen = expect_number(seen, said)
    expect_close(seen, bits + scale_bits * scales / numbers, said, rtol=1e-6, mistakes=mistakes)


class Case(NamedTuple):
    """One question: a tensor, the effective bits that may be spent on it, and the candidates in some order."""

    name: str
    x: np.ndarray
    budget: float
    candidates: list

    def __str__(self):
        return f"{self.name} {self.x.shape}, at most {self.budget} bits"


def quality(x, bits, granularity, *, symmetric=True):
    """SQNR in dB."""
    return sqnr_db(x, fake_quantize(x, choose_qparams(x, f"int{bits}", symmetric=symmetric, granularity=granularity)))


def cost(x, bits, granularity, scale_bits=SCALE_BITS):
    """Effective bits, scales included."""
    return bits + scale_bits * np.prod(granularity.scale_shape(x.shape)) / x.size


def _error(x, bits, granularity):
    return fake_quantize(x, choose_qparams(x, f"int{bits}", symmetric=True, granularity=granularity)) - x


# (what went wrong, what was made as large as possible among those that fit)
HABITS = (
    ("the lowest SQNR was taken; the highest is the best", lambda x, bits, each: -quality(x, bits, each)),
    ("the cheapest was taken; cheaper than the budget is no aim, the SQNR is", lambda x, *choice: -cost(x, *choice)),
    ("the first that fits was taken, in the order of the list; measure them all", lambda *_: 0),
    ("the last that fits was taken, in the order of the list; measure them all", None),
    ("the most expensive that fits is not always the best; measure", cost),
    ("the most code bits are not always the best; a finer granularity may be", lambda x, bits, each: bits),
    (
        "the most scales are not always the best; more code bits may be",
        lambda x, bits, each: np.prod(each.scale_shape(x.shape)),
    ),
    (
        "dB per bit were compared; the bits are paid for already, so the SQNR alone decides",
        lambda x, *choice: quality(x, *choice) / cost(x, *choice),
    ),
    (
        "dB per bit of a code were compared; the bits are paid for already, so the SQNR alone decides",
        lambda x, bits, each: quality(x, bits, each) / bits,
    ),
    (
        "the choice is that of 8-bit codes throughout; is `bits` missing in shared(x, granularity, bits)?",
        lambda x, bits, each: quality(x, 8, each),
    ),
    (
        "the choice is that of 4-bit codes throughout; each candidate has bits of its own",
        lambda x, bits, each: quality(x, 4, each),
    ),
    (
        "the smallest blocks are not always the best; measure",
        lambda x, bits, each: -getattr(each, "block_size", math.inf),
    ),
    (
        "bits were charged against dB, 6 a bit; they are paid for already, so the SQNR alone decides",
        lambda x, *choice: quality(x, *choice) - 6.02 * cost(x, *choice),
    ),
    (
        "the choice is that of the least mean |error|; SQNR counts the squares",
        lambda x, bits, each: -np.abs(_error(x, bits, each)).mean(),
    ),
    (
        "the choice is that of the least median |error|; SQNR counts all errors, squared",
        lambda x, bits, each: -np.median(np.abs(_error(x, bits, each))),
    ),
    (
        "the choice is that of the least mean relative error; SQNR counts the squares, and divides once, by all of x",
        lambda x, bits, each: -(np.abs(_error(x, bits, each)) / (np.abs(x) + 1e-9)).mean(),
    ),
    (
        "the SQNR was rounded to whole dB, and another was as good as the best then",
        lambda x, *choice: round(quality(x, *choice)),
    ),
    (
        "the most code bits came first, and the SQNR only among those; it decides alone",
        lambda x, bits, each: (bits, quality(x, bits, each)),
    ),
    (
        "only blocks were compared; any granularity may be the best",
        lambda x, bits, each: (hasattr(each, "block_size"), quality(x, bits, each)),
    ),
    (
        "the choice is that of asymmetric codes; here they are symmetric",
        lambda x, bits, each: quality(x, bits, each, symmetric=False),
    ),
    (
        "the choice is that of the least single error; SQNR counts all of them, squared",
        lambda x, bits, each: -np.abs(_error(x, bits, each)).max(),
    ),
)


def judge_choices(best_within, asked):
    """Ask `best_within` every case; -> its choice in the last. A wrong one is told by the habit behind them all."""
    asked = list(asked)
    seen = [_chosen(best_within, case) for case in asked]
    for case, chosen in zip(asked, seen, strict=True):
        best = best_by(quality, case)
        has, could = quality(case.x, *chosen), quality(case.x, *best)
        if has < could:
            said = f"{case}: seen {chosen}, which has {has:.1f} dB, where {best} has {could:.1f} dB"
            raise Almost(f"{said}: {_why(asked, seen, case, best)}")
    return seen[-1]


def _chosen(best_within, case):
    answer = call(best_within, case.x, case.budget, list(case.candidates), name="best_within")
    if isinstance(answer, int | float | np.number):
        raise Almost(
            f"{case}: expected one of the candidates, a pair (bits, granularity), seen the number {answer:.4g}"
        )
    if not isinstance(answer, tuple | list) or tuple(answer) not in case.candidates:
        raise Almost(f"{case}: expected one of the candidates, a pair (bits, granularity), seen {brief(answer)}")
    price = cost(case.x, *answer)
    if price > case.budget:
        raise Almost(f"{case}: {tuple(answer)} costs {price:.3f} bits, its scales included: too many")
    return tuple(answer)


def best_by(wanted, case, price=cost):
    """The candidate within the budget of which `wanted` is largest, the first of equals; without `wanted` the last."""
    affordable = [candidate for candidate in case.candidates if price(case.x, *candidate) <= case.budget]
    return max(affordable, key=lambda candidate: wanted(case.x, *candidate)) if wanted else affordable[-1]


def _why(asked, seen, case, best):
    for said, wanted in HABITS:
        if all(best_by(wanted, each) == chosen for each, chosen in zip(asked, seen, strict=True)):
            return said
    dearer = lambda x, *choice: cost(x, *choice, scale_bits=32)
    if all(best_by(quality, each, dearer) == chosen for each, chosen in zip(asked, seen, strict=True)):
        return "a scale was counted as 32 bits; here it is a float16, of 16"
    strictly = lambda each: Case(each.name, each.x, np.nextafter(each.budget, 0), each.candidates)
    if all(best_by(quality, strictly(each)) == chosen for each, chosen in zip(asked, seen, strict=True)):
        return f"{best} costs exactly the budget, which is allowed"
    return "the SQNR decides, measured on this tensor"
