"""Time models against each other, fairly, and say how much of each other's answers they keep.

Where a model has a state that is fed back, it is judged over a stream, since what it loses comes together in that.
"""

import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial

import numpy as np

from qlab import graph
from qlab.files import ModelPath
from qlab.graph import Model
from qlab.graph.timing import judge, rounds_here, speedup_interval, time_models
from qlab.measure.answers import agreement, check_agree, heads_of, kept, random_draws
from qlab.measure.opening import explained
from qlab.measure.outputs import (
    DIFFERS,
    RANDOM_WEIGHTS,
    answer,
    check_outputs,
    counted_by,
    counted_places,
    has_random_weights,
    is_hidden,
    output_quality,
)
from qlab.measure.results import Comparison, Row
from qlab.runtime import Feeds, as_feeds, check_feed, open_session
from qlab.text import decibels, figures

STEPS = 32  # of a stream, or as many as there are feeds
QUARTER = 4
STATE = re.compile(r"state|cache|hidden|past|mem|context|buf|cell|prev|rnn|gru|lstm|^[hc][x0]?$|^[hc]_0$")
AROUND = (  # what exporters put around the name of a state to name its next value; "r_" is WeNet's
    ("", "n"), ("", "out"), ("", "output"), ("", "next"), ("", "new"),
    ("new", ""), ("r", ""), ("out", ""), ("output", ""), ("next", ""), ("updated", ""),
)  # fmt: skip
INSTEAD = (("pastkeyvalues", "present"), ("past", "present"), ("prev", "next"), ("prev", "new"), ("old", "new"))
ENDS, WORDS = (("0", "n"), ("x", "y")), {"in": "out", "input": "output", "inputs": "outputs"}


def compare(
    models: Mapping[str, ModelPath | Model],
    feed: Feeds,
    *,
    agree: Callable[[dict, dict], float] | None = None,
    threads: int = 1,
    rounds: int = 30,
    timer: Callable = time_models,
) -> Comparison:
    """Latency, size and closeness of several ONNX models that do the same; the first is the reference.

    >>> measure.compare({"fp32": "model.onnx", "int8": "model.int8.onnx"}, {"x": x})  # doctest: +SKIP
    model  size MB    ms  speed-up          95 %  SQNR dB  verdict
    fp32     143.5  97.2      1.00                         reference
    int8      41.0  35.1      2.77  2.74 to 2.80     57.3  faster
    medians of 30 interleaved rounds, 1 feed, 1 thread; SQNR of the worst float output; a verdict needs more than 2 %

    models   {name: path or Model}, at least two, with the same inputs and outputs
    feed     {input name: array}, or several of them; a model's time is the mean over the feeds
    agree    a metric of your own: agree(reference, outputs), two {output name: array} of one feed, gives a number, 1
             for full agreement, larger is better; a column shows the mean over the feeds
    threads  threads inside an operator; rounds, how often each model is timed (QLAB_FAST=1: 7 at most)
    timer    times the open models: timer(sessions, feeds, rounds) gives {name: seconds [rounds]}, as `time_models` does

    Each round runs every model, in an order drawn anew, so that what slows the machine slows all of them; a model of
    less than 10 ms runs several times, and the middle half of these runs counts: what fits into the CPU's cache is then
    read from there. Times are medians over the rounds; the interval of the speed-up is a paired bootstrap over them.
    SQNR is that of the float outputs over all feeds, against the reference; the table has the worst, `.sqnr_by_output`
    has all. There is none, and a note says so, where the number of results depends on the data (NonMaxSuppression) and
    is another.
    `.worst_part` has the channel, or slice along the last axis, that kept least; where SQNR of the whole hides that it
    is lost (scores beside boxes), a note says so. A reference that draws random numbers has no SQNR, and
    a note says why.
    A model whose state is fed back (an output called as the next value of an input: state and stateN, past and present)
    is judged over a stream: the feeds in order, 32 of them or again and again, each model with its own state. SQNR is
    then that of the later steps, without the state itself, and a note has that of the first and the worst drift.

    SQNR is not the task: 48 dB can change a class, 10 dB can leave all as they were. Where an output is a Softmax, a
    LogSoftmax, a Sigmoid, logits or a label, its answers are counted as well (the largest number; above 0.5; the label
    itself), and of embeddings the cosine is taken: `Row.answers`, `Row.cosine`, `Row.kept`. What counts as what is in
    qlab.measure.answers. What all classes share changes no answer, but flatters the SQNR of logits and
    log-probabilities: `sqnr_db` is of the numbers as they are, `Kept.judged_db` of those without the mean of each
    vector, and of embeddings at length 1. Positions that the feed marks as padding (attention_mask, lengths) count for
    nothing.
    Raises ValueError where models, feed or `agree` do not fit together, FileNotFoundError for a path that is not there.
    """
    if not isinstance(models, Mapping) or len(models) < 2:
        raise ValueError(f"models is {models!r}; expected {{name: path}}, at least two, the reference first")
    rounds = rounds_here(rounds)
    if agree is not None:
        check_agree(agree)
    feeds = as_feeds(feed)
    first = next(iter(models))
    sessions = {name: open_model(path, fp32=models[first], threads=threads) for name, path in models.items()}
    for name, session in sessions.items():
        for one in feeds:
            check_feed(session, one, name)
    opened = {name: graph.opened(path) for name, path in models.items()}
    reference = opened[first]
    quality, notes, parts, told = _over_a_stream(sessions, stream_of(reference.proto, feeds), reference, agree)
    if draws := random_draws(reference, feeds[0]):
        quality, parts = {name: dict.fromkeys(quality[name], math.nan) for name in models}, dict.fromkeys(models)
        notes = {name: [draws] if name == first else [] for name in models}
        told = {name: {"agreement": one["agreement"]} for name, one in told.items()}
    seconds = timer(sessions, feeds, rounds)
    rows = [_row(name, opened[name], seconds, quality[name], notes[name], told[name]) for name in models]
    times = {name: 1e3 * values for name, values in seconds.items()}
    return Comparison(rows, quality, times, threads, len(feeds), parts)


