"""What a diagnosis says: one Finding a fault.

What mends a model: recipes that reach the fault and are not what made it, as calls that can be copied."""

from dataclasses import dataclass, field

from qlab import graph
from qlab import text as markup
from qlab.graph.operators import (
    CONVOLUTIONS,
    DYNAMIC,
    FLOAT_PRODUCTS,
    MATRIX_PRODUCTS,
    NO_INTEGER_KERNEL,
    STATIC,
    factors,
)
from qlab.text import figures, ms

NOTHING_FOUND = "nothing found: none of the causes in measure.CODES"


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
        return "\n".join(map(str, self)) if self else NOTHING_FOUND

    def _repr_html_(self) -> str:
        if not self:
            return markup.table([], above=[NOTHING_FOUND])
        rows = [["finding", "ms a run", "what was seen, why it costs, what mends it"]]
        rows += [[one.code, figures(one.cost_ms) if one.cost_ms else "", "\n".join(one._lines())] for one in self]
        tones = {(place, 0): "quiet" if one.is_harmless else "watch" for place, one in enumerate(self, 1)}
        return markup.table(rows, left=(0, 2), tones=tones | ({} if self[0].is_harmless else {(1, 0): "bad"}))


# A kind of product below this share of all multiply-adds does not decide which recipe fits.
SMALL_SHARE = 0.05


RECIPES = ("static", "hybrid", "dynamic")


NOTHING = "no recipe mends it"


STILL_SLOWER = ". Mended all that was found, about "  # an estimate, which the doctor's measuring replaces


WITH_LSTM = ("MatMul", "LSTM")  # what dynamic takes of a model with an LSTM


def recipe_for(profile):
    """Name of the recipe that fits the products of an fp32 model, by its Profile: "static", "dynamic" or "hybrid".

    Static quantization does not reach into the bodies of If, Loop and Scan: what is there does not call for it.
    """
    work, inside = {"convolutions": 0, "matrix products": 0}, inner(profile.model)
    for node in profile.nodes:
        if node.op_type in CONVOLUTIONS and id(node.node) not in inside:
            work["convolutions"] += node.macs
        elif node.op_type in MATRIX_PRODUCTS - NO_INTEGER_KERNEL and node.weights:
            work["matrix products"] += node.macs
    whole = sum(work.values())
    small = {what for what, macs in work.items() if macs <= SMALL_SHARE * whole}
    if "convolutions" in small:
        return "dynamic"
    return "static" if "matrix products" in small else "hybrid"


def inner(model):
    """Identities of the nodes of a ModelProto that stand in the body of an If, Loop or Scan."""
    _, *bodies = graph.graphs(model)
    return {id(node) for body in bodies for node in body.node}


def recipe_of_its_kind(examination):
    """Name of the recipe that quantizes as the examined model is quantized, where only its settings are at fault.

    A model with ConvInteger has none: what fits its products is named instead, so that no two findings of one model
    send their reader to different recipes.
    """
    operators = {node.op_type for node in examination.quantized.nodes}
    is_dynamic, is_static = operators & DYNAMIC, operators & (STATIC | {"QuantizeLinear"})
    if "ConvInteger" in operators or not (is_dynamic or is_static):
        return recipe_for(examination.fp32)
    if is_dynamic and is_static:
        return "hybrid"
    return "static" if is_static else "dynamic"


def made_by(examination):
    """Name of the recipe of qlab that made the examined model, by the file's own word; "" where none did."""
    return next((entry.value for entry in examination.file.metadata_props if entry.key == "qlab.recipe"), "")


def calibrated_kind(examination):
    """The same, of the recipes that take a reader: hybrid treats matrix products as dynamic does."""
    kind = recipe_of_its_kind(examination)
    return "hybrid" if kind == "dynamic" else kind


def mending(examination, nodes, first, *, is_other=False):
    """Name of a recipe that reaches most of the products `nodes`, `first` before others; "" if none does.

    is_other   the fault itself shows that the model was made with other settings than the recipe's own. Where it does
               not, the recipe that made the model would make it again
    """
    made, whole = made_by(examination), sum(node.ms for node in nodes)
    for recipe in dict.fromkeys((first, recipe_for(examination.fp32), *RECIPES)):
        reached = sum(node.ms for node in nodes if _reaches(recipe, node, examination))
        if reached > whole / 2 and (is_other or recipe != made):
            return recipe
    return ""


def _reaches(recipe, node, examination):
    """Whether the recipe's plain call quantizes the product `node` of the graph that ran, by its operator and place.

    A ConvInteger is mended where the convolution stays in float, too.
    """
    is_inside = id(node.node) in examination.inside
    if node.op_type == "ConvInteger":
        return recipe == "dynamic" or not is_inside
    is_stack = node.op_type in FLOAT_PRODUCTS and node.family == "matrix product" and len(node.weights) not in (0, 2)
    if node.op_type in NO_INTEGER_KERNEL or is_stack:
        return False
    if node.family == "convolution":
        over_time = len(node.weights) == 3 and node.depthwise
        return not is_inside and (recipe == "static" or (recipe == "hybrid" and not over_time))
    if node.family == "matrix product":
        if recipe == "static":
            return not is_inside
        return any(examination.is_weight(node.node.input[place]) for place in factors(node.node))
    return "LSTM" in node.op_type and recipe != "static"


def excluding(examination, names, what):
    """The remedy, recipe and options of a Finding: the model made again as it was made, without the nodes `names`."""
    if not names:  # nodes without a name cannot be left out by it
        return {"remedy": stay(examination), "recipe": ""}
    recipe, options = recipe_of_its_kind(examination), {"exclude": tuple(names)}
    return {"remedy": f"{call(examination, recipe, **options)}: {what}", "recipe": recipe, "options": options}


def is_out_of_reach(examination, nodes, recipe):
    """Whether most of the time of `nodes` is spent in bodies of If, Loop and Scan, and the recipe cannot go there."""
    inside = sum(node.ms for node in nodes if id(node.node) in examination.inside)
    return recipe != "dynamic" and inside > sum(node.ms for node in nodes) / 2


def has_lstm(profile):
    """Whether a model, by its Profile, has an LSTM, which onnxruntime quantizes with int8 weights only."""
    return any(node.op_type == "LSTM" for node in profile.nodes)


def stay(examination):
    """What to do where no recipe mends it."""
    if examination.is_slower:
        return f"{NOTHING}: stay with fp32 for speed"
    return f"{NOTHING}: keep this model as it is, or stay with fp32"


def call(examination, recipe=None, **options):
    """The Python call of a recipe on the examined model, as text; the fitting recipe if none is named."""
    recipe = recipe or recipe_for(examination.fp32)
    if recipe == "dynamic" and has_lstm(examination.fp32):
        options.setdefault("op_types", WITH_LSTM)
    source = examination.fp32.path
    arguments = [repr(str(source)), repr(str(source.with_name(f"{source.stem}.{recipe}.onnx")))]
    if recipe != "dynamic":
        arguments.append("reader")
    arguments += [f"{name}={value!r}" for name, value in options.items()]
    if not examination.is_own_card:
        arguments.append(f"card=machine.card({examination.card.name!r})")
    return f"recipes.{recipe}({', '.join(arguments)})"
