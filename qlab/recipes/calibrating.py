"""Where the ranges of a static recipe come from: given, or collected on the pre-processed model."""

import math
from collections.abc import Sequence

from qlab import calibration
from qlab.graph.feeds import iterate_feeds
from qlab.recipes.job import once


def check_request(reader, ranges):
    """Raise ValueError unless exactly one of the two sources of ranges is given."""
    if (reader is None) == (ranges is None):
        got = "neither" if reader is None else "both"
        raise ValueError(
            f"got {got} of reader and ranges; expected a reader, an iterable of feeds {{input name: array}}, to "
            "collect ranges from, or else ranges from calibration.collect"
        )
    if ranges is not None and not isinstance(ranges, calibration.Ranges):
        raise ValueError(f"ranges is a {type(ranges).__name__}; expected what calibration.collect gives")


def ranges_for(work, choice, reader, ranges, method):
    """The Ranges of `work`'s tensors; `reader` is consumed once."""
    if ranges is None:
        options = {"method": method, "dtype": choice.activation_dtype, "symmetric": choice.symmetric}
        ranges = _collected(work, reader, options)
    wrong = {name: pair for name, pair in ranges.items() if not all(math.isfinite(end) for end in pair)}
    if wrong:
        raise ValueError(f"ranges hold NaN or infinity: {wrong}; look for it in the calibration feeds")
    return ranges


def _collected(work, reader, options):
    """The Ranges on `reader`, the first feed of which `work` keeps, to try the result on.

    A list stays one, whose length is known, and whose feeds are known again.
    """
    if not isinstance(reader, Sequence):
        return calibration.collect(work.prepared, _each(work, reader), **options)
    work.feed, feeds = next(iter(reader), None), list(reader)  # kept with the ranges, so that no id is given again
    key = (work.prepared, *options.values(), *map(id, feeds))
    return once(key, lambda _: (calibration.collect(work.prepared, reader, **options), feeds))[0]


def _each(work, reader):
    for feed in iterate_feeds(reader):
        work.feed = work.feed or feed
        yield feed
