"""Each option of a quiz has its explanation, by click and in print."""

import pytest

from qlab.course import question, quiz, right, wrong
from qlab.course.progress import read_progress

ASKED = [
    question("Rounding errs by at most", wrong("scale", "the whole <step>"), right("scale / 2", "the nearest mark")),
    question("Zero is", right("exact", "padding"), wrong("lost", "no"), wrong("one", "no, never")),
]


def test_a_quiz_prints_every_option_and_every_explanation(capsys):
    quiz("01", ASKED)
    printed = capsys.readouterr().out
    for asked in ASKED:
        for option in asked.options:
            assert option.text in printed
            assert option.explanation in printed
    assert printed.index("b) scale / 2") < printed.index("Answer:") < printed.index("the nearest mark")


def test_the_answer_is_folded_and_escaped_and_comes_last():
    first = quiz("01", ASKED)[0]
    folded = first.rest().html()
    assert "scale / 2" in first.html()
    assert "nearest mark" not in first.html()
    assert "<details><summary>Answer</summary>" in folded
    assert "the whole &lt;step&gt;" in folded


def test_a_click_shows_the_explanation_of_that_option_and_is_remembered():
    buttons, said, _ = quiz("01", ASKED)[0].widget().children
    assert buttons.options == (("a) scale", "a"), ("b) scale / 2", "b"))
    buttons.value = "a"
    assert "not this one" in said.value
    assert "the whole &lt;step&gt;" in said.value
    buttons.value = "b"
    assert "✓ right" in said.value
    assert "the nearest mark" in said.value
    assert read_progress()[0]["quizzes"] == {"01.1": {"choice": "scale / 2", "right": True}}
    again, said_again, _ = quiz("01", ASKED)[0].widget().children
    assert (again.value, said_again.value) == ("b", said.value)
    buttons.value = None
    assert said.value == ""


def test_a_choice_that_is_no_option_any_more_is_not_shown():
    quiz("01", ASKED)[0].answer("b")
    assert quiz("01", ASKED[1:])[0].chosen() is None


def test_marks_of_code_and_emphasis_are_set_in_the_page_and_left_off_on_buttons():
    asked = question("Is `q` *a code*?", right("*yes*, `q`", "by *name*"), wrong("no", "it is"))
    (shown,) = quiz("01", [asked])
    assert "Is <code>q</code> <em>a code</em>?" in shown.html()
    assert "a) <em>yes</em>, <code>q</code>" in shown.html()
    assert "by <em>name</em>" in shown.rest().html()
    assert shown.widget().children[0].options[0][0] == "a) yes, q"


@pytest.mark.parametrize("notebook", ["01", "02", "03", "04"])
def test_the_course_keeps_a_quiz_of_three_to_five_questions_for_every_notebook_but_the_first(notebook):
    assert 3 <= len(quiz(notebook)) <= 5


def test_a_quiz_without_questions_is_refused():
    with pytest.raises(ValueError, match="no questions given"):
        quiz("77")


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ([right("a", "x")], "at least two different options"),
        ([right("a", "x"), wrong("a", "y")], "at least two different options"),
        ([wrong("a", "x"), wrong("b", "y")], "exactly one right option, got 0"),
        ([right("a", "x"), right("b", "y")], "exactly one right option, got 2"),
        ([right("a", "x"), wrong("b", " ")], "every option needs an explanation"),
    ],
)
def test_a_malformed_question_is_refused(options, says):
    with pytest.raises(ValueError, match=says):
        question("q", *options)
