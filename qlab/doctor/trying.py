"""Try the recipes, and what the findings would mend a model with: make it, and say why where nothing comes of it."""

from dataclasses import dataclass, field
from pathlib import Path

from qlab.doctor.request import session_of, stage
from qlab.recipes import RECIPES
from qlab.recipes.quantized import Quantized
from qlab.runtime import run
from qlab.text import plural

MOST_MENDS = 3  # of the findings on one model; each is a quantization and a row of the comparison


@dataclass(frozen=True)
class Attempt:
    """One call of a recipe: the Quantized that it made, or else why there is none.

    name     what it is called in tables: "static", "static without 3 nodes"
    options  those of its call; asked, those of them that a finding asks for, none for a recipe as it is
    failed   whether it could not be done, or the model does not run on the first feed; False where it changes nothing
    """

    recipe: str
    name: str
    options: dict
    asked: dict = field(default_factory=dict)
    quantized: Quantized | None = None
    why_not: str = ""
    failed: bool = False


def in_order_of_promise():
    """The recipes in the order in which one is to do: what reaches most kinds of products, then what needs no feeds."""
    return sorted(RECIPES.values(), key=lambda recipe: (-len(recipe.fits), recipe.needs_reader))


def try_recipes(request, folder):
    """An Attempt for each of RECIPES, or up to the first that makes a model; each one's has a folder in `folder`."""
    attempts = []
    for recipe in in_order_of_promise() if request.asked.quick else RECIPES.values():
        if request.asked.quick and any(one.quantized is not None for one in attempts):
            break
        if why_not := recipe.pointless(request.model.operators):
            attempts.append(Attempt(recipe.name, recipe.name, {}, why_not=why_not))
            continue
        attempts.append(_attempt(recipe, recipe.name, {}, request, Path(folder) / recipe.name))
    return tuple(attempts)


def try_mends(findings, attempts, request, folder):
    """An Attempt for each remedy of the Findings that takes more than a plain call and is not among `attempts`."""
    more, names = [], {attempt.name for attempt in attempts}
    for finding in findings:
        if not finding.options or attempt_of(finding, (*attempts, *more)) or len(more) == MOST_MENDS:
            continue
        called = shown = _name(finding.recipe, finding.options)
        while shown in names:
            shown = f"{called} ({len(names)})"
        names.add(shown)
        place = Path(folder) / f"mend{len(names)}"
        more.append(_attempt(RECIPES[finding.recipe], shown, finding.options, request, place))
    return tuple(more)


def attempt_of(finding, attempts):
    """The Attempt at what the Finding's remedy says, or None."""
    asked = (finding.recipe, finding.options)
    return next((one for one in attempts if (one.recipe, one.asked) == asked), None)


def made(attempts):
    """{name: path} of the models that the attempts made."""
    return {attempt.name: attempt.quantized.path for attempt in attempts if attempt.quantized is not None}


def _name(recipe, options):
    words = [
        f"without {plural(len(value), 'node')}" if key == "exclude" else f"with {key}={value!r}"
        for key, value in options.items()
    ]
    return " ".join([recipe, *words])


def _attempt(recipe, name, asked, request, place):
    options = recipe.options(request.model.operators) | asked
    output = place / (f"{request.fp32.stem}.int8.onnx" if request.asked.save is None else request.asked.save.name)
    place.mkdir()
    try:
        with stage(f"quantizing: {name}"):
            quantized = recipe(request.model, output, request.feeds.calibration, card=request.card, **options)
        if not quantized.census.integer:
            return Attempt(
                recipe.name, name, options, asked, why_not=f"changes nothing that computes{_reasons(quantized)}"
            )
        run(session_of(output), request.feeds.measured[0])
    except Exception as error:  # what one recipe meets in a model of foreign make must not cost the others' report
        return Attempt(recipe.name, name, options, asked, why_not=" ".join(str(error).split()), failed=True)
    return Attempt(recipe.name, name, options, asked, quantized)


def _reasons(quantized):
    stayed = [f"{len(names)} {operator}: {why}" for (operator, why), names in quantized.stayed_float.items()]
    return f" ({'; '.join(stayed)})" if stayed else ""
