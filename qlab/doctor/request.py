"""What was asked for, checked: all that is cheap to check, before anything that takes long."""

import argparse
import importlib
import re
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from tqdm import tqdm

from qlab import graph, machine
from qlab.doctor.feeds import Feeds, feeds_for
from qlab.files import check_target, scratch
from qlab.graph import Model
from qlab.graph.model import write
from qlab.machine.card import Card
from qlab.measure.answers import agreement, check_agree
from qlab.measure.compare import open_model, rounds_here
from qlab.measure.profile import ROUNDS
from qlab.recipes.job import check_output
from qlab.runtime import MINIMUM_ROUNDS, answers, check_feed, check_threads
from qlab.text import listed

PATIENCE_S = 3.0  # without a word
TIMING_S = 3.0  # of the fp32 model in all rounds: the others, and the profiles, take a few times that
NO_OPERATOR = re.compile(
    r"([\w.]+:\w+)\(-?\d+\) is not a registered|No Op registered for (\w+)|implementation for (\w+)"
)


class _Silence:
    """Since when, in seconds of time.monotonic, nothing was said; None where nobody is waiting."""

    since = None


@contextmanager
def waiting(*, clock=time.monotonic):
    """While somebody waits, several quick stages in a row count as one silence: each gets only the patience left."""
    _Silence.since = clock()
    try:
        yield
    finally:
        _Silence.since = None


@contextmanager
def stage(what, *, patience_s=PATIENCE_S, clock=time.monotonic, timer=threading.Timer):
    """Write `what` on stderr after `patience_s` seconds without a word, above any bar that is shown there."""

    def say():
        tqdm.write(f"{what} ...", file=sys.stderr)
        if _Silence.since is not None:
            _Silence.since = clock()

    silent_s = 0.0 if _Silence.since is None else clock() - _Silence.since
    alarm = timer(max(0.0, patience_s - silent_s), say)
    alarm.daemon = True
    alarm.start()
    try:
        yield
    finally:
        alarm.cancel()


@dataclass(frozen=True)
class Request:
    """A visit's inputs, which fit together.

    asked      the parsed arguments
    model      the fp32 model; quantized, the one to diagnose, or None
    card       the machine card to judge by
    rounds     of timing
    metric     what `compare` takes as `agree`, or None
    """

    asked: argparse.Namespace
    model: Model
    quantized: Model | None
    feeds: Feeds
    card: Card
    rounds: int
    metric: Callable | None = None

    @property
    def fp32(self):
        """The path of the fp32 model."""
        return self.model.path

    @property
    def int8(self):
        """The path of the quantized model, or None."""
        return None if self.quantized is None else self.quantized.path

    @property
    def tries_recipes(self):
        """Whether it does more than to diagnose."""
        return not self.asked.no_recipes and not (self.asked.quick and self.quantized is not None)


@contextmanager
def completed(arguments):
    """The parsed `arguments`; where the only model is quantized, with a float model made from it in the place of fp32.

    The file is gone after the block. Raises ValueError where there is no way back to floats.
    """
    if arguments.int8 is not None:
        yield arguments
        return
    model = graph.opened(arguments.fp32)
    path, given = model.path, vars(arguments) | {"fp32": model}
    if not graph.quantized_by(model.proto):
        yield argparse.Namespace(**given)
        return
    if arguments.save:
        raise ValueError(f"{path} is already quantized, and --save keeps what a recipe makes of an fp32 model")
    with scratch() as folder:
        try:
            floats = graph.in_floats(model.copy(weights=True))
        except ValueError as error:
            raise ValueError(
                f"{path} is already quantized, and {error}; give the fp32 model that it was made from, and this one "
                f"second. What can be said alone: {_counts(model)}"
            ) from None
        stand_in = write(floats, Path(folder), f"{path.stem}.float{path.suffix}")
        yield argparse.Namespace(**given | {"fp32": stand_in, "int8": model, "no_recipes": True, "is_alone": True})


def _counts(model):
    """Where the nodes of a quantized model run, in words."""
    found = graph.census(model)
    words = {"on integers": found.integer, "on floats": found.float, "between": found.boundary}
    return "of the nodes that onnxruntime runs, " + ", ".join(
        f"{counter.total()} are {where} ({listed(Counter({name: count for (_, name), count in counter.items()}))})"
        for where, counter in words.items()
        if counter
    )


def checked(arguments):
    """The Request in the parsed `arguments`. Raises ValueError or OSError for what cannot be done."""
    check_threads(arguments.threads)
    rounds_here(arguments.rounds or ROUNDS)
    if arguments.no_recipes and (arguments.int8 is None or arguments.save):
        missing = "int8.onnx to diagnose" if arguments.int8 is None else "recipe whose model --save could keep"
        raise ValueError(f"--no-recipes leaves nothing to do: there is no {missing}")
    model, quantized = _opened(arguments.fp32, arguments.int8)
    fp32, int8 = model.path, None if quantized is None else quantized.path
    _check_outputs(arguments, [model] if quantized is None else [model, quantized])
    metric = None if arguments.metric is None else _metric(arguments.metric)
    named = None if arguments.card is None else machine.card(arguments.card)
    session, other = session_of(fp32), None if int8 is None else session_of(int8, fp32)
    if int8 is not None:
        _check_same_signature(session, other, fp32, int8)
    feeds = _feeds(arguments, fp32, session)
    if metric is not None:
        with _said_of_metric(arguments.metric):
            reference = [answers(session, feeds.measured[0])]
            agreement(metric, reference, reference, fp32.name)
    if int8 is not None:
        check_feed(other, feeds.measured[0], int8.name)
    with stage("measuring what this machine is good at"):
        card = machine.card(named)
    rounds = arguments.rounds or _fitting_rounds(session, feeds.measured, arguments.quick)
    return Request(arguments, model, quantized, feeds, card, rounds, metric)


