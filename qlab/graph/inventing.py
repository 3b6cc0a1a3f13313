"""Make feeds from nothing but a model's signature: enough to run it and to time it, no more."""

import math

import numpy as np

from qlab.graph.files import load
from qlab.graph.guessing import BATCH, guessed_size, guessed_values, inputs_of, meaning
from qlab.machine.runtime import NeverEnds, open_session, run
from qlab.types import Array, ModelPath

OTHER_SIZES = (64, 32, 16, 8, 128, 256, 1)  # tried, for all symbols alike, where the guesses do not run
LENGTH_FACTORS = (1, 0.5, 1.5, 0.75, 1.25)  # of 128: multiples of 32, which networks that halve the length like
MEANING, ONES, ZEROS = "meaning", "ones", "zeros"
MOST_NUMBERS = 50_000_000  # in one input


def invented_feeds(path: ModelPath, *, count: int = 8, seed: int = 0) -> list[dict[str, Array]]:
    """`count` feeds for the model file `path`, made from the sizes, types and names of its inputs alone.

    >>> [feed["speech"].shape for feed in invented_feeds(models.path("conformer"), count=3)]  # doctest: +SKIP
    [(1, 128, 80), (1, 64, 80), (1, 192, 80)]

    1. Declared sizes are kept; symbolic ones are guessed by name (batch 1, frames 128, height 224, a cache 0), and the
       same symbol has the same size everywhere.
    2. Floats are noise. Integers go by name: the length, ones for masks, indices within their table. Booleans are true.
    3. The model is run. If it refuses, other sizes and integers are tried, and masks of 1, until it runs.
    4. Further feeds have other noise, and other lengths where a length is symbolic and the model takes it.

    Raises ValueError with the signature if nothing runs, and what `graph.load` raises.
    """
    if isinstance(count, bool) or not isinstance(count, int) or count < 1:
        raise ValueError(f"count is {count!r}; expected a whole number of feeds from 1 up")
    model, session, rng = load(path), open_session(path), np.random.default_rng(seed)
    inputs = inputs_of(model, path)
    try:
        sizes, integers = _first_that_runs(inputs, session, rng, path)
    except NeverEnds as error:
        raise NeverEnds(f"{path}: {error}") from None
    feeds = [_feed(inputs, sizes, integers, rng)]
    while len(feeds) < count:
        factor = LENGTH_FACTORS[len(feeds) % len(LENGTH_FACTORS)]
        longer = {symbol: _stretched(symbol, size, factor) for symbol, size in sizes.items()}
        feed = _feed(inputs, longer, integers, rng)
        runs = longer == sizes or _problem(session, feed) is None
        feeds.append(feed if runs else _feed(inputs, sizes, integers, rng))
    return feeds


def _first_that_runs(inputs, session, rng, path):
    """Sizes of the symbols and the kind of integers with which the model runs; with NaN only if nothing else does."""
    with_nan, problem = None, "every size is too large"
    for sizes in _plans(inputs):
        if max((math.prod(_shape(one, sizes)) for one in inputs), default=0) > MOST_NUMBERS:
            continue
        for integers in (MEANING, ONES, ZEROS):
            problem = _problem(session, _feed(inputs, sizes, integers, rng))
            if problem is None:
                return sizes, integers
            with_nan = with_nan or ((sizes, integers) if problem == "NaN" else None)
    if with_nan is None:
        signature = ", ".join(map(str, inputs))
        raise ValueError(
            f"{path} runs on no invented feed; give real ones (doctor: --calibration feeds.npz). It takes {signature}; "
            f"the last answer was: {problem}"
        )
    return with_nan


def _plans(inputs):
    """Sizes for all symbols, {symbol: size}: as guessed, then all of one size, the batch too or not.

    Each plan also with 1 for what is a size of masks only, since a mask of 1 broadcasts over whatever it masks; and
    with the length of what is new and what is past together.
    """
    guesses = {
        size: guessed_size(size, axis, one)
        for one in inputs
        for axis, size in enumerate(one.sizes)
        if isinstance(size, str)
    }
    others = {size for one in inputs if not one.is_mask for size in one.sizes}
    alone = [symbol for symbol in guesses if symbol not in others]
    batches = {symbol for symbol, size in guesses.items() if size == BATCH and meaning(symbol) in ("batch", None)}
    plans = [guesses]
    for size in OTHER_SIZES if guesses else ():
        kept = batches | {symbol for symbol in guesses if meaning(symbol) == "past"}
        past = {symbol: guesses[symbol] if symbol in kept else size for symbol in guesses}
        alike = {symbol: 1 if symbol in batches else size for symbol in guesses}
        plans += [past, alike, dict.fromkeys(guesses, size)]
    tried = []
    for plan in plans:
        lengths = [size for symbol, size in plan.items() if symbol in others and meaning(symbol) in ("time", "past")]
        for sizes in (plan, plan | dict.fromkeys(alone, 1), plan | dict.fromkeys(alone, sum(lengths))):
            if sizes not in tried:
                tried.append(sizes)
                yield sizes


def _problem(session, feed):
    """None if the model runs on `feed`; otherwise why not, or "NaN"."""
    try:
        answers = run(session, feed)
    except NeverEnds:
        raise
    except Exception as error:  # onnxruntime's exceptions share no base class
        return str(error)
    floats = [answer for answer in answers if isinstance(answer, np.ndarray) and answer.dtype.kind == "f"]
    return "NaN" if any(np.isnan(answer).any() for answer in floats) else None


def _feed(inputs, sizes, integers, rng):
    feed = {}
    for one in inputs:
        shape = _shape(one, sizes)
        if integers != MEANING and one.dtype.kind in "iub":
            feed[one.name] = np.full(shape, integers == ONES, one.dtype)
        else:
            feed[one.name] = guessed_values(one, shape, _length(one, inputs, sizes), rng)
    return feed


def _length(one, inputs, sizes):
    """How long the sequence is that the Input `one`, a length, speaks of: the input that shares most of its words."""
    lengths = [(other, sizes[symbol]) for other in inputs for symbol in other.time_symbols]
    lengths += [(other, _shape(other, sizes)[1]) for other in inputs if len(other.sizes) > 1]
    return max(lengths, key=lambda pair: len(pair[0].words & one.words), default=(None, 1))[1]


def _stretched(symbol, size, factor):
    return max(1, int(size * factor)) if meaning(symbol) in ("time", "wave") and size > 1 else size


def _shape(one, sizes):
    return tuple(size if isinstance(size, int) else _sum(size, sizes) for size in one.sizes)


def _sum(symbol, sizes):
    """The size of a symbol. Exporters also write sums: "past_sequence_length + 1"."""
    parts = [part.strip() for part in symbol.split("+")]
    if len(parts) > 1 and all(part.isdecimal() or part in sizes for part in parts):
        return sum(int(part) if part.isdecimal() else sizes[part] for part in parts)
    return sizes[symbol]
