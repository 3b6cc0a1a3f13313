"""The figures that several notebooks share. A title states the finding; axes have units; colours are qlab.palette's.

Each helper returns a new matplotlib Figure. Those with `axes=` draw into a panel of yours instead, for a figure of two,
and return the figure that the panel belongs to.
"""

from qlab.course.plots.figures import Film, Sound, bars, digits, film_strip, histogram, levels_and_error
from qlab.course.plots.schematic import Schematic

__all__ = [
    "Film",
    "Schematic",
    "Sound",
    "bars",
    "digits",
    "film_strip",
    "histogram",
    "levels_and_error",
]
