"""A widget is a pure draw function in a thin shell, and no error of it is lost."""

import gc
import io

import matplotlib.pyplot as plt
import numpy as np
import pytest
from PIL import Image

from qlab import palette
from qlab.course import choice, explore, range_slider, slider, toggle
from qlab.course.explore import ends, walk_ends
from tests.rooms import room


@pytest.fixture(autouse=True)
def no_other_widgets(monkeypatch):
    monkeypatch.setattr(room("course.explore"), "_EXPLORED", [])


def ruler(bits=4, limits=(-1.0, 1.0), log=False, kind="weights"):
    figure, axes = palette.figure(height=2.0, layout=None)
    axes.plot(np.linspace(*limits, 2**bits), color=palette.COLOURS[kind])
    return figure


def explored_ruler():
    return explore(
        ruler,
        bits=slider(2, 8, 4, label="bits"),
        limits=range_slider(-3.0, 3.0, (-1.0, 1.0)),
        log=toggle(),
        kind=choice(["weights", "activations"]),
    )


def pixels(explorer):
    return Image.open(io.BytesIO(explorer.image.value)).convert("RGB").tobytes()


def test_moving_a_control_redraws_the_picture_in_place():
    explorer = explored_ruler()
    image, before = explorer.image, pixels(explorer)
    explorer.controls["bits"].value = 2
    assert explorer.image is image
    assert pixels(explorer) != before
    explorer.controls["bits"].value = 4
    assert pixels(explorer) == before


def test_the_height_follows_the_width_in_the_shape_of_the_picture():
    explorer = explored_ruler()
    width, height = Image.open(io.BytesIO(explorer.image.value)).size
    layout = explorer.image.layout
    assert (layout.width, layout.max_width, layout.height) == (f"{width}px", "calc(100% - 4px)", "auto")
    style = explorer.panel.children[0].value
    assert f".{explorer.image._dom_classes[0]} {{ aspect-ratio: {width} / {height}; }}" in style


def test_what_the_picture_shows_is_said_in_words_after_each_move():
    def titled(bits):
        figure = ruler(bits)
        figure.axes[0].set_title(f"<{bits}> bits")
        return figure

    explorer = explore(titled, bits=slider(2, 8, 4))
    assert "&lt;4&gt; bits" in explorer.words.value
    explorer.controls["bits"].value = 5
    assert "&lt;5&gt; bits" in explorer.words.value


def test_a_control_without_effect_is_switched_off_until_it_has_one():
    kinds = ["by all", "by block"]
    explorer = explore(
        lambda kind, block: ruler(),
        kind=choice(kinds),
        block=slider(8, 64),
        when={"block": lambda values: values["kind"] == "by block"},
    )
    block = explorer.controls["block"]
    for kind, off in (("by all", True), ("by block", False), ("by all", True)):
        explorer.controls["kind"].value = kind
        assert (block.disabled, "qlab-idle" in block._dom_classes) == (off, off)
    with pytest.raises(ValueError, match="when= names blocks; the controls are kind"):
        explore(lambda kind: ruler(), kind=choice(kinds), when={"blocks": bool})


@pytest.mark.parametrize(
    ("spec", "words", "readout"),
    [
        (slider(-0.41234567, 0.5, 0.1, step=0.005), "-0.412 to 0.5", ".3f"),
        (slider(0, 1000.0, 2.0), "0 to 1000", ".0f"),
        (range_slider(-0.0437125, 0.0501), "from and to, within -0.0437 to 0.0501", ".4f"),
        (slider(2, 8, 4), "2 to 8", "d"),
    ],
)
def test_the_ends_of_a_slider_are_told_as_finely_as_its_steps(spec, words, readout):
    assert spec.words == words
    assert spec.widget("x").readout_format == readout


def test_without_a_kernel_the_controls_stand_in_words(capsys):
    explored_ruler()
    assert capsys.readouterr().out == (
        "Widget (run the notebook to use it): bits (2 to 8); limits (from and to, within -3 to 3); "
        "log (on or off); kind (weights, activations)\n"
    )


def fails_at(bits):
    if bits > 6:
        raise ValueError(f"no <b>{bits}</b> bits")
    return ruler(bits)


def test_an_error_of_the_first_drawing_is_raised():
    with pytest.raises(ValueError, match="no <b>8</b> bits"):
        explore(fails_at, bits=slider(2, 8, 8))


