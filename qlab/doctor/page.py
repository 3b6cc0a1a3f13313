"""A report as one HTML file: pictures inside, names escaped, nothing loaded from anywhere, fit to be printed."""

import base64
import io
import re
import warnings
from pathlib import Path

import mistune

from qlab.doctor import markdown
from qlab.files import write_whole
from qlab.text import element, escaped

# The last line of defence: even if a name got through unescaped, no script runs and nothing is fetched.
POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"
STYLE = Path(__file__).with_name("page.css")

_rendered = mistune.create_markdown(escape=True, plugins=["table"])


def write_page(path, report, pictures, is_healthy):
    """Write the page to `path`, at once, so that nobody meets half a one. The arguments are those of `as_page`."""
    write_whole(path, as_page(report, pictures, is_healthy))


def as_page(report, pictures, is_healthy):
    """The Markdown `report` as an HTML document.

    pictures  {heading of a section: [(what it shows, callable that draws a Figure), ...]}: they end that section
    """
    first, *sections, last = re.split(r"^(?=## |---$)", report, flags=re.MULTILINE)
    header = _html(first)
    head = [
        element("meta", charset="utf-8"),
        element("meta", http_equiv="Content-Security-Policy", content=POLICY),
        element("meta", name="viewport", content="width=device-width, initial-scale=1"),
        element("meta", name="color-scheme", content="light dark"),
        element("title", re.search("<h1>(.*)</h1>", header)[1]),
        element("style", STYLE.read_text(encoding="utf-8")),
    ]
    drawn = {markdown.heading(2, title): shown for title, shown in pictures.items()}
    body = [element("section", _html(part), *map(_figure, drawn.get(part.partition("\n")[0], ()))) for part in sections]
    header = element("header", header, class_="healthy" if is_healthy else "ill")
    body = element("body", header, element("main", *body), element("footer", _html(last)))
    return f"<!DOCTYPE html>\n{element('html', element('head', *head), body, lang='en')}\n"


def _html(part):
    """HTML of Markdown; a table that is too wide for a page scrolls by itself."""
    shown = _rendered(part)
    return shown.replace("<table>", '<div class="wide"><table>').replace("</table>", "</table></div>")


def _figure(picture):
    """An image with its text. A report that took minutes is worth more than one of its pictures."""
    what, draw = picture
    try:
        source, title = _png(draw)
    except Exception as error:  # whatever a strange name or graph provokes while it is drawn
        return element("p", escaped(f"{what}: could not be drawn ({error})"), class_="missing")
    image = element("img", src=source, alt=f"{what}: {title}" if title else what)
    return element("figure", image, element("figcaption", escaped(what)))


def _png(draw):
    """(data URI, title) of the figure that the callable `draw` makes."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph .* missing from font")  # a box in its place is no harm
        figure = draw()
        buffer = io.BytesIO()
        figure.savefig(buffer, format="png", dpi=150)
    titles = [axes.get_title(loc="left") or axes.get_title() for axes in figure.axes]
    title = next(filter(None, titles), "")
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode("ascii"), " ".join(title.split())
