"""What is wrong with a committed notebook file, and with a run of it: lists of sentences, empty where all is well."""

import hashlib
import re

import nbformat

from nbtools.exercises import exercise_id, exercises, is_blank
from nbtools.used import digest

FOLDER_LIMIT_BYTES = 12_000_000
PNG_LIMIT_BYTES = 400_000
WIDGET_VIEW = "application/vnd.jupyter.widget-view+json"


def code_cells(notebook):
    """(number as a reader counts cells, cell) for every cell of code."""
    return [(number, cell) for number, cell in enumerate(notebook.cells, 1) if cell.cell_type == "code"]


def fingerprint(notebook):
    """The sha256 of all code: `make notebooks` writes it down, so that a later edit without execution is seen.

    Beside it stands what the code used of qlab and of the data, as used.py digests it.
    """
    code = "\0".join(cell.source for _, cell in code_cells(notebook))
    return hashlib.sha256(code.encode()).hexdigest()


def errors_in(outputs, place):
    """A sentence for each error among outputs."""
    return [f"{place} raised {out.ename}: {out.evalue}" for out in outputs if out.output_type == "error"]


def file_problems(notebook):
    """What a committed file must not have: see DESIGN's "Notebooks as files"."""
    return [
        *_invalid(notebook),
        *_out_of_order(notebook),
        *_not_from_these_sources(notebook),
        *_widget_state(notebook),
        *_telemetry(notebook),
        *filled_stubs(notebook),
        *(problem for number, cell in code_cells(notebook) for problem in _bad_outputs(cell.outputs, f"cell {number}")),
    ]


def _invalid(notebook):
    try:
        nbformat.validate(notebook)
        exercises(notebook)
    except (nbformat.ValidationError, ValueError) as error:
        yield str(error).splitlines()[0]
    if notebook.metadata.get("kernelspec", {}).get("name") != "python3":
        yield "the kernelspec is not python3"


def _out_of_order(notebook):
    counts = [cell.execution_count for _, cell in code_cells(notebook)]
    if counts != list(range(1, len(counts) + 1)):
        yield f"not executed in order, in full, from a fresh kernel: the execution counts are {counts}"


def _not_from_these_sources(notebook):
    made_from = notebook.metadata.get("qlab", {})
    if made_from.get("executed") != fingerprint(notebook) or "used" not in made_from:
        yield "its code was edited after `make notebooks` executed it, or never executed by it"
    changed = [path for path, then in made_from.get("used", {}).items() if digest(path) != then]
    if changed:
        yield f"made with other {', '.join(changed)}: execute it again, with `make notebooks`"


def _widget_state(notebook):
    if "widgets" in notebook.metadata:
        yield "widget state was left in metadata.widgets, and GitHub shows such a file as an error"


def _telemetry(notebook):
    """Only `make lab` switches it off for a whole kernel; conda's, VS Code's and Binder's rely on qlab."""
    code = "\n".join(cell.source for _, cell in code_cells(notebook))
    first = re.search(r"^\s*(?:from|import) (onnxruntime|qlab)\b", code, re.MULTILINE)
    if first and first[1] == "onnxruntime":
        yield "it imports onnxruntime before qlab, and so starts onnxruntime's telemetry: import qlab first"


def filled_stubs(notebook):
    for number, cell in code_cells(notebook):
        if exercise_id(cell) and not is_blank(cell.source):
            yield f"cell {number}: the stub of exercise {exercise_id(cell)} is filled in: put the `...` back"


def _bad_outputs(outputs, place):
    yield from errors_in(outputs, place)
    yield from stderr_in(outputs, place)
    for output in outputs:
        data = output.get("data", {})
        if WIDGET_VIEW in data:
            yield f"{place} shows a widget, which is blank without a kernel"
        if "image/svg+xml" in data or "<svg" in data.get("text/html", ""):
            yield f"{place} shows SVG, which JupyterLab drops from a file it does not trust: use PNG"
        if "image/png" in data and not output.metadata.get("image/png", {}).get("alt"):
            yield f"{place} shows a figure without alt text: give it a title, or alt="
        if len(data.get("image/png", "")) * 3 / 4 > PNG_LIMIT_BYTES:
            yield f"{place} shows a PNG of more than {PNG_LIMIT_BYTES} bytes: make the figure smaller"
        if address := re.search(r"<[^<>]* at 0x[0-9a-f]{6,}>", data.get("text/plain", "")):
            yield f"{place} shows {address.group()}: end the cell in something that reads well"


def stderr_in(outputs, place):
    """A sentence for each text on stderr, which JupyterLab paints as it does errors; none where an error stands too."""
    if errors_in(outputs, place):
        return []
    written = [out.text.strip() for out in outputs if out.output_type == "stream" and out.name == "stderr"]
    return [f"{place} wrote to stderr: {text[:200]}" for text in written]


def run_problems(run):
    """Errors of a run and what it left on stderr: in cells, solutions, moved controls, and the state of widgets."""
    places = [(f"cell {number}", cell.outputs) for number, cell in code_cells(run.notebook)]
    places += [(f"the solution of {name}", answers["solution"]) for name, answers in run.answers.items()]
    places.append(("moving a control", run.controls))
    problems = [problem for place, outputs in places for problem in errors_in(outputs, place)]
    problems += [problem for place, outputs in places for problem in stderr_in(outputs, place)]
    for model, state in run.widget_state.items():
        problems += errors_in(state.get("outputs", ()), f"the Output widget {model[:8]}")
    return problems


def verdict(outputs, name):
    """What the check of exercise `name` said among outputs: (status, text). Raises ValueError if it said nothing.

    qlab.course writes the status into the output's metadata, so that no wording has to be guessed at here.
    """
    for output in outputs:
        facts = output.get("metadata", {}).get("qlab", {})
        if facts.get("check") == name:
            return facts["status"], output.data["text/plain"]
    raise ValueError(f"the check of exercise {name} gave no verdict: {errors_in(outputs, 'it') or outputs}")
