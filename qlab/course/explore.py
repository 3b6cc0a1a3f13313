"""Widgets: controls as values, and the shell around a draw function that redraws a picture in place.

A later drawing's error stands below the picture, where nobody can overlook it. What a reader without a kernel needs
instead of a widget is marked by `without_widget`, and goes while the widget of that name is alive; `Words` are for
those who do not see the picture.
"""

import html
import io
import itertools
import math
import os
import re
import sys
import time
import traceback
from typing import NamedTuple

import ipywidgets
import matplotlib.figure

from qlab.course.show import WAITING, Shown, box, rich, strong

PANELS = 2
CORNERS = 32  # beyond so many combinations of ends, only one control at a time goes to its ends
WHOLE_WIDTH = "calc(100% - 4px)"  # of a page narrower than the control: Jupyter puts 2 pixels on either side
_LAYOUT = {"width": "460px", "max_width": WHOLE_WIDTH}
_CONTROL_STYLE = {"description_width": "150px"}

# A button bears a whole sentence: it breaks into lines, where Jupyter's own would cut it off.
_PAGE_STYLE = """
.qlab-options .jupyter-button { white-space: normal; height: auto; min-height: 30px; line-height: 1.35; width: auto;
    padding: 4px 10px; text-align: left; overflow-wrap: anywhere; }
.qlab-options .jupyter-button:disabled { opacity: 0.6; }
.qlab-options .jupyter-button.mod-active:disabled { opacity: 1; }
.qlab-column .jupyter-button { display: block; width: 100%; max-width: 44em; margin: 2px 0; }
.qlab-said .widget-html-content { line-height: 1.45; }
.qlab-explorer .widget-readout { width: auto; min-width: max-content; margin-left: 10px; }
.qlab-idle { opacity: 0.4; }
.qlab-unseen { position: absolute; width: 1px; height: 1px; overflow: hidden; clip-path: inset(50%); }
"""

_EXPLORED = []


def slider(low, high, value=None, *, step=None, label=""):
    """A slider from `low` to `high`, which starts at `value` (low, if not given).

    `step` is 1 for whole numbers, otherwise a hundredth of the way. `label` stands before it, with its unit.
    Raises ValueError if low < high does not hold or the value lies outside.
    """
    value = low if value is None else value
    if not low < high or not low <= value <= high:
        raise ValueError(f"slider from {low} to {high} at {value}: expected low < high and low <= value <= high")
    step = step or (1 if isinstance(low, int) and isinstance(high, int) else (high - low) / 100)
    whole = all(isinstance(number, int) for number in (low, high, value, step))
    made, form = (ipywidgets.IntSlider, "d") if whole else (ipywidgets.FloatSlider, _format(step))
    words = f"{_shown(low, step)} to {_shown(high, step)}"
    return Control(made, value, (low, high), words, label, _scale(low, high, step, form))


def range_slider(low, high, value=None, *, step=None, label=""):
    """A slider with two handles, which start at `value` = (from, to); the whole way, if not given.

    Raises ValueError if low <= from <= to <= high does not hold.
    """
    first, last = (low, high) if value is None else value
    if not low < high or not low <= first <= last <= high:
        raise ValueError(f"range slider from {low} to {high} at {value}: expected low <= from <= to <= high")
    step = step or (high - low) / 100
    words = f"from and to, within {_shown(low, step)} to {_shown(high, step)}"
    ends, traits = ((low, high), (low, low), (high, high)), _scale(low, high, step, _format(step))
    return Control(ipywidgets.FloatRangeSlider, (first, last), ends, words, label, traits)


def choice(options, value=None, *, label=""):
    """One of `options`; it starts at `value` (the first, if not given). Raises ValueError if that is none of them."""
    options = tuple(options)
    value = options[0] if value is None and options else value
    if value not in options:
        raise ValueError(f"choice of {options}: {value!r} is none of them")
    words = ", ".join(map(str, options))
    return Control(ipywidgets.Dropdown, value, options, words, label, {"options": options})


def toggle(value=False, *, label=""):
    """A switch."""
    return Control(ipywidgets.Checkbox, bool(value), (False, True), "on or off", label, {"indent": True})


class Control(NamedTuple):
    """One control: the ipywidgets class that shows it, where it starts, its ends, and in words what may be chosen."""

    shows: type
    value: object
    ends: tuple
    words: str
    label: str
    traits: dict

    def widget(self, name):
        """The ipywidgets control; one without a label bears its argument's name."""
        said = self.label or name
        return self.shows(value=self.value, description=said, layout=_LAYOUT, style=_CONTROL_STYLE, **self.traits)


def _scale(low, high, step, form):
    """The traits of a slider."""
    return {"min": low, "max": high, "step": step, "readout_format": form, "continuous_update": True}


def _decimals(step):
    """As many as tell one step from the next."""
    return max(0, math.ceil(-math.log10(step)))


def _format(step):
    return f".{_decimals(step)}f"


def _shown(number, step):
    """A number as the slider's own readout has it, without zeros at the end."""
    return f"{round(number, _decimals(step)):g}"


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
        self.words = Words()
        width, height = self._show(draw(**self.values()))
        self.image.layout.width = f"{width}px"
        self.image.add_class(f"qlab-picture-{width}x{height}")
        shape = f".qlab-picture-{width}x{height} {{ aspect-ratio: {width} / {height}; }}"
        self.trouble = ipywidgets.Output()
        for control in self.controls.values():
            control.observe(lambda _: self.redraw(), "value")
        self._grey()
        self.panel = ipywidgets.VBox(
            [page_style(draw.__name__, shape), *self.controls.values(), self.image, self.words, self.trouble]
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
        controls = "; ".join(f"{spec.label or name} ({spec.words})" for name, spec in self.specs.items())
        return f"Widget (run the notebook to use it): {controls}"

    def html(self):
        head, _, controls = self.text().partition(": ")
        said = box(WAITING, f"<small>{strong(WAITING, head)}: {rich(controls)}</small>")
        return without_widget(self.draw.__name__, said)


def ends(**specs):
    """Dictionaries of values for `draw`: each control at its ends, the others where they start, then all corners."""
    start = {name: spec.value for name, spec in specs.items()}
    one_by_one = [{**start, name: end} for name, spec in specs.items() for end in spec.ends]
    corners = itertools.product(*(spec.ends for spec in specs.values()))
    corners = [dict(zip(specs, corner, strict=True)) for corner in itertools.islice(corners, CORNERS + 1)]
    return one_by_one + (corners if len(corners) <= CORNERS else [])


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


def without_widget(name, body):
    """HTML that is shown where the widget `name` is not alive: on GitHub, in a file just opened, in print."""
    return f'<div class="{_class_of(name)}">{body}</div>'


def page_style(name, more=""):
    """A widget without size: the course's style, `more` of it, and no more of what stands for the widget `name`."""
    away = _class_of(name)
    gone = f".{away}, .jp-OutputArea-child:has(.{away}:only-child) {{ display: none; }}"
    return ipywidgets.HTML(f"<style>{_PAGE_STYLE}{gone}\n{more}</style>", layout={"display": "none"})


class Words(ipywidgets.HTML):
    """Text that only a screen reader speaks, again whenever it changes."""

    def __init__(self):
        super().__init__()
        self.add_class("qlab-unseen")

    def say(self, text):
        self.value = f'<span role="status">{html.escape(text)}</span>'


def _class_of(name):
    return "qlab-without-" + re.sub(r"\W+", "-", name)
