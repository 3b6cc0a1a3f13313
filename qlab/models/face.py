"""The talking face: people who speak, a moment at a time, and how good the mouth is that a network paints for them.

The pictures are drawn (qlab.models.heads) from what data/face holds: who speaks which sentence, and what the mouth does
at each vector of the trained conformer's output, 25 times a second.
"""

import hashlib
import io
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
import numpy.typing as npt

from qlab.files import checked
from qlab.models import heads
from qlab.models.catalog import kept
from qlab.models.speech import Utterance, feed, utterances
from qlab.numerics.dtypes import Array
from qlab.runtime import bar, open_session

SPLITS = ("calibration", "test")
VECTORS = 16  # of the conformer's output, around a moment: 0.64 s
MOUTH = (slice(54, 90), slice(28, 68))  # rows and columns of a picture within which every mouth stays
EVERY = {"calibration": 4, "test": 1}  # vectors from one shown moment to the next
MOUTH_UNITS = 100  # in which data/face holds heads.Pose.mouth, as int8
SEED = 43


@dataclass(frozen=True, eq=False)
class Frame:
    """One moment of somebody who speaks: what the talking face is given, and what it should paint.

    audio float32 [1, 144, 16]: the conformer's `encoder_out` around the moment, the ninth vector is the moment's own;
    beyond an end of the sentence its last vector stands again. face float32 [1, 6, 96, 96] in 0..1, red, green, blue: a
    picture of the person at rest, then the present one, its lower half hidden (0). truth float32 [1, 3, 96, 96]: the
    present picture. sentence: the Utterance that is spoken. number: which of its vectors, 25 a second.
    """

    sentence: Utterance
    number: int
    vectors: np.ndarray  # [T', 144], of the whole sentence
    reference: np.ndarray  # uint8 [3, 96, 96]
    picture: np.ndarray  # uint8 [3, 96, 96]

    @property
    def audio(self):
        around = np.arange(self.number - VECTORS // 2, self.number + VECTORS - VECTORS // 2)
        return self.vectors[around.clip(0, len(self.vectors) - 1)].T[None]

    @property
    def face(self):
        return masked(_real(self.reference[None]), self.truth)

    @property
    def truth(self):
        return _real(self.picture[None])

    @property
    def feed(self):
        """The network's inputs: {"audio": ..., "face": ...}."""
        return {"audio": self.audio, "face": self.face}

    def __repr__(self):
        return f"Frame({self.sentence.text!r}, voice={self.sentence.voice!r}, number={self.number})"


def _real(pictures):
    return pictures.astype(np.float32) / np.float32(255)


def masked(reference, picture):
    """What the network sees, [n, 6, 96, 96]: a reference picture, and the present one without its lower half."""
    hidden = picture.copy()
    hidden[..., heads.SIZE // 2 :, :] = 0
    return np.concatenate([reference, hidden], axis=1)


def face_frames(split: str) -> list[Frame]:
    """The moments of "calibration" (16 people, every fourth vector) or "test" (24 others, every vector), in order.

    Nobody and no sentence stands in two sets, and the network was trained on none of either. In "test" the first twelve
    speak with voices that speech model and face know, the others with voices never trained on. The first call draws the
    pictures, which takes some seconds, and keeps them in the cache.

    Raises ValueError for another name, and what `files.checked` raises for a missing or altered file.
    """
    if split not in SPLITS:
        raise ValueError(f"there is no set of face frames {split!r}; there are: {', '.join(SPLITS)}")
    return list(_frames(split))


@cache
def _frames(split):
    people = list(_people(split))
    pictures = np.load(kept(f"faces-{split}-{_key(split)}.npy", lambda: _drawn(people)), mmap_mode="r")
    session, frames, start = open_session(checked("models/conformer.onnx")), [], 0
    for person in people:
        vectors = session.run(["encoder_out"], feed(person.sentence.samples))[0][0]
        reference, *moving = pictures[start : start + 1 + len(person.numbers)]
        frames += [
            Frame(person.sentence, int(number), vectors, reference, picture)
            for number, picture in zip(person.numbers, moving, strict=True)
        ]
        start += 1 + len(person.numbers)
    return tuple(frames)


@dataclass(frozen=True)
class _Person:
    sentence: Utterance
    head: heads.Head
    pose: heads.Pose  # of every vector of the sentence
    numbers: np.ndarray  # of those that are shown


def _people(split):
    """Who speaks, in the order of data/face/<split>.tsv: the seed of a line is its number."""
    lines = checked(f"face/{split}.tsv").read_text(encoding="utf-8").splitlines()[1:]
    mouths = np.load(checked(f"face/{split}.npy")).astype(float) / MOUTH_UNITS
    start = 0
    for number, line in enumerate(lines):
        part, index, count = line.split("\t")
        rng = np.random.default_rng([SEED, SPLITS.index(split), number])
        head, mouth = heads.random_head(rng), mouths[start : start + int(count)]
        shown = np.arange(0, int(count), EVERY[split])
        yield _Person(utterances(part)[int(index)], heads.stacked([head]), heads.random_pose(mouth, rng), shown)
        start += int(count)


def _key(split):
    """Of all that decides what the pictures are: the seeds, the mouths, and how heads are drawn."""
    made_of = (checked(f"face/{split}.tsv"), checked(f"face/{split}.npy"), heads.__file__, __file__)
    return hashlib.sha256(b"".join(Path(path).read_bytes() for path in made_of)).hexdigest()[:16]


def _drawn(people):
    """The bytes of a .npy: uint8 [n, 3, 96, 96], for each person the one at rest, then those that are shown."""
    pictures = []
    for person in bar(people, "drawing people", unit="person"):
        pictures.append(heads.draw(person.head, heads.at_rest()))
        for some in np.array_split(person.numbers, len(person.numbers) // 8 + 1):  # more would not fit into caches
            pictures.append(heads.draw(person.head, heads.moments(person.pose, some)))
    file = io.BytesIO()
    np.save(file, np.rint(np.concatenate(pictures) * 255).astype(np.uint8))
    return file.getvalue()


def mouth_psnr(truth: npt.ArrayLike, picture: npt.ArrayLike) -> float:
    """How near the painted mouth is to the true one, in dB: peak signal-to-noise ratio over MOUTH, larger is better.

    truth, picture  float [..., 3, 96, 96] in 0..1; errors of all are pooled. 10 log10(1 / mean squared error); infinite
    where there is no error.
    Raises ValueError if the shapes differ, are others, or hold NaN.
    """
    truth, picture = _pictures(truth), _pictures(picture)
    if truth.shape != picture.shape:
        raise ValueError(f"truth has shape {truth.shape} and picture {picture.shape}; expected the same shape")
    error = float(np.mean((truth[(..., *MOUTH)] - picture[(..., *MOUTH)]) ** 2))
    return float("inf") if error == 0 else -10 * float(np.log10(error))


def mouth_opening(picture: npt.ArrayLike) -> Array:
    """How far the mouth is open, lips included, in pixels: float [...] for [..., 3, 96, 96] in 0..1.

    The mean number of pixels, in each of the 24 columns in the middle of the face, that belong to a mouth: those redder
    than the cheeks (lips, unless they are pale, the tongue, the dark behind) and bright grey ones (teeth).
    Raises ValueError for another shape or NaN.
    """
    picture = _pictures(picture)
    cheeks = np.concatenate([picture[..., 56:64, 31:36], picture[..., 56:64, 60:65]], axis=-1).mean(axis=(-2, -1))
    middle = picture[..., 58:86, 36:60]
    red, green = middle[..., 0, :, :], middle[..., 1, :, :]
    redder = red / (green + 1e-3) / (cheeks[..., 0] / (cheeks[..., 1] + 1e-3))[..., None, None]
    bright, colour = middle.min(axis=-3), np.ptp(middle, axis=-3)
    teeth = np.clip((bright - 0.6) / 0.1, 0, 1) * np.clip((0.17 - colour) / 0.05, 0, 1)
    return np.maximum(np.clip((redder - 1.15) / 0.25, 0, 1), teeth).sum(axis=-2).mean(axis=-1)


def _pictures(array):
    array = np.asarray(array, np.float64)
    if array.shape[-3:] != (3, heads.SIZE, heads.SIZE):
        raise ValueError(f"expected pictures of shape [..., 3, {heads.SIZE}, {heads.SIZE}], got {array.shape}")
    if not np.isfinite(array).all():
        raise ValueError("the picture holds NaN or infinity: did the network compute it?")
    return array
