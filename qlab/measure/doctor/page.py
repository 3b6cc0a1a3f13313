"""A report as one HTML file: pictures inside, names escaped, nothing loaded from anywhere, fit to be printed."""

import html
import os

from qlab.measure.doctor.document import Case, Code, Facts, Items, Paragraph, Picture, Table
from qlab.measure.doctor.pictures import png
from qlab.measure.doctor.printable import printable
from qlab.measure.doctor.styling import STYLE

# The last line of defence: even if a name got through unescaped, no script runs and nothing is fetched.
POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"


def write_page(report, path):
    """Write the Report to `path`: beside it first, then renamed, so that nobody meets half a page."""
    beside = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        beside.write_text(as_page(report), encoding="utf-8")
        beside.replace(path)
    finally:
        beside.unlink(missing_ok=True)


def as_page(report):
    """The Report as an HTML document."""
    mood = "healthy" if report.is_healthy else "ill"
    head = [
        element("meta", charset="utf-8"),
        element("meta", http_equiv="Content-Security-Policy", content=POLICY),
        element("meta", name="viewport", content="width=device-width, initial-scale=1"),
        element("meta", name="color-scheme", content="light dark"),
        element("title", text(report.title)),
        element("style", STYLE),
    ]
    banner = [element("p", text(report.verdict), class_="verdict"), element("p", text(report.advice))]
    body = [
        element("header", element("h1", text(report.title)), element("div", *banner, class_=f"banner {mood}")),
        element("main", *(_section(section) for section in report.sections)),
        element("footer", element("p", text(report.colophon))),
    ]
    whole = element("html", element("head", *head), element("body", *body), lang="en")
    return f"<!DOCTYPE html>\n{whole}\n"


def element(tag, *inner, **attributes):
    """An element of HTML. `inner` is HTML already; attributes are text: class_ is class, http_equiv is http-equiv."""
    names = ((name.rstrip("_").replace("_", "-"), value) for name, value in attributes.items() if value is not None)
    start = tag + "".join(f' {name}="{text(str(value))}"' for name, value in names)
    if tag in ("meta", "img"):
        return f"<{start}>"
    return f"<{start}>{''.join(inner)}</{tag}>"


def text(value):
    """Text as HTML that shows it."""
    return html.escape(printable(value), quote=True)


def _section(section):
    blocks = (_block(block) for block in section.blocks)
    return element("section", element("h2", text(section.title)), *blocks)


def _block(block):
    match block:
        case Paragraph(words):
            return element("p", text(words))
        case Items(texts):
            return element("ul", *(element("li", text(one)) for one in texts))
        case Facts(entries):
            return element("dl", *(_fact(term, lines) for term, lines in entries), class_="facts")
        case Table():
            return _table(block)
        case Code(words):
            return element("pre", element("code", text(words)))
        case Case(title, entries):
            facts = (element("dt", text(term)) + element("dd", text(words)) for term, words in entries)
            return element("article", element("h3", text(title)), element("dl", *facts))
        case Picture():
            return _picture(block)


def _fact(term, lines):
    return element("dt", text(term)) + "".join(element("dd", text(line)) for line in lines)


def _table(table):
    head, *rest = (_row(table, place) for place in range(len(table.rows)))
    whole = element("table", element("thead", head), element("tbody", *rest))
    note = element("p", text(table.note), class_="note") if table.note else ""
    return element("div", whole, class_="wide") + note


def _row(table, place):
    tag, cells = "th" if place == 0 else "td", []
    for column, cell in enumerate(table.rows[place]):
        cells.append(element(tag, text(cell), class_="text" if column in table.left else "number"))
    return element("tr", *cells, class_="marked" if place == table.marked else None)


def _picture(picture):
    """An image with its text. A report that took minutes is worth more than one of its pictures."""
    try:
        source, title = png(picture.draw)
    except Exception as error:  # whatever a strange name or graph provokes while it is drawn
        missing = element("p", text(f"{picture.what}: could not be drawn ({error})"), class_="note")
        return missing + ("" if picture.instead is None else _block(picture.instead))
    alternative = f"{picture.what}: {title}" if title else picture.what
    return element("figure", element("img", src=source, alt=alternative), element("figcaption", text(picture.what)))
