"""What `layer_errors` found: its rows and its table."""

import math
from dataclasses import dataclass

from qlab.measure.layer_map import draw
from qlab.measure.tables import aligned

SHOWN = 10


@dataclass(frozen=True)
class LayerError:
    """One tensor of the fp32 model that the quantized one has too, and the layer that computes it. SQNR in dB.

    name            of the tensor
    op_type         of the fp32 nodes between it and the tensors before, such as "Conv+Relu"; "input" for a fed one
    node            the node that a recipe's `exclude` takes, to leave the layer in float
    local_db        its own error; inf: none
    accumulated_db  with all errors before it
    note            why there is no SQNR (NaN), or empty
    """

    name: str
    op_type: str
    node: str
    local_db: float
    accumulated_db: float
    note: str = ""


@dataclass(frozen=True, repr=False)
class LayerErrors:
    """What `layer_errors` found. Printing it gives the layers that lose most by themselves.

    rows     a LayerError for each tensor, in graph order
    skipped  {tensor: reason} of those that could not be compared
    outputs  names of the model's outputs
    """

    rows: list[LayerError]
    skipped: dict[str, str]
    outputs: tuple[str, ...]
    feeds: int
    note: str = ""

    def worst(self, n=SHOWN):
        """The `n` layers with the lowest local SQNR, the worst first; layers without an error of their own never."""
        if isinstance(n, bool) or not isinstance(n, int) or n < 1:
            raise ValueError(f"n is {n!r}; expected a whole number of layers from 1 up")
        return sorted((row for row in self.rows if row.local_db != math.inf), key=_badness)[:n]

    def plot(self):
        """A figure: SQNR of every layer as a heat map in graph order, local and accumulated, and the same as curves."""
        return draw(self.rows, self.worst(), self.note)

    def __repr__(self):
        worst = self.worst()
        notes = any(row.note for row in worst)
        head = ["tensor", "layer", "node", "local dB", "accumulated dB"]
        table = [head + ["note"] * notes, *(_cells(row) + [row.note] * notes for row in worst)]
        return "\n".join([*(aligned(table, left=(0, 1, 2, 5)) if worst else []), *self._summary(len(worst))])

    def _summary(self, shown):
        exact = sum(row.local_db == math.inf for row in self.rows)
        over = f"{self.feeds} feed{'s' if self.feeds != 1 else ''}"
        nothing = "adds no error of its own" if exact == 1 else "add no error of their own"
        yield f"{shown} of {len(self.rows)} layers, the worst first, over {over}; {exact} {nothing}"
        at_outputs = [f"{row.name} {decibels(row.accumulated_db)}" for row in self.rows if row.name in self.outputs]
        if at_outputs:
            yield f"accumulated at the outputs, dB: {', '.join(at_outputs)}"
        if self.skipped:
            tensors = "tensor" if len(self.skipped) == 1 else "tensors"
            yield f"{len(self.skipped)} {tensors} could not be compared: .skipped says why"
        if self.note:
            yield self.note


def decibels(value):
    """ "8.1", "exact" for infinity, "n/a" for NaN."""
    if math.isnan(value):
        return "n/a"
    return "exact" if value == math.inf else f"{round(value, 1) + 0.0:.1f}"  # no "-0.0"


def _badness(row):
    return -math.inf if math.isnan(row.local_db) else row.local_db


def _cells(row):
    return [row.name, row.op_type, row.node, decibels(row.local_db), decibels(row.accumulated_db)]
