"""Speech in and words out: sentences, clean or in noise, Kaldi filter banks, greedy CTC decoding, word error rate."""

import csv
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cache, lru_cache
from numbers import Real

import numpy as np
import numpy.typing as npt

from qlab.machine.bars import bar
from qlab.machine.runtime import open_session
from qlab.models.catalog import checked
from qlab.models.street import add_noise, street_noise
from qlab.types import Array, Floats, ModelPath, Session

SAMPLE_RATE = 16_000
MEL_BINS = 80
SPLITS = ("calibration", "test", "unseen")
NOISE_SEED = 17


@dataclass(frozen=True, eq=False)
class Utterance:
    """One spoken sentence: samples float32 [n] at 16 kHz in -1..1, what was said, and who said it."""

    samples: np.ndarray
    text: str
    voice: str

    @property
    def seconds(self):
        """Duration in seconds."""
        return len(self.samples) / SAMPLE_RATE

    def __repr__(self):
        return f"Utterance({self.text!r}, voice={self.voice!r}, {self.seconds:.1f} s)"


def utterances(split: str, *, noise_db: float | None = None) -> list[Utterance]:
    """The spoken sentences of "calibration", "test" (known voices) or "unseen" (voices never trained on), in order.

    noise_db  signal-to-noise ratio in dB, -40 to 100: street noise is added, other noise to every sentence, the same at
              every ratio but for its loudness, and the same 16-bit samples on every machine. None: as recorded.

    The ratio is that of the energies of the whole recording, short margins of silence included, and of the whole noise.
    Samples are shared between calls, and so cannot be written to.
    Raises ValueError for another name or ratio, and what `catalog.checked` raises for a missing or altered file.
    """
    if split not in SPLITS:
        raise ValueError(f"there is no set of utterances {split!r}; there are: {', '.join(SPLITS)}")
    if noise_db is None:
        return list(_utterances(split))
    if isinstance(noise_db, bool) or not isinstance(noise_db, Real) or not -40 <= noise_db <= 100:
        raise ValueError(
            f"noise_db is {noise_db!r}; expected the signal-to-noise ratio in dB, a number from -40 to 100 such as 5, "
            "or None for the recordings as they are"
        )
    return list(_noisy(split, float(noise_db)))


@cache
def _utterances(split):
    import soundfile

    table = checked(f"speech/{split}.tsv").read_text(encoding="utf-8")
    rows = csv.DictReader(table.splitlines(), delimiter="\t")
    return tuple(
        Utterance(
            _frozen(soundfile.read(checked(f"speech/{row['file']}"), dtype="float32")[0]), row["text"], row["voice"]
        )
        for row in rows
    )


@lru_cache(maxsize=8)  # 10 to 45 MB each
def _noisy(split, noise_db):
    indices = bar(range(len(_utterances(split))), "adding street noise", unit="sentence")
    return tuple(in_noise(split, index, noise_db) for index in indices)


def in_noise(split, index, noise_db):
    """One utterance in its street noise.

    Those who talk in the background say sentences of the calibration set, in other voices than the speaker's: no
    sentence is heard behind itself, and none of the test behind another.
    """
    said = _utterances(split)[index]
    people = [heard.samples for heard in _utterances("calibration") if heard.voice != said.voice]
    noise = street_noise(len(said.samples), [NOISE_SEED, SPLITS.index(split), index], people)
    return replace(said, samples=_frozen(add_noise(said.samples, noise, noise_db)))


def _frozen(samples):
    samples.setflags(write=False)
    return samples


def features(samples: npt.ArrayLike) -> Floats:
    """Log mel filter-bank energies, float32 [T, 80], of `samples`, float32 [n] at 16 kHz in -1..1.

    25 ms windows every 10 ms, so T = 1 + (n - 400) // 160; no dither. Samples are scaled to the int16 range first, as
    Kaldi and WeNet do; the mean and variance normalization is part of the model's graph.

    Raises ValueError if `samples` is not a one-dimensional array of finite numbers, or is shorter than one window.
    Source: Kaldi's compute-fbank-feats through kaldi-native-fbank.
    """
    import kaldi_native_fbank as knf

    samples = np.asarray(samples, np.float32)
    if samples.ndim != 1 or len(samples) < 400:
        raise ValueError(f"expected one channel of at least 400 samples (25 ms at 16 kHz), got shape {samples.shape}")
    if not np.isfinite(samples).all():
        raise ValueError("the samples hold NaN or infinity; read the recording again")
    options = knf.FbankOptions()
    options.frame_opts.dither = 0.0
    options.frame_opts.samp_freq = SAMPLE_RATE
    options.mel_opts.num_bins = MEL_BINS
    options.energy_floor = 0.0
    bank = knf.OnlineFbank(options)
    bank.accept_waveform(SAMPLE_RATE, (samples * 32768).tolist())
    bank.input_finished()
    return np.stack([bank.get_frame(i) for i in range(bank.num_frames_ready)])


def feed(samples: npt.ArrayLike) -> dict[str, Array]:
    """The conformer's inputs for one utterance alone: speech float32 [1, T, 80] and speech_lengths int64 [1]."""
    speech = features(samples)[None]
    return {"speech": speech, "speech_lengths": np.array([speech.shape[1]], np.int64)}


def units() -> tuple[str, ...]:
    """The words that the trained conformer can output, by token index; index 0 is the CTC blank."""
    lines = checked("models/conformer.units.txt").read_text(encoding="utf-8").splitlines()
    return tuple(line.split()[0] for line in lines)


def decode(log_probs):
    """The words of greedy CTC decoding: `log_probs` float32 [T', tokens] -> the best token of each frame, repetitions
    merged, blanks dropped."""
    best = np.argmax(log_probs, axis=-1)
    words = units()
    kept = best[np.flatnonzero(np.diff(best, prepend=0))]
    return " ".join(words[token] for token in kept if token != 0)


def transcribe(model: ModelPath | Session, utterances: Sequence[Utterance]) -> list[str]:
    """The transcript of each utterance: `model` is a path or an onnxruntime session of the conformer.

    Each is fed alone, as at run time. Shows its progress where it takes more than 3 s.
    """
    session = model if hasattr(model, "run") else open_session(model)
    counted = bar(utterances, "transcribing", unit="sentence")
    return [decode(session.run(["ctc_log_probs"], feed(utterance.samples))[0][0]) for utterance in counted]


def wer(texts: Sequence[str], transcripts: Sequence[str]) -> float:
    """Word error rate, a fraction: substituted, missing and superfluous words over the words of `texts`.

    Raises ValueError if the two lists differ in length or are empty.
    """
    import jiwer

    if len(texts) != len(transcripts) or not texts:
        raise ValueError(
            f"expected as many transcripts as texts, at least one; got {len(transcripts)} and {len(texts)}"
        )
    return jiwer.wer(list(texts), list(transcripts))


def word_errors(texts: Sequence[str], transcripts: Sequence[str]) -> tuple[Array, Array]:
    """(errors, words), int64 [n] each: of every sentence, for a paired bootstrap (`wer` is their ratio of sums)."""
    import jiwer

    errors, words = [], []
    for text, transcript in zip(texts, transcripts, strict=True):
        aligned = jiwer.process_words(text, transcript)
        errors.append(aligned.substitutions + aligned.deletions + aligned.insertions)
        words.append(aligned.hits + aligned.substitutions + aligned.deletions)
    return np.array(errors), np.array(words)
