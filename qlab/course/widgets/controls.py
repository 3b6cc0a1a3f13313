"""Controls as values: what may be chosen, where it starts, and which of its values are ends."""

import math
from typing import NamedTuple

import ipywidgets

WHOLE_WIDTH = "calc(100% - 4px)"  # of a page narrower than the control: Jupyter puts 2 pixels on either side
_LAYOUT = {"width": "460px", "max_width": WHOLE_WIDTH}
_STYLE = {"description_width": "150px"}


class Slider(NamedTuple):
    """One number from `low` to `high`; whole numbers if all three are."""

    low: float
    high: float
    value: float
    step: float
    label: str

    def ends(self):
        return (self.low, self.high)

    def widget(self, name):
        whole = all(isinstance(number, int) for number in (self.low, self.high, self.value, self.step))
        made = ipywidgets.IntSlider if whole else ipywidgets.FloatSlider
        return _made(made, self, name, readout_format="d" if whole else _format(self.step))

    def words(self):
        return f"{_shown(self.low, self.step)} to {_shown(self.high, self.step)}"


class RangeSlider(NamedTuple):
    """Two numbers between `low` and `high`, the first not above the second; they may meet."""

    low: float
    high: float
    value: tuple[float, float]
    step: float
    label: str

    def ends(self):
        return ((self.low, self.high), (self.low, self.low), (self.high, self.high))

    def widget(self, name):
        return _made(ipywidgets.FloatRangeSlider, self, name, readout_format=_format(self.step))

    def words(self):
        return f"from and to, within {_shown(self.low, self.step)} to {_shown(self.high, self.step)}"


class Choice(NamedTuple):
    """One of a few options."""

    options: tuple
    value: object
    label: str

    def ends(self):
        return self.options

    def widget(self, name):
        return ipywidgets.Dropdown(
            options=self.options, value=self.value, description=self.label or name, layout=_LAYOUT, style=_STYLE
        )

    def words(self):
        return ", ".join(map(str, self.options))


class Toggle(NamedTuple):
    """Yes or no."""

    value: bool
    label: str

    def ends(self):
        return (False, True)

    def widget(self, name):
        return ipywidgets.Checkbox(
            value=self.value, description=self.label or name, indent=True, layout=_LAYOUT, style=_STYLE
        )

    def words(self):
        return "on or off"


def slider(low, high, value=None, *, step=None, label=""):
    """A slider from `low` to `high`, which starts at `value` (low, if not given).

    `step` is 1 for whole numbers, otherwise a hundredth of the way. `label` stands before it, with its unit.
    Raises ValueError if low < high does not hold or the value lies outside.
    """
    value = low if value is None else value
    if not low < high or not low <= value <= high:
        raise ValueError(f"slider from {low} to {high} at {value}: expected low < high and low <= value <= high")
    return Slider(low, high, value, step or _step(low, high), label)


def range_slider(low, high, value=None, *, step=None, label=""):
    """A slider with two handles, which start at `value` = (from, to); the whole way, if not given.

    Raises ValueError if low <= from <= to <= high does not hold.
    """
    first, last = (low, high) if value is None else value
    if not low < high or not low <= first <= last <= high:
        raise ValueError(f"range slider from {low} to {high} at {value}: expected low <= from <= to <= high")
    return RangeSlider(low, high, (first, last), step or (high - low) / 100, label)


def choice(options, value=None, *, label=""):
    """One of `options`; it starts at `value` (the first, if not given). Raises ValueError if that is none of them."""
    options = tuple(options)
    value = options[0] if value is None and options else value
    if value not in options:
        raise ValueError(f"choice of {options}: {value!r} is none of them")
    return Choice(options, value, label)


def toggle(value=False, *, label=""):
    """A switch."""
    return Toggle(bool(value), label)


def _step(low, high):
    return 1 if isinstance(low, int) and isinstance(high, int) else (high - low) / 100


def _decimals(step):
    """As many as tell one step from the next."""
    return max(0, math.ceil(-math.log10(step)))


def _format(step):
    return f".{_decimals(step)}f"


def _shown(number, step):
    """A number as the slider's own readout has it, without zeros at the end."""
    return f"{round(number, _decimals(step)):g}"


def _made(made, control, name, **more):
    return made(
        value=control.value,
        min=control.low,
        max=control.high,
        step=control.step,
        description=control.label or name,
        continuous_update=True,
        layout=_LAYOUT,
        style=_STYLE,
        **more,
    )
