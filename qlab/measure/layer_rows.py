"""What `layer_errors` found: its rows and its table."""

import math
from dataclasses import dataclass

from qlab import markup
from qlab.measure.layer_map import draw
from qlab.text import aligned, decibels, plural

SHOWN = 10
TEXT = (0, 1, 2, 5)  # columns that hold no numbers


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
    draws    which nodes of the fp32 model draw other random numbers in each run, so that no SQNR means anything; or ""
    """

    rows: list[LayerError]
    skipped: dict[str, str]
    outputs: tuple[str, ...]
    feeds: int
    note: str = ""
    draws: str = ""

    def worst(self, n=SHOWN):
        """The `n` layers with the lowest local SQNR, the worst first; layers without an error of their own never."""
        if isinstance(n, bool) or not isinstance(n, int) or n < 1:
            raise ValueError(f"n is {n!r}; expected a whole number of layers from 1 up")
        return sorted((row for row in self.rows if row.local_db != math.inf), key=_badness)[:n]

    def plot(self):
        """A figure: SQNR of every layer as a heat map in graph order, local and accumulated, and the same as curves."""
        return draw(self.rows, self.worst(), self.note)

    def __repr__(self):
        table = self._table()
        return "\n".join([*(aligned(table, TEXT) if len(table) > 1 else []), *self._summary(len(table) - 1)])

    def _repr_html_(self) -> str:
        table = self._table()
        return markup.table(table, left=TEXT, tones={(1, 3): "bad"}, below=self._summary(len(table) - 1))

    def _table(self):
        """The worst layers as text, below their heads."""
        worst = self.worst()
        notes = any(row.note for row in worst)
        head = ["tensor", "layer", "node", "local dB", "accumulated dB"]
        return [head + ["note"] * notes, *(_cells(row) + [row.note] * notes for row in worst)]

    def _summary(self, shown):
        exact = sum(row.local_db == math.inf for row in self.rows)
        nothing = "adds no error of its own" if exact == 1 else "add no error of their own"
        of = f"{shown} of {len(self.rows)} layers, the worst first"
        yield f"{of}, over {plural(self.feeds, 'feed')}; {exact} {nothing}"
        at_outputs = [f"{row.name} {decibels(row.accumulated_db)}" for row in self.rows if row.name in self.outputs]
        if at_outputs:
            yield f"accumulated at the outputs, dB: {', '.join(at_outputs)}"
        if self.skipped:
            yield f"{plural(len(self.skipped), 'tensor')} could not be compared: .skipped says why"
        yield from filter(None, (self.note, self.draws))


def _badness(row):
    return -math.inf if math.isnan(row.local_db) else row.local_db


def _cells(row):
    return [row.name, row.op_type, row.node, decibels(row.local_db), decibels(row.accumulated_db)]
