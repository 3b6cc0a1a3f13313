"""Speech in and words out: sentences, clean or in a street's noise, Kaldi filter banks, CTC decoding, word error rate.

The street is made by formula, from a seed: people who talk nearby, wind in gusts, cars that pass. Integers up to the
last step, whose products, sums and roundings of two numbers at a time IEEE 754 fixes to the last bit: the same seed
gives the same 16-bit samples on every machine. So there are no sines, no Fourier transforms and no sums over arrays of
floats here: their last bits depend on the processor and its libraries.

Sounds are int64 [n] at 16 kHz; recordings are float32 [n] in -1..1 of 16 bits, as soundfile reads them.
"""

import csv
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from decimal import Context, Decimal
from functools import cache, lru_cache
from numbers import Real

import numpy as np
import numpy.typing as npt

from qlab.files import ModelPath, checked
from qlab.numerics.dtypes import Array, Floats
from qlab.runtime import Session, bar, open_session

SPLITS = ("calibration", "test", "unseen")
MEL_BINS = 80
NOISE_SEED = 17
SECOND = SAMPLE_RATE = 16_000
FULL_SCALE = 32_767
PEOPLE = 8
CARS = 2
# Amplitudes of the three parts, drawn anew for every utterance: one is spoken in the wind, another at the kerb.
SHARES = {"babble": range(5, 9), "wind": range(6, 13), "traffic": range(6, 13)}
ROOT_MEAN_SQUARE = 4096
# The C library's pow may differ in its last bit between machines; decimal's does not.
EXACT = Context(prec=28)


def add_noise(recording, noise, noise_db):
    """The recording with `noise` in it, `noise_db` below it: a recording again.

    noise_db is the signal-to-noise ratio over the whole of it, pauses included: energy of the recording over energy
    of the noise. The recording keeps its level; only where the sum would leave -1..1, all of it is turned down, speech
    and noise alike, until the peak fits.
    """
    speech = _integers(recording)
    ratio = EXACT.divide(Decimal(_energy(speech)), Decimal(max(_energy(noise), 1)))
    gain = EXACT.divide(EXACT.sqrt(ratio), EXACT.power(Decimal(10), EXACT.divide(Decimal(noise_db), Decimal(20))))
    mixed = speech + noise * float(gain)
    peak = float(np.abs(mixed).max())
    if peak > FULL_SCALE:
        mixed *= FULL_SCALE / peak
    return np.rint(mixed).astype(np.float32) / np.float32(32768)


def street_noise(count, seed, people):
    """The noise of one moment in the street, int64 [count]; `people`: recordings, some of which are heard nearby."""
    stream = np.random.PCG64(seed)
    parts = {"babble": _babble(count, stream, people), "wind": _wind(count, stream), "traffic": _traffic(count, stream)}
    return sum(part * _draw(stream, SHARES[name]) for name, part in parts.items())


def _babble(count, stream, people):
    """Several people at once, some nearer than others; each begins somewhere in a sentence and says it over again."""
    crowd, people = np.zeros(count, np.int64), list(people)
    for _ in range(min(PEOPLE, len(people))):
        voice = _levelled(_integers(people.pop(_draw(stream, range(len(people))))))
        loudness, start = _draw(stream, range(8, 17)), _draw(stream, range(len(voice)))
        crowd += loudness * np.resize(np.roll(voice, -start), count)
    return _levelled(crowd)


def _wind(count, stream):
    """Rumble below 300 Hz that swells and dies down within a second or so."""
    rumble = _coloured(count, stream, (24, 34, 48, 68, 96))
    gusts = _wandering(count, stream, SECOND // 4)
    return _levelled(rumble * (gusts * gusts >> 12))


def _traffic(count, stream):
    """Cars that pass, and a road further off."""
    cars = sum(_car(count, stream) for _ in range(CARS))
    return _levelled(4 * cars + _coloured(count, stream, (13, 19, 29)))


def _car(count, stream):
    """The roar of tyres and the hum of an engine, swelling as the car comes, falling as it goes."""
    near = _draw(stream, range(SECOND // 3, SECOND))  # for how long: a slow car, or one across the street, for longer
    time = np.arange(count) - _draw(stream, range(-near, count + near))
    # Distance squared is proportional to near^2 + time^2, and loudness falls with it: from 2^16 where it is nearest.
    loudness = (near * near << 16) // (near * near + time * time)
    return (2 * _coloured(count, stream, (5, 7, 11, 16)) + _engine(time, near, stream)) * loudness >> 16


def _engine(time, near, stream):
    """A saw-tooth of 28 to 63 Hz, its overtones softened; the pitch falls by 6 % as the car passes (Doppler)."""
    turns = _draw(stream, range(28, 64)) * 2**32 // SECOND
    phase = np.cumsum(turns - turns * 3 * time // (100 * (near + np.abs(time))))
    saw_tooth = (phase % 2**32 - 2**31) >> 16
    return _levelled(_without_lowest(_smooth(saw_tooth, 13)))


def _coloured(count, stream, lengths):
    """Noise whose power falls with frequency; white noises smoothed over unlike lengths fill each other's gaps."""
    bands = (_levelled(_smooth(_white(count, stream), length)) for length in lengths)
    return _levelled(_without_lowest(sum(bands)))


def _white(count, stream):
    """Uniform int16 numbers, each independent of the others."""
    return stream.random_raw(-(-count // 4)).astype("<u8").view("<i2")[:count].astype(np.int64)


def _wandering(count, stream, step):
    """A level from 0 to 2^12: a new one every `step` samples, straight lines between."""
    levels, time = np.abs(_white(count // step + 2, stream)) >> 3, np.arange(count)
    before, after = levels[time // step], levels[time // step + 1]
    return before + (after - before) * (time % step) // step


def _smooth(x, length):
    """The moving sum of the moving sum: what is above SECOND / (3 * length) Hz fades."""
    return _moving_sum(_moving_sum(x, length), length)


def _without_lowest(x):
    """`x` without what is below about 25 Hz, which nobody hears."""
    length = SECOND // 40
    return x - np.roll(_moving_sum(x, length), length // 2) // length


def _moving_sum(x, length):
    """The sum of each sample and the `length` - 1 behind it; at the end `x` begins again."""
    sums = np.cumsum(np.concatenate([[0], np.resize(x, len(x) + length - 1)]))
    return sums[length:] - sums[:-length]


def _levelled(x):
    """`x` at the root mean square that every part has before it is mixed."""
    x = x >> max(int(np.abs(x).max()).bit_length() - 20, 0)  # the squares of longer numbers would overflow
    return x * ROOT_MEAN_SQUARE // max(math.isqrt(_energy(x) // len(x)), 1)


def _integers(recording):
    return np.rint(recording * np.float32(32768)).astype(np.int64)


def _energy(x):
    return int((x * x).sum())


def _draw(stream, numbers):
    """One of a range's numbers."""
    return numbers[int(stream.random_raw()) % len(numbers)]


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
    Raises ValueError for another name or ratio, and what `files.checked` raises for a missing or altered file.
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
