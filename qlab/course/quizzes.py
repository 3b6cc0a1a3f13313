"""`quiz`: a few questions in which every option has its own explanation."""

from typing import NamedTuple

import ipywidgets

from qlab.course import lessons
from qlab.course.explore import page_style, without_widget
from qlab.course.progress import read_progress, update_progress
from qlab.course.show import GOOD, NEARLY, WAITING, Shown, box, plain, rich, strong


class Option(NamedTuple):
    """One option of a question: its text, why it is or is not the one, and whether it is."""

    text: str
    explanation: str
    right: bool


class Question(NamedTuple):
    """A question and its options in the order in which they are shown."""

    text: str
    options: tuple[Option, ...]


def right(text, explanation):
    """The option that is right, and why."""
    return Option(text, explanation, True)


def wrong(text, explanation):
    """An option that is not right, and why it is tempting or where it fails."""
    return Option(text, explanation, False)


def question(text, *options):
    """A question with one right option and one or more wrong ones.

    >>> question("Rounding errs by at most", right("scale / 2", "..."), wrong("scale", "that is the whole step"))

    Raises ValueError if the options are fewer than two, look alike, lack an explanation, or not exactly one is right.
    """
    texts = [option.text for option in options]
    if len(options) < 2 or len(set(texts)) < len(texts):
        raise ValueError(f"question {text!r}: expected at least two different options, got {texts}")
    if sum(option.right for option in options) != 1:
        raise ValueError(f"question {text!r}: expected exactly one right option, got {sum(o.right for o in options)}")
    if bare := [option.text for option in options if not option.explanation.strip()]:
        raise ValueError(f"question {text!r}: every option needs an explanation; there is none for {bare}")
    return Question(text, options)


def quiz(notebook, questions=None):
    """Show the quiz of a notebook. Without `questions`: those kept beside its lesson, in lessons/nNN.toml.

    -> list of what was shown, one a question
    """
    questions = [_kept(entry) for entry in lessons.questions(notebook)] if questions is None else questions
    if not questions:
        raise ValueError(f"quiz {notebook!r}: no questions given, and the course has no quiz of that name")
    return Quiz([Asked(notebook, number, asked).show() for number, asked in enumerate(questions, 1)])


def _kept(entry):
    """A question as lessons/nNN.toml holds it."""
    options = [(right if "right" in option else wrong, option) for option in entry["options"]]
    return question(entry["asked"], *(make(option[make.__name__], option["why"]) for make, option in options))


class Quiz(list):
    """The questions that were shown, quiet as the last expression of a cell: they are on the page already."""

    def _ipython_display_(self):
        pass


class Asked(Shown):
    """One question of a quiz on the page; `.answer("b")` does what a click does, `.chosen()` is what was clicked last.

    Below the question stand its options, as buttons where a kernel is there to answer; all explanations come last.
    """

    def __init__(self, notebook, number, asked):
        self.id, self.question = f"{notebook}.{number}", asked
        self.letters = tuple("abcdefghijklmnopqrstuvwxyz"[: len(asked.options)])
        self.number = number

    def answer(self, letter):
        """Remember the choice. -> HTML: whether it is right, and its explanation"""
        option = self._option(letter)
        trouble = update_progress(lambda progress: self._keep(progress, option))
        return self.explanation(letter) + (f"<br>{rich(trouble)}" if trouble else "")

    def explanation(self, letter):
        """HTML: whether the option is right, and why."""
        option = self._option(letter)
        said = strong(*((GOOD, "✓ right") if option.right else (NEARLY, "✗ not this one")))
        return f"{said} &nbsp;{rich(letter)}: {rich(option.explanation)}"

    def chosen(self):
        """The letter of the option that was chosen last, in this kernel or before it, or None."""
        choice = read_progress()[0]["quizzes"].get(self.id, {}).get("choice")
        return next((letter for letter, option in self.lines() if option.text == choice), None)

    def _option(self, letter):
        return self.question.options[self.letters.index(letter)]

    def _keep(self, progress, option):
        progress["quizzes"][self.id] = {"choice": option.text, "right": option.right}

    def facts(self):
        return {"quiz": self.id}

    def lines(self):
        """(letter, option) for every option."""
        return list(zip(self.letters, self.question.options, strict=True))

    def text(self):
        options = [f"  {letter}) {option.text}" for letter, option in self.lines()]
        return "\n".join([f"[quiz {self.id}] {self.question.text}", *options])

    def html(self):
        options = "<br>".join(f"{letter}) {rich(option.text)}" for letter, option in self.lines())
        asked = f"{strong(WAITING, f'Question {self.number}')} &nbsp;{rich(self.question.text)}"
        return box(WAITING, asked + without_widget(f"quiz-{self.id}", options))

    def widget(self):
        buttons = ipywidgets.ToggleButtons(
            options=[(f"{letter}) {plain(option.text)}", letter) for letter, option in self.lines()],
            value=self.chosen(),
            style={"button_width": "100%"},
        )
        buttons.add_class("qlab-options").add_class("qlab-column")
        said = ipywidgets.HTML("" if buttons.value is None else self.explanation(buttons.value)).add_class("qlab-said")

        def chosen(change):
            said.value = "" if change["new"] is None else self.answer(change["new"])

        buttons.observe(chosen, "value")
        return ipywidgets.VBox([buttons, said, page_style(f"quiz-{self.id}")])

    def rest(self):
        return Answers(self)


class Answers(Shown):
    """All explanations of a question, folded."""

    def __init__(self, asked):
        self.asked = asked

    def facts(self):
        return {"answers": self.asked.id}

    def text(self):
        said = [f"  {'✓' if o.right else '✗'} {letter}: {o.explanation}" for letter, o in self.asked.lines()]
        return "\n".join(["Answer:", *said])

    def html(self):
        said = "<br>".join(
            f"{strong(*((GOOD, '✓') if option.right else (NEARLY, '✗')))} {letter}: {rich(option.explanation)}"
            for letter, option in self.asked.lines()
        )
        return box(WAITING, f"<details><summary>Answer</summary>{said}</details>")
