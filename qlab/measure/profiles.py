"""The result of a profile: times of nodes, a row an operator, a figure."""

from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import onnx

from qlab import markup, palette
from qlab.graph.counting import operator_label
from qlab.graph.operators import CONVOLUTIONS, MATRIX_PRODUCTS, PRODUCTS
from qlab.text import aligned, figures, ms

SHOWN = 12  # operators in a table or figure
TEXT = (0, 1)  # columns of the table that hold no numbers
# The boundary is half float, half integer; the labels say it to those who do not see colours.
BARS = {
    "integer": {"color": palette.INTEGER},
    "float": {"color": palette.FP32},
    "boundary": {"facecolor": palette.FP32, "edgecolor": palette.INTEGER, "hatch": "///"},
    "other": {"facecolor": "white", "edgecolor": palette.FP32},
}


@dataclass(frozen=True)
class NodeTime:
    """One node of the graph that ran.

    kind       where it computes: "integer", "float", "boundary" or "other", as in `graph.census`
    ms         its own time in one run, milliseconds, without what it ran inside (If, Loop), and without the part by
               which the profiler slows the whole down
    macs       multiply-adds of one run, with the channels that a blocked kernel adds to fill its blocks
    bytes      what it must read and write at the least; input_bytes, the part of them that is a product's activations
    sign_pair  "u8s8": signs of the left and the right factor of an integer product (ConvInteger's left one: weights)
    weights    shape of the constant right factor, () where there is none
    depthwise  a convolution in which each channel is by itself
    """

    name: str
    domain: str
    op_type: str
    kind: str
    ms: float
    macs: int
    bytes: int
    input_bytes: int
    sign_pair: str
    weights: tuple[int, ...]
    depthwise: bool
    node: onnx.NodeProto = field(repr=False, compare=False)

    @property
    def label(self):
        """The operator with its domain, as in "com.microsoft.QLinearConv"."""
        return operator_label(self.domain, self.op_type)

    @property
    def family(self):
        """What it is for: "convolution", "matrix product", "other product", "boundary", or "the rest"."""
        if self.op_type in CONVOLUTIONS:
            return "convolution"
        if self.op_type in MATRIX_PRODUCTS:
            return "matrix product"
        if self.op_type in PRODUCTS:
            return "other product"
        return "boundary" if self.kind == "boundary" else "the rest"


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
class Profile:
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
        return sum(node.ms for node in self.nodes)

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
        return sum(n.ms for n in self.nodes if all(getattr(n, name) == value for name, value in wanted.items()))

    def __repr__(self):
        return "\n".join([*aligned(self.table(), TEXT), self._method()])

    def _repr_html_(self) -> str:
        tones = {(place, 1): "good" for place, row in enumerate(self.rows[:SHOWN], 1) if row.kind == "integer"}
        costliest = {(1, 0): "watch", (1, 4): "watch"}
        return markup.table(self.table(), left=TEXT, tones=costliest | tones, below=[self._method()])

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
