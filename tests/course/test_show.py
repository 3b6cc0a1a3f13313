"""Words and colour: readable on light and dark pages, and in a terminal that has neither."""

import io
import sys

import pytest

from qlab.course import show


def luminance(colour):
    channels = [int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5)]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
    return sum(weight * c for weight, c in zip((0.2126, 0.7152, 0.0722), linear, strict=True))


def contrast(one, other):
    low, high = sorted((luminance(one), luminance(other)))
    return (high + 0.05) / (low + 0.05)


@pytest.mark.parametrize("page", ["#FFFFFF", "#111111"])
@pytest.mark.parametrize("colour", [show.GOOD, show.WAITING, show.NEARLY, show.BAD])
def test_every_colour_reads_on_light_and_dark_pages(colour, page):
    assert contrast(colour, page) >= 4


def test_markup_in_text_is_escaped_and_backticks_become_code():
    assert show.rich('`a<b` & "c"\nd') == "<code>a&lt;b</code> &amp; &quot;c&quot;<br>d"


def test_dollar_signs_of_a_learners_text_are_no_formula():
    assert show.rich("$x$ `a$`") == "<span>$</span>x<span>$</span> <code>a<span>$</span></code>"


def test_stars_around_words_are_emphasis_and_those_of_code_stay():
    assert show.rich("twice the *power*, *all of it*.") == "twice the <em>power</em>, <em>all of it</em>."
    for text in ("2*x*3", "x * y * z", "f(*a, *b, **c)", "**", "x**2 + y**2", "`a *b* c`"):
        assert "<em>" not in show.rich(text), text
    assert show.plain("the `scale` *of `x`*, 2*x*3") == "the scale of x, 2*x*3"


def test_a_terminal_without_ticks_is_printed_to_all_the_same(monkeypatch):
    raw = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(raw, encoding="cp1252", write_through=True))
    show._print("✓ passed")
    assert raw.getvalue().strip() == b"? passed"


def test_outside_jupyter_no_widget_is_made():
    assert not show.in_jupyter()
