"""`progress()`: one picture of what is done."""

import matplotlib
from matplotlib.patches import Rectangle

from qlab import palette
from qlab.course import lessons, store
from qlab.course.show import GOOD, NEARLY, Shown, box, rich

GROUPS = ("exercises", "predictions", "quiz")
_LOOKS = {  # state -> (fill, mark): the mark says it too, for those who do not see the colours apart
    "passed": (GOOD, "✓"),
    "right": (GOOD, "✓"),
    "almost": (NEARLY, "~"),
    "wrong": (NEARLY, "✗"),
    "open": ("#E4E7EA", ""),
    "guessed": ("#E4E7EA", "?"),
    "late": ("#E4E7EA", "–"),
}
_KEY = "✓ passed or right    ~ almost    ✗ not right    ? not yet settled    – no guess before the result"
_QUIET = "#5F6770"
_ROW, _ABOVE, _BELOW = 0.42, 0.75, 0.45  # inches


def progress():
    """Notebooks in rows; exercises, predictions and quiz questions in columns. -> matplotlib Figure

    An exercise is passed, almost, or open; a prediction or a quiz answer was right or wrong; "?" is a guess that waits
    for its measurement, "–" a measurement before which there was none.
    """
    done, trouble = store.read()
    if trouble:
        Trouble(trouble).show()
    rows = _rows(done)
    widths = [max(3, *(len(cells[group]) for cells in rows.values())) for group in GROUPS]
    starts = [0, widths[0] + 1, widths[0] + widths[1] + 2]
    height = _ABOVE + _BELOW + _ROW * len(rows)
    with matplotlib.rc_context(palette.STYLE):
        figure, axes = palette.figure(height=height, layout=None)
        figure.subplots_adjust(left=0.13, right=0.99, bottom=_BELOW / height, top=1 - _ABOVE / height)
        _frame(axes, list(rows), starts[2] + widths[2], _title(rows))
        for group, start in zip(GROUPS, starts, strict=True):
            axes.text(start, -0.62, group, va="bottom", color=_QUIET)
            for y, cells in enumerate(rows.values()):
                _draw(axes, start, y, cells[group])
        axes.text(0, len(rows) - 0.4, _KEY, color=_QUIET, va="top")
    return figure


class Trouble(Shown):
    """What is wrong with the progress file."""

    def __init__(self, said):
        self.said = said

    def text(self):
        return self.said

    def html(self):
        return box(NEARLY, rich(self.said))


def _rows(done):
    """{notebook: {group: [(id, state), ...]}} for every notebook that has exercises or of which something is known."""
    known = dict.fromkeys(lessons.ids(), "open")
    known |= {name: entry["status"] for name, entry in done["exercises"].items()}
    tables = {
        "exercises": known,
        "predictions": {name: _foreseen(entry) for name, entry in done["predictions"].items()},
        "quiz": {name: _outcome(entry, "open") for name, entry in done["quizzes"].items()},
    }
    notebooks = sorted({name.partition(".")[0] for table in tables.values() for name in table})
    return {notebook: {group: _of(notebook, table) for group, table in tables.items()} for notebook in notebooks}


def _of(notebook, table):
    chosen = [(name, state) for name, state in table.items() if name.partition(".")[0] == notebook]
    return sorted(chosen, key=lambda entry: (len(entry[0]), entry[0]))  # 04.2 before 04.10


def _outcome(entry, unsettled):
    return {True: "right", False: "wrong"}.get(entry.get("right"), unsettled)


def _foreseen(entry):
    return _outcome(entry, "late" if "measured" in entry else "guessed")


def _title(rows):
    states = {group: [state for cells in rows.values() for _, state in cells[group]] for group in GROUPS}
    passed = f"{states['exercises'].count('passed')} of {len(states['exercises'])} exercises passed"
    settled = [state for state in states["predictions"] if state in ("right", "wrong")]
    return f"{passed}, {settled.count('right')} of {len(settled)} predictions right" if settled else passed


def _frame(axes, notebooks, width, title):
    axes.set(xlim=(-0.1, width), ylim=(len(notebooks) - 0.5, -0.5), xticks=[], yticks=range(len(notebooks)))
    axes.set_yticklabels([f"notebook {name}" for name in notebooks])
    axes.set_title(title, pad=24)
    axes.grid(False)
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)


def _draw(axes, start, y, cells):
    for x, (name, state) in enumerate(cells, start):
        fill, mark = _LOOKS.get(state, _LOOKS["open"])
        axes.add_patch(Rectangle((x + 0.05, y - 0.4), 0.9, 0.8, facecolor=fill, edgecolor="none"))
        ink = "#3C434A" if fill == _LOOKS["open"][0] else "white"
        axes.text(x + 0.5, y, f"{name.partition('.')[2]} {mark}".strip(), ha="center", va="center", color=ink)
    if not cells:
        axes.text(start + 0.05, y, "none yet", va="center", color=_QUIET)
