"""`predict` commits a guess before the measurement; `settle` puts the two side by side. Neither ever blocks."""

import ipywidgets

from qlab.course.explore import page_style, without_widget
from qlab.course.progress import read_progress, update_progress
from qlab.course.show import GOOD, NEARLY, WAITING, Shown, box, brief, plain, rich, strong


def predict(prediction_id, question, options, answer=None):
    """Ask for a guess and go on: by a click, or by `answer=` one of the options.

    >>> predict("07.1", "Dynamic int8 on your machine will be", ["faster", "slower"], answer="slower")
    [prediction 07.1] Dynamic int8 on your machine will be: faster / slower
    Your guess: slower

    A guess may be changed until `settle` has shown the result. One that is made after it is kept, and does not count.
    """
    return Prediction(str(prediction_id), question, tuple(map(str, options)), answer).show()


def settle(prediction_id, measured, answer=None):
    """Show what was measured beside the guess. `answer` is the option that came true, if `measured` is not one itself.

    >>> settle("07.1", "1.77 times as fast", answer="faster")
    [prediction 07.1] measured: 1.77 times as fast (faster). You guessed: slower.
    """
    return Settled(str(prediction_id), measured, answer).show()


class Prediction(Shown):
    """A question, its options, the guess so far (`.guess`, or None), and whether it came after the result (`.late`)."""

    def __init__(self, prediction_id, question, options, answer):
        self.id, self.question, self.options, self.trouble = prediction_id, question, options, ""
        self._recall()
        if answer is not None and answer != self.guess:
            self.commit(answer)

    def _recall(self):
        entry = _entry(self.id)
        known = entry.get("guess") in self.options
        self.guess, self.late = (entry["guess"], bool(entry.get("late"))) if known else (None, False)

    def commit(self, answer):
        """Keep a guess. What is no option, or would change a guess whose result is out, is not; `.trouble` says so."""
        self._recall()  # the result may have come since this was shown
        self.trouble = ""
        if answer not in self.options:
            self.trouble = f"{brief(answer)} is none of the options: no guess is kept"
        elif self.settled() and answer != self.guess:
            self.trouble = "the result is out: this guess stays"
        elif answer != self.guess:
            self.guess, self.late = answer, self.is_out()
            self.trouble = update_progress(self._keep)

    def is_out(self):
        """Has the learner seen the result? That of another question of this name, before a rewording, is none."""
        entry = _entry(self.id)
        return "measured" in entry and entry.get("question", "") in ("", self.question)

    def settled(self):
        """Has the learner seen the result of this very guess?"""
        return self.guess is not None and not self.late and self.is_out()

    def _keep(self, progress):
        entry = {"question": self.question, "guess": self.guess}
        if self.late:  # beside the result that is out
            entry = {**progress["predictions"].get(self.id, {}), **entry, "late": True, "right": None}
        progress["predictions"][self.id] = entry

    def facts(self):
        return {"prediction": self.id}

    def status(self):
        """The guess, or how to make one."""
        if self.guess is None:
            out = "The result is out: a guess does not count any more"
            guess = out if self.is_out() else "No guess yet: choose, or add answer= to the call"
        else:
            guess = f"Your guess: {self.guess}" + (", made after the result: it does not count" if self.late else "")
        return f"{guess} ({self.trouble})" if self.trouble else guess

    def text(self):
        return f"[prediction {self.id}] {self.question}: {' / '.join(self.options)}\n{self.status()}"

    def html(self):
        options = " &nbsp;/&nbsp; ".join(f"<i>{rich(option)}</i>" for option in self.options)
        # The buttons bear the options and the line below them tells the guess, which changes with every click.
        words = without_widget(f"prediction-{self.id}", f"{options}<br><small>{rich(self.status())}</small>")
        return box(WAITING, f"{strong(WAITING, f'Predict {self.id}')} &nbsp;{rich(self.question)}{words}")

    def widget(self):
        buttons = ipywidgets.ToggleButtons(
            options=[(plain(option), option) for option in self.options],
            value=self.guess,
            disabled=self.settled(),
            style={"button_width": "auto"},
        )
        buttons.add_class("qlab-options")
        said = ipywidgets.HTML(rich(self.status())).add_class("qlab-said")

        def chosen(change):
            if change["new"] not in (None, self.guess):
                self.commit(change["new"])
                buttons.value = self.guess  # the one that counts, also where the click came too late
                buttons.disabled = self.settled()
            said.value = rich(self.status())

        buttons.observe(chosen, "value")
        return ipywidgets.VBox([buttons, said, page_style(f"prediction-{self.id}")])


class Settled(Shown):
    """A measurement beside the guess: `.guess` (or None), `.late` (it was made after a result was shown), and `.right`:
    True, False, or None where no guess counts."""

    def __init__(self, prediction_id, measured, answer):
        entry = _entry(prediction_id)
        self.id, self.guess, self.late = prediction_id, entry.get("guess"), bool(entry.get("late"))
        self.question = entry.get("question", "")
        self.measured = measured if isinstance(measured, str) else brief(measured)
        self.answer = str(answer) if answer is not None else self.measured
        self.right = None if self.guess is None or self.late else self.guess == self.answer
        self.trouble = update_progress(self._keep)

    def _keep(self, progress):
        """Without a guess too: who has seen the result cannot predict it any more."""
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
        if self.late:
            return f"You guessed: {self.guess}, after the result was out."
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
    return read_progress()[0]["predictions"].get(prediction_id, {})
