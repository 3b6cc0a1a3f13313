"""The HTML report: one file that holds all it shows, and shows names instead of obeying them."""

import base64
import io
import re

import matplotlib.pyplot as plt
import pytest
from PIL import Image

from qlab import palette
from qlab.doctor.markdown import code, facts, heading, items, paragraph, table
from qlab.doctor.page import as_page, write_page
from tests.doctor.html import Page

HOSTILE = [
    "<script>alert(1)</script>\"'><img src=x onerror=alert(1)> &amp; $\\frac{ \x1b[31m\u202e\ud800 音声\n</style>",
    "[x](javascript:alert(1)) ![x](http://a.example/b.png) <http://a.example> [x]: http://a.example",
    "a|b `code` ``` ~~~ *bold* __bold__ \\| | --- |",
    "# title\n\n## section\n\n---\n\n    code\n\n- item\n\n1. one\n\n===\n\n> said",
]


def figure():
    made, axes = palette.figure(height=1.5)
    axes.set_title("a finding")
    return made


def everything(word="plain"):
    """A report with all that there is, and `word` wherever there is text; and its pictures."""
    name = word.partition("\n")[0].replace("\ud800", "")  # a model's names are UTF-8; only a file's may be broken

    def draw():
        made, axes = palette.figure(height=1.5)
        axes.set_title(name)
        axes.plot([0, 1])
        axes.set_yticks([0, 1], [name, name])
        return made

    parts = [
        heading(1, word), paragraph(word), paragraph(word), heading(2, word), facts([(word, [word, word])]),
        table([["name", "ms"], [word, "1.0"], ["b", "20.0"]], marked=1), paragraph(word), items([word, word]),
        heading(3, word), facts([("seen", [word])]), paragraph(word), code(word), "---", code(word), paragraph(word),
    ]  # fmt: skip
    return "\n\n".join(parts) + "\n", {word: [(word, draw)]}


def page(word="plain", is_healthy=True):
    return as_page(*everything(word), is_healthy)


def pictured(draw):
    return Page(as_page("# t\n\n## s\n\n---\n", {"s": [("Speed-ups", draw)]}, True))


@pytest.mark.parametrize("word", ["plain", *HOSTILE])
def test_a_page_is_well_formed_whatever_the_names(word):
    shown = Page(page(word))
    assert {"script", "link", "iframe", "object", "base", "a"} & set(shown.tags) == set()
    assert not [name for name in shown.attributes if name.startswith("on")]
    parts = ("img", "table", "h1", "h2", "h3", "ul", "li", "pre", "hr", "section")
    assert [shown.tags.count(tag) for tag in parts] == [1, 1, 1, 1, 1, 3, 4, 2, 1, 1]


@pytest.mark.parametrize("word", HOSTILE)
def test_a_page_loads_nothing_from_anywhere(word):
    text = page(word)
    assert all(link.startswith("data:image/png;base64,") for link in Page(text).links)
    assert "default-src &#x27;none&#x27;; img-src data:; style-src" in text
    style = re.search(r"<style>(.*?)</style>", text, re.DOTALL)[1]
    assert not re.search(r"url\(|@import|https?://", style)


def test_a_page_says_its_language_its_letters_and_how_to_print_it():
    text = page()
    assert text.startswith('<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8">')
    assert "@media print" in text
    assert "prefers-color-scheme: dark" in text
    assert "<title>plain</title>" in text


@pytest.mark.parametrize("word", HOSTILE)
def test_hostile_names_are_shown_as_they_are(word):
    shown = " ".join(Page(page(word)).text.split())
    plain = " ".join(word.split()).replace("\x1b", r"\x1b").replace("\u202e", r"\u202e").replace("\ud800", r"\ud800")
    assert shown.count(plain) == 19  # one of them the page's title, one the picture's caption
    assert shown.isprintable()


def test_a_page_shows_the_health_by_its_colour():
    assert '<header class="healthy"><h1>plain</h1>' in page()
    assert '<header class="ill"><h1>plain</h1>' in page(is_healthy=False)


def test_a_picture_ends_its_section_and_has_a_text_that_says_what_it_finds():
    shown = pictured(figure)
    assert shown.alts == ["Speed-ups: a finding"]
    assert shown.tags[shown.tags.index("section") :] == ["section", "h2", "figure", "img", "figcaption", "footer", "hr"]


def test_a_picture_is_a_png_of_twice_its_size_on_the_page():
    (link,) = pictured(figure).links
    image = Image.open(io.BytesIO(base64.b64decode(link.split(",")[1])))
    assert (image.format, image.width) == ("PNG", 1200)
    assert plt.get_fignums() == []


def test_a_picture_that_cannot_be_drawn_costs_no_more_than_itself():
    def draw():
        raise RuntimeError("<no>")

    shown = pictured(draw)
    assert "Speed-ups: could not be drawn (<no>)" in shown.text
    assert "img" not in shown.tags


def test_a_page_is_there_whole_or_not_at_all(tmp_path, monkeypatch):
    folder = tmp_path / "reports"
    folder.mkdir()
    write_page(folder / "report.html", *everything("first"), True)

    def fail(path, target):
        raise OSError("disk full")

    monkeypatch.setattr(type(folder), "replace", fail)
    with pytest.raises(OSError, match="disk full"):
        write_page(folder / "report.html", *everything("second"), True)
    (entry,) = folder.iterdir()
    assert "first" in entry.read_text(encoding="utf-8")
