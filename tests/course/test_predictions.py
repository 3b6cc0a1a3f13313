"""A guess is committed, never asked for twice, and stands beside the measurement."""

import pytest

from qlab.course import predict, settle
from qlab.course.progress import read_progress

QUESTION, OPTIONS = "Dynamic int8 will be", ["faster", "slower", "cannot <b>tell</b>"]


def stored():
    return read_progress()[0]["predictions"]


def test_a_question_stands_plainly_with_its_options(capsys):
    shown = predict("07.1", QUESTION, OPTIONS)
    assert shown.guess is None
    asked = "[prediction 07.1] Dynamic int8 will be: faster / slower / cannot <b>tell</b>\nNo guess yet"
    assert asked in capsys.readouterr().out
    assert "<b>tell" not in shown.html()
    assert stored() == {}


def test_a_guess_by_call_is_kept_and_remembered_by_a_new_kernel():
    predict("07.1", QUESTION, OPTIONS, answer="slower")
    assert stored()["07.1"] == {"question": QUESTION, "guess": "slower"}
    assert predict("07.1", QUESTION, OPTIONS).guess == "slower"


def test_a_guess_by_click_is_kept_and_may_be_changed():
    shown = predict("07.1", QUESTION, OPTIONS)
    buttons, said, _ = shown.widget().children
    for guess in ("slower", "faster"):
        buttons.value = guess
        assert stored()["07.1"]["guess"] == guess
        assert said.value == f"Your guess: {guess}"
    buttons.value = None
    assert stored()["07.1"]["guess"] == "faster"


@pytest.mark.parametrize("answer", ["quicker", 3, "<i>"])
def test_what_is_no_option_is_not_kept_and_does_not_raise(answer):
    shown = predict("07.1", QUESTION, OPTIONS, answer=answer)
    assert "none of the options: no guess is kept" in shown.text()
    assert "<i>none" not in shown.html()
    assert stored() == {}


@pytest.mark.parametrize(
    ("guess", "right", "said"), [("slower", False, "You guessed: slower."), ("faster", True, "and were right.")]
)
def test_guess_and_measurement_stand_together(guess, right, said):
    predict("07.1", QUESTION, OPTIONS, answer=guess)
    shown = settle("07.1", "1.77 times as fast", answer="faster")
    assert shown.right is right
    assert shown.text().startswith("[prediction 07.1] measured: 1.77 times as fast (faster).")
    assert said in shown.text()
    assert QUESTION in shown.html()
    assert (stored()["07.1"]["measured"], stored()["07.1"]["right"]) == ("1.77 times as fast", right)


def test_a_measurement_that_is_itself_an_option_settles():
    predict("07.1", QUESTION, OPTIONS, answer="slower")
    assert settle("07.1", "slower").right is True


def test_without_a_guess_the_result_still_stands():
    shown = settle("07.1", 1.77)
    assert shown.right is None
    assert shown.text() == "[prediction 07.1] measured: 1.77. You made no guess."
    assert stored()["07.1"]["guess"] is None


def test_a_guess_stays_after_the_result_is_out():
    early = predict("07.1", QUESTION, OPTIONS, answer="slower")
    settle("07.1", "faster")
    for shown in (predict("07.1", QUESTION, OPTIONS, answer="faster"), early):
        shown.commit("faster")
        assert shown.guess == "slower"
        assert "the result is out" in shown.text()
    assert stored()["07.1"]["right"] is False
    assert early.widget().children[0].disabled


@pytest.mark.parametrize("asked_before", [True, False])
def test_a_guess_made_after_the_result_is_kept_and_is_never_right(asked_before):
    if asked_before:
        predict("07.1", QUESTION, OPTIONS)
    settle("07.1", "faster")
    shown = predict("07.1", QUESTION, OPTIONS)
    assert "does not count any more" in shown.status()
    buttons, said, _ = shown.widget().children
    buttons.value = "faster"
    assert (buttons.value, said.value) == ("faster", "Your guess: faster, made after the result: it does not count")
    again = settle("07.1", "faster")
    assert (again.right, again.guessed()) == (None, "You guessed: faster, after the result was out.")
    assert stored()["07.1"]["right"] is None
    assert predict("07.1", QUESTION, OPTIONS).late


def test_a_question_that_was_reworded_since_its_result_can_be_guessed_again():
    settle("07.1", "faster")
    predict("07.1", QUESTION, OPTIONS, answer="slower")
    settle("07.1", "faster")
    shown = predict("07.1", "Static int8 will be", OPTIONS, answer="faster")
    assert not shown.late
    assert settle("07.1", "faster").right is True


def test_the_button_that_is_lit_is_the_guess_that_counts():
    buttons, said, _ = predict("07.1", QUESTION, OPTIONS).widget().children
    buttons.value = "slower"
    settle("07.1", "faster")
    buttons.value = "faster"  # in a page from before the result
    assert (buttons.value, buttons.disabled) == ("slower", True)
    assert said.value == "Your guess: slower (the result is out: this guess stays)"
    again, *_ = predict("07.1", QUESTION, OPTIONS, answer="faster").widget().children
    assert (again.value, again.disabled) == ("slower", True)


def test_a_guess_for_options_that_were_since_reworded_does_not_count():
    predict("07.1", QUESTION, OPTIONS, answer="slower")
    assert predict("07.1", QUESTION, ["up", "down"]).guess is None


def test_progress_that_cannot_be_saved_does_not_block(monkeypatch, tmp_path):
    (tmp_path / "file").write_text("in the way")
    monkeypatch.setenv("QLAB_PROGRESS", str(tmp_path / "file" / "progress.json"))
    assert "could not be saved" in predict("07.1", QUESTION, OPTIONS, answer="slower").text()
    assert "You made no guess." in settle("07.1", "faster").text()
