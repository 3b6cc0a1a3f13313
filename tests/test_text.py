"""What qlab prints and shows: the same in text, HTML and Markdown, whatever the names."""

import math
from collections import Counter
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from IPython.core.formatters import DisplayFormatter

from qlab import machine
from qlab.graph import Census, Diff
from qlab.graph.diff import Change, Node
from qlab.measure import Comparison, Finding, Findings, LayerError, LayerErrors, NodeTime, Profile, Row
from qlab.text import TONES, Table, shortened
from tests.course.test_show import contrast
from tests.doctor.html import Page

HOSTILE = "<script>alert(1)</script>\"' &amp; $x$ \\(y\\) http://a.example/b_c \x1b[31m\u202e 音声"
SHOWN_HOSTILE = HOSTILE.replace("\x1b", r"\x1b").replace("\u202e", r"\u202e")
REFERENCE = Row("fp32", 143.5, 97.21, 1, 1, 1, math.inf, "cannot tell", is_reference=True)
PAGES = {"light": ("#FFFFFF", "#F5F5F5"), "dark": ("#111111", "#212121")}  # of JupyterLab, and their tables' stripes


def comparison(name="int8", count=1):
    rows = [Row(f"{name}{at or ''}", 41.0, 35.09, 2.77, 2.7, 2.85, 57.25, "faster", note=name) for at in range(count)]
    slower = Row("s", 40.6, 142.9, 0.68, 0.66, 0.7, 52.1, "slower")
    return Comparison([REFERENCE, slower, *rows], {}, {"fp32": np.ones(30)}, threads=1, feeds=2)


def card(name="here", saturates=False):
    speed = {"u8s8": 3.47, "u8u8": 1.72, "s8s8": 0.22, "s8u8": None}
    return machine.Card(name, "Linux", 1, {"numpy": "2.4"}, speed, saturates, 192.0, 45.4, note=name)


def census(name="Conv", count=1):
    floats = Counter({("", f"{name}{at or ''}"): 3 for at in range(count)})
    return Census(Counter({("com.microsoft", name): 12}), floats, Counter({("", "Cast"): 5}))


def diff(name="Conv", count=1):
    node, other = Node("n", "", name), Node("n", "com.microsoft", name)
    return Diff([node] * count, [other, other], [Change(node, other, {})], 416)


def profile(name="Conv", count=3):
    nodes = [
        NodeTime("n", "", f"{name}{at or ''}", "integer" if at % 2 else "float", 1.5, 0, 0, 0, "", (), False, None)
        for at in range(count)
    ]
    return Profile(Path("m.onnx"), tuple(nodes), 2000.0, 0.25, 30, None)


def layers(name="conv2.y", count=1):
    rows = [LayerError(f"{name}{at or ''}", "Conv+Relu", name, 8.1, 7.9) for at in range(count)]
    lost = LayerError("log", "Log", "", math.nan, math.nan, "has NaN")
    return LayerErrors([*rows, lost], {"a": "empty"}, (name,), 1, "random weights")


def findings(name="a layer", count=1):
    more = [Finding("layer-loss", name, "why so", None, f"exclude=({name!r},)") for _ in range(count)]
    return Findings([Finding("conv-integer", name, "no fusing", 10.2, "recipes.hybrid(reader)"), *more])


MADE = {make.__name__: make for make in (comparison, card, census, diff, profile, layers, findings)}
every_kind = pytest.mark.parametrize("make", MADE.values(), ids=MADE)


class Cells(HTMLParser):
    """The texts of a table's cells, row by row, their attributes, and what is bold in some colour."""

    def __init__(self, text):
        super().__init__()
        self.rows, self.aligned, self.bold = [], [], {}
        self._colour, self._in_cell = None, False
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        attrs = dict(attrs)
        if tag == "tr":
            self.rows.append([])
            self.aligned.append([])
        if tag in ("td", "th"):
            self._in_cell = True
            self.rows[-1].append("")
            self.aligned[-1].append(attrs["align"])
        if tag == "b":
            self._colour = attrs["style"].removeprefix("color: ")

    def handle_endtag(self, tag):
        self._colour = None if tag == "b" else self._colour
        self._in_cell = self._in_cell and tag not in ("td", "th")

    def handle_data(self, data):
        if self._in_cell:
            self.rows[-1][-1] += data
        if self._colour:
            self.bold[self._colour] = self.bold.get(self._colour, "") + data


@every_kind
@pytest.mark.parametrize("name", ["plain", HOSTILE])
def test_what_is_shown_is_well_formed_and_loads_and_runs_nothing(make, name):
    page = Page(make(name)._repr_html_())
    assert page.tags.count("table") == 1
    assert set(page.tags) <= {"div", "small", "table", "thead", "tbody", "tr", "th", "td", "b", "span", "br", "wbr"}
    assert set(page.attributes) <= {"style", "align"}


@every_kind
def test_every_word_and_number_of_the_text_is_shown(make):
    shown = make()
    words = {word.strip(":,") for word in repr(shown).split()} - {"<-", "about"}  # a card's arrow, a finding's title
    assert words <= {word.strip(":,") for word in with_blanks(shown._repr_html_()).split()}


