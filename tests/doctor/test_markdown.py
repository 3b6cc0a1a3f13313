"""Words as Markdown: whatever text comes is shown as it is, in a terminal and rendered."""

import mistune
import pytest
from hypothesis import given
from hypothesis import strategies as st

from qlab.doctor.markdown import WIDTH, code, facts, heading, items, md, paragraph, table
from qlab.text import printable
from tests.doctor.html import Page

render = mistune.create_markdown(escape=True, plugins=["table", "strikethrough", "url"])  # as elsewhere, too

OPENERS = (
    "recipes.static('a`|b', (1,), x)", "from qlab import recipes", "http://a.b", "<b>", "&amp;", "<http://x.y>", "](x)",
    "[x]: y", "a@b.cd", "---", "***", "===", "1. ", "- ", "    x", "```", "~~~", "|--|", "~~s~~", "_a_", "**b**", " # ",
    "\\",
)  # fmt: skip
TEXT = st.lists(
    st.one_of(st.text("\\`*_{}[]()#+-.!|<>&;:=~\"'$ \n\t1aB/@^%,?é\x1b", max_size=14), st.sampled_from(OPENERS)),
    max_size=12,
).map("".join)
LONG = "as many words as it takes to fill a line and more " * 3


def one_line(text):
    return " ".join(printable(text).split())


def said(markdown, tags):
    """What is read of it, without blanks; it has no other elements than `tags`."""
    page = Page(render(markdown))
    assert set(page.tags) <= set(tags.split()), markdown
    return "".join(page.text.split())


@given(TEXT, TEXT)
def test_any_text_is_shown_as_it_is_wherever_it_stands(text, other):
    one, two = ("".join(one_line(each).split()) for each in (text, other))
    assert said(paragraph(text), "p code") == one
    assert said(paragraph(f"{LONG}{text} {other}"), "p code") == "".join(LONG.split()) + one + two
    assert said(heading(3, text), "h3") == one
    if one and two:
        assert said(items([text, f"{LONG}{other}"]), "ul li code") == one + "".join(LONG.split()) + two
        assert said(facts([(text, [other, text]), ("t", [text])]), "ul li strong br code") == f"{one}:{two}{one}t:{one}"
        rows = [[text, other], [other, text], [text, ""]]
        assert said(table(rows, marked=1), "table thead tbody tr th td strong") == one + two + two + one + one
    assert said(f"said\n\n{code(text)}", "p pre code").startswith("said")


def test_names_of_everyday_need_no_escapes():
    for name in (
        "/encoder/layer_1/MatMul_quant",
        "Conv2D__6",
        "float32 [1, 80], declared [batch, 80]",
        "C:\\models\\a.onnx",
    ):
        assert md(name) == name


def test_a_python_call_stays_as_it_is_to_be_copied():
    call = "recipes.static('/_orig/m.onnx', 'o.onnx', reader, exclude=('*a_', \"b|c\"), card=machine.card('x'))"
    assert md(f"{call}: no_ *name*") == f"`{call}`: no\\_ \\*name\\*"
    assert md("qlab.doctor.read_feeds('`')") == "``qlab.doctor.read_feeds('`')``"


def test_running_text_fits_a_hundred_columns_and_what_is_to_be_copied_stays_whole():
    path = f"/{'x' * 120}.onnx"
    for text in (paragraph(LONG + path), items([LONG + path]), facts([("mend", [LONG + path, LONG])])):
        assert max(len(line) for line in text.splitlines() if path not in line) <= WIDTH
        assert path in text
    assert code(f"first\n  {path}") == f"    first\n      {path}"


def test_a_table_is_aligned_and_its_marked_row_is_bold():
    rows = [["model", "ms", "verdict"], ["fp32", "10.5", ""], ["static", "4", "faster"]]
    assert table(rows, left=(0, 2), marked=2).splitlines() == [
        "| model      |   ms | verdict |",
        "| :--------- | ---: | :------ |",
        "| fp32       | 10.5 |         |",
        "| **static** |    4 | faster  |",
    ]


@pytest.mark.parametrize("letter", ["\x1b", "\u202e", "\ud800"])
def test_a_terminal_is_not_steered(letter):
    for text in (paragraph(letter), items([letter]), facts([(letter, [letter])]), table([[letter]]), code(letter)):
        assert all(line.isprintable() for line in text.splitlines())
