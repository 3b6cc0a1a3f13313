"""Where the time goes: run a model under onnxruntime's profiler, and join what it says to the graph that ran."""

from dataclasses import replace
from pathlib import Path

import numpy as np

from qlab import graph
from qlab.files import as_path, scratch
from qlab.graph.feeds import as_feeds, check_feed
from qlab.graph.optimizing import keep_optimized, kept
from qlab.machine.runtime import open_session, run
from qlab.machine.timing import interleave
from qlab.measure.events import read_runs
from qlab.measure.joining import node_times
from qlab.measure.latency import one_pass, repeats_here, rounds_here
from qlab.measure.opening import open_model
from qlab.measure.profiles import Profile
from qlab.types import Feeds, ModelPath

ROUNDS, BUDGET_S = 20, 20.0
MOST_EVENTS = 900_000  # the profiler stops writing at a million
PLENTY = 1_000  # events a round; reading ten times as many takes longer than running them


def profile(path: ModelPath, feed: Feeds, *, rounds: int = ROUNDS, threads: int = 1) -> Profile:
    """Time of every node of the graph that onnxruntime makes of the model file `path`, and what it computes on.

    >>> measure.profile("model.int8.onnx", {"x": x})  # doctest: +SKIP
    operator                             computes on  nodes    ms   share
    com.microsoft.DynamicQuantizeMatMul  integer         62  48.6  53.0 %
    ConvInteger                          integer         38  32.6  36.0 %
    ...

    feed     {input name: array}, or several of them: times are then means over the feeds
    rounds   how often each feed is run (QLAB_FAST=1: 7 at most; after 20 s none begins beyond the sixth); times are
             medians over the rounds, in milliseconds
    threads  threads inside an operator

    Returns a `Profile`: a row an operator, a NodeTime a node, the whole run's time with and without the profiler.
    Raises ValueError for a model or a feed that does not run, FileNotFoundError for a path that is not there.
    """
    return profile_models({"model": path}, feed, rounds=rounds, threads=threads)["model"]


def profile_models(models, feed, *, rounds=ROUNDS, threads=1):
    """{name: Profile} of several models, {name: path}, taking turns: what slows the machine slows all of them.

    Each model is also timed without the profiler, in the same rounds. Otherwise as `profile`.
    """
    feeds = as_feeds(feed)
    with scratch() as folder:
        profiled, plain = {}, {}
        for at, (name, path) in enumerate(models.items()):
            graph.load(path)
            plain[name] = open_model(path, threads=threads)
            profiled[name] = _Profiled(path, Path(folder) / str(at), threads)
            for one in feeds:
                check_feed(plain[name], one, name)
                _first(plain[name], one, path)
        totals, rounds = _totals(plain, profiled, feeds, rounds)
        return {name: one.profile(feeds, totals[name], rounds) for name, one in profiled.items()}


def _totals(plain, profiled, feeds, rounds):
    """({name: milliseconds of a run without the profiler}, how many rounds it took); both kinds of sessions run."""
    actions = {name: one_pass(session, feeds) for name, session in plain.items()}
    repeats, most = {name: repeats_here(action, fast_s=0.0) for name, action in actions.items()}, 1
    for name, one in profiled.items():
        events = max(1, len(feeds) * len(list(graph.nodes(one.model))))
        actions["profiled", name] = one_pass(one.session, feeds)
        repeats["profiled", name] = min(repeats[name], max(1, PLENTY // events))
        most = max(most, events * repeats["profiled", name])
    rounds = max(1, min(rounds_here(rounds), MOST_EVENTS // most - 1))
    seconds = interleave(
        actions, rounds, repeats=repeats, budget_s=BUDGET_S, description="profiling " + ", ".join(plain)
    )
    return {name: 1e3 * float(np.median(seconds[name])) / len(feeds) for name in plain}, len(seconds[next(iter(plain))])


def _first(session, feed, path):
    """Run the model once, outside all times: does it run, and does it end?"""
    try:
        run(session, feed)
    except Exception as error:  # onnxruntime's exceptions share no base class
        raise ValueError(f"{path} does not run on this feed: {error}") from error


class _Profiled:
    """A session under the profiler, and the graph that it runs."""

    def __init__(self, path, folder, threads):
        folder.mkdir()
        self.path = as_path(path)
        self.session = open_session(path, threads=threads, adjust=lambda options: _observe(options, folder))
        self.model = kept(folder)

    def profile(self, feeds, total_ms, rounds):
        """The Profile of what has run so far, the first pass over the feeds left out as a warm-up."""
        runs = read_runs(self.session.end_profiling())[len(feeds) :]
        nodes = list(node_times(self.model, runs, feeds))
        kernels_ms = sum(node.ms for node in nodes)
        # The profiler asks for memory statistics at each node: kernels come out up to a tenth too slow.
        factor = min(1.0, total_ms / kernels_ms) if kernels_ms else 1.0
        return Profile(
            path=self.path,
            nodes=tuple(replace(node, ms=node.ms * factor) for node in nodes),
            total_ms=total_ms,
            profiler_ms=kernels_ms * (1 - factor),
            rounds=rounds,
            model=self.model,
        )


def _observe(options, folder):
    options.enable_profiling = True
    options.profile_file_prefix = str(folder / "profile")
    keep_optimized(options, folder)
