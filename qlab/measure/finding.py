"""What a diagnosis says: one Finding a fault."""

from dataclasses import dataclass, field

from qlab import markup
from qlab.text import figures, ms

NOTHING = "nothing found: none of the causes in measure.CODES"


@dataclass(frozen=True)
class Finding:
    """One thing that costs a quantized model time or accuracy.

    code      its name, such as "conv-integer"; `measure.CODES` lists all, each with what it means
    evidence  what was counted or measured
    why       why that costs
    cost_ms   milliseconds of one run that mending it would save, as far as the profile tells; None for what costs
              accuracy only, or on another machine than this one. No two findings count the same node's time
    remedy    the call that mends it; in it `reader` stands for feeds to calibrate on
    nodes     names of the nodes or tensors concerned, as the fp32 file calls them, so that a recipe's `exclude` takes
              them; what quantizing added has its name from the quantized file or from the graph that ran
    recipe    the recipe whose call is the remedy; "" where none helps. It is a thing to try, until it was tried
    options   what the call takes besides model, output and reader, such as {"exclude": ("conv0",)}
    otherwise  what else can be done about it, "" for nothing
    is_harmless  whether this is a risk only, and did no harm on the feeds at hand
    is_tried  whether the remedy was tried, as the doctor does, and mends it
    """

    code: str
    evidence: str
    why: str
    cost_ms: float | None
    remedy: str
    nodes: tuple[str, ...] = ()
    recipe: str = ""
    options: dict = field(default_factory=dict, hash=False)
    otherwise: str = ""
    is_harmless: bool = False
    is_tried: bool = False

    @property
    def title(self):
        """The code, with the cost if there is one: "conv-integer, about 10.2 ms a run"."""
        return f"{self.code}, about {ms(self.cost_ms)} a run" if self.cost_ms else self.code

    @property
    def advice(self):
        """What the remedy is: "to try", for a recipe that was not tried yet, or "mend"."""
        return "mend" if self.is_tried or not self.recipe else "to try"

    def __str__(self):
        return "\n  ".join([self.title, *self._lines()])

    def _lines(self):
        return [self.evidence, f"why: {self.why}", f"{self.advice}: {self.remedy}"]


class Findings(list):
    """The list of Findings, the costliest first; printing it reads as a report."""

    @property
    def cost_ms(self):
        """What all of them cost together, milliseconds of one run."""
        return sum(finding.cost_ms or 0.0 for finding in self)

    def __repr__(self):
        return "\n".join(map(str, self)) if self else NOTHING

    def _repr_html_(self) -> str:
        if not self:
            return markup.table([], above=[NOTHING])
        rows = [["finding", "ms a run", "what was seen, why it costs, what mends it"]]
        rows += [[one.code, figures(one.cost_ms) if one.cost_ms else "", "\n".join(one._lines())] for one in self]
        tones = {(place, 0): "quiet" if one.is_harmless else "watch" for place, one in enumerate(self, 1)}
        return markup.table(rows, left=(0, 2), tones=tones | ({} if self[0].is_harmless else {(1, 0): "bad"}))
