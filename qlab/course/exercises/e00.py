"""Notebook 00: which facts one must know to compare two benchmark tables."""

import difflib

from qlab.course.brief import brief, kind
from qlab.course.exercises import exercise
from qlab.course.verdict import Almost

NEEDED = {
    "model": "a large network and a small one spend their time on different operators",
    "input shape": "one sentence and a batch of 64 move the limit from memory to arithmetic",
    "cpu": "the same file runs on other instructions, so the sign of the result may change",
    "threads": "more threads help the two files unequally, so their ratio moves",
    "versions": "another version of the runtime brings other kernels and fuses other operators",
    "dtypes": "which of weights and activations are signed chooses the integer kernel, fast or slow",
    "op types": "the same option may quantize the matrix products only, or the convolutions too",
    "spread": "without rounds and an interval, 1.05 times may be noise",
}
NOT_NEEDED = {
    "accuracy": "it decides whether a model is useful; two latencies can be compared without it",
    "author": "the same run by another person gives the same table",
    "chart colour": "it changes the picture and no measurement",
    "date": "it only hints at the versions: ask for those",
}
FACTS = {  # what the notebook prints: the name to answer with, and what it stands for
    "accuracy": "how many answers each model gets right",
    "author": "who ran the benchmark",
    "chart colour": "the colours of the bars",
    "cpu": "the processor that ran it",
    "date": "the day on which it was published",
    "dtypes": "the integer types of weights and activations, signs included",
    "input shape": "batch size and length of the input",
    "model": "the network: architecture and size",
    "op types": "which operators were quantized",
    "spread": "how often it was timed, and how far the timings scatter",
    "threads": "how many threads the runtime had",
    "versions": "of the runtime and of its quantizer",
}


@exercise("00.1", "facts that make two tables comparable")
def _(answer):
    named = _names(answer)
    if strangers := sorted(named - set(FACTS)):
        raise Almost(_not_in_the_list(strangers[0]))
    if named == {"cpu"}:
        raise Almost(
            "only the CPU is named. Two tables from one CPU still differ when, say, the 'dtypes' differ: "
            f"{NEEDED['dtypes']}"
        )
    if superfluous := sorted(named & set(NOT_NEEDED)):
        raise Almost(f"{superfluous[0]!r} is not needed: {NOT_NEEDED[superfluous[0]]}")
    if missing := [fact for fact in NEEDED if fact not in named]:
        more = f" ({len(missing) - 1} more missing)" if len(missing) > 1 else ""
        raise Almost(f"{missing[0]!r} is missing: {NEEDED[missing[0]]}{more}")
    return f"all {len(NEEDED)} facts, and nothing that does not bear on speed"


def _names(answer):
    """The answer as a set of names; capitals and spaces around do not matter."""
    if isinstance(answer, str) or not isinstance(answer, set | frozenset | list | tuple):
        raise Almost(f'expected a set of names such as {{"author", "date"}}, seen {brief(answer)}, a `{kind(answer)}`')
    if others := [entry for entry in answer if not isinstance(entry, str)]:
        raise Almost(f"expected names in quotes, seen {brief(others[0])}, a `{kind(others[0])}`")
    return {" ".join(entry.split()).lower() for entry in answer}


def _not_in_the_list(name):
    close = difflib.get_close_matches(name, FACTS, n=1, cutoff=0.7)
    return f"{brief(name)} is not in the list" + (f": do you mean {close[0]!r}?" if close else f": {', '.join(FACTS)}")
