"""The figures of data/README.md, from the shipped files alone: word error rates in noise, digits, talking faces."""

import numpy as np

from data.build.voices import UNSEEN
from qlab import models
from qlab.models.face import MOUTH, VECTORS
from qlab.runtime import open_session

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


def face_figures():
    """{row of the card: (value, low, high, known voices, unseen voices)} of the talking face on all test frames.

    The interval is a bootstrap over people: frames of one person are alike.
    """
    frames, session = models.face_frames("test"), open_session(models.path("face"))
    audible = np.concatenate([session.run(None, frame.feed)[0] for frame in frames])
    silence = {"audio": silent_audio()}
    silent = np.concatenate([session.run(None, frame.feed | silence)[0] for frame in frames])
    truth = np.concatenate([frame.truth for frame in frames])
    whose = np.unique([frame.reference.tobytes() for frame in frames], return_inverse=True)[1]
    unseen = np.array([frame.sentence.voice in UNSEEN for frame in frames])
    opening, painted = models.mouth_opening(truth), models.mouth_opening(audible)
    errors = {name: ((picture - truth)[(..., *MOUTH)] ** 2).mean(axis=(1, 2, 3)) for name, picture in
              (("audible", audible), ("silent", silent))}  # fmt: skip

    def psnr(chosen, name):
        return -10 * np.log10(errors[name][chosen].mean())

    def correlation(chosen):
        return np.corrcoef(opening[chosen], painted[chosen])[0, 1]

    measures = {
        "mouth PSNR, dB": lambda chosen: psnr(chosen, "audible"),
        "- the same network, fed with silence": lambda chosen: psnr(chosen, "silent"),
        "correlation of the mouth's opening with the truth": correlation,
    }
    people, rng = [np.flatnonzero(whose == person) for person in range(whose.max() + 1)], np.random.default_rng(0)
    draws = [np.concatenate([people[i] for i in rng.integers(len(people), size=len(people))]) for _ in range(1000)]
    return {
        name: (measure(...), *np.quantile([measure(draw) for draw in draws], [0.025, 0.975]), measure(~unseen),
               measure(unseen))
        for name, measure in measures.items()
    }  # fmt: skip


def silent_audio():
    """What the conformer says of a second of digital silence: float32 [1, 144, 16], its middle vector repeated."""
    silence = models.feed(np.zeros(16_000, np.float32))
    vectors = open_session(models.path("conformer")).run(["encoder_out"], silence)[0]
    return np.repeat(vectors[:, vectors.shape[1] // 2, :, None], VECTORS, axis=2)


def main():
    """Print the tables' rows."""
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
    for label, (value, low, high, known, unseen) in face_figures().items():
        places = 3 if value < 1 else 1
        value, low, high, known, unseen = (f"{number:.{places}f}" for number in (value, low, high, known, unseen))
        print(f"| {label} | {value} | {low} to {high} | {known} | {unseen} |")


if __name__ == "__main__":
    main()