def open_model(path, *, fp32=None, **options):
    """An onnxruntime session for a model file or Model, as `open_session` makes it.

    fp32   the file that it was made from, if it is a quantized one and that is known
    Raises what `open_session` raises; for a quantized model with the cause first, where that is known.
    """
    try:
        return open_session(path, **options)
    except ValueError as error:
        if (told := explained(error, path, fp32)) is not None:
            raise told from error
        raise


def _over_a_stream(sessions, stream, model, agree):
    try:
        return _qualities(sessions, stream, model, agree)
    except ValueError:
        if not stream.state:
            raise
        return _qualities(sessions, stream.alone(), model, agree)


def _qualities(sessions, stream, model, agree):
    """SQNR, remarks, worst Part and more of a Row, of every model against the first, whose Model is `model`.

    Also a warm-up: each model sees each feed once.
    """
    quality, notes, parts, told, reference_name = {}, {}, {}, {}, next(iter(sessions))
    counted, heads = counted_by(model.network), heads_of(model.proto)
    says = "model {!r} does not run on this feed".format
    answers_of = {name: partial(answer, session, says=says(name)) for name, session in sessions.items()}
    reference = stream.answers(answers_of[reference_name])
    # Whether it is padding is tried by runs without a state, which those of a stream are not.
    first = stream.judged(reference)
    places = (
        counted_places(answers_of[reference_name], stream.feeds, reference) if not stream.state else [{}] * len(first)
    )
    for name, session in sessions.items():
        answers = reference if name == reference_name else stream.answers(answers_of[name])
        check_outputs(reference, answers, reference_name, name, counted)
        judged = first, first if answers is reference else stream.judged(answers)
        quality[name], notes[name], parts[name] = output_quality(*judged, counted, places)
        found = _kept(*judged, heads, places)
        counting = {f"{output} {DIFFERS}" for output, one in found.items() if one.answers is not None}
        notes[name] = [note for note in notes[name] if note not in counting]
        notes[name] += stream.remark(reference, answers, min(quality[name].values(), default=math.nan), counted)
        told[name] = {"kept": found, "agreement": math.nan if agree is None else agreement(agree, *judged, name)}
        if has_random_weights(session):
            notes[name].insert(0, RANDOM_WEIGHTS)
        elif is_hidden(parts[name], quality[name]) and not _is_answered(found.get(parts[name].tensor)):
            notes[name].append(f"of {parts[name]}")
    return quality, notes, parts, told


