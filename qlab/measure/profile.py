"""Where the time goes: a profile's times by node and operator, and two profiles side by side, line by line."""

from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import numpy as np
import onnx

from qlab import graph, palette
from qlab.files import ModelPath, scratch
from qlab.graph import Model
from qlab.graph.census import operator_label
from qlab.graph.model import keep_optimized, kept
from qlab.graph.timing import one_pass, repeats_here, rounds_here
from qlab.measure.compare import open_model
from qlab.measure.outputs import answer
from qlab.measure.trace import NodeTime, node_times, read_runs, took
from qlab.runtime import Feeds, as_feeds, check_feed, interleave, open_session
from qlab.text import Table, Tabular, figures, ms

SHOWN = 12  # operators in a table or figure
TEXT = (0, 1)  # columns of the table that hold no numbers
# The boundary is half float, half integer; the labels say it to those who do not see colours.
BARS = {
    "integer": {"color": palette.INTEGER},
    "float": {"color": palette.FP32},
    "boundary": {"facecolor": palette.FP32, "edgecolor": palette.INTEGER, "hatch": "///"},
    "other": {"facecolor": "white", "edgecolor": palette.FP32},
}
FAMILIES = {
    "convolution": "convolutions",
    "matrix product": "matrix products",
    "other product": "recurrent layers and attention",
    "boundary": "quantize, dequantize, cast",
    "the rest": "all other operators",
    "between": "between the operators",
    "whole": "a whole run",
}
NOTHING = 1e-4  # of a run
ROUNDS, BUDGET_S = 20, 20.0
MOST_EVENTS = 900_000  # the profiler stops writing at a million
PLENTY = 1_000  # events a round; reading ten times as many takes longer than running them


@dataclass(frozen=True)
class ProfileRow:
    """One operator: how many nodes, milliseconds of one run, share of all nodes' time (0 to 1)."""

    domain: str
    op_type: str
    kind: str
    count: int
    ms: float
    share: float

    @property
    def label(self):
        """As a NodeTime's."""
        return operator_label(self.domain, self.op_type)


@dataclass(frozen=True, repr=False)
class Profile(Tabular):
    """Where one model's time goes. Printing it gives the table, the costliest operator first.

    nodes        NodeTimes of the optimized graph, in order of execution
    total_ms     a whole run without the profiler: what `compare` measures
    profiler_ms  what the nodes took longer than that under the profiler; it is taken out of their times
    model        the optimized graph, a ModelProto without its large weights
    """

    path: Path
    nodes: tuple[NodeTime, ...]
    total_ms: float
    profiler_ms: float
    rounds: int
    model: onnx.ModelProto

    @property
    def kernel_ms(self):
        """Sum of all nodes' times."""
        return took(self.nodes)

    @cached_property
    def rows(self):
        """A ProfileRow for each operator and kind, the costliest first; equal counts to the census of the graph."""
        groups = {}
        for node in self.nodes:
            groups.setdefault((node.domain, node.op_type, node.kind), []).append(node.ms)
        whole = self.kernel_ms or 1.0
        rows = [ProfileRow(*key, len(times), sum(times), sum(times) / whole) for key, times in groups.items()]
        return sorted(rows, key=lambda row: -row.ms)

    def ms_of(self, **wanted):
        """Milliseconds of the nodes whose attributes are as given: `profile.ms_of(kind="boundary")`."""
        return took(n for n in self.nodes if all(getattr(n, name) == value for name, value in wanted.items()))

    def _table(self):
        tones = {(place, 1): "good" for place, row in enumerate(self.rows[:SHOWN], 1) if row.kind == "integer"}
        costliest = {(1, 0): "watch", (1, 4): "watch"}
        return Table(self.table(), TEXT, costliest | tones, below=[self._method()])

    def table(self, most=SHOWN):
        """The costliest operators as text, below their heads; what is left, in one row."""
        most += len(self.rows) == most + 1  # a line for "1 more" would say less than that line
        shown, rest = self.rows[:most], self.rows[most:]
        table = [["operator", "computes on", "nodes", "ms", "share"]]
        table += [_cells(row.label, row.kind, row) for row in shown]
        if rest:
            summed = ProfileRow("", "", "", *(sum(getattr(r, n) for r in rest) for n in ("count", "ms", "share")))
            table.append(_cells(f"{len(rest)} more operators", "", summed))
        return table

    def _method(self):
        removed = f"; the profiler's own {ms(self.profiler_ms)} taken out" if self.profiler_ms else ""
        return (
            f"{ms(self.kernel_ms)} in {len(self.nodes)} nodes of {ms(self.total_ms)} in all, "
            f"medians of {self.rounds} rounds{removed}"
        )

    @palette.style()
    def plot(self):
        """A figure of the time by operator, coloured and marked by where it computes."""
        rows = self.rows[:SHOWN][::-1]
        figure, axes = palette.figure(height=1.4 + 0.32 * len(rows))
        for position, row in enumerate(rows):
            axes.barh(position, row.ms, **BARS[row.kind])
            axes.annotate(
                f"{100 * row.share:.0f} % {row.kind}",
                (row.ms, position), xytext=(5, 0), textcoords="offset points", va="center",
            )  # fmt: skip
        axes.set_yticks(range(len(rows)), [f"{row.count} {row.label}" for row in rows])
        axes.set_xlim(0, 1.25 * max((row.ms for row in rows), default=1.0) or 1.0)
        axes.set_xlabel("time in one run (ms)")
        top = self.rows[0]
        axes.set_title(f"{top.op_type} takes {100 * top.share:.0f} % of {ms(self.kernel_ms)}")
        axes.grid(axis="y", visible=False)
        return figure


