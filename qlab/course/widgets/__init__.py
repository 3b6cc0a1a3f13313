"""Widgets: a pure `draw(**controls) -> Figure` and a thin shell of controls around it.

>>> def ruler(bits, limits):               # pure: the same controls, the same figure
...     figure, axes = palette.figure(layout=None)
...     ...
...     return figure
>>> ruler(bits=4, limits=(-1, 1))          # the static figure, in a cell of its own, for readers without a kernel
>>> explore(ruler, bits=slider(2, 8, 4), limits=range_slider(-3.0, 3.0, (-1.0, 1.0)))

Tests call `walk_ends()`: every draw function shown so far, at the ends of its controls.
"""

from qlab.course.widgets.controls import Choice, RangeSlider, Slider, Toggle, choice, range_slider, slider, toggle
from qlab.course.widgets.explorer import Explorer, ends, explore, explored, walk_ends

__all__ = [
    "Choice",
    "Explorer",
    "RangeSlider",
    "Slider",
    "Toggle",
    "choice",
    "ends",
    "explore",
    "explored",
    "range_slider",
    "slider",
    "toggle",
    "walk_ends",
]
