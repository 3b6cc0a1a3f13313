"""The widget of notebook 02."""

import numpy as np
import pytest

from qlab.course.widgets.range_ends import draw_range_ends

X = np.linspace(-0.25, 4, 2_000, dtype=np.float32)
VIEW = (-4.0, 4.0)


def title(*arguments, **keywords):
    return draw_range_ends(X, VIEW, *arguments, **keywords).axes[0].get_title(loc="left")


def test_symmetric_codes_lie_idle_where_no_value_is():
    assert title((-0.25, 4.0), bits=4, symmetric=True).endswith("zero point 0, 8 of 16 codes idle")
    assert title((-0.25, 4.0), bits=4, symmetric=False).endswith("zero point 1, 0 of 16 codes idle")


def test_the_smaller_end_does_nothing_to_symmetric_codes():
    assert title((-3.0, 4.0), symmetric=True) == title((0.0, 4.0), symmetric=True)


def test_a_value_clips_only_beyond_half_a_step_from_the_last_mark():
    said = [draw_range_ends(X, VIEW, limits).axes[0].texts[0].get_text() for limits in ((-0.25, 4.0), (-0.25, 2.0))]
    assert "0 % of the values clip" in said[0]
    assert "46 % of the values clip" in said[1]


@pytest.mark.parametrize("limits", [(-4.0, -4.0), (4.0, 4.0), (0.0, 0.0)])
def test_a_range_of_no_width_can_be_drawn(limits):
    assert len(draw_range_ends(X, VIEW, limits, bits=4).axes) == 2
