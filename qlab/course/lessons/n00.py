"""Notebook 00: which facts one must know to compare two benchmark tables."""

import difflib

from qlab.course.brief import brief, kind
from qlab.course.lessons import exercise, words
from qlab.course.verdict import Almost

FACTS = words("00", "facts")  # name: {"what": as the notebook prints it, "needed": for a comparison, "why": or why not}


@exercise("00.1", "facts that make two tables comparable")
def _(answer):
    named = _names(answer)
    if strangers := sorted(named - set(FACTS)):
        raise Almost(_not_in_the_list(strangers[0]))
    if named == {"cpu"}:
        raise Almost(
            "only the CPU is named. Two tables from one CPU still differ when, say, the 'dtypes' differ: "
            f"{FACTS['dtypes']['why']}"
        )
    needed = [fact for fact, about in FACTS.items() if about["needed"]]
    if superfluous := sorted(named.difference(needed)):
        raise Almost(f"{superfluous[0]!r} is not needed: {FACTS[superfluous[0]]['why']}")
    if missing := [fact for fact in needed if fact not in named]:
        more = f" ({len(missing) - 1} more missing)" if len(missing) > 1 else ""
        raise Almost(f"{missing[0]!r} is missing: {FACTS[missing[0]]['why']}{more}")
    return f"all {len(needed)} facts, and nothing that does not bear on speed"


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
