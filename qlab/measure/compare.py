"""Time models against each other, fairly, and say how much of each other's answers they keep."""

import math
from collections.abc import Callable, Mapping
from functools import partial

import numpy as np

from qlab.graph.feeds import as_feeds, check_feed
from qlab.graph.files import load
from qlab.machine.runtime import run
from qlab.measure.answers import agreement, check_agree, kept
from qlab.measure.comparison import Comparison, Row
from qlab.measure.files import RANDOM_WEIGHTS, has_random_weights, size_mb
from qlab.measure.heads import heads_of
from qlab.measure.latency import rounds_here, time_models
from qlab.measure.opening import open_model
from qlab.measure.outputs import DIFFERS, check_outputs, counted_by, is_hidden, output_quality
from qlab.measure.padding import counted_places
from qlab.measure.randomness import random_draws
from qlab.measure.streaming import stream_of
from qlab.measure.verdict import judge, speedup_interval
from qlab.types import Feeds, ModelPath


def compare(
    models: Mapping[str, ModelPath],
    feed: Feeds,
    *,
    agree: Callable[[dict, dict], float] | None = None,
    threads: int = 1,
    rounds: int = 30,
) -> Comparison:
    """Latency, size and closeness of several ONNX models that do the same; the first is the reference.

    >>> measure.compare({"fp32": "model.onnx", "int8": "model.int8.onnx"}, {"x": x})  # doctest: +SKIP
    model  size MB    ms  speed-up          95 %  SQNR dB  verdict
    fp32     143.5  97.2      1.00                         reference
    int8      41.0  35.1      2.77  2.74 to 2.80     57.3  faster
    medians of 30 interleaved rounds, 1 feed, 1 thread; SQNR of the worst float output; a verdict needs more than 2 %

    models   {name: path}, at least two, with the same inputs and outputs
    feed     {input name: array}, or several of them; a model's time is the mean over the feeds
    agree    a metric of your own: agree(reference, outputs), two {output name: array} of one feed, gives a number, 1
             for full agreement, larger is better; a column shows the mean over the feeds
    threads  threads inside an operator; rounds, how often each model is timed (QLAB_FAST=1: 7 at most)

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
    qlab.measure.heads. What all classes share changes no answer, but flatters the SQNR of logits and log-probabilities:
    `sqnr_db` is of the numbers as they are, `Kept.judged_db` of those without the mean of each vector, and of
    embeddings at length 1. Positions that the feed marks as padding (attention_mask, lengths) count for nothing.
    Raises ValueError where models, feed or `agree` do not fit together, FileNotFoundError for a path that is not there.
    """
    _check_models(models)
    rounds = rounds_here(rounds)
    if agree is not None:
        check_agree(agree)
    feeds = as_feeds(feed)
    first = next(iter(models))
    sessions = {name: open_model(path, fp32=models[first], threads=threads) for name, path in models.items()}
    for name, session in sessions.items():
        for one in feeds:
            check_feed(session, one, name)
    reference = load(models[first])
    quality, notes, parts, told = _over_a_stream(sessions, stream_of(reference, feeds), reference, agree)
    if draws := random_draws(reference, models[first], feeds[0]):
        quality, parts = {name: dict.fromkeys(quality[name], math.nan) for name in models}, dict.fromkeys(models)
        notes = {name: [draws] if name == first else [] for name in models}
        told = {name: {"agreement": one["agreement"]} for name, one in told.items()}
    seconds = time_models(sessions, feeds, rounds)
    rows = [_row(name, models[name], seconds, quality[name], notes[name], told[name]) for name in models]
    times = {name: 1e3 * values for name, values in seconds.items()}
    return Comparison(rows, quality, times, threads, len(feeds), parts)


def _check_models(models):
    if not isinstance(models, Mapping) or len(models) < 2:
        raise ValueError(f"models is {models!r}; expected {{name: path}}, at least two, the reference first")


def _over_a_stream(sessions, stream, model, agree):
    try:
        return _qualities(sessions, stream, model, agree)
    except ValueError:
        if not stream.state:
            raise
        return _qualities(sessions, stream.alone(), model, agree)


def _qualities(sessions, stream, model, agree):
    """SQNR, remarks, worst Part and more of a Row, of every model against the first, whose ModelProto is `model`.

    Also a warm-up: each model sees each feed once.
    """
    quality, notes, parts, told, reference_name = {}, {}, {}, {}, next(iter(sessions))
    counted, heads = counted_by(model), heads_of(model)
    answers_of = {name: partial(_answers, session, name=name) for name, session in sessions.items()}
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


def _answers(session, feed, name):
    try:
        values = run(session, feed)
    except Exception as error:  # onnxruntime's exceptions share no base class
        raise ValueError(f"model {name!r} does not run on this feed: {error}") from error
    return dict(zip((output.name for output in session.get_outputs()), values, strict=True))


def _row(name, path, seconds, quality, notes, told):
    reference = next(iter(seconds))
    speedup, low, high = speedup_interval(seconds[reference], seconds[name])
    return Row(
        name=name,
        size_mb=size_mb(path),
        median_ms=1e3 * float(np.median(seconds[name])),
        speedup=speedup,
        speedup_low=low,
        speedup_high=high,
        sqnr_db=min(quality.values(), default=float("nan"), key=lambda db: -math.inf if math.isnan(db) else db),
        verdict=judge(low, high, rounds=len(seconds[name])),
        is_reference=name == reference,
        note="; ".join(notes),
        **told,
    )
