"""A report as one HTML file: pictures inside, names escaped, nothing loaded from anywhere, fit to be printed."""

from qlab.files import write_whole
from qlab.markup import element, escaped
from qlab.measure.doctor.document import Case, Code, Facts, Items, Paragraph, Picture, Table
from qlab.measure.doctor.pictures import png
from qlab.measure.doctor.styling import STYLE

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
