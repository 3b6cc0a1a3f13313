"""The exercises of a notebook, read from its cells: stub, check, hints, solution."""

import ast
import re
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parents[2]
FOLDER = ROOT / "notebooks"

_DETAILS = re.compile(r"<details>\s*<summary>(.*?)</summary>(.*?)</details>", re.DOTALL)
_FENCE = re.compile(r"^```python\n(.*?)^```", re.DOTALL | re.MULTILINE)


class Exercise(NamedTuple):
    """One exercise: its id, the indices of its stub cell and its check cell, and the code of its folded solution."""

    id: str
    stub: int
    check: int
    solution: str


def paths():
    """Every notebook of the course, in reading order."""
    return sorted(FOLDER.glob("*.ipynb"))


def exercise_id(cell):
    """The id in the metadata of a stub cell, or None for any other cell."""
    return cell.metadata.get("qlab", {}).get("exercise")


def exercises(notebook):
    """Every exercise of the notebook, in order. Raises ValueError that names the one whose cells are not as agreed."""
    found = [_exercise(notebook.cells, index) for index, cell in enumerate(notebook.cells) if exercise_id(cell)]
    ids = [exercise.id for exercise in found]
    if len(set(ids)) < len(ids):
        raise ValueError(f"an exercise id stands twice: {ids}")
    return found


def _exercise(cells, index):
    """The exercise whose stub is cell `index`: the check follows it at once, then the folded Markdown."""
    name = exercise_id(cells[index])
    check = index + 1
    if check >= len(cells) or cells[check].cell_type != "code" or f'check("{name}"' not in cells[check].source:
        raise ValueError(f'exercise {name}: the cell after the stub must be code that calls check("{name}", ...)')
    return Exercise(name, index, check, _solution(name, _markdown_after(cells, check)))


def _markdown_after(cells, index):
    """The Markdown between cell `index` and the next cell of code."""
    text = []
    for cell in cells[index + 1 :]:
        if cell.cell_type != "markdown":
            break
        text.append(cell.source)
    return "\n\n".join(text)


def _solution(name, markdown):
    """The code of the one fence under <summary>Solution</summary>; two hints must be folded beside it."""
    folded = [(summary.strip(), body) for summary, body in _DETAILS.findall(markdown)]
    solutions = [body for summary, body in folded if summary == "Solution"]
    hints = [summary for summary, _ in folded if summary.startswith("Hint")]
    if len(solutions) != 1 or len(hints) != 2:
        raise ValueError(
            f"exercise {name}: two <details> hints and one <details> with <summary>Solution</summary> must follow the "
            f"check; found {[summary for summary, _ in folded]}"
        )
    fences = _FENCE.findall(solutions[0])
    if len(fences) != 1:
        raise ValueError(f"exercise {name}: the solution needs exactly one python fence, found {len(fences)}")
    return fences[0]


def is_blank(source):
    """Does the code still hold a stub's `...`? An ellipsis in a subscript, as in x[..., 0], does not count."""
    tree = ast.parse(source)
    in_subscripts = {
        id(node)
        for subscript in ast.walk(tree)
        if isinstance(subscript, ast.Subscript)
        for node in ast.walk(subscript.slice)
    }
    return any(
        isinstance(node, ast.Constant) and node.value is Ellipsis and id(node) not in in_subscripts
        for node in ast.walk(tree)
    )