def test_an_error_of_a_later_drawing_is_raised_under_test_and_shown_as_an_error_output():
    explorer = explore(fails_at, bits=slider(2, 8, 4))
    with pytest.raises(ValueError, match="bits"):
        explorer.controls["bits"].value = 7
    (output,) = explorer.trouble.outputs
    assert (output["output_type"], output["ename"], output["evalue"]) == ("error", "ValueError", "no <b>7</b> bits")
    assert "fails_at" in "".join(output["traceback"])


def test_an_error_of_a_later_drawing_is_shown_to_a_learner_until_the_next_good_one(monkeypatch):
    monkeypatch.delenv("QLAB_TEST")
    explorer = explore(fails_at, bits=slider(2, 8, 4))
    before = pixels(explorer)
    explorer.controls["bits"].value = 7
    assert isinstance(explorer.error, ValueError)
    assert pixels(explorer) == before
    explorer.controls["bits"].value = 4
    assert explorer.error is None
    assert explorer.trouble.outputs == ()


@pytest.mark.slow
def test_figures_do_not_pile_up():
    explorer = explored_ruler()
    for bits in (2, 3, 5, 6, 7):
        explorer.controls["bits"].value = bits
    gc.collect()
    alive = [item for item in gc.get_objects() if type(item) is palette.Figure]
    assert alive == []


def test_a_figure_made_by_pyplot_is_closed():
    def with_pyplot(bits):
        figure, axes = plt.subplots(figsize=(4, 2))
        axes.plot(range(bits))
        return figure

    explore(with_pyplot, bits=slider(2, 8)).controls["bits"].value = 5
    assert plt.get_fignums() == []


def test_ends_are_each_control_at_its_ends_and_then_the_corners():
    values = ends(bits=slider(2, 8, 4), log=toggle())
    assert values[:4] == [
        {"bits": 2, "log": False},
        {"bits": 8, "log": False},
        {"bits": 4, "log": False},
        {"bits": 4, "log": True},
    ]
    assert {"bits": 8, "log": True} in values[4:]
    assert len(values) == 8


def test_many_controls_go_to_their_ends_one_at_a_time():
    specs = {f"bits_{k}": slider(0, 1) for k in range(6)}
    assert len(ends(**specs)) == 12


def test_a_range_is_tried_where_its_handles_meet():
    assert range_slider(-1.0, 1.0).ends == ((-1.0, 1.0), (-1.0, -1.0), (1.0, 1.0))


@pytest.mark.slow
def test_walking_the_ends_draws_every_widget_and_names_the_values_that_fail():
    explored_ruler()
    assert walk_ends() == {"ruler": 2 + 3 + 2 + 2 + 24}
    explore(fails_at, bits=slider(2, 8, 4))
    with pytest.raises(ValueError, match="no <b>8</b> bits") as caught:
        walk_ends()
    assert caught.value.__notes__ == ["raised by fails_at(**{'bits': 8})"]


def test_more_than_two_panels_are_refused_and_a_colour_bar_is_no_panel():
    def draw(panels):
        figure, axes = palette.figure(1, int(panels), layout=None, squeeze=False)
        figure.colorbar(axes[0, 0].imshow(np.eye(3)), ax=axes[0, 0])
        return figure

    explore(draw, panels=slider(2, 3))
    with pytest.raises(ValueError, match="3 panels; a widget has at most 2"):
        walk_ends()


def test_what_is_no_figure_is_refused():
    with pytest.raises(ValueError, match="draw returned a NoneType; expected a matplotlib Figure"):
        explore(lambda bits: None, bits=slider(2, 8))


@pytest.mark.parametrize(
    "make",
    [
        lambda: slider(8, 2),
        lambda: slider(2, 8, 9),
        lambda: range_slider(0, 1, (0.5, 0.2)),
        lambda: range_slider(0, 1, (-1, 0.2)),
        lambda: choice([]),
        lambda: choice(["a"], "b"),
    ],
)
def test_a_control_that_cannot_be_is_refused(make):
    with pytest.raises(ValueError, match=r"expected|none of them"):
        make()


def test_whole_numbers_stay_whole():
    assert type(slider(2, 8, 4).widget("bits").value) is int
    assert type(slider(2.0, 8, 4).widget("bits").value) is float
