"""Figures as bytes, whatever the names in them."""

import base64
import io
import warnings


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
