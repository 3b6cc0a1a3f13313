"""How the HTML report looks: light and dark on a screen, black on white in print.

Figures as bytes, whatever the names in them.

A report as plain text, for a terminal of 100 columns.

A report as one HTML file: pictures inside, names escaped, nothing loaded from anywhere, fit to be printed."""

import base64
import io
import textwrap
import warnings

from qlab.doctor.report import Case, Code, Facts, Items, Paragraph, Picture, Table
from qlab.files import write_whole
from qlab.text import aligned, element, escaped, printable

STYLE = """
:root { color-scheme: light dark; --ink: #1d2126; --soft: #5a626c; --paper: #fff; --panel: #f5f6f8; --line: #d9dde2;
  --good: #1e7a45; --bad: #a50f2b; --mark: #f0f2f4; }
@media (prefers-color-scheme: dark) { :root { --ink: #e4e7eb; --soft: #a3abb5; --paper: #16191d; --panel: #1f2329;
  --line: #363c45; --good: #4fc183; --bad: #f0768c; --mark: #262b32; } }
* { box-sizing: border-box; }
body { margin: 0 auto; padding: 2rem 1.25rem 3rem; max-width: 54rem; background: var(--paper); color: var(--ink);
  font: 16px/1.55 system-ui, -apple-system, "Segoe UI", Roboto, "Noto Sans", sans-serif; overflow-wrap: anywhere; }
h1 { font-size: 1.5rem; line-height: 1.25; margin: 0 0 1rem; }
h2 { font-size: 1.15rem; margin: 2.5rem 0 .75rem; padding-bottom: .3rem; border-bottom: 1px solid var(--line); }
h3 { font-size: 1rem; margin: 0 0 .5rem; }
p, ul, pre { margin: .6rem 0; }
.banner { border-left: .35rem solid var(--bad); background: var(--panel); padding: .6rem 1.1rem;
  border-radius: 0 .4rem .4rem 0; }
.banner.healthy { border-color: var(--good); }
.banner p { margin: .35rem 0; }
.verdict { font-size: 1.1rem; font-weight: 600; }
dl { margin: .4rem 0; display: grid; grid-template-columns: max-content 1fr; gap: .25rem 1rem; }
dt { color: var(--soft); grid-column: 1; }
dd { margin: 0; grid-column: 2; }
article { border: 1px solid var(--line); border-radius: .4rem; padding: .8rem 1.1rem; margin: .8rem 0; }
.wide { overflow-x: auto; }
table { border-collapse: collapse; margin: .6rem 0; font-variant-numeric: tabular-nums; overflow-wrap: normal; }
th, td { padding: .3rem .8rem; border-bottom: 1px solid var(--line); vertical-align: top; }
th { color: var(--soft); font-weight: 600; border-bottom: 2px solid var(--line); }
.text { text-align: left; }
.number { text-align: right; white-space: nowrap; }
.marked td { background: var(--mark); font-weight: 600; }
.note, figcaption, footer { color: var(--soft); font-size: .87rem; }
pre { background: var(--panel); padding: .8rem 1rem; border-radius: .4rem; overflow-x: auto; overflow-wrap: normal;
  font: .87rem/1.5 ui-monospace, SFMono-Regular, Menlo, Consolas, monospace; }
figure { margin: 1.2rem 0; }
img { display: block; max-width: 100%; height: auto; margin: 0 auto; background: #fff;
  border: 1px solid var(--line); border-radius: .4rem; padding: .5rem; }
figcaption { margin-top: .3rem; }
footer { margin-top: 3rem; border-top: 1px solid var(--line); }
@page { margin: 16mm 14mm; }
@media print {
  :root { color-scheme: light; --ink: #000; --soft: #444; --paper: #fff; --panel: #fff; --line: #bbb; --good: #1e7a45;
    --bad: #a50f2b; --mark: #fff; }
  body { max-width: none; padding: 0; font-size: 10pt; }
  .banner, pre { border: 1px solid var(--line); border-left-width: .35rem; }
  pre { border-left-width: 1px; white-space: pre-wrap; }
  h2, h3 { break-after: avoid; }
  .note, figcaption { break-before: avoid; }
  article, figure, tr, pre, .banner { break-inside: avoid; }
  figure { margin: .6rem 0; }
  img { max-height: 10cm; width: auto; max-width: 100%; margin: 0 auto; border: 0; padding: 0; }
}
"""


