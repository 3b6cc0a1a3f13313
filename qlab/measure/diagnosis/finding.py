"""What a diagnosis says, a Finding a fault, and what is known of each kind of it beforehand."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

from qlab.text import Table, figures, ms

TIME, ACCURACY, NEITHER = "time", "accuracy", "neither"  # what mending a fault gives back
FIRST, LAST = "first", "last"
NOTHING_FOUND = "nothing found: none of the causes in measure.CODES"
NOTHING = "no recipe mends it"
STILL_SLOWER = ". Mended all that was found, about "  # an estimate, which the doctor's measuring replaces


@dataclass(frozen=True)
class Kind:
    """All that is known of one code of Findings before anything is measured.

    means      in words, as in `measure.CODES`
    why        why it costs, where that is the same in every model
    mend       what the call that mends it does, in words, or begins with a space and goes on behind the call; where
               no recipe can mend it, what can be done
    mended_by  how the recipe that mends it quantizes, such as (STATIC,); None: as it fits the model; (): none can
    costs      what mending it gives back: TIME, ACCURACY, or NEITHER
    needs_values      whether it rests on what real feeds hold, so that noise cannot show it
    shows_in_answers  whether answers that stay as they were prove that it does no harm
    is_of_a_part      whether it is about the part of an output that lost most, which SQNR of the whole may hide
    told       FIRST or LAST among what costs accuracy; "" by its cost
    """

    code: str
    means: str
    why: str = ""
    mend: str = ""
    mended_by: tuple[str, ...] | None = None
    costs: str = TIME
    needs_values: bool = False
    shows_in_answers: bool = False
    is_of_a_part: bool = False
    told: str = ""

    @property
    def is_beyond_recipes(self):
        """Whether it is known that no recipe can mend it."""
        return self.mended_by == ()


@dataclass(frozen=True)
class Cause:
    """What can be wrong with a quantized model: the Kinds of Findings that it gives, and how it is looked for.

    look  look(examination, bill) gives Findings; the Bill has the time that is not charged yet, and what was found
    when  when(examination): whether it can be told at all
    """

    kinds: tuple[Kind, ...]
    look: Callable[[Any, Any], Iterable["Finding"]]
    when: Callable[[Any], bool] = lambda examination: True


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

    @classmethod
    def of(cls, kind, examination, evidence, *, cost_ms=None, nodes=(), recipe=None, options=(), mend="", **more):
        """A Finding of the Kind: why it costs and what mends it are the Kind's, unless they are given.

        nodes   NodeTimes, or names
        recipe  the Recipe that mends it, called with `options`; `mend`: what that does. None: no recipe does
        """
        options = dict(options)
        if recipe is not None:
            mend = mend or kind.mend
            remedy = f"{examination.call(recipe, **options)}{'' if mend.startswith(' ') else ': '}{mend}"
        else:
            remedy = kind.mend if kind.is_beyond_recipes else examination.stay
        names = (one if isinstance(one, str) else examination.names.in_files(one.node) for one in nodes)
        told = {"why": kind.why, "remedy": remedy, "recipe": recipe.name if recipe is not None else ""} | more
        return cls(kind.code, evidence, cost_ms=cost_ms, nodes=tuple(dict.fromkeys(names)), options=options, **told)

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
        return "\n".join(map(str, self)) if self else NOTHING_FOUND

    def _repr_html_(self) -> str:
        if not self:
            return Table([], above=[NOTHING_FOUND])._repr_html_()
        rows = [["finding", "ms a run", "what was seen, why it costs, what mends it"]]
        rows += [[one.code, figures(one.cost_ms) if one.cost_ms else "", "\n".join(one._lines())] for one in self]
        tones = {(place, 0): "quiet" if one.is_harmless else "watch" for place, one in enumerate(self, 1)}
        worst = {} if self[0].is_harmless else {(1, 0): "bad"}
        return Table(rows, (0, 2), tones | worst)._repr_html_()
