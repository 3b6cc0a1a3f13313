"""Models with a state that is fed back: they are judged over a stream, since what they lose comes together in it."""

import re
from dataclasses import dataclass, field

import numpy as np

from qlab.measure.outputs import output_quality
from qlab.text import decibels, figures

STEPS = 32  # or as many as there are feeds


QUARTER = 4


STATE = re.compile(r"state|cache|hidden|past|mem|context|buf|cell|prev|rnn|gru|lstm|^[hc][x0]?$|^[hc]_0$")


AROUND = (  # what exporters put around the name of a state to name its next value; "r_" is WeNet's
    ("", "n"), ("", "out"), ("", "output"), ("", "next"), ("", "new"),
    ("new", ""), ("r", ""), ("out", ""), ("output", ""), ("next", ""), ("updated", ""),
)  # fmt: skip


INSTEAD = (("pastkeyvalues", "present"), ("past", "present"), ("prev", "next"), ("prev", "new"), ("old", "new"))


ENDS, WORDS = (("0", "n"), ("x", "y")), {"in": "out", "input": "output", "inputs": "outputs"}


@dataclass(frozen=True)
class Stream:
    """The steps that a model is judged over: the feeds, one by one; or with its state, as many as make a stream.

    state   {input: output whose value it has in the next step}
    note    what is to be said of how it is judged, or empty
    """

    feeds: list = field(repr=False)
    state: dict[str, str] = field(default_factory=dict)
    note: str = ""

    def answers(self, answer):
        """What a model, a function from a feed to {output: array}, answers step by step, its own state fed back.

        Without the state itself, unless there is nothing else. Raises ValueError where the state does not fit.
        """
        found, carried = [], {}
        for feed in self.feeds:
            given = {**feed, **carried}
            values = answer(given)
            carried = {name: _next(given, name, values[output]) for name, output in self.state.items()}
            states = set(self.state.values())
            found.append({name: x for name, x in values.items() if name not in states or states >= values.keys()})
        return found

    def judged(self, answers):
        """Those of the answers that count: of feeds that are a stream, all but the first quarter, in which the state
        comes about; of a few feeds again and again the last quarter, where errors have come together."""
        quarter = len(answers) // QUARTER
        is_repeated = len({id(feed) for feed in self.feeds}) < len(answers)
        return answers[-quarter if is_repeated else quarter :] if self.state else answers

    def remark(self, reference, answers, db, counted):
        """How a model with a state kept up with the reference, in words; [] without a state."""
        if not self.state or reference is answers:
            return [self.note] if self.note else []
        pairs = ", ".join(f"{name} -> {output}" for name, output in list(self.state.items())[:2])
        more = f" and {len(self.state) - 2} more" if len(self.state) > 2 else ""
        first = min(output_quality(reference[:1], answers[:1], counted)[0].values(), default=np.nan)
        text = f"a stream of {len(answers)} steps with its own state fed back ({pairs}{more}): {decibels(first)} dB in "
        text += f"the first step, {decibels(db)} in the last {len(self.judged(answers))}"
        drift = _drift(reference, answers)
        return [f"{text}; {drift[1]} drifts by up to {figures(drift[0])}" if drift else text]

    def alone(self):
        """The same feeds, a step at a time, where no stream can be made of them."""
        pairs = ", ".join(f"{name} -> {output}" for name, output in list(self.state.items())[:2])
        given = list({id(feed): feed for feed in self.feeds}.values())
        return Stream(given, {}, f"its state ({pairs}) cannot be fed back on these feeds: judged a step at a time")


def stream_of(model, feeds):
    """The Stream that the ModelProto `model` is judged over. What may be a state, but need not, is only noted."""
    inputs, outputs = _values(model.graph.input), _values(model.graph.output)
    inputs = {name: one for name, one in inputs.items() if name in feeds[0]}
    pairs = {
        name: output
        for name in inputs
        if (output := next((other for other in outputs if _follows(name, other)), None))
        and _fits(inputs[name], outputs[output])
    }
    certain = {name: output for name, output in pairs.items() if _is_state(name, feeds[0][name], pairs, inputs)}
    if certain:
        return Stream([feeds[at % len(feeds)] for at in range(max(STEPS, len(feeds)))], certain)
    doubtful = pairs | {
        name: next(iter(alike))
        for name, one in inputs.items()
        if STATE.search(name.lower()) and len(alike := [at for at, other in outputs.items() if one == other]) == 1
    }
    note = "; ".join(f"{output} may be the next {name}: judged a step at a time" for name, output in doubtful.items())
    return Stream(feeds, {}, note)


def _values(declared):
    """{name: (element type, sizes)} of tensors."""
    return {
        one.name: (
            one.type.tensor_type.elem_type,
            tuple(dim.dim_value or dim.dim_param for dim in one.type.tensor_type.shape.dim),
        )
        for one in declared
        if one.type.HasField("tensor_type")
    }


def _follows(name, output):
    """Whether `output` is called as the next value of a state `name` is: "state" and "stateN", "h_in" and "h_out"."""
    words = _words(name)
    plain, after = "".join(words), "".join(_words(output))
    if after in {before + plain + behind for before, behind in AROUND}:
        return True
    if any(word in plain and after == plain.replace(word, other, 1) for word, other in INSTEAD):
        return True
    if any(len(plain) > 1 and plain.endswith(end) and after == plain[:-1] + other for end, other in ENDS):
        return True
    swapped = "".join(WORDS.get(word, word) for word in words)
    return after == swapped != plain and any(word.isalpha() and word not in WORDS for word in words)


def _words(name):
    return [word.lower() for word in re.findall(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|\d+", name)]


def _fits(given, made):
    """Whether an output can take the place of an input: of its type, and of sizes that are equal where declared."""
    (kind, sizes), (other_kind, other_sizes) = given, made
    known = [pair for pair in zip(sizes, other_sizes, strict=False) if all(isinstance(one, int) for one in pair)]
    return kind == other_kind and len(sizes) == len(other_sizes) and all(one == other for one, other in known)


def _is_state(name, value, pairs, inputs):
    """Whether an input that an output follows by name is a state: it is called so, or is zeros beside other inputs."""
    if STATE.search(name.lower()):
        return True
    return isinstance(value, np.ndarray) and value.size > 1 and not value.any() and len(pairs) < len(inputs)


def _next(feed, name, value):
    """The value of a state for the next step. Raises ValueError if it has another type or a smaller size."""
    before = feed[name]
    if value.dtype != before.dtype or value.ndim != before.ndim or np.less(value.shape, before.shape).any():
        raise ValueError(f"the state {name!r} is {before.dtype} {before.shape}, then {value.dtype} {value.shape}")
    return value


def _drift(reference, answers):
    """(largest difference, output) of the floats in all steps, or None."""
    found = [
        (float(np.nanmax(np.abs(expected.astype(np.float64) - one[name]))), name)
        for first, one in zip(reference, answers, strict=True)
        for name, expected in first.items()
        if isinstance(expected, np.ndarray) and expected.dtype.kind == "f" and expected.shape == one[name].shape
        if np.isfinite(expected - one[name]).any()
    ]
    return max(found, default=None)
