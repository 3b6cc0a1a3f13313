"""The calls that mend a model, written so that they can be copied."""

from qlab.graph.operators import DYNAMIC, NO_INTEGER_KERNEL, STATIC
from qlab.measure.work import CONVOLUTIONS, MATRIX_PRODUCTS

# A kind of product below this share of all multiply-adds does not decide which recipe fits.
SMALL_SHARE = 0.05


def recipe_for(profile):
    """Name of the recipe that fits the products of an fp32 model, by its Profile: "static", "dynamic" or "hybrid"."""
    work = {"convolutions": 0, "matrix products": 0}
    for node in profile.nodes:
        if node.op_type in CONVOLUTIONS:
            work["convolutions"] += node.macs
        elif node.op_type in MATRIX_PRODUCTS - NO_INTEGER_KERNEL and node.weights:
            work["matrix products"] += node.macs
    whole = sum(work.values()) or 1
    small = {what for what, macs in work.items() if macs < SMALL_SHARE * whole}
    if "convolutions" in small:
        return "dynamic"
    return "static" if "matrix products" in small else "hybrid"


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


def calibrated_kind(examination):
    """The same, of the recipes that take a reader and `exclude`: hybrid treats matrix products as dynamic does."""
    kind = recipe_of_its_kind(examination)
    return "hybrid" if kind == "dynamic" else kind


def call(examination, recipe=None, **options):
    """The Python call of a recipe on the examined model, as text; the fitting recipe if none is named."""
    recipe = recipe or recipe_for(examination.fp32)
    if recipe == "dynamic" and any(node.op_type == "LSTM" for node in examination.fp32.nodes):
        options.setdefault("op_types", ("MatMul", "LSTM"))
    source = examination.fp32.path
    arguments = [repr(str(source)), repr(str(source.with_name(f"{source.stem}.{recipe}.onnx")))]
    if recipe != "dynamic":
        arguments.append("reader")
    arguments += [f"{name}={value!r}" for name, value in options.items()]
    if not examination.is_own_card:
        arguments.append(f"card=machine.card({examination.card.name!r})")
    return f"recipes.{recipe}({', '.join(arguments)})"