def _feeds(arguments, fp32, session):
    with stage("trying inputs that this model runs on" if arguments.calibration is None else "reading the feeds"):
        feeds = feeds_for(fp32, session, arguments.calibration)
    return replace(feeds, feeds=feeds.few()) if arguments.quick else feeds


def _fitting_rounds(session, feeds, quick):
    """As many rounds as a model of this speed affords: ROUNDS at most, and enough for an interval."""
    started = time.perf_counter()
    for feed in feeds:
        session.run(None, feed)
    afforded = int(TIMING_S / max(time.perf_counter() - started, 1e-6))
    return MINIMUM_ROUNDS if quick else min(max(afforded, MINIMUM_ROUNDS), ROUNDS)


def _metric(spec):
    """The function that `spec`, module:function, names; the working folder is searched first."""
    module, _, name = spec.partition(":")
    if not all(part.isidentifier() for part in [*module.split("."), name]):
        raise ValueError(f"--metric is {spec!r}; expected module:function, such as mine:agree for agree in ./mine.py")
    sys.path.insert(0, "")
    importlib.invalidate_caches()
    with _said_of_metric(spec):
        try:
            function = getattr(importlib.import_module(module), name, None)
        except (Exception, SystemExit) as error:  # a stranger's module may raise anything
            raise ValueError(f"cannot import {module!r}: {type(error).__name__}: {error}") from error
        finally:
            sys.path.remove("")
        if function is None:
            raise ValueError(f"{module!r} has no {name!r}")
        check_agree(function)
    return function


@contextmanager
def _said_of_metric(spec):
    try:
        yield
    except ValueError as error:
        raise ValueError(f"--metric {spec}: {error}") from error


def session_of(path, fp32=None):
    """An onnxruntime session for the model file `path`, made from `fp32`. What onnxruntime lacks is called by name."""
    try:
        return open_model(path, fp32=fp32)
    except ValueError as error:
        missing = NO_OPERATOR.search(str(error))
        if missing is None:
            raise
        operator = next(filter(None, missing.groups()))
        raise ValueError(
            f"{path} needs the operator {operator}, which onnxruntime does not have; a library of custom operators is "
            "foreign code, and the doctor loads none"
        ) from None


def _opened(fp32, int8):
    """The Models of the two, the second None if there is but one: the first not quantized, the second quantized."""
    model, quantized = graph.opened(fp32), None if int8 is None else graph.opened(int8)
    marks, others = (() if one is None else graph.quantized_by(one.proto) for one in (model, quantized))
    if quantized is not None and marks and not others:
        raise ValueError(f"{model.path} is quantized and {quantized.path} is not: give the fp32 model first")
    if marks:
        raise ValueError(
            f"{model.path} is already quantized: it has {', '.join(marks)} nodes; give the fp32 model that it was made "
            "from, and this one second"
        )
    if quantized is not None and not others:
        raise ValueError(
            f"nothing in {quantized.path} is quantized; leave it out, and the doctor tries the recipes on {model.path}"
        )
    return model, quantized


def _check_outputs(arguments, models):
    """Raise unless the files to write can be written, and are none of those that are read."""
    html, save = arguments.html, arguments.save
    read = [] if arguments.calibration is None else [arguments.calibration]
    for model in models:
        read += [model.path, *(model.path.parent / name for name in model.external)]
        if save is not None:
            check_output(save, model)
    for option, path in (("--html", html), ("--save", save)):
        if path is None:
            continue
        if path.exists() and any(path.samefile(file) for file in read if file.exists()):
            raise ValueError(f"{option} {path} would overwrite a file that is read; choose another name")
        _check_writable(option, path)
    if html is not None and save is not None and html.resolve() == save.resolve():
        raise ValueError(f"--html and --save both write {html}; choose two names")


def _check_writable(option, path):
    try:
        with scratch(check_target(path).parent):
            pass
    except OSError as error:
        raise ValueError(f"{option} {path} cannot be written: {error.strerror or error}") from None
    except ValueError as error:
        raise ValueError(f"{option}: {error}") from None


def _check_same_signature(session, other, fp32, int8):
    """Raise unless both models take the same inputs and have outputs of the same names."""
    for what in ("inputs", "outputs"):
        first, second = (_signature(one, what) for one in (session, other))
        if first != second:
            raise ValueError(
                f"{int8} has the {what} {_listed(second)}, {fp32} has {_listed(first)}: it was made from another model"
            )


def _signature(session, what):
    if what == "outputs":
        return {value.name: "" for value in session.get_outputs()}
    return {value.name: value.type.removeprefix("tensor(").rstrip(")") for value in session.get_inputs()}


def _listed(signature):
    return ", ".join(f"{name} {kind}".rstrip() for name, kind in sorted(signature.items())) or "none"
