"""The shell around a draw function: controls, a picture redrawn in place, and errors that nobody can overlook."""

import io
import itertools
import os
import sys
import time
import traceback

import ipywidgets
import matplotlib.figure

from qlab.course import live
from qlab.course.show import WAITING, Shown, box, rich, strong
from qlab.course.widgets.controls import WHOLE_WIDTH

PANELS = 2
CORNERS = 32  # beyond so many combinations of ends, only one control at a time goes to its ends
_EXPLORED = []


def explore(draw, *, when=None, **controls):
    """Show a widget: `controls` are slider(), range_slider(), choice(), toggle(), one for each argument of `draw`.

    `when` tells of a control that has no effect at times, and is grey then: {its name: a function of all values}.

    >>> explore(heat, when={"block_size": lambda values: "block" in values["shares"]}, shares=..., block_size=...)

    `draw(**values)` returns a new matplotlib Figure of the same size each time, of at most two panels. An exception of
    the first drawing is raised here; one of a later drawing stands below the picture until the next good one.
    Keep a drawing under 150 ms: `palette.figure(layout=None)`, data thinned beforehand. -> Explorer
    """
    explorer = Explorer(draw, controls, when)
    _EXPLORED.append(explorer)
    return explorer.show()


class Explorer(Shown):
    """A widget: `.draw`, `.specs` and `.controls` (values, ipywidgets), `.image`, `.error`, `.seconds`."""

    def __init__(self, draw, specs, when=None):
        self.draw, self.specs, self.when = draw, specs, when or {}
        if strangers := sorted(set(self.when) - set(specs)):
            raise ValueError(f"when= names {', '.join(strangers)}; the controls are {', '.join(specs)}")
        self.error, self.seconds = None, 0.0
        self.controls = {name: spec.widget(name) for name, spec in specs.items()}
        # As wide as there is room, and no wider than it was drawn. The shape stands in the style as well: while a new
        # picture loads nothing below it moves.
        self.image = ipywidgets.Image(format="png", layout={"height": "auto", "max_width": WHOLE_WIDTH})
        self.words = live.Words()
        width, height = self._show(draw(**self.values()))
        self.image.layout.width = f"{width}px"
        self.image.add_class(f"qlab-picture-{width}x{height}")
        shape = f".qlab-picture-{width}x{height} {{ aspect-ratio: {width} / {height}; }}"
        self.trouble = ipywidgets.Output()
        for control in self.controls.values():
            control.observe(lambda _: self.redraw(), "value")
        self._grey()
        self.panel = ipywidgets.VBox(
            [live.style(draw.__name__, shape), *self.controls.values(), self.image, self.words, self.trouble]
        )
        self.panel.add_class("qlab-explorer")

    def _show(self, figure):
        """Put a figure in the picture's place, and its words in theirs. -> width, height in pixels"""
        said = getattr(figure, "alt", "")
        self.image.value, width, height = _rendered(figure)
        self.words.say(said)
        return width, height

    def _grey(self):
        """Switch off the controls that have no effect beside the present values of the others."""
        values = self.values()
        for name, matters in self.when.items():
            control = self.controls[name]
            control.disabled = not matters(values)
            (control.add_class if control.disabled else control.remove_class)("qlab-idle")

    def values(self):
        """The present value of every control."""
        return {name: control.value for name, control in self.controls.items()}

    def redraw(self):
        """Draw for the present values and put the picture in the old one's place.

        An exception becomes an output of type "error" below the picture, which readers and tests see. Under test
        (`QLAB_TEST`) it is raised as well.
        """
        start = time.perf_counter()
        try:
            self._grey()
            self._show(self.draw(**self.values()))
            self.error, self.trouble.outputs = None, ()
        except Exception as error:  # whatever draw raises must reach the page: a callback's exception is lost otherwise
            self.error, self.trouble.outputs = error, (_error_output(error),)
            if os.environ.get("QLAB_TEST"):
                raise
        finally:
            self.seconds = time.perf_counter() - start

    def ends(self):
        """The controls at their ends: see `ends`."""
        return ends(**self.specs)

    def widget(self):
        return self.panel

    def facts(self):
        return {"widget": self.draw.__name__}

    def text(self):
        controls = "; ".join(f"{spec.label or name} ({spec.words()})" for name, spec in self.specs.items())
        return f"Widget (run the notebook to use it): {controls}"

    def html(self):
        head, _, controls = self.text().partition(": ")
        said = box(WAITING, f"<small>{strong(WAITING, head)}: {rich(controls)}</small>")
        return live.without_widget(self.draw.__name__, said)


def ends(**specs):
    """Dictionaries of values for `draw`: each control at its ends, the others where they start, then all corners."""
    start = {name: spec.value for name, spec in specs.items()}
    one_by_one = [{**start, name: end} for name, spec in specs.items() for end in spec.ends()]
    corners = itertools.product(*(spec.ends() for spec in specs.values()))
    corners = [dict(zip(specs, corner, strict=True)) for corner in itertools.islice(corners, CORNERS + 1)]
    return one_by_one + (corners if len(corners) <= CORNERS else [])


def explored():
    """Every widget shown in this process."""
    return tuple(_EXPLORED)


def walk_ends():
    """Draw every widget shown in this process at the ends of its controls. -> {draw's name: number of drawings}

    Raises what a draw function raises, with the values noted, and ValueError for a figure of more than two panels.
    """
    walked = {}
    for explorer in _EXPLORED:
        name = explorer.draw.__name__
        for values in explorer.ends():
            try:
                _rendered(explorer.draw(**values))
            except Exception as error:
                error.add_note(f"raised by {name}(**{values})")
                raise
            walked[name] = walked.get(name, 0) + 1
    return walked


def _rendered(figure):
    """A figure as PNG, with its size in pixels; the figure is closed, whoever made it."""
    if not isinstance(figure, matplotlib.figure.Figure):
        raise ValueError(f"draw returned a {type(figure).__name__}; expected a matplotlib Figure")
    panels = [axes for axes in figure.axes if axes.get_label() != "<colorbar>"]
    if len(panels) > PANELS:
        raise ValueError(f"draw returned a figure of {len(panels)} panels; a widget has at most {PANELS}")
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", pil_kwargs={"compress_level": 1})  # speed counts here, not size
    width, height = figure.get_size_inches() * figure.dpi
    if "matplotlib.pyplot" in sys.modules:  # a figure made by pyplot would stay open, and show a second time
        sys.modules["matplotlib.pyplot"].close(figure)
    figure.clear()
    return buffer.getvalue(), round(width), round(height)


def _error_output(error):
    """The exception as Jupyter's own error output, from the draw function's frame on."""
    lines = traceback.format_exception(type(error), error, error.__traceback__.tb_next)
    return {
        "output_type": "error",
        "ename": type(error).__name__,
        "evalue": str(error),
        "traceback": "".join(lines).splitlines(),
    }
