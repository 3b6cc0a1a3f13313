"""The palette: five colours that everybody can tell apart, and figures that fit a notebook."""

import io
from itertools import combinations

import matplotlib
import matplotlib.figure
import numpy as np
import pytest
from matplotlib.colors import to_rgb
from PIL import Image

from qlab import palette

# Full strength of each deficiency, on linear RGB. Source: Machado, Oliveira and Fernandes 2009, table 1.
SIGHT = {
    "normal": np.eye(3),
    "protanopia": [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]],
    "deuteranopia": [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.011820, 0.042940, 0.968881]],
    "tritanopia": [[1.255528, -0.076749, -0.178779], [-0.078411, 0.930809, 0.147602], [0.004733, 0.691367, 0.303900]],
}
TO_XYZ = np.array(
    [[0.4124564, 0.3575761, 0.1804375], [0.2126729, 0.7151522, 0.0721750], [0.0193339, 0.1191920, 0.9503041]]
)
WHITE = TO_XYZ.sum(axis=1)


def linear(colour):
    """sRGB to linear light (IEC 61966-2-1)."""
    srgb = np.array(to_rgb(colour))
    return np.where(srgb <= 0.04045, srgb / 12.92, ((srgb + 0.055) / 1.055) ** 2.4)


def lab(light):
    """Linear RGB to CIE 1976 L*a*b*, in which distance is perceived difference: 2.3 is just noticeable."""
    x, y, z = (np.cbrt(t) if t > 0.008856 else 7.787 * t + 16 / 116 for t in TO_XYZ @ light / WHITE)
    return np.array([116 * y - 16, 500 * (x - y), 200 * (y - z)])


@pytest.mark.parametrize("sight", SIGHT)
@pytest.mark.parametrize("pair", list(combinations(palette.COLOURS, 2)), ids="-".join)
def test_any_two_colours_stay_apart_for_every_kind_of_sight(pair, sight):
    seen = [lab(np.clip(np.asarray(SIGHT[sight]) @ linear(palette.COLOURS[name]), 0, 1)) for name in pair]
    assert np.linalg.norm(seen[0] - seen[1]) > 20


@pytest.mark.parametrize("name", palette.COLOURS)
def test_every_colour_stands_out_from_a_white_page_as_wcag_asks_of_graphics(name):
    luminance = TO_XYZ[1] @ linear(palette.COLOURS[name])
    assert 1.05 / (luminance + 0.05) >= 3


def test_the_simulation_itself_sees_that_pure_red_and_green_collapse_for_deuteranopes():
    red, green = ([0.55, 0.0, 0.0], [0.0, 0.22, 0.0])
    assert np.linalg.norm(lab(np.array(red)) - lab(np.array(green))) > 80
    seen = [lab(np.clip(np.asarray(SIGHT["deuteranopia"]) @ light, 0, 1)) for light in (red, green)]
    assert np.linalg.norm(seen[0] - seen[1]) < 30


def test_a_figure_shows_itself_as_a_small_png_of_notebook_width():
    figure, axes = palette.figure(height=3)
    axes.bar(list(palette.COLOURS), range(1, 6), color=list(palette.COLOURS.values()))
    axes.set(xlabel="what", ylabel="how much", title="A finding")
    png = figure.png()
    assert Image.open(io.BytesIO(png)).size == (800, 300)
    assert len(png) < 40_000


def test_a_figure_says_what_it_shows_by_its_titles_or_as_it_was_told():
    figure, (left, right) = palette.figure(1, 2)
    assert repr(figure).startswith("<Figure size 800x400")
    left.set_title("Weights lose\n1.2 dB")
    right.set_title("Activations lose 3 dB.")
    assert figure.alt == "Weights lose 1.2 dB. Activations lose 3 dB"
    figure.suptitle("Two losses")
    png, facts = figure._repr_png_()
    assert (png[1:4], facts) == (b"PNG", {"alt": "Two losses. Weights lose 1.2 dB. Activations lose 3 dB"})
    assert repr(palette.figure(alt="two arrows that meet")[0]) == "<Figure: two arrows that meet>"


def test_a_figure_is_an_ordinary_matplotlib_figure_that_pyplot_does_not_keep(tmp_path):
    from matplotlib import pyplot

    figure, axes = palette.figure(1, 2, sharey=True)
    assert isinstance(figure, matplotlib.figure.Figure)
    assert axes.shape == (2,)
    assert pyplot.get_fignums() == []
    figure.savefig(tmp_path / "paper.svg")
    assert (tmp_path / "paper.svg").read_text().startswith("<?xml")


