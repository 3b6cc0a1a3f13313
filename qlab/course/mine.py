"""Your own quantizer: each function that passes its exercise takes its place here.

>>> from qlab.course import mine
>>> codes = mine.quantize(x, scale, zero_point)
mine.quantize: yours, from exercise 01.2

Until an exercise is passed, qlab's function of the same signature stands in its place.
"""

from qlab.course import lessons
from qlab.course.show import WAITING, Shown, strong

_COMES_IN = {  # names that the course promises before their lesson is there
    "choose_qparams": "01",
    "quantize": "01",
    "dequantize": "01",
    "quantize_blocks": "04",
    "Observer": "05",
    "matmul_integer": "06",
    "requantize": "06",
    "write_qdq": "08",
}
_here = {}  # place -> the function that passed in this kernel
_said = {}  # place -> the line last shown


def __getattr__(name):
    if name.startswith("_"):
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    exercises = lessons.places()
    if name not in exercises:
        there = f"so far it has {', '.join(exercises)}" if exercises else "nothing is in it yet"
        comes = f"comes in notebook {_COMES_IN[name]}" if name in _COMES_IN else "is not one of its places"
        raise AttributeError(f"mine.{name} {comes}; {there}")
    exercise = exercises[name]
    if name in _here:
        function, whose = _here[name], f"yours, from exercise {exercise.id}"
    else:
        function, whose = exercise.places[name], f"qlab's, until you pass {exercise.id}"
    if _said.get(name) != whose:
        _said[name] = whose
        Line(f"mine.{name}: {whose}").show()
    return function


def __dir__():
    return ["adopt", "reset", *lessons.places()]


def take(exercise, answer):
    """An answer that passed takes its places."""
    _here.update(exercise.parts(answer))


class Line(Shown):
    """One quiet line."""

    def __init__(self, said):
        self.said = said

    def text(self):
        return self.said

    def html(self):
        return strong(WAITING, self.said)
