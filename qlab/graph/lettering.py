"""How wide a text is on a picture, and as much of it as fits."""

from bisect import bisect_left
from functools import lru_cache

from matplotlib.backends.backend_agg import RendererAgg
from matplotlib.font_manager import FontProperties, findfont, get_font

from qlab import palette

HEAD, DETAIL = 9.0, 8.0  # points
WIDEST = 250.0  # pixels of a line
LONGEST = 300  # letters of which some are shown


def fit(text, size=DETAIL, width=WIDEST, bold=False):
    """`text`, its middle left out where it is too wide: names begin and end with what tells them apart."""
    text = printable(cut(text))
    if measure(text, size, bold) <= width:
        return text
    lengths = range(2, len(text))
    fits = bisect_left(lengths, True, key=lambda length: measure(_without_middle(text, length), size, bold) > width)
    return _without_middle(text, lengths[max(0, fits - 1)])


def cut(text):
    """`text`, at most LONGEST letters of it: no line has room for more, and measuring takes time."""
    return text if len(text) <= LONGEST else _without_middle(text, LONGEST)


def _without_middle(text, length):
    return f"{text[: length // 2]}...{text[len(text) - (length + 1) // 2 :]}"


def printable(text):
    r"""`text` with an escape, such as \u5c42, for each letter that no font here has, and for what does not print."""
    return "".join(
        letter
        if letter.isprintable() and any(ord(letter) in letters for letters in _letters())
        else letter.encode("unicode_escape").decode("ascii")
        for letter in text
    )


@lru_cache(maxsize=16384)
def measure(text, size=DETAIL, bold=False):
    """The width of a text in pixels."""
    font = FontProperties(family=palette.fonts(), size=size, weight="bold" if bold else "normal")
    return _renderer().get_text_width_height_descent(text, font, ismath=False)[0]


@lru_cache(maxsize=1)
def _letters():
    return [get_font(findfont(FontProperties(family=family))).get_charmap() for family in palette.fonts()]


@lru_cache(maxsize=1)
def _renderer():
    return RendererAgg(1, 1, palette.DPI)
