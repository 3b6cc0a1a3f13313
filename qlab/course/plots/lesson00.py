"""The figure that only notebook 00 draws: the speech network, part by part."""

from itertools import pairwise

from qlab.course.plots.canvas import INK
from qlab.course.plots.schematic import Schematic

FROM_SOUND_TO_WORDS = (  # middle, text, kind, width
    (0.72, "sound:\n16,000\nnumbers / s", "activations", 1.34),
    (2.45, "80 logarithms\nof energies a\nframe (10 ms)", "activations", 1.44),
    (4.42, "2 convolutions,\nlinear: one token\nfor 4 frames (40 ms)", "weights", 1.94),
    (6.29, "6 blocks", "weights", 1.1),
    (7.89, "linear:\n290 scores\na token", "weights", 1.3),
    (9.42, "words", "activations", 0.9),
)
ONE_BLOCK = (  # middle, text, width
    (1.35, "feed-forward\n(“macaron”)", 1.5),
    (3.8, "attention: query,\nkey, value", 1.8),
    (6.25, "convolution", 1.5),
    (8.6, "feed-forward", 1.5),
)


def network():
    """The conformer from sound to words in one row, and one of its blocks below. -> Figure"""
    page = Schematic(
        10,
        3.75,
        title="The speech network: six blocks alike between sound and words",
        alt="From left to right: sound, 16,000 numbers a second; 80 logarithms of energies for each frame of 10 ms; "
        "two convolutions and a linear layer, which make one token of every four frames, 40 ms; six blocks; a "
        "linear layer, 290 scores for each token; words. Below, one block: feed-forward, called macaron; attention "
        "with query, key and value; convolution; feed-forward. A LayerNorm stands before each, and one at the end.",
    )
    above = [page.box(x, 3.15, text, kind=kind, width=wide, height=0.98) for x, text, kind, wide in FROM_SOUND_TO_WORDS]
    below = [page.box(x, 1.05, text, kind="weights", width=wide, height=0.75) for x, text, wide in ONE_BLOCK]
    for left, right in [*pairwise(above), *pairwise(below), ((0.1, 1.05), below[0]), (below[-1], (9.9, 1.05))]:
        page.arrow(left, right)
    _opened(page, above[3], 1.62)
    page.text(0.1, 2.12, "one block", align="left", bold=True)
    each = (
        "A LayerNorm stands before each of the four, and each adds its result to what came in; one more ends the block"
    )
    page.text(5, 0.35, each, size=9)
    return page.figure


def _opened(page, box, y):
    """Two dotted lines from the feet of a box to both edges of the page, at y."""
    for foot, edge in ((box.x - box.width / 2, 0.1), (box.x + box.width / 2, 9.9)):
        page.axes.plot([foot, edge], [box.y - box.height / 2, y], color=INK, linewidth=0.9, linestyle=":")