def _cells(label, kind, row):
    return [label, kind, str(row.count), figures(row.ms), f"{100 * row.share:.1f} %"]


@dataclass(frozen=True)
class Line:
    """One kind of work: milliseconds of one run in the fp32 model and in the quantized one.

    family   as in NodeTime, or "between" (the operators) or "whole" (the run)
    """

    family: str
    fp32_ms: float
    quantized_ms: float

    @property
    def what(self):
        """The family in words."""
        return FAMILIES[self.family]

    @property
    def difference_ms(self):
        """Positive where the quantized model takes longer."""
        return self.quantized_ms - self.fp32_ms


@dataclass(frozen=True, repr=False)
class Ledger(Tabular):
    """The lines, and their sum: both run times as they are without a profiler. Printing it gives the table."""

    lines: tuple[Line, ...]

    @property
    def total(self):
        """The sum of all lines, a Line."""
        return Line("whole", *(sum(getattr(line, n) for line in self.lines) for n in ("fp32_ms", "quantized_ms")))

    def _table(self):
        return Table(self.table())

    def table(self, name="quantized"):
        """The lines as text, below their heads and above their sum; `name` is what the quantized model is called."""
        rows = [["where", "fp32 ms", f"{name} ms", "difference"]]
        for line in (*self.lines, self.total):
            times = f"{line.fp32_ms:.2f}", f"{line.quantized_ms:.2f}", f"{line.difference_ms:+.2f}"
            rows.append([line.what, *times])
        return rows

    @palette.style()
    def plot(self):
        """A figure of both models' time by kind of work."""
        lines = self.lines[::-1]
        figure, axes = palette.figure(height=1.6 + 0.5 * len(lines))
        places = np.arange(len(lines))
        axes.barh(places + 0.2, [line.fp32_ms for line in lines], 0.38, color=palette.FP32, label="fp32")
        quantized = [line.quantized_ms for line in lines]
        marked = {"color": palette.INTEGER, "hatch": "//", "edgecolor": "white", "label": "quantized"}
        axes.barh(places - 0.2, quantized, 0.38, **marked)
        for place, line in zip(places, lines, strict=True):
            axes.annotate(
                f"{ms(line.difference_ms, '+')}", (max(line.fp32_ms, line.quantized_ms), place),
                xytext=(6, 0), textcoords="offset points", va="center",
            )  # fmt: skip
        axes.set_yticks(places, [line.what for line in lines])
        axes.set_xlim(0, 1.2 * max(*quantized, *(line.fp32_ms for line in lines)))
        axes.set_xlabel("time in one run (ms)")
        figure.legend(loc="outside lower right", ncols=2)  # inside it would hide what the lowest bars are labelled with
        axes.grid(axis="y", visible=False)
        most = max(self.lines, key=lambda line: abs(line.difference_ms))
        axes.set_title(f"{ms(self.total.difference_ms, '+')} in all, {ms(most.difference_ms, '+')} in {most.what}")
        return figure


def ledger(fp32: Profile, quantized: Profile) -> Ledger:
    """The Ledger of two Profiles, taken in turns: of what the quantized model gains and loses, and where."""
    return ledger_of(by_family(fp32, quantized))


def ledger_of(entries):
    """The Ledger of (family, (fp32's ms, the quantized model's ms)), without lines that are nothing but rounding."""
    lines = [Line(family, *times) for family, times in entries]
    whole = max(sum(line.fp32_ms for line in lines), sum(line.quantized_ms for line in lines))
    return Ledger(tuple(line for line in lines if max(line.fp32_ms, line.quantized_ms) > NOTHING * whole))


def by_family(*profiles):
    """(family, [milliseconds in each of the Profiles]) for every kind of work; they add up to the profiles' runs."""
    for family in FAMILIES:
        if family == "between":
            yield family, [max(0.0, profile.total_ms - profile.kernel_ms) for profile in profiles]
        elif family != "whole":
            yield family, [profile.ms_of(family=family) for profile in profiles]


def profile(path: ModelPath | Model, feed: Feeds, *, rounds: int = ROUNDS, threads: int = 1) -> Profile:
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
    """{name: Profile} of several models, {name: path or Model}, taking turns: what slows the machine slows all of them.

    Each model is also timed without the profiler, in the same rounds. Otherwise as `profile`.
    """
    feeds = as_feeds(feed)
    with scratch() as folder:
        profiled, plain = {}, {}
        for at, (name, path) in enumerate(models.items()):
            model = graph.opened(path)
            plain[name] = open_model(model, threads=threads)
            profiled[name] = _Profiled(model.path, Path(folder) / str(at), threads)
            for one in feeds:
                check_feed(plain[name], one, name)
                # Once, outside all times: does it run, and does it end?
                answer(plain[name], one, f"{model.path} does not run on this feed")
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


class _Profiled:
    """A session under the profiler, and the graph that it runs."""

    def __init__(self, path, folder, threads):
        folder.mkdir()
        self.path = path
        self.session = open_session(path, threads=threads, adjust=lambda options: _observe(options, folder))
        self.model = kept(folder)

    def profile(self, feeds, total_ms, rounds):
        """The Profile of what has run so far, the first pass over the feeds left out as a warm-up."""
        runs = read_runs(self.session.end_profiling())[len(feeds) :]
        nodes = list(node_times(self.model, runs, feeds))
        kernels_ms = took(nodes)
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
