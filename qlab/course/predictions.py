"""`predict` commits a guess before the measurement; `settle` puts the two side by side. Neither ever blocks."""

import ipywidgets

from qlab.course import store
from qlab.course.brief import brief
from qlab.course.show import GOOD, NEARLY, WAITING, Shown, box, in_jupyter, rich, strong


def predict(prediction_id, question, options, answer=None):
    """Ask for a guess and go on: by a click, or by `answer=` one of the options.

    >>> predict("07.1", "Dynamic int8 on your machine will be", ["faster", "slower"], answer="slower")
    [prediction 07.1] Dynamic int8 on your machine will be: faster / slower
    Your guess: slower

    A guess may be changed until `settle` has shown the result.
    """
    return Prediction(str(prediction_id), question, tuple(map(str, options)), answer).show()


def settle(prediction_id, measured, answer=None):
    """Show what was measured beside the guess. `answer` is the option that came true, if `measured` is not one itself.

    >>> settle("07.1", "1.77 times as fast", answer="faster")
    [prediction 07.1] measured: 1.77 times as fast (faster). You guessed: slower.
    """
    return Settled(str(prediction_id), measured, answer).show()


class Prediction(Shown):
    """A question, its options, and the guess so far (`.guess`, or None)."""

    def __init__(self, prediction_id, question, options, answer):
        self.id, self.question, self.options, self.trouble = prediction_id, question, options, ""
        guess = _entry(prediction_id).get("guess")
        self.guess = guess if guess in options else None
        if answer is not None and answer != self.guess:
            self.commit(answer)

    def commit(self, answer):
        """Keep a guess. What is no option, or comes after the result, is not kept, and `.trouble` says so."""
        if answer not in self.options:
            self.trouble = f"{brief(answer)} is none of the options: no guess is kept"
        elif self.settled():
            self.trouble = f"the result is out, and your guess was {self.guess!r}: it stays"
        else:
            self.guess = answer
            self.trouble = store.update(self._keep)

    def settled(self):
        """Has the learner seen the result of this very guess?"""
        return self.guess is not None and "measured" in _entry(self.id)

    def _keep(self, progress):
        progress["predictions"][self.id] = {"question": self.question, "guess": self.guess}

    def facts(self):
        return {"prediction": self.id}

    def status(self):
        """The guess, or how to make one."""
        guess = f"Your guess: {self.guess}" if self.guess else "No guess yet: choose, or add answer= to the call"
        return f"{guess} ({self.trouble})" if self.trouble else guess

    def text(self):
        return f"[prediction {self.id}] {self.question}: {' / '.join(self.options)}\n{self.status()}"

    def html(self):
        options = " &nbsp;/&nbsp; ".join(f"<i>{rich(option)}</i>" for option in self.options)
        # In Jupyter the buttons below tell the guess, and this text would be out of date with the first click.
        status = "" if in_jupyter() and not self.trouble else f"<br><small>{rich(self.status())}</small>"
        return box(WAITING, f"{strong(WAITING, f'Predict {self.id}')} &nbsp;{rich(self.question)}<br>{options}{status}")

    def widget(self):
        buttons = ipywidgets.ToggleButtons(
            options=self.options,
            value=self.guess,
            disabled=self.settled(),
            style={"button_width": "auto"},
        )
        said = ipywidgets.HTML(rich(self.status()))

        def chosen(change):
            if change["new"] is not None and change["new"] != self.guess:
                self.commit(change["new"])
            said.value = rich(self.status())

        buttons.observe(chosen, "value")
        return ipywidgets.VBox([buttons, said])


class Settled(Shown):
    """A measurement beside the guess: `.guess` (or None), `.right` (True, False, or None where it cannot be told)."""

    def __init__(self, prediction_id, measured, answer):
        entry = _entry(prediction_id)
        self.id, self.guess = prediction_id, entry.get("guess")
        self.question = entry.get("question", "")
        self.measured = measured if isinstance(measured, str) else brief(measured)
        self.answer = str(answer) if answer is not None else self.measured
        self.right = None if self.guess is None else self.guess == self.answer
        self.trouble = store.update(self._keep) if self.guess is not None else ""

    def _keep(self, progress):
        entry = progress["predictions"].setdefault(self.id, {"question": self.question, "guess": self.guess})
        entry.update(measured=self.measured, answer=self.answer, right=self.right)

    def facts(self):
        return {"prediction": self.id, "right": self.right}

    def result(self):
        """The measurement, and the option that it makes true where that is another text."""
        return self.measured if self.answer == self.measured else f"{self.measured} ({self.answer})"

    def guessed(self):
        """The learner's side, in words."""
        if self.guess is None:
            return "You made no guess."
        return f"You guessed: {self.guess}" + (", and were right." if self.right else ".")

    def text(self):
        lines = f"[prediction {self.id}] measured: {self.result()}. {self.guessed()}"
        return f"{lines}\n({self.trouble})" if self.trouble else lines

    def html(self):
        colour = {True: GOOD, False: NEARLY, None: WAITING}[self.right]
        question = f"<small>{rich(self.question)}</small><br>" if self.question else ""
        trouble = f"<br><small>{rich(self.trouble)}</small>" if self.trouble else ""
        measured = f"Measured: <b>{rich(self.result())}</b>"
        return box(colour, f"{question}{measured}<br>{strong(colour, self.guessed())}{trouble}")


def _entry(prediction_id):
    return store.read()[0]["predictions"].get(prediction_id, {})
