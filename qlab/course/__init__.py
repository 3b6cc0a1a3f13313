"""What a learner meets in a notebook: check, claim, predict and settle, quiz, widgets, progress.

>>> from qlab.course import check, claim, predict, settle
>>> predict("00.1", "Dynamic int8 on your machine will be", ["faster", "slower"])
>>> claim("every file shrinks", ratio > 3, f"{ratio:.1f} times smaller")
>>> check("00.1", facts)

Answers, claims and guesses show themselves, as words and colour in Jupyter and as plain text elsewhere.
"""

from qlab.course import lessons, mine, plots
from qlab.course.check import check
from qlab.course.claims import FalseClaim, claim
from qlab.course.explore import choice, explore, range_slider, slider, toggle
from qlab.course.predictions import predict, settle
from qlab.course.progress import progress
from qlab.course.quizzes import question, quiz, right, wrong

__all__ = [
    "FalseClaim",
    "check",
    "choice",
    "claim",
    "explore",
    "lessons",
    "mine",
    "plots",
    "predict",
    "progress",
    "question",
    "quiz",
    "range_slider",
    "right",
    "settle",
    "slider",
    "toggle",
    "wrong",
]
