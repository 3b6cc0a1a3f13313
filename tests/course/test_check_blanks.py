"""What counts as not yet filled in."""

import functools
import re

import numpy as np
import pytest

from qlab.course import check
from qlab.course.check import blank_part


def only_ellipsis(x): ...


def docstring_and_ellipsis(x, *, scale=1.0):
    """Scale of x."""
    ...


def only_pass(x):
    pass


def returns_ellipsis(x):
    return ...


def assigns_ellipsis(x):
    scale = ...
    return x / scale


def one_branch_blank(x):
    if x > 0:
        return ...
    return x


@functools.wraps(only_ellipsis)
def wrapped(x):
    return only_ellipsis(x)


class AllBlank:
    """Running maximum."""

    def observe(self, x): ...

    def range(self):
        """Low and high."""


class OneEllipsis:
    def __init__(self):
        self.high = 0

    def range(self):
        high = ...
        return high

    @property
    def size(self):
        return 1


def closure():
    scale = 3

    def inner(x):
        return scale * ...

    def blank(x):
        """Uses nothing."""

    return blank


BLANK = [
    ...,
    (1, ...),
    {"conv": "uint8", "relu": ...},
    [[...]],
    {...},
    only_ellipsis,
    docstring_and_ellipsis,
    only_pass,
    returns_ellipsis,
    assigns_ellipsis,
    one_branch_blank,
    wrapped,
    functools.partial(only_ellipsis, 1),
    lambda x: ...,
    (len, only_ellipsis),
    AllBlank,
    AllBlank().observe,
    OneEllipsis,
    closure(),
]


def last_axis(x):
    return x[..., 0] + x[..., None][..., 0, 0]


def last_axis_by_name(x):
    x[..., 0] = 1
    everything = (..., 0)
    return x[everything]


def returns_none_after_work(x):
    x.sort()


class WithPass:
    def rewind(self):
        pass

    def get_next(self):
        return None if self else 1


NOT_BLANK = [
    None,
    0,
    "...",
    (),
    {},
    np.zeros(3),
    last_axis,
    last_axis_by_name,
    returns_none_after_work,
    lambda: None if BLANK else 1,
    WithPass,
    WithPass(),
    print,
    dict,
    np.add,
]


@pytest.mark.parametrize("answer", BLANK, ids=lambda answer: re.sub(" at 0x[0-9a-f]+", "", repr(answer)))
def test_a_stub_is_not_yet(answer, register):
    assert blank_part(answer)
    verdict = check(register(lambda answer: None), answer)
    assert verdict.status == "not yet"
    assert "fill in" in verdict.message


@pytest.mark.parametrize("answer", NOT_BLANK, ids=lambda answer: type(answer).__name__)
def test_an_answer_however_wrong_is_judged(answer):
    assert blank_part(answer) is None


def test_a_function_made_by_a_cell_without_source_is_recognized():
    names = {}
    exec(compile('def f(x):\n    "doc"\n    ...\ndef g(x):\n    return x[..., 0]', "<cell>", "exec"), names)
    assert blank_part(names["f"]) == "the body of `f`"
    assert blank_part(names["g"]) is None
