"""The figures of data/README.md, from the shipped files alone: word error rates in noise, the digits' accuracy."""

import numpy as np

from qlab import models
from qlab.machine.runtime import open_session

LEVELS = (None, 20, 10, 5, 0)
# The rows of the card: set, how the voices of the row begin, what the row is called.
GROUPS = (
    ("test", "", "known voices (`test`)"),
    ("test", "espeak-ng/", "- of these, espeak-ng"),
    ("test", "flite/", "- of these, flite"),
    ("unseen", "espeak-ng/en-gb+f4", "unseen: `espeak-ng/en-gb+f4`"),
    ("unseen", "espeak-ng/en-us+Annie", "unseen: `espeak-ng/en-us+Annie`"),
    ("unseen", "flite/slt", "unseen: `flite/slt`, the only one built from a woman's recordings"),
)


def interval(errors, words):
    """95 % bootstrap interval over sentences of a ratio of sums."""
    draws = np.random.default_rng(0).integers(len(errors), size=(5000, len(errors)))
    return np.quantile(errors[draws].sum(1) / words[draws].sum(1), [0.025, 0.975])


def error_rates(conformer, split, noise_db):
    """{row of the card: (sentences, WER, low, high)} of one set, in percent, with the 95 % interval."""
    spoken = models.utterances(split, noise_db=noise_db)
    errors, words = models.word_errors([u.text for u in spoken], models.transcribe(conformer, spoken))
    rates = {}
    for of_split, prefix, label in GROUPS:
        if of_split == split:
            chosen = np.array([u.voice.startswith(prefix) for u in spoken])
            wrong, said = errors[chosen], words[chosen]
            rates[label] = len(wrong), *(100 * x for x in (wrong.sum() / said.sum(), *interval(wrong, said)))
    return rates


def main():
    """Print both tables' rows."""
    conformer = open_session(models.path("conformer"))
    measured = [
        {**error_rates(conformer, "test", level), **error_rates(conformer, "unseen", level)} for level in LEVELS
    ]
    for _, _, label in GROUPS:
        cells = (f"{rate:.1f} ({low:.1f} to {high:.1f})" for _, rate, low, high in (row[label] for row in measured))
        print(f"| {label} | {measured[0][label][0]} | {' | '.join(cells)} |")
    _, _, x, y = models.digit_split()
    logits = open_session(models.path("digits")).run(None, {"images": x})[0]
    right = logits.argmax(1) == y
    low, high = (f"{100 * end:.2f}" for end in interval(right, np.ones(len(y))))
    print(f"| held-out third | {len(y)} | {100 * right.mean():.2f} % | {low} to {high} % |")


if __name__ == "__main__":
    main()