def png(draw):
    """(data URI, title) of the figure that the callable `draw` makes."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph .* missing from font")  # a box in its place is no harm
        figure = draw()
        buffer = io.BytesIO()
        figure.savefig(buffer, format="png", dpi=150)
    titles = [axes.get_title(loc="left") or axes.get_title() for axes in figure.axes]
    title = next(filter(None, titles), "")
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode("ascii"), " ".join(title.split())


WIDTH = 98


def as_text(report):
    """The Report as text; of pictures, what stands in their place."""
    parts = [f"{report.title}\n{'=' * len(report.title)}", *map(_filled, (report.verdict, report.advice, report.units))]
    for section in report.sections:
        blocks = [shown for shown in map(_as_lines, section.blocks) if shown]
        parts += [f"{section.title}\n{'-' * len(section.title)}", *blocks] if blocks else []
    return printable("\n\n".join(part for part in [*parts, _filled(report.colophon)] if part)) + "\n"


def _as_lines(block):
    match block:
        case Paragraph(text):
            return _filled(text)
        case Items(texts):
            return "\n".join(_filled(text, "- ", "  ") for text in texts)
        case Facts(entries):
            width = max(len(term) for term, _ in entries) + 2
            return "\n".join(_fact_lines(term, lines, width) for term, lines in entries)
        case Table(rows, left, _, note):
            return "\n".join([*aligned(rows, left), *([_filled(note)] if note else [])])
        case Code(text):
            return textwrap.indent(text, "    ")
        case Case(title, entries):
            return "\n".join([_filled(title), *(_filled(text, f"   {term}: ", "     ") for term, text in entries)])
        case Picture(instead=instead):
            return "" if instead is None else _as_lines(instead)


def _fact_lines(term, lines, width):
    first, *rest = [_filled(line, " " * width) for line in lines]
    return "\n".join([term.ljust(width) + first.lstrip(), *rest])


def _filled(text, first="", rest=None):
    """`text` in lines of WIDTH. What has no blanks, a path or a call, is not cut: it must be copied whole."""
    rest = first if rest is None else rest
    layout = {"break_long_words": False, "break_on_hyphens": False}
    return textwrap.fill(text, WIDTH, initial_indent=first, subsequent_indent=rest, **layout)


# The last line of defence: even if a name got through unescaped, no script runs and nothing is fetched.
POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"


def write_page(report, path):
    """Write the Report to `path`, at once, so that nobody meets half a page."""
    write_whole(path, as_page(report))


def as_page(report):
    """The Report as an HTML document."""
    mood = "healthy" if report.is_healthy else "ill"
    head = [
        element("meta", charset="utf-8"),
        element("meta", http_equiv="Content-Security-Policy", content=POLICY),
        element("meta", name="viewport", content="width=device-width, initial-scale=1"),
        element("meta", name="color-scheme", content="light dark"),
        element("title", escaped(report.title)),
        element("style", STYLE),
    ]
    banner = [element("p", escaped(report.verdict), class_="verdict"), element("p", escaped(report.advice))]
    banner += [element("p", escaped(report.units), class_="note")] if report.units else []
    body = [
        element("header", element("h1", escaped(report.title)), element("div", *banner, class_=f"banner {mood}")),
        element("main", *(_section(section) for section in report.sections)),
        element("footer", element("p", escaped(report.colophon))),
    ]
    whole = element("html", element("head", *head), element("body", *body), lang="en")
    return f"<!DOCTYPE html>\n{whole}\n"


def _section(section):
    blocks = (_block(block) for block in section.blocks)
    return element("section", element("h2", escaped(section.title)), *blocks)


def _block(block):
    match block:
        case Paragraph(words):
            return element("p", escaped(words))
        case Items(texts):
            return element("ul", *(element("li", escaped(one)) for one in texts))
        case Facts(entries):
            return element("dl", *(_fact(term, lines) for term, lines in entries), class_="facts")
        case Table():
            return _table(block)
        case Code(words):
            return element("pre", element("code", escaped(words)))
        case Case(title, entries):
            facts = (element("dt", escaped(term)) + element("dd", escaped(words)) for term, words in entries)
            return element("article", element("h3", escaped(title)), element("dl", *facts))
        case Picture():
            return _picture(block)


def _fact(term, lines):
    return element("dt", escaped(term)) + "".join(element("dd", escaped(line)) for line in lines)


def _table(table):
    head, *rest = (_row(table, place) for place in range(len(table.rows)))
    whole = element("table", element("thead", head), element("tbody", *rest))
    note = element("p", escaped(table.note), class_="note") if table.note else ""
    return element("div", whole, class_="wide") + note


def _row(table, place):
    tag, cells = "th" if place == 0 else "td", []
    for column, cell in enumerate(table.rows[place]):
        cells.append(element(tag, escaped(cell), class_="text" if column in table.left else "number"))
    return element("tr", *cells, class_="marked" if place == table.marked else None)


def _picture(picture):
    """An image with its text. A report that took minutes is worth more than one of its pictures."""
    try:
        source, title = png(picture.draw)
    except Exception as error:  # whatever a strange name or graph provokes while it is drawn
        missing = element("p", escaped(f"{picture.what}: could not be drawn ({error})"), class_="note")
        return missing + ("" if picture.instead is None else _block(picture.instead))
    alternative = f"{picture.what}: {title}" if title else picture.what
    return element("figure", element("img", src=source, alt=alternative), element("figcaption", escaped(picture.what)))
