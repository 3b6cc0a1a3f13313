"""What a recipe hands back: where the model is, and what was done to it."""

from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from qlab import graph
from qlab.graph.operators import FLOAT_PRODUCTS
from qlab.recipes.choosing import Choice
from qlab.recipes.fates import Fate, summary
from qlab.text import figures


@dataclass(frozen=True, repr=False)
class Quantized:
    """A quantized model on disk. Printing it says what was done to how many nodes, what stayed float, and why.

    path, recipe          where it is, and "dynamic", "static" or "hybrid"
    choice                the dtypes and why these: a Choice
    per_channel           whether weights have a scale per output channel
    size_mb, original_mb  10^6 bytes, with external data
    products              the fate of every convolution, matrix product and recurrent layer: name, op_type, how, why
    census                where the nodes of the graph compute that onnxruntime runs here
    notes                 what did not go as usual
    """

    path: Path
    recipe: str
    choice: Choice
    per_channel: bool
    size_mb: float
    original_mb: float
    products: tuple[Fate, ...]
    census: graph.Census
    notes: tuple[str, ...] = ()

    @property
    def stayed_float(self):
        """{(op_type, why): [names of nodes]} of the products that compute in float."""
        reasons = {}
        for fate in self.products:
            if fate.how == "float":
                reasons.setdefault((fate.op_type, fate.why), []).append(fate.name)
        return reasons

    def __fspath__(self):
        return str(self.path)

    def __repr__(self):
        scales = "a weight scale per output channel" if self.per_channel else "one weight scale per tensor"
        done = [f"{text} ({how})" for how in ("static", "dynamic") for text in summary(self.products, how)]
        totals = Counter(fate.op_type for fate in self.products)
        lines = [
            f"{self.recipe}: {self.path}, {figures(self.size_mb)} MB (before: {figures(self.original_mb)} MB)",
            f"  {self.choice}, {scales}: {self.choice.why}",
            f"  on integers: {', '.join(done) or 'nothing'}",
            *(
                f"  in float: {len(names)} of {totals[op_type]} {op_type}: {why}"
                for (op_type, why), names in self.stayed_float.items()
            ),
            *self._rest(),
            *(f"  note: {note}" for note in self.notes),
        ]
        return "\n".join(lines)

    def _rest(self):
        """One line on the float nodes that are no products."""
        rest = Counter()
        for (_, op_type), count in self.census.float.items():
            if op_type not in FLOAT_PRODUCTS:
                rest[op_type] += count
        shown = [f"{count} {op_type}" for op_type, count in rest.most_common(5)] + ["..."] * (len(rest) > 5)
        return [f"  in float besides, no products: {', '.join(shown)}"] if rest else []
