"""Each option of a quiz has its explanation, by click and in print."""

import pytest

from qlab.course import question, quiz, right, store, wrong

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


def test_the_answer_is_folded_and_escaped_in_html():
    html = quiz("01", ASKED)[0].html()
    before, _, folded = html.partition("<details><summary>Answer</summary>")
    assert "scale / 2" in before
    assert "nearest mark" not in before
    assert "the whole &lt;step&gt;" in folded


def test_a_click_shows_the_explanation_of_that_option_and_is_remembered():
    first = quiz("01", ASKED)[0]
    buttons, said = first.widget().children
    assert buttons.options == ("a", "b")
    buttons.value = "a"
    assert "not this one" in said.value
    assert "the whole &lt;step&gt;" in said.value
    buttons.value = "b"
    assert "✓ right" in said.value
    assert "the nearest mark" in said.value
    assert store.read()[0]["quizzes"] == {"01.1": {"choice": "scale / 2", "right": True}}
    buttons.value = None
    assert said.value == ""


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
