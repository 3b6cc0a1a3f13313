"""Try the recipes: make what each of them makes, and say why where one makes nothing."""

from dataclasses import dataclass
from pathlib import Path

from qlab import graph, recipes
from qlab.machine.runtime import run
from qlab.measure.doctor.stages import stage
from qlab.recipes import Quantized
from qlab.recipes.fates import CONVOLUTIONS

RECIPES = ("dynamic", "static", "hybrid")
FIRST = ("hybrid", "dynamic", "static")  # the order in which one is to do: hybrid is fast where there are convolutions


@dataclass(frozen=True)
class Attempt:
    """One recipe: the Quantized that it made, or else why there is none. `options` are those of its call."""

    recipe: str
    options: dict
    quantized: Quantized | None = None
    why_not: str = ""


def try_recipes(request, session_of, folder, name):
    """An Attempt for each of RECIPES, or up to the first that makes a model; each one's is `folder / recipe / name`.

    session_of  opens a model: a recipe whose model does not run on the first feed has failed
    """
    operators = {node.op_type for node in graph.nodes(graph.load(request.fp32))}
    attempts = []
    for recipe in FIRST if request.quick else RECIPES:
        if request.quick and any(one.quantized is not None for one in attempts):
            break
        options = {"op_types": ("MatMul", "LSTM")} if recipe == "dynamic" and "LSTM" in operators else {}
        why_not = _pointless(recipe, operators)
        if why_not:
            attempts.append(Attempt(recipe, options, why_not=why_not))
            continue
        with stage(f"quantizing: {recipe}"):
            attempts.append(_attempt(recipe, options, request, session_of, Path(folder) / recipe / name))
    return attempts


def _pointless(recipe, operators):
    """Why this recipe cannot make anything that another does not make."""
    if recipe == "hybrid" and not operators & set(CONVOLUTIONS):
        return "the model has no convolutions, so it would be dynamic"
    return ""


def _attempt(recipe, options, request, session_of, output):
    reader = () if recipe == "dynamic" else (request.feeds.calibration,)
    output.parent.mkdir()
    try:
        quantized = getattr(recipes, recipe)(request.fp32, output, *reader, card=request.card, **options)
        if not quantized.census.integer:
            return Attempt(recipe, options, why_not=f"changes nothing that computes{_reasons(quantized)}")
        run(session_of(output), request.feeds.measured[0])
    except Exception as error:  # what one recipe meets in a model of foreign make must not cost the others' report
        return Attempt(recipe, options, why_not=f"failed: {' '.join(str(error).split())}")
    return Attempt(recipe, options, quantized)


def _reasons(quantized):
    stayed = [f"{len(names)} {operator}: {why}" for (operator, why), names in quantized.stayed_float.items()]
    return f" ({'; '.join(stayed)})" if stayed else ""