def test_drawing_a_figure_leaves_matplotlibs_defaults_alone():
    before = dict(matplotlib.rcParams)
    palette.figure()[0].png()
    assert dict(matplotlib.rcParams) == before


def test_the_style_reaches_titles_and_legends_inside_a_styled_function():
    @palette.style()
    def draw():
        figure, axes = palette.figure()
        axes.plot([0, 1], label="line")
        axes.set_title("left")
        return axes.get_title(loc="left"), axes.legend().get_frame_on(), figure

    title, frame, _ = draw()
    assert (title, frame) == ("left", False)
    assert draw()[0] == "left"


def test_use_makes_the_style_the_default():
    with matplotlib.rc_context():
        palette.use()
        assert matplotlib.rcParams["axes.titlelocation"] == "left"
        assert next(iter(matplotlib.rcParams["axes.prop_cycle"]))["color"] == palette.WEIGHTS


def labels_of(figure):
    """Every label of every tick of a figure that was drawn, with what stands at the end of an axis (as in 1e6)."""
    figure.draw_without_rendering()
    for axes in figure.axes:
        for axis in (axes.xaxis, axes.yaxis):
            yield axis.get_offset_text().get_text()
            for tick in (*axis.get_major_ticks(), *axis.get_minor_ticks()):
                yield from (tick.label1.get_text(), tick.label2.get_text())


def log_axes(axes):
    """One figure of each kind of axis that matplotlib labels with formulas."""
    names = iter(axes.flat)
    next(names).loglog([0.001, 1], [0.5, 150])
    next(names).semilogy([1, 2], [1e-7, 1e3])
    next(names).semilogy([1, 2], [3, 9])  # less than a decade: the small ticks are labelled
    axes[1, 0].semilogx([0.5, 16], [1, 2], base=2)
    axes[1, 1].plot([-100, 2e8], [-100, 100])
    axes[1, 1].set_yscale("symlog")
    picture = axes[1, 2].imshow(np.geomspace(1e-3, 10, 16).reshape(4, 4), norm=matplotlib.colors.LogNorm())
    axes[1, 2].figure.colorbar(picture, ax=axes[1, 2])


def test_every_kind_of_log_axis_is_labelled_in_plain_letters():
    figure, axes = palette.figure(2, 3, height=6)
    log_axes(axes)
    labels = set(labels_of(figure))
    assert [label for label in labels if "$" in label or "\\" in label] == []
    assert {"0.001", "0.1", "10", "100", "10⁻⁷", "10³", "4", "0.5", "16", "−100", "0"} <= labels


def test_an_inset_and_a_second_scale_have_plain_labels_too():
    figure, axes = palette.figure()
    axes.loglog([1, 100], [1, 1000])
    inset, second = (
        axes.inset_axes((0.1, 0.6, 0.3, 0.3)),
        axes.secondary_yaxis("right", (lambda y: 2 * y, lambda y: y / 2)),
    )
    inset.loglog([1, 100], [1, 100])
    figure.draw_without_rendering()
    labels = {label.get_text() for axis in (inset.xaxis, second.yaxis) for label in axis.get_ticklabels()}
    assert {"1", "10", "100", "1000"} <= labels
    assert [label for label in labels if "$" in label or "\\" in label] == []


def test_small_ticks_are_labelled_only_on_an_axis_of_less_than_a_decade():
    figure, (long, short) = palette.figure(1, 2)
    long.semilogy([1, 2], [1, 1000])
    short.semilogy([1, 2], [3, 9])
    figure.draw_without_rendering()
    said = [{tick.label1.get_text() for tick in axes.yaxis.get_minor_ticks()} for axes in (long, short)]
    assert said[0] == {""}
    assert {"4", "6"} <= said[1]


def test_dollar_signs_in_the_name_of_a_tensor_stay_what_they_are():
    figure, axes = palette.figure()
    axes.barh(["a$b$", "c"], [1, 2])
    axes.set_title("$x$")
    assert "a$b$" in labels_of(figure)
    assert not axes.title.get_parse_math()


def test_a_readers_own_log_axis_is_labelled_by_formulas_that_are_read_as_such():
    with matplotlib.rc_context():
        palette.use()
        figure = matplotlib.figure.Figure()
        axes = figure.subplots()
        axes.loglog([1, 100], [1, 100])
        figure.draw_without_rendering()
        assert all(tick.label1.get_parse_math() for tick in axes.xaxis.get_major_ticks())
