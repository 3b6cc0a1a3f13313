"""A street to speak in: people who talk nearby, wind in gusts, cars that pass; by formula, from a seed.

Integers up to the last step, whose products, sums and roundings of two numbers at a time IEEE 754 fixes to the last
bit: the same seed gives the same 16-bit samples on every machine. So there are no sines, no Fourier transforms and no
sums over arrays of floats here: their last bits depend on the processor and its libraries.

Sounds are int64 [n] at 16 kHz; recordings are float32 [n] in -1..1 of 16 bits, as soundfile reads them.
"""

import math
from decimal import Context, Decimal

import numpy as np

SECOND = 16_000
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