def _kept(reference, answers, heads, places):
    """{output: Kept} of the outputs that can be compared number by number."""
    found = {}
    for output, head in heads.items():
        if output not in reference[0]:  # a state that is fed back
            continue
        pairs = [(expected[output], got[output]) for expected, got in zip(reference, answers, strict=True)]
        if all(isinstance(one, np.ndarray) and one.shape == other.shape for one, other in pairs):
            found[output] = kept(output, head, pairs, [place.get(output) for place in places])
    return {output: one for output, one in found.items() if one is not None}


def _is_answered(one):
    """Whether answers tell what an output keeps: a class that is never likely may be lost without a loss."""
    return one is not None and one.answers is not None and one.answers.tell


def _row(name, model, seconds, quality, notes, told):
    reference = next(iter(seconds))
    speedup, low, high = speedup_interval(seconds[reference], seconds[name])
    return Row(
        name=name,
        size_mb=model.size_mb,
        median_ms=1e3 * float(np.median(seconds[name])),
        speedup=speedup,
        speedup_low=low,
        speedup_high=high,
        sqnr_db=min(quality.values(), default=math.nan, key=lambda db: -math.inf if math.isnan(db) else db),
        verdict=judge(low, high, rounds=len(seconds[name])),
        is_reference=name == reference,
        note="; ".join(notes),
        **told,
    )


@dataclass(frozen=True)
class Stream:
    """The steps that a model is judged over: the feeds, one by one; or with its state, as many as make a stream.

    state   {input: output whose value it has in the next step}
    note    what is to be said of how it is judged, or empty
    """

    feeds: list = field(repr=False)
    state: dict[str, str] = field(default_factory=dict)
    note: str = ""

    def answers(self, answer):
        """What a model, a function from a feed to {output: array}, answers step by step, its own state fed back.

        Without the state itself, unless there is nothing else. Raises ValueError where the state does not fit.
        """
        found, carried = [], {}
        for feed in self.feeds:
            given = {**feed, **carried}
            values = answer(given)
            carried = {name: _next(given, name, values[output]) for name, output in self.state.items()}
            states = set(self.state.values())
            found.append({name: x for name, x in values.items() if name not in states or states >= values.keys()})
        return found

    def judged(self, answers):
        """Those of the answers that count: of feeds that are a stream, all but the first quarter, in which the state
        comes about; of a few feeds again and again the last quarter, where errors have come together."""
        quarter = len(answers) // QUARTER
        is_repeated = len({id(feed) for feed in self.feeds}) < len(answers)
        return answers[-quarter if is_repeated else quarter :] if self.state else answers

    def remark(self, reference, answers, db, counted):
        """How a model with a state kept up with the reference, in words; [] without a state."""
        if not self.state or reference is answers:
            return [self.note] if self.note else []
        more = f" and {len(self.state) - 2} more" if len(self.state) > 2 else ""
        first = min(output_quality(reference[:1], answers[:1], counted)[0].values(), default=np.nan)
        text = f"a stream of {len(answers)} steps with its own state fed back ({self._pairs}{more}): {decibels(first)} "
        text += f"dB in the first step, {decibels(db)} in the last {len(self.judged(answers))}"
        drift = _drift(reference, answers)
        return [f"{text}; {drift[1]} drifts by up to {figures(drift[0])}" if drift else text]

    @property
    def _pairs(self):
        return ", ".join(f"{name} -> {output}" for name, output in list(self.state.items())[:2])

    def alone(self):
        """The same feeds, a step at a time, where no stream can be made of them."""
        given = list({id(feed): feed for feed in self.feeds}.values())
        return Stream(
            given, {}, f"its state ({self._pairs}) cannot be fed back on these feeds: judged a step at a time"
        )