def with_blanks(text):
    """What is read of a page, with a blank between any two cells and lines."""
    for tag in ("</td>", "</th>", "</div>", "<br>"):
        text = text.replace(tag, f" {tag}")
    return Page(text).text


@every_kind
def test_a_hostile_name_is_shown_as_it_is(make):
    assert SHOWN_HOSTILE in Page(make(HOSTILE)._repr_html_()).text


@every_kind
def test_no_two_signs_of_a_formula_stand_in_the_same_element(make):
    class Pieces(HTMLParser):
        def handle_data(self, data):
            assert len(data) == 1 or not set("$\\") & set(data)

    Pieces().feed(make(HOSTILE)._repr_html_())


@pytest.mark.parametrize("make", [comparison, census, diff, profile, layers, findings])
def test_a_thousand_rows_or_letters_are_cut_short_and_what_is_left_out_is_counted(make):
    assert len(make(count=1000)._repr_html_()) < 40_000
    assert len(make("n" * 100_000)._repr_html_()) < 60_000
    assert "(98,800 more letters)" in Page(Table([["head"], ["n" * 100_000]])._repr_html_()).text


def test_rows_that_are_left_out_are_counted():
    assert "962 more rows: print() shows all" in Page(comparison(count=1000)._repr_html_()).text
    assert "1 more row: print() shows all" in Page(Table([["head"], *[["a"]] * 41])._repr_html_()).text
    assert "988 more operators" in Page(profile(count=1000)._repr_html_()).text
    assert "10 of 1001 layers" in Page(layers(count=1000)._repr_html_()).text


def test_numbers_stand_at_the_right_also_where_styles_are_stripped():
    cells = Cells(comparison()._repr_html_())
    assert cells.aligned[0] == ["left", *["right"] * 5, "left", "left"]
    assert all(row == cells.aligned[0] for row in cells.aligned)
    assert cells.rows[3] == ["int8", "41.0", "35.1", "2.77", "2.70 to 2.85", "57.2", "faster", "int8"]


GOOD, QUIET, WATCH, BAD = (TONES[tone] for tone in ("good", "quiet", "watch", "bad"))


@pytest.mark.parametrize(
    ("shown", "bold"),
    [
        (comparison(), {GOOD: "faster", BAD: "slower"}),
        (card(), {GOOD: "3.47x"}),
        (card(saturates=True), {GOOD: "1.72x", BAD: "3.47x"}),
        (census(), {GOOD: "integer", QUIET: "float", WATCH: "boundary"}),
        (diff(), {BAD: "gone", GOOD: "come", WATCH: "changed"}),
        (profile(), {WATCH: "Conv33.3 %", GOOD: "integer"}),
        (layers(), {BAD: "n/a"}),
        (findings(), {BAD: "conv-integer", WATCH: "layer-loss"}),
    ],
    ids=lambda value: type(value).__name__ if not isinstance(value, dict) else "",
)
def test_the_verdict_or_the_worst_row_stands_out(shown, bold):
    assert Cells(shown._repr_html_()).bold == bold


@pytest.mark.parametrize("theme", PAGES)
@pytest.mark.parametrize("tone", TONES)
def test_every_tone_reads_on_light_and_dark_pages_and_on_the_stripes_of_their_tables(tone, theme):
    page, stripe = PAGES[theme]
    assert contrast(TONES[tone], page) >= 4
    assert contrast(TONES[tone], stripe) >= 3.5  # WCAG asks 3 of graphics, and the words are bold


def test_a_card_tells_the_fast_pair_that_saturates_from_the_exact_one_in_words_too():
    rows = Cells(card(saturates=True)._repr_html_()).rows
    assert rows[1:3] == [["u8 x s8", "3.47x", "saturates"], ["u8 x u8", "1.72x", "fastest exact"]]


def test_what_is_empty_says_so_without_a_table():
    assert Page(Findings()._repr_html_()).text == repr(Findings())
    exact = LayerErrors([LayerError("t", "Transpose", "", math.inf, 3.0)], {}, (), 1)
    assert Page(exact._repr_html_()).tags.count("table") == 0
    assert "1 adds no error of its own" in Page(exact._repr_html_()).text


def test_a_finding_that_harms_nothing_is_not_red():
    harmless = Findings([Finding("saturation-risk", "a layer", "why so", None, "none", is_harmless=True)])
    assert TONES["bad"] not in harmless._repr_html_()
    assert TONES["bad"] in findings()._repr_html_()


def test_findings_are_still_a_list():
    assert Findings() == []
    assert [finding.code for finding in findings()] == ["conv-integer", "layer-loss"]
    assert len(findings()) == 2


@every_kind
def test_a_notebook_gets_both_the_text_and_the_table(make):
    data, _ = DisplayFormatter().format(make())
    assert data == {"text/plain": repr(make()), "text/html": make()._repr_html_()}


def test_a_table_without_rows_is_its_lines():
    table = Table([["model", "ms"]], above=["nothing was found"], below=["1 thread"])
    assert repr(table) == "nothing was found\n1 thread"


def test_a_text_that_is_shortened_keeps_what_was_asked_for():
    for most in range(8, 40):
        for where in ("end", "middle"):
            short = shortened("encoder.encoders.12.w_1/MatMul", most, where)
            assert len(short) == min(most, 30)
            assert short.endswith("Mul") == (where == "middle" or most >= 30)
