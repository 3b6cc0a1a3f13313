"""The figures of data/README.md, from the shipped files alone: word error rates by voice, the digits' accuracy."""

import numpy as np

from qlab import models
from qlab.machine.runtime import open_session


def interval(errors, words, rng):
    """95 % bootstrap interval over sentences of a ratio of sums."""
    draws = rng.integers(len(errors), size=(5000, len(errors)))
    return np.quantile(errors[draws].sum(1) / words[draws].sum(1), [0.025, 0.975])


def main():
    """Print one line a voice group."""
    rng = np.random.default_rng(0)
    conformer = open_session(models.path("conformer"))
    for split in ("calibration", "test", "unseen"):
        spoken = models.utterances(split)
        errors, words = models.word_errors([u.text for u in spoken], models.transcribe(conformer, spoken))
        voices = np.array([u.voice if split == "unseen" else u.voice.split("/")[0] for u in spoken])
        for group in ("all", *sorted(set(voices))):
            chosen = (voices == group) | (group == "all")
            low, high = interval(errors[chosen], words[chosen], rng)
            rate = errors[chosen].sum() / words[chosen].sum()
            print(f"{split:12} {group:24} {chosen.sum():4} sentences  WER {rate:6.1%}  ({low:.1%} to {high:.1%})")
    _, _, x, y = models.digit_split()
    logits = open_session(models.path("digits")).run(None, {"images": x})[0]
    right = logits.argmax(1) == y
    low, high = np.quantile(right[rng.integers(len(y), size=(5000, len(y)))].mean(1), [0.025, 0.975])
    scored = f"{right.mean():.2%}  ({low:.2%} to {high:.2%})"
    print(f"digits       held-out third           {len(y):4} digits     accuracy {scored}")


if __name__ == "__main__":
    main()
