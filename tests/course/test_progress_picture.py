"""One picture of what is done."""

from qlab.course import check, lessons, predict, progress, settle
from qlab.course.progress import record_check, update_progress


def texts(figure):
    return [text.get_text() for text in figure.axes[0].texts]


def test_an_empty_board_shows_the_open_exercises():
    figure = progress()
    assert "1" in texts(figure)
    assert figure.axes[0].get_title(loc="left").startswith("0 of ")


def test_exercises_predictions_and_quizzes_are_told_apart_by_marks_too(progress_file, monkeypatch):
    monkeypatch.setattr(lessons, "ids", lambda: ["00.1"])
    check("00.1", {"cpu"})
    predict("00.1", "q", ["a", "b"], answer="a")
    predict("00.2", "q", ["a", "b"], answer="a")
    predict("00.10", "q", ["a", "b"], answer="a")
    settle("00.1", "a")
    settle("00.2", "b")
    settle("00.3", "b")
    update_progress(lambda kept: kept["quizzes"].update({"00.1": {"choice": "x", "right": True}}))
    figure = progress()
    shown = texts(figure)
    assert shown[1:2] == ["1 ~"]
    assert shown[3:7] == ["1 ✓", "2 ✗", "3 –", "10 ?"]
    assert "1 of 2 predictions right" in figure.axes[0].get_title(loc="left")


def test_a_broken_file_is_said_and_an_empty_board_shown(progress_file, capsys):
    progress_file.write_text("{")
    assert progress().axes
    assert "the progress file was unreadable" in capsys.readouterr().out


def test_no_text_of_the_board_leaves_the_figure():
    for name in range(8):
        record_check(f"0{name}.1", "passed")
    figure = progress()
    figure.png()  # lays it out
    box = figure.bbox
    axes = figure.axes[0]
    for text in [*axes.texts, *axes.get_yticklabels(), axes.title, axes._left_title]:
        extent = text.get_window_extent()
        assert box.contains(extent.x0, extent.y0), text
        assert box.contains(extent.x1, extent.y1), text
