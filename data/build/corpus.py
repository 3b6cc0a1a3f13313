"""Speak the sentences: `training_clip` is reproducible clip by clip, `ship` writes the three shipped sets as FLAC."""

import csv
from dataclasses import dataclass
from multiprocessing import Pool
from pathlib import Path

import numpy as np
import soundfile
from scipy.signal import fftconvolve, resample_poly
from tqdm import tqdm

from data.build import grammar, voices

SAMPLE_RATE = 16_000
SHIPPED = {"calibration": 72, "test": 320, "unseen": 330}
SPEECH = Path(__file__).parents[1] / "speech"


def shipped_texts():
    """{"calibration" | "test" | "unseen": sentences}, all different."""
    texts = grammar.sentences(sum(SHIPPED.values()), seed=2024)
    result = {}
    for name, count in SHIPPED.items():
        result[name], texts = texts[:count], texts[count:]
    return result


def training_texts(distinct, drawn):
    """Two lists of sentences, none of which is shipped: `distinct` different ones, then `drawn` with repetitions.

    Different sentences are mostly those of the templates with many fillings. The drawn ones bring every template
    equally often, addressed to the house in many ways where all its bare sentences are shipped.
    """
    taken = frozenset(text for part in shipped_texts().values() for text in part)
    rng, repeated = np.random.default_rng(8), []
    while len(repeated) < drawn:
        if (text := grammar.addressed(rng)) not in taken:
            repeated.append(text)
    return grammar.sentences(distinct, seed=7, exclude=taken), repeated


def _coloured_noise(count, exponent, rng):
    """Noise of unit power whose power spectrum falls as 1 / f**exponent (0 white, 1 pink, 2 brown)."""
    spectrum = np.fft.rfft(rng.standard_normal(count))
    spectrum /= np.maximum(np.arange(len(spectrum)), 1) ** (exponent / 2)
    noise = np.fft.irfft(spectrum, count)
    return noise / noise.std()


def _reverberate(x, seconds, rng):
    """A room: an exponentially decaying noise tail behind the direct sound; `seconds` is its -60 dB time."""
    n = int(seconds * SAMPLE_RATE)
    tail = rng.standard_normal(n) * 10 ** (-3 * np.arange(n) / n)
    tail[0], tail[1:] = 1.0, 0.6 * tail[1:] / np.linalg.norm(tail[1:])
    return fftconvolve(x, tail)[: len(x) + n // 4]


def _trim(x, margin):
    """Cut the engine's own silence, leaving `margin` samples on either side. -> samples, how many were cut in front"""
    loud = np.flatnonzero(np.abs(x) > 0.01 * np.abs(x).max())
    start, stop = max(loud[0] - margin, 0), loud[-1] + margin
    return np.pad(x[start:stop], (max(margin - loud[0], 0), max(stop - len(x), 0))), loud[0] - margin


def _manner(voice, rng, wide):
    """A random manner: a narrow one as people differ from day to day, a wide one to stand for people not in the set."""
    if not wide:
        return voices.Manner(rng.uniform(0.9, 1.15), rng.uniform(0.9, 1.15), 1.0)
    low, high = {"flite/rms": (0.95, 1.30), "flite/awb": (0.92, 1.28)}.get(voice, (0.90, 1.18))
    return voices.Manner(rng.uniform(0.8, 1.3), rng.uniform(0.75, 1.6), rng.uniform(low, high))


@dataclass(frozen=True, eq=False)
class Clip:
    """One spoken sentence: samples int16 [n] at 16 kHz, and how they were made from what the engine delivered.

    The engine's second t is the clip's second t * speed - cut.
    """

    samples: np.ndarray
    voice: str
    text: str
    manner: voices.Manner
    speed: float
    cut: float


def clip(voice, text, rng, *, wide=False):
    """Speak one sentence: voice, manner, for some a room and noise, a level."""
    manner = _manner(voice, rng, wide)
    x, rate = voices.speak(voice, text, manner)
    # Played 1/tract times as fast and resampled to 16 kHz, pitch and formants rise by `tract`.
    up, down = SAMPLE_RATE, round(rate * manner.tract / 50) * 50
    x, cut = _trim(resample_poly(x, up, down), int(rng.uniform(0.06, 0.16) * SAMPLE_RATE))
    if rng.random() < 0.3:
        x = _reverberate(x, rng.uniform(0.1, 0.35), rng)
    x = x / np.sqrt(np.mean(x**2))
    snr_db = rng.uniform(12, 40) if wide else rng.uniform(18, 35)
    if rng.random() < 0.5:
        x = x + 10 ** (-snr_db / 20) * _coloured_noise(len(x), rng.uniform(0, 2), rng)
    x = x * 10 ** (rng.uniform(-36, -22) / 20)
    samples = np.round(np.clip(x, -1, 1) * 32767).astype(np.int16)
    return Clip(samples, voice, text, manner, rate / down, cut / SAMPLE_RATE)


def training_clip(job):
    """(index, text) -> Clip; about half the clips are spoken by the three flite voices."""
    index, text = job
    rng = np.random.default_rng([11, index])
    pool = voices.KNOWN_FLITE if rng.random() < 0.5 else voices.KNOWN_ESPEAK
    weights = (0.2, 0.4, 0.4) if pool is voices.KNOWN_FLITE else None
    return clip(str(rng.choice(pool, p=weights)), text, rng, wide=rng.random() < 0.8)


def shipped_clip(job):
    """(split, index, text) -> Clip."""
    split, index, text = job
    rng = np.random.default_rng([13, list(SHIPPED).index(split), index])
    known = voices.KNOWN_FLITE if index % 3 == 0 else voices.KNOWN_ESPEAK
    voice = voices.UNSEEN[index % len(voices.UNSEEN)] if split == "unseen" else str(rng.choice(known))
    return clip(voice, text, rng)


def ship():
    """Write data/speech/<split>/NNN.flac and <split>.tsv (file, voice, text). Finished splits are left as they are."""
    for split, texts in shipped_texts().items():
        table = SPEECH / f"{split}.tsv"
        if table.exists():
            continue
        (SPEECH / split).mkdir(parents=True, exist_ok=True)
        jobs = [(split, index, text) for index, text in enumerate(texts)]
        rows = []
        with Pool() as pool:
            for (_, index, text), made in zip(
                jobs, tqdm(pool.imap(shipped_clip, jobs), f"speech/{split}", len(jobs)), strict=True
            ):
                name = f"{split}/{index:03d}.flac"
                soundfile.write(SPEECH / name, made.samples, SAMPLE_RATE, subtype="PCM_16", compression_level=1.0)
                rows.append((name, made.voice, text))
        with table.open("w", newline="") as file:
            csv.writer(file, delimiter="\t", lineterminator="\n").writerows([("file", "voice", "text"), *rows])
