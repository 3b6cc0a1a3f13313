"""Time models against each other, fairly, and say how much of each other's answers they keep."""

import math
from collections.abc import Mapping

import numpy as np

from qlab.graph.feeds import as_feeds, check_feed
from qlab.graph.files import load
from qlab.machine.runtime import run
from qlab.measure.comparison import Comparison, Row
from qlab.measure.files import RANDOM_WEIGHTS, has_random_weights, size_mb
from qlab.measure.latency import rounds_here, time_models
from qlab.measure.opening import open_model
from qlab.measure.outputs import check_outputs, counted_by, is_hidden, output_quality
from qlab.measure.randomness import random_draws
from qlab.measure.verdict import judge, speedup_interval
from qlab.types import Feeds, ModelPath


def compare(models: Mapping[str, ModelPath], feed: Feeds, *, threads: int = 1, rounds: int = 30) -> Comparison:
    """Latency, size and closeness of several ONNX models that do the same; the first is the reference.

    >>> measure.compare({"fp32": "model.onnx", "int8": "model.int8.onnx"}, {"x": x})  # doctest: +SKIP
    model  size MB    ms  speed-up          95 %  SQNR dB  verdict
    fp32     143.5  97.2      1.00                         reference
    int8      41.0  35.1      2.77  2.74 to 2.80     57.3  faster
    medians of 30 interleaved rounds, 1 feed, 1 thread; SQNR of the worst float output; a verdict needs more than 2 %

    models   {name: path}, at least two, with the same inputs and outputs
    feed     {input name: array}, or several of them; a model's time is the mean over the feeds
    threads  threads inside an operator; rounds, how often each model is timed (QLAB_FAST=1: 7 at most)

    Each round runs every model once, in an order drawn anew, so that what slows the machine slows all of them. Times
    are medians over the rounds; the interval of the speed-up is a paired bootstrap over the rounds. SQNR is that of the
    float outputs over all feeds, against the reference; the table has the worst, `.sqnr_by_output` has all. There is
    none, and a note says so, where the number of results depends on the data (NonMaxSuppression) and is another.
    `.worst_part` has the channel, or slice along the last axis, that kept least; where SQNR of the whole hides that it
    is lost (scores beside boxes), a note says so. A reference that draws random numbers has no SQNR, and
    a note says why.
    Raises ValueError where models or feed do not fit together, FileNotFoundError for a path that is not there.
    """
    _check_models(models)
    rounds = rounds_here(rounds)
    feeds = as_feeds(feed)
    first = next(iter(models))
    sessions = {name: open_model(path, fp32=models[first], threads=threads) for name, path in models.items()}
    for name, session in sessions.items():
        for one in feeds:
            check_feed(session, one, name)
    reference = load(models[first])
    quality, notes, parts = _qualities(sessions, feeds, counted_by(reference))
    if draws := random_draws(reference, models[first], feeds[0]):
        quality, parts = {name: dict.fromkeys(quality[name], math.nan) for name in models}, dict.fromkeys(models)
        notes = {name: [draws] if name == first else [] for name in models}
    seconds = time_models(sessions, feeds, rounds)
    rows = [_row(name, models[name], seconds, quality[name], notes[name]) for name in models]
    times = {name: 1e3 * values for name, values in seconds.items()}
    return Comparison(rows, quality, times, threads, len(feeds), parts)


def _check_models(models):
    if not isinstance(models, Mapping) or len(models) < 2:
        raise ValueError(f"models is {models!r}; expected {{name: path}}, at least two, the reference first")


def _qualities(sessions, feeds, counted):
    """SQNR, remarks and worst Part of every model against the first. Also a warm-up: each model sees each feed once."""
    quality, notes, parts, reference_name, reference = {}, {}, {}, next(iter(sessions)), None
    for name, session in sessions.items():
        answers = [_answers(session, feed, name) for feed in feeds]
        reference = answers if reference is None else reference
        check_outputs(reference, answers, reference_name, name, counted)
        quality[name], notes[name], parts[name] = output_quality(reference, answers, counted)
        if has_random_weights(session):
            notes[name].insert(0, RANDOM_WEIGHTS)
        elif is_hidden(parts[name], quality[name]):
            notes[name].append(f"of {parts[name]}")
    return quality, notes, parts


def _answers(session, feed, name):
    try:
        values = run(session, feed)
    except Exception as error:  # onnxruntime's exceptions share no base class
        raise ValueError(f"model {name!r} does not run on this feed: {error}") from error
    return dict(zip((output.name for output in session.get_outputs()), values, strict=True))


def _row(name, path, seconds, quality, notes):
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
    )
