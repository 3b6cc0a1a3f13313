"""Run inside a notebook's kernel, after its last cell: move every control to its ends, press every button.

Nothing moves a control when a notebook is only executed, so a callback that raises would pass unseen.
"""

import sys

from IPython import get_ipython
from ipywidgets import widgets

NUMBERS = (widgets.IntSlider, widgets.FloatSlider, widgets.BoundedIntText, widgets.BoundedFloatText)
RANGES = (widgets.IntRangeSlider, widgets.FloatRangeSlider)
SWITCHES = (widgets.Checkbox, widgets.ToggleButton)
CHOICES = (widgets.Dropdown, widgets.RadioButtons, widgets.ToggleButtons, widgets.Select, widgets.SelectionSlider)


def positions(control):
    """The values to try on one control, as (trait, value) pairs, its present value last."""
    if isinstance(control, widgets.FloatLogSlider):
        tried = [("value", control.base**control.min), ("value", control.base**control.max)]
    elif isinstance(control, RANGES):
        low, high = control.min, control.max
        tried = [("value", (low, low)), ("value", (low, high)), ("value", (high, high))]
    elif isinstance(control, NUMBERS):
        tried = [("value", control.min), ("value", control.max)]
    elif isinstance(control, SWITCHES):
        tried = [("value", not control.value)]
    elif isinstance(control, CHOICES):
        tried = [("index", index) for index in range(len(control.options))]
    else:
        return []
    trait = tried[0][0]
    return [*tried, (trait, getattr(control, trait))]


def press_every_control():
    """Try every position of every control that is alive, click every button. RuntimeError names what failed.

    A callback's error never reaches the code that moves the control: interact, Output and Button hand it to the shell's
    showtraceback, and the next move wipes it away. So it is caught there, at each move.
    """
    failures = []
    shell = get_ipython()
    shown, shell.showtraceback = shell.showtraceback, lambda *given, **_: failures.append(repr(sys.exc_info()[1]))
    try:
        for control in list(widgets.widget._instances.values()):
            before = len(failures)
            for trait, value in positions(control):
                try:
                    setattr(control, trait, value)
                except Exception as error:  # an observer's error does arrive here
                    failures.append(f"{error!r} at {trait}={value!r}")
            if isinstance(control, widgets.Button):
                control.click()
            name = f"{type(control).__name__} {getattr(control, 'description', '')!r}"
            failures[before:] = [f"{name}: {failure}" for failure in failures[before:]]
    finally:
        shell.showtraceback = shown
    if failures:
        raise RuntimeError("; ".join(failures))
    if explore := sys.modules.get("qlab.course.explore"):
        explore.walk_ends()  # combinations of ends too
