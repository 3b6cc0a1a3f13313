"""Figures: no text leaves the picture or lies on another, axes have units, bad input is named."""

import base64
import io
import itertools

import matplotlib.figure
import numpy as np
import pytest
import soundfile
from matplotlib.text import Text
from PIL import Image

from qlab import palette
from qlab.course import plots
from qlab.course.lessons import n00
from qlab.course.plots.figures import spread
from qlab.models import Utterance
from qlab.numerics.affine import qparams_from_range

RANDOM = np.random.default_rng(0)
HEAVY = RANDOM.standard_t(4, size=5_000) * 0.05
SPEEDS = {"Transformer, dynamic": 0.72, "CNN, dynamic": 1.60, "CNN, static": 1.53}
HERE = {
    "Transformer, dynamic": (1.41, 1.35, 1.47),
    "CNN, dynamic": (0.66, 0.64, 0.68),
    "CNN, static": (1.03, 0.99, 1.06),
    "Transformer, dynamic QInt8": (0.68, 0.66, 0.70),
}


def figures():
    """Every helper once, as a notebook would call it."""
    return {
        "slope_chart": n00.slope_chart(SPEEDS, HERE, title="Two of three signs flip"),
        "slope_chart of long names": n00.slope_chart(
            {"Transformer, dynamic QUInt8 (article)": 0.72},
            {"Transformer, dynamic QUInt8 (article)": 1.4},
            title="It flips",
        ),
        "histogram": plots.histogram(HEAVY, levels=np.linspace(-0.3, 0.3, 16), label="weight", title="15 steps"),
        "histogram of 256 marks": plots.histogram(
            abs(HEAVY),
            levels=np.linspace(0, 1, 256),
            kind="activations",
            log=True,
            label="activation",
            title="255 steps",
        ),
        "film_strip": plots.film_strip(
            {"true": RANDOM.random((31, 3, 96, 96)), "static S8S8": RANDOM.random((31, 3, 96, 96))},
            title="One sentence",
        ),
        "speech": n00.speech(np.sin(np.arange(16_000) / 9) * 0.3, title="turn on the light"),
        "digits": plots.digits(
            RANDOM.random((12, 1, 8, 8)), seen=range(12), truth=[0, 2, *range(2, 12)], title="11 of 12"
        ),
        "bars": plots.bars({"int4": (7.0, 6.5, 7.4), "NF4": 11.8}, unit="SQNR in dB", title="NF4 wins"),
    }


NAMES = [
    "slope_chart",
    "slope_chart of long names",
    "histogram",
    "histogram of 256 marks",
    "film_strip",
    "speech",
    "digits",
    "bars",
]


@pytest.fixture(scope="module")
def all_figures():
    made = figures()
    for figure in made.values():
        figure.png()  # lays it out
    assert list(made) == NAMES
    return made


@pytest.fixture(params=NAMES)
def figure(request, all_figures):
    return all_figures[request.param]


def visible_texts(figure):
    """(text, where it stands) for all that is drawn; tick labels beyond an axis's limits exist, but are not."""
    beyond = {
        id(label)
        for axes in figure.axes
        for axis in (axes.xaxis, axes.yaxis)
        for tick in [*axis.get_major_ticks(), *axis.get_minor_ticks()]
        if not min(axis.get_view_interval()) <= tick.get_loc() <= max(axis.get_view_interval())
        for label in (tick.label1, tick.label2)
    }
    texts = [text for text in figure.findobj(Text) if text.get_visible() and text.get_text().strip()]
    return [(text, text.get_window_extent()) for text in texts if id(text) not in beyond]


def test_no_text_leaves_the_figure(figure):
    for text, extent in visible_texts(figure):
        assert figure.bbox.padded(1).contains(extent.x0, extent.y0), text
        assert figure.bbox.padded(1).contains(extent.x1, extent.y1), text


def test_no_text_lies_on_another(figure):
    for (one, a), (other, b) in itertools.combinations(visible_texts(figure), 2):
        overlap_x, overlap_y = min(a.x1, b.x1) - max(a.x0, b.x0), min(a.y1, b.y1) - max(a.y0, b.y0)
        assert overlap_x < 1.5 or overlap_y < 1.5, (one, other)


