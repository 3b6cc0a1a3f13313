"""Numbers of things, in words."""


def plural(count, what):
    """ "1 feed", "3 feeds"."""
    return f"{count} {what}{'' if count == 1 else 's'}"


def listed(counter, most=5):
    """ "74 MatMul, 38 Conv, ..." of a Counter."""
    shown = [f"{count} {name}" for name, count in counter.most_common(most)]
    return ", ".join(shown + ["..."] * (len(counter) > most))
