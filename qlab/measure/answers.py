"""Beside SQNR: answers counted, of embeddings the cosine, and what a metric of the reader's own says."""

import inspect
import math
from copy import deepcopy
from dataclasses import dataclass

import numpy as np

from qlab.measure.heads import DIRECTION, LABEL, LOG_CLASS, LOGITS, YES_NO, reading
from qlab.measure.pooled import PooledError, is_float

ENOUGH = 60  # of as many answers, none of which changes, 5 % at most would at 95 % confidence (the rule of three)
DIVERSE = 10  # as many must be other than the commonest: what always says no keeps saying no
FULL = 1e-3  # what rounding may take from full agreement


@dataclass(frozen=True)
class Answers:
    """How many of the `total` answers of an output `changed`; `others` of the reference's are not its commonest.

    >>> str(Answers(4, 232, 200)), str(Answers(0, 232, 200))
    ('4 of 232 differ', 'all 232 the same')
    """

    changed: int
    total: int
    others: int

    def __str__(self):
        return f"{self.changed:,} of {self.total:,} differ" if self.changed else f"all {self.total:,} the same"

    @property
    def same(self):
        """The share that stayed as it was."""
        return 1 - self.changed / self.total

    @property
    def tell(self):
        """Whether there are enough to judge by, of more than one kind."""
        return self.total >= ENOUGH and self.others >= DIVERSE


@dataclass(frozen=True)
class Cosine:
    """Cosine of the angle between the vectors of two models, the mean and the worst."""

    mean: float
    worst: float

    def __str__(self):
        return f"{self.mean:.4f}, worst {self.worst:.4f}"


@dataclass(frozen=True)
class Kept:
    """What an output keeps of the reference's, beside its SQNR.

    judged_db  SQNR of what is read from it: of logits and log-probabilities without the offset of each vector, which no
               class gains from, of embeddings at length 1; of anything else as it is
    answers    Answers, or None where none can be read; cosine, of an embedding, or None
    """

    judged_db: float
    answers: Answers | None = None
    cosine: Cosine | None = None


def kept(output, head, pairs, places):
    """The Kept of the output called `output`, or None where nothing can be compared.

    head    what `heads_of` says of it; pairs, for each feed, the reference's array and the other one, of one shape
    places  for each feed, the positions that count, as an array that fits these, or None for all
    """
    read = reading(output, head, [expected for expected, _ in pairs])
    if read is None and not is_float(pairs[0][0]):
        return None
    error, counts, cosines = PooledError(), [], []
    for (expected, got), counted in zip(pairs, places, strict=True):
        where = np.broadcast_to(True if counted is None else counted, expected.shape)
        if is_float(expected):
            expected, got = (x.astype(np.float64) for x in (expected, got))
            error.add(_as_read(expected, read), _as_read(got, read), counted=where)
        if read is not None and read[0] == DIRECTION:
            cosines.append(_cosines(expected, got, where))
        elif read is not None and expected.size:
            counts.append(_answers(expected, got, read, where))
    return Kept(error.db if error.size else math.inf, _counted(counts, error), _cosine(cosines, error))


def _as_read(x, read):
    """Vectors without what is not read from them: of classes the common offset, of directions the length."""
    kind, axis = read or (None, None)
    if kind not in (LOG_CLASS, LOGITS, DIRECTION):
        return x
    finite = np.isfinite(x)
    if kind == DIRECTION:
        length = np.linalg.norm(np.where(finite, x, 0), axis=axis, keepdims=True)
        return np.divide(x, length, where=length > 0, out=np.zeros_like(x))
    count = np.maximum(finite.sum(axis=axis, keepdims=True), 1)
    return x - np.where(finite, x, 0).sum(axis=axis, keepdims=True) / count


def _answers(expected, got, read, where):
    """(what the reference answers where it counts, whether the other answers the same)."""
    kind, axis = read
    if kind == YES_NO:
        expected, got = expected > 0.5, got > 0.5
    elif kind != LABEL:
        expected, got, where = expected.argmax(axis), got.argmax(axis), where.any(axis)
    return expected[where], (expected == got)[where]


def _counted(counts, error):
    """The Answers of all feeds together, or None."""
    answers, same = (np.concatenate(parts) for parts in zip(*counts, strict=True)) if counts else (np.zeros(0),) * 2
    if not answers.size or (error.size and error.remark):
        return None
    commonest = np.unique(answers, return_counts=True)[1].max()
    return Answers(int((~same).sum()), same.size, int(answers.size - commonest))


def _cosines(expected, got, where):
    """Cosines of the vectors that count; one of zeros has no direction."""
    expected, got = (_as_read(x, (DIRECTION, -1)) for x in (expected, got))
    return (expected * got).sum(axis=-1)[where.any(axis=-1) & expected.any(axis=-1)]


def _cosine(cosines, error):
    every = np.concatenate(cosines) if cosines else np.zeros(0)
    return None if not every.size or error.remark else Cosine(float(every.mean()), float(every.min()))


def check_agree(agree):
    """Raise ValueError unless `agree` can be called with two dictionaries."""
    wanted = "expected a function agree(reference, outputs) of two {output name: array}"
    if not callable(agree):
        raise ValueError(f"agree is {agree!r}; {wanted}")
    try:
        parameters = inspect.signature(agree)
    except ValueError:  # some functions written in C show none
        return
    try:
        parameters.bind({}, {})
    except TypeError:
        raise ValueError(f"agree takes {parameters}; {wanted}") from None


def agreement(agree, reference, answers, name):
    """The mean of agree(reference, outputs) over the feeds; -inf where NaN comes of the model's own NaN."""
    pairs = zip(reference, answers, strict=True)
    values = [_agreement(agree, *pair, f"feed {at} of {name!r}") for at, pair in enumerate(pairs)]
    mean = float(np.mean(values))
    if answers is reference and mean < 1 - FULL:
        raise ValueError(
            f"agree gives {mean:g} for the reference against itself; expected 1 for full agreement, and less for less: "
            "compare with the reference's outputs, not with the truth, and let larger be better"
        )
    return mean


def _agreement(agree, expected, got, place):
    try:
        value = agree(deepcopy(expected), deepcopy(got))
    except (Exception, SystemExit) as error:  # a stranger's code may raise anything
        raise ValueError(f"agree raised {type(error).__name__} on {place}: {error}") from error
    if isinstance(value, np.ndarray) and value.ndim == 0:
        value = value[()]
    is_number = isinstance(value, int | float | np.bool_ | np.integer | np.floating)
    if is_number and not all(map(_is_finite, got.values())) and not math.isfinite(value):
        return -math.inf
    if not is_number or not -math.inf < value <= 1 + FULL:
        shown = repr(value) if is_number or value is None else f"a {type(value).__name__}"
        raise ValueError(f"agree returned {shown} on {place}; expected a finite number, 1 for full agreement, no more")
    return float(value)


def _is_finite(values):
    return not isinstance(values, np.ndarray) or values.dtype.kind != "f" or np.isfinite(values).all()