def test_no_text_shows_the_source_of_a_formula(figure):
    assert [text for text in figure.findobj(Text) if "mathdefault" in text.get_text()] == []


def test_a_log_axis_in_a_figure_of_the_readers_is_labelled_in_plain_letters():
    axes = matplotlib.figure.Figure().subplots()
    plots.histogram(HEAVY, label="w", title="t", log=True, axes=axes).draw_without_rendering()
    labels = {tick.label1.get_text() for tick in axes.yaxis.get_major_ticks()}
    assert {"0.1", "1"} <= labels
    assert [label for label in labels if "$" in label] == []


def test_every_figure_is_the_courses_own_and_has_a_title(figure):
    assert isinstance(figure, palette.Figure)
    titles = [axes.get_title(loc="left") for axes in figure.axes]
    assert figure.get_suptitle() or any(titles)


def test_a_line_that_changes_sign_is_bold_and_one_that_cannot_be_told_is_thin(all_figures):
    axes = all_figures["slope_chart"].axes[0]
    widths = {
        round(float(line.get_ydata()[0]), 2): line.get_linewidth()
        for line in axes.lines
        if len(line.get_xdata()) == 2 and list(line.get_xdata()) == [0, 1]
    }
    assert widths[0.72] == widths[1.6] > widths[1.53]


def test_labels_that_would_overlap_are_moved_apart_in_order():
    moved = spread([1.0, 1.01, 1.02, 5.0], 0.5)
    assert (np.diff(moved) >= 0.5 - 1e-6).all()
    assert moved[3] == 5.0
    assert spread([3.0, 1.0], 0.5).tolist() == [3.0, 1.0]


def test_a_helper_may_draw_into_a_panel_of_the_callers():
    figure, (left, right) = palette.figure(1, 2)
    assert plots.histogram(HEAVY, label="w", title="t", axes=left) is figure
    assert plots.bars({"a": 1.0, "b": -2.0}, unit="dB", title="t", axes=right) is figure


def test_what_clips_is_counted():
    axes = plots.histogram(np.float32([-2, 0, 0, 1]), levels=[-1, 0, 1], label="w", title="t").axes[0]
    (said,) = axes.texts
    assert said.get_text() == "green: 3 levels\nred: clips (25 %)"


def test_what_lies_within_half_a_step_of_an_outer_level_rounds_and_does_not_clip():
    axes = plots.histogram(np.float32([-1.4, 0, 0, 1]), levels=[-1, 0, 1], step=1, label="w", title="t").axes[0]
    assert [text.get_text() for text in axes.texts] == ["green: 3 levels"]


def test_levels_bear_their_codes_and_the_zero_point_keeps_its_room():
    qparams = qparams_from_range(-0.4, 0.5, "uint8")
    above, below = plots.levels_and_error(HEAVY, qparams, view=(-1, 1), label="weight").axes
    assert {"0", "255", str(int(qparams.zero_point))} <= {text.get_text() for text in above.texts}
    assert below.get_ylim()[1] == pytest.approx(2 * float(qparams.scale))


def test_the_spectrogram_finds_a_tone_at_its_frequency():
    from qlab.course.lessons.n00 import spectrogram

    decibels = spectrogram(np.sin(2 * np.pi * 1000 * np.arange(16_000) / 16_000), 400, 160)
    assert decibels.shape == (98, 201)
    assert (decibels.argmax(axis=1) == 25).all()  # 1000 Hz in steps of 16000 / 400
    assert decibels.max() == pytest.approx(0)
    assert decibels.min() >= -70


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda: plots.histogram([], label="w", title="t"), "expected finite numbers, got 0"),
        (lambda: plots.histogram([1, np.nan], label="w", title="t"), "got 2, 1 of them finite"),
        (lambda: plots.histogram([1, 2], label="w", title="t", kind="blue"), "expected one of fp32, weights"),
        (lambda: n00.speech(np.zeros(10), title="t"), "expected at least 400"),
        (lambda: n00.slope_chart({"a": -1}, {}, title="t"), "expected positive speed-ups"),
    ],
)
def test_bad_input_is_named(make, says):
    with pytest.raises(ValueError, match=says):
        make()


