"""The HTML report: one file that holds all it shows, and shows names instead of obeying them."""

import base64
import io
import re

import matplotlib.pyplot as plt
import pytest
from PIL import Image

from qlab import palette
from qlab.doctor.page import as_page, as_text, write_page
from qlab.doctor.report import Case, Code, Facts, Items, Paragraph, Picture, Report, Section, Table
from tests.doctor.html import Page

HOSTILE = "<script>alert(1)</script>\"'><img src=x onerror=alert(1)> &amp; $\\frac{ \x1b[31m\u202e\ud800 音声\n</style>"


def figure():
    made, axes = palette.figure(height=1.5)
    axes.set_title("a finding")
    return made


def everything(word="plain"):
    """A report with every kind of block, and `word` wherever there is text."""

    name = word.replace("\ud800", "")  # a model's names are UTF-8; only a file's may be broken

    def draw():
        made, axes = palette.figure(height=1.5)
        axes.set_title(name)
        axes.plot([0, 1])
        axes.set_yticks([0, 1], [name, name])
        return made

    table = Table([["name", "ms"], [word, "1.0"], ["b", "20.0"]], marked=1, note=word)
    blocks = [
        Paragraph(word), Items([word, word]), Facts([(word, [word, word])]), table, Code(word),
        Case(word, [("seen", word), ("why", word)]), Picture(draw, word, table),
    ]  # fmt: skip
    return Report(word, word, word, False, [Section(word, blocks)], word)


@pytest.mark.parametrize("word", ["plain", HOSTILE])
def test_a_page_is_well_formed_whatever_the_names(word):
    shown = Page(as_page(everything(word)))
    assert {"script", "link", "iframe", "object", "base"} & set(shown.tags) == set()
    assert not [name for name in shown.attributes if name.startswith("on")]
    assert shown.tags.count("img") == 1
    assert shown.tags.count("table") == 1


def test_a_page_loads_nothing_from_anywhere():
    text = as_page(everything(HOSTILE))
    assert all(link.startswith("data:image/png;base64,") for link in Page(text).links)
    assert "default-src &#x27;none&#x27;" in text
    style = re.search(r"<style>(.*?)</style>", text, re.DOTALL)[1]
    assert "url(" not in style
    assert "@import" not in style
    assert not re.search(r"https?://", text)


def test_a_page_says_its_language_its_letters_and_how_to_print_it():
    text = as_page(everything())
    assert text.startswith('<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8">')
    assert "@media print" in text
    assert "prefers-color-scheme: dark" in text


def test_hostile_names_are_shown_as_they_are():
    shown = Page(as_page(everything(HOSTILE)))
    assert "<script>alert(1)</script>" in shown.text
    assert "音声" in shown.text
    for letter, escape in {"\x1b": r"\x1b", "\u202e": r"\u202e", "\ud800": r"\ud800"}.items():
        assert letter not in shown.text
        assert escape in shown.text


def test_a_terminal_gets_the_same_without_being_steered():
    text = as_text(everything(HOSTILE))
    assert text.isprintable() is False  # line ends
    assert all(line.isprintable() for line in text.splitlines())
    assert r"\x1b[31m" in text


def test_a_picture_has_a_text_that_says_what_it_finds():
    report = Report("t", "v", "a", True, [Section("s", [Picture(figure, "Speed-ups")])])
    assert Page(as_page(report)).alts == ["Speed-ups: a finding"]


def test_a_picture_is_a_png_of_twice_its_size_on_the_page():
    report = Report("t", "v", "a", True, [Section("s", [Picture(figure, "Speed-ups")])])
    (link,) = Page(as_page(report)).links
    image = Image.open(io.BytesIO(base64.b64decode(link.split(",")[1])))
    assert (image.format, image.width) == ("PNG", 1200)
    assert plt.get_fignums() == []


def test_a_picture_that_cannot_be_drawn_leaves_what_stands_in_its_place():
    def draw():
        raise RuntimeError("<no>")

    instead = Table([["name", "ms"], ["a", "1.0"]])
    report = Report("t", "v", "a", True, [Section("s", [Picture(draw, "Speed-ups", instead)])])
    shown = Page(as_page(report))
    assert "Speed-ups: could not be drawn (<no>)" in shown.text
    assert shown.tags.count("table") == 1
    assert "img" not in shown.tags


def test_running_text_in_a_terminal_fits_a_hundred_columns_and_a_call_stays_whole():
    words, call = "as many words as it takes to fill a line and more " * 4, f"recipes.static({'x' * 120!r})"
    blocks = [Paragraph(words), Items([words]), Facts([("term", [words])]), Case(words, [("mend", f"{words} {call}")])]
    text = as_text(Report("title", words, "", True, [Section("empty", []), Section("section", blocks)]))
    assert max(len(line) for line in text.splitlines() if call not in line) <= 100
    assert call in text
    assert "\n\n\n" not in text
    assert "empty" not in text


def test_a_page_is_there_whole_or_not_at_all(tmp_path, monkeypatch):
    folder = tmp_path / "reports"
    folder.mkdir()
    write_page(everything("first"), folder / "report.html")

    def fail(path, target):
        raise OSError("disk full")

    monkeypatch.setattr(type(folder), "replace", fail)
    with pytest.raises(OSError, match="disk full"):
        write_page(everything("second"), folder / "report.html")
    (entry,) = folder.iterdir()
    assert "first" in entry.read_text(encoding="utf-8")
