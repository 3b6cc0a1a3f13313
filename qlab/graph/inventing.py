"""Make feeds from nothing but a model's signature: enough to run it and to time it, no more.

What an input probably wants is told from its name, its type and the names of its sizes.
"""

import math
import re
from dataclasses import dataclass

import numpy as np
import onnx
from onnx import helper

from qlab.files import ModelPath
from qlab.graph.model import Model, opened
from qlab.graph.operators import REARRANGING
from qlab.numerics.dtypes import Array
from qlab.runtime import NeverEnds, run

# What a symbolic size is for, by the words in its name. Nothing is in a cache before the first step.
MEANINGS = {
    "batch": ({"batch", "bs", "b", "n"}, 1),
    "past": ({"past", "cache", "history", "prev"}, 0),
    "wave": ({"sample", "wav", "wave", "waveform", "audio"}, 16_000),
    "time": ({"time", "frame", "seq", "sequence", "len", "length", "token", "step", "t", "l"}, 128),
    "space": ({"height", "width", "h", "w"}, 224),
    "channels": ({"channel", "c"}, 3),
}
BATCH, TIME, SPACE, CHANNELS = (MEANINGS[key][1] for key in ("batch", "time", "space", "channels"))
UNNAMED = 16
LENGTHS = {"len", "length", "size"}
STARTS_AT_ZERO = {"type", "segment", "position", "offset", "start", "past", "cache", "index", "step"}
PASSED_ON = REARRANGING | {"Cast"}
OTHER_SIZES = (64, 32, 16, 8, 128, 256, 1)  # tried, for all symbols alike, where the guesses do not run
LENGTH_FACTORS = (1, 0.5, 1.5, 0.75, 1.25)  # of 128: multiples of 32, which networks that halve the length like
MEANING, ONES, ZEROS = "meaning", "ones", "zeros"
MOST_NUMBERS = 50_000_000  # in one input


@dataclass(frozen=True)
class Input:
    """One input that must be fed.

    dtype  NumPy's; sizes, one for each dimension: a number, or the symbol that stands for it
    table  how many rows the constant table has that this input looks up, None for all else
    """

    name: str
    dtype: np.dtype
    sizes: tuple[int | str, ...]
    table: int | None = None

    def __str__(self):
        return f"{self.name}: {self.dtype} [{', '.join(map(str, self.sizes))}]"

    @property
    def words(self):
        """The words of its name."""
        return words(self.name)

    @property
    def is_mask(self):
        """Whether it says what to look at: booleans, or "mask" in its name."""
        return self.dtype.kind == "b" or "mask" in self.words

    @property
    def time_symbols(self):
        """Its symbolic lengths."""
        return [size for size in self.sizes if isinstance(size, str) and meaning(size) in ("time", "wave")]


def inputs_of(model, path):
    """The Inputs of the ModelProto in the file `path`; those with a default value need not be fed.

    Raises ValueError if one is no tensor.
    """
    defaults = {tensor.name for tensor in model.graph.initializer}
    declared = [value for value in model.graph.input if value.name not in defaults]
    other = {value.name: value.type.WhichOneof("value") for value in declared if not value.type.HasField("tensor_type")}
    if other:
        raise ValueError(f"{path} takes inputs that are no tensors, {other}: no feed can be invented; give real ones")
    tables = _tables(model.graph)
    return [_input(value, tables.get(value.name)) for value in declared]


def guessed_size(symbol, axis, one):
    """A size for `symbol`, dimension `axis` of the Input `one`: by its name, otherwise by where it stands."""
    if key := meaning(symbol):
        return MEANINGS[key][1]
    if axis == 0:
        return BATCH
    if len(one.sizes) == 4 and one.dtype.kind == "f":
        return SPACE if axis > 1 else CHANNELS
    return TIME if axis == 1 and len(one.sizes) < 4 else UNNAMED


def guessed_values(one, shape, length, rng):
    """An array of `shape` for the Input `one`, where a sequence in the same feed is `length` long.

    Floats are standard normal noise; pictures (4 dimensions, 3 channels) uniform in 0..1; a lone number 1.
    Integers: within their table; ones for a mask, zeros for offsets and types, the length; bytes; small ids.
    """
    if one.dtype.kind == "b":
        return np.ones(shape, bool)
    if one.dtype.kind in "OSU":
        return np.full(shape, "a", object)
    if one.table is not None:
        values = rng.integers(0, max(1, one.table), shape)
    elif "mask" in one.words:
        values = np.ones(shape)
    elif one.dtype.kind in "iu":
        values = _integers(one, shape, length, rng)
    elif not shape:
        values = 1.0
    else:
        values = rng.random(shape) if len(shape) == 4 and 3 in (shape[1], shape[3]) else rng.standard_normal(shape)
    return np.asarray(values).astype(one.dtype)


def meaning(symbol):
    """The key of MEANINGS that a word of `symbol` belongs to, or None: "past_seq_len" is past before it is time."""
    found = set() if "@" in symbol else words(symbol)
    return next((key for key, (known, _) in MEANINGS.items() if found & known), None)


def words(name):
    """The words of a name, without a plural's s: {"speech", "length"} of "speechLengths" or "speech_lengths"."""
    return {word.lower().removesuffix("s") or "s" for word in re.findall(r"[A-Z]?[a-z]+|[A-Z]+(?![a-z])", name)}


def _integers(one, shape, length, rng):
    if one.words & STARTS_AT_ZERO:
        return np.zeros(shape)
    if one.words & LENGTHS:
        return np.full(shape, length)
    if one.dtype.itemsize == 1:
        limits = np.iinfo(one.dtype)
        return rng.integers(limits.min, limits.max, shape, endpoint=True)
    return rng.integers(0, 10, shape) if shape else 1


def _input(value, table):
    kind = value.type.tensor_type
    sizes = [_size(size, f"{value.name}@{axis}") for axis, size in enumerate(kind.shape.dim)]
    if not kind.HasField("shape"):  # any rank: a matrix is the likeliest
        sizes = [f"{value.name}@0", f"{value.name}@1"]
    return Input(value.name, helper.tensor_dtype_to_np_dtype(kind.elem_type), tuple(sizes), table)


def _size(size, unnamed):
    if size.HasField("dim_value") and size.dim_value >= 0:
        return size.dim_value
    return size.dim_param or unnamed


def _tables(graph):
    """{input: rows} of the inputs that are indices into a constant table, directly or through a change of shape."""
    stored = {tensor.name: tensor.dims for tensor in graph.initializer}
    origin, tables = {value.name: value.name for value in graph.input}, {}
    for node in graph.node:
        attributes = {one.name: helper.get_attribute_value(one) for one in node.attribute}
        if node.op_type == "Constant" and isinstance(attributes.get("value"), onnx.TensorProto):
            stored[node.output[0]] = attributes["value"].dims
        elif node.op_type in PASSED_ON and node.input and node.input[0] in origin:
            origin[node.output[0]] = origin[node.input[0]]
        elif node.op_type == "Gather" and node.input[0] in stored and node.input[1] in origin:
            name, rows = origin[node.input[1]], stored[node.input[0]][attributes.get("axis", 0)]
            tables[name] = min(rows, tables.get(name, rows))
    return tables


def invented_feeds(path: ModelPath | Model, *, count: int = 8, seed: int = 0) -> list[dict[str, Array]]:
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
    model, rng = opened(path), np.random.default_rng(seed)
    path, session = model.path, model.session()
    inputs = inputs_of(model.proto, path)
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