def test_silence_and_constants_can_be_drawn():
    for figure in (
        n00.speech(np.zeros(800), title="silence"),
        plots.histogram(np.zeros(5), levels=[0.0], label="w", title="constant"),
    ):
        assert figure.png()


def test_a_film_is_a_gif_of_its_pictures_side_by_side_25_a_second_and_its_sound_stands_below(monkeypatch, tmp_path):
    shown = []
    monkeypatch.setattr("qlab.course.plots.figures.display", shown.append)
    sentence = Utterance(np.sin(np.arange(1600, dtype=np.float32)), "turn on the light", "flite/slt")
    film = plots.Film({name: RANDOM.random((3, 3, 96, 96)) for name in ("fp32", "int8")}, sentence)
    film._ipython_display_()
    picture, sound = shown
    assert picture.alt == "fp32, int8: turn on the light"
    assert "audio" in sound._repr_html_()
    film.save(tmp_path / "film.gif")
    with Image.open(tmp_path / "film.gif") as gif:
        assert (gif.size, gif.n_frames, gif.info["duration"]) == ((192, 96), 3, 40)


@pytest.mark.parametrize(
    ("pictures", "says"),
    [
        (np.zeros((3, 96, 96)), r"fp32: expected pictures of shape \[n, 3, height, width\].*got \(3, 96, 96\)"),
        (np.full((2, 3, 96, 96), np.nan), "fp32: expected finite numbers"),
    ],
)
def test_what_is_no_film_is_named(pictures, says):
    with pytest.raises(ValueError, match=says):
        plots.film_strip({"fp32": pictures}, title="none")


def test_a_schematic_shows_its_words_and_its_arrows_end_at_the_edges_of_boxes():
    page = plots.Schematic(10, 3, title="A pair", alt="x becomes codes, and codes x again")
    left, right = page.box(2, 1.5, "QuantizeLinear", kind="integer"), page.box(7, 1.5, "DequantizeLinear")
    page.arrow(left, right, "codes")
    assert left.toward(right.x, right.y) == (left.x + left.width / 2, 1.5)
    assert left.toward(left.x, 9) == (left.x, 1.5 + left.height / 2)
    assert {"QuantizeLinear", "DequantizeLinear", "codes"} <= {text.get_text() for text in page.axes.texts}
    assert page.figure.alt == "x becomes codes, and codes x again"


def test_levels_stand_where_the_axis_says():
    page = plots.Schematic(10, 2)
    at = page.levels(1, 9, 1, [-1, 0, 3], labels=["low", "zero", "high"])
    assert [at(-1), at(0), at(3)] == [1, 3, 9]
    with pytest.raises(ValueError, match="argument"):
        page.levels(1, 9, 1, [0, 1], labels=["only one"])


def test_a_schematic_of_an_unknown_kind_names_the_kinds():
    with pytest.raises(ValueError, match="expected one of fp32"):
        plots.Schematic(10, 2).box(1, 1, "x", kind="green")


def test_a_sound_is_a_flac_as_loud_as_can_be_beside_the_words_that_are_said():
    samples = 0.1 * np.sin(np.arange(1600, dtype=np.float32))
    sound = plots.Sound(samples, said='turn on "the light"')
    page = sound._repr_html_()
    assert 'title="turn on &quot;the light&quot;"' in page
    heard, rate = soundfile.read(io.BytesIO(base64.b64decode(page.partition("base64,")[2].partition('"')[0])))
    assert (rate, heard.size) == (16_000, 1600)
    np.testing.assert_allclose(heard, samples / np.abs(samples).max(), atol=1e-4)
    assert repr(sound) == '<Sound, 0.1 s: turn on "the light">'
    with pytest.raises(ValueError, match="samples: expected finite numbers"):
        plots.Sound([])
