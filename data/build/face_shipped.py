"""Who speaks in the shipped sets of face frames: data/face/<split>.tsv, and what their mouths do: <split>.npy.

The pictures follow from these and a seed (qlab.models.face), on every machine the same.
"""

import numpy as np

from data.build import corpus, mouths
from qlab.models.face import MOUTH_UNITS

FACE = corpus.SPEECH.parent / "face"
# {split: [(set of sentences, how many of its first)]}
SPEAKERS = {"calibration": [("calibration", 16)], "test": [("test", 12), ("unseen", 12)]}


def ship():
    """Write both sets; the voices speak again, since the recordings do not tell the times of their sounds."""
    FACE.mkdir(exist_ok=True)
    texts = corpus.shipped_texts()
    for split, parts in SPEAKERS.items():
        jobs = [(part, index, texts[part][index]) for part, count in parts for index in range(count)]
        tracks = [mouths.track(corpus.shipped_clip(job)) for job in jobs]
        np.save(FACE / f"{split}.npy", np.rint(np.concatenate(tracks) * MOUTH_UNITS).astype(np.int8))
        rows = [f"{part}\t{index}\t{len(track)}\n" for (part, index, _), track in zip(jobs, tracks, strict=True)]
        (FACE / f"{split}.tsv").write_text("sentences\tindex\tvectors\n" + "".join(rows))


if __name__ == "__main__":
    ship()