def stream_of(model, feeds):
    """The Stream that the ModelProto `model` is judged over. What may be a state, but need not, is only noted."""
    inputs, outputs = declared(model.graph.input), declared(model.graph.output)
    inputs = {name: one for name, one in inputs.items() if name in feeds[0]}
    pairs = {
        name: output
        for name in inputs
        if (output := next((other for other in outputs if _follows(name, other)), None))
        and _fits(inputs[name], outputs[output])
    }
    certain = {name: output for name, output in pairs.items() if _is_state(name, feeds[0][name], pairs, inputs)}
    if certain:
        return Stream([feeds[at % len(feeds)] for at in range(max(STEPS, len(feeds)))], certain)
    doubtful = pairs | {
        name: next(iter(alike))
        for name, one in inputs.items()
        if STATE.search(name.lower()) and len(alike := [at for at, other in outputs.items() if one == other]) == 1
    }
    note = "; ".join(f"{output} may be the next {name}: judged a step at a time" for name, output in doubtful.items())
    return Stream(feeds, {}, note)


def declared(values):
    """{name: (element type, sizes)} of inputs or outputs that are tensors; a size is a number, or a symbol or ""."""
    return {
        one.name: (
            one.type.tensor_type.elem_type,
            tuple(dim.dim_value or dim.dim_param for dim in one.type.tensor_type.shape.dim),
        )
        for one in values
        if one.type.HasField("tensor_type")
    }


def _follows(name, output):
    """Whether `output` is called as the next value of a state `name` is: "state" and "stateN", "h_in" and "h_out"."""
    words = _words(name)
    plain, after = "".join(words), "".join(_words(output))
    if after in {before + plain + behind for before, behind in AROUND}:
        return True
    if any(word in plain and after == plain.replace(word, other, 1) for word, other in INSTEAD):
        return True
    if any(len(plain) > 1 and plain.endswith(end) and after == plain[:-1] + other for end, other in ENDS):
        return True
    swapped = "".join(WORDS.get(word, word) for word in words)
    return after == swapped != plain and any(word.isalpha() and word not in WORDS for word in words)


def _words(name):
    return [word.lower() for word in re.findall(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|\d+", name)]


def _fits(given, made):
    """Whether an output can take the place of an input: of its type, and of sizes that are equal where declared."""
    (kind, sizes), (other_kind, other_sizes) = given, made
    known = [pair for pair in zip(sizes, other_sizes, strict=False) if all(isinstance(one, int) for one in pair)]
    return kind == other_kind and len(sizes) == len(other_sizes) and all(one == other for one, other in known)


def _is_state(name, value, pairs, inputs):
    """Whether an input that an output follows by name is a state: it is called so, or is zeros beside other inputs."""
    if STATE.search(name.lower()):
        return True
    return isinstance(value, np.ndarray) and value.size > 1 and not value.any() and len(pairs) < len(inputs)


def _next(feed, name, value):
    """The value of a state for the next step. Raises ValueError if it has another type or a smaller size."""
    before = feed[name]
    if value.dtype != before.dtype or value.ndim != before.ndim or np.less(value.shape, before.shape).any():
        raise ValueError(f"the state {name!r} is {before.dtype} {before.shape}, then {value.dtype} {value.shape}")
    return value


def _drift(reference, answers):
    """(largest difference, output) of the floats in all steps, or None."""
    found = [
        (float(np.nanmax(np.abs(expected.astype(np.float64) - one[name]))), name)
        for first, one in zip(reference, answers, strict=True)
        for name, expected in first.items()
        if isinstance(expected, np.ndarray) and expected.dtype.kind == "f" and expected.shape == one[name].shape
        if np.isfinite(expected - one[name]).any()
    ]
    return max(found, default=None)
