"""Speech in street noise: the same everywhere, at the ratio asked for, with others than the speaker behind."""

import hashlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qlab import models
from qlab.models import speech
from qlab.models import speech as street

SECONDS_20 = 20 * street.SECOND


def db(ratio_of_energies):
    return 10 * np.log10(ratio_of_energies)


def energy(samples):
    return np.sum(np.square(samples, dtype=np.float64))


@pytest.fixture(scope="module")
def clean():
    return models.utterances("calibration")


@pytest.fixture(scope="module")
def in_noise():
    """{ratio: the calibration sentences in noise}."""
    return {ratio: models.utterances("calibration", noise_db=ratio) for ratio in (20, 5, 0)}


@pytest.mark.parametrize(
    ("split", "index", "noise_db", "digest"),
    [
        ("calibration", 0, 5.0, "ffa532e59e143a83"),
        ("calibration", 71, -40.0, "68c0c6d2ab2ee0cd"),
        ("test", 0, 20.0, "58094a4824d5aef2"),
        ("test", 0, 0.0, "fb2d1d6a41461dea"),
        ("test", 319, 5.0, "48189e45c54362ba"),
        ("unseen", 7, 12.3, "1e3df1543da5a935"),
    ],
)
def test_the_noise_is_the_same_to_the_last_bit_on_every_machine(split, index, noise_db, digest):
    samples = (speech.in_noise(split, index, noise_db).samples * 32768).astype("<i2")
    assert hashlib.sha256(samples.tobytes()).hexdigest()[:16] == digest


def test_noise_leaves_everything_but_the_samples_as_it_was(clean, in_noise):
    for said, noisy in zip(clean, in_noise[5], strict=True):
        assert (noisy.text, noisy.voice, noisy.samples.shape) == (said.text, said.voice, said.samples.shape)
        assert noisy.samples.dtype == np.float32


@pytest.mark.parametrize("noise_db", [20, 5, 0])
def test_the_ratio_is_the_one_asked_for_and_the_speech_keeps_its_level(clean, in_noise, noise_db):
    for said, noisy in zip(clean, in_noise[noise_db], strict=True):
        added = noisy.samples.astype(np.float64) - said.samples
        assert db(energy(said.samples) / energy(added)) == pytest.approx(noise_db, abs=0.1)


def test_at_every_ratio_a_sentence_has_the_same_noise_only_louder_or_softer(clean, in_noise):
    for said, soft, loud in zip(clean, in_noise[5], in_noise[0], strict=True):
        expected = (loud.samples - said.samples) * 10 ** (-5 / 20)
        # Both were rounded to 16 bits: by half a step each, the louder one's made smaller.
        np.testing.assert_allclose(soft.samples - said.samples, expected, rtol=0, atol=0.8 / 32768)


def test_every_sentence_of_every_set_has_noise_of_its_own():
    noises = [
        speech.in_noise(split, index, 0.0).samples - models.utterances(split)[index].samples
        for split in speech.SPLITS
        for index in range(3)
    ]
    shortest = min(map(len, noises))
    alike = np.corrcoef([noise[:shortest] for noise in noises]) - np.eye(len(noises))
    assert np.abs(alike).max() < 0.2


def test_whoever_talks_in_the_background_is_of_the_calibration_set_and_not_the_speaker(monkeypatch):
    heard = []
    monkeypatch.setattr(speech, "street_noise", lambda n, seed, people: heard.append(people) or np.ones(n, np.int64))
    known = {id(utterance.samples): utterance for utterance in models.utterances("calibration")}
    for split in speech.SPLITS:
        for index, said in enumerate(models.utterances(split)):
            speech.in_noise(split, index, 5.0)
            people = [known[id(samples)] for samples in heard.pop()]
            assert len(people) >= street.PEOPLE
            assert said.voice not in {person.voice for person in people}
            assert said.text not in {person.text for person in people}


def test_a_number_is_a_ratio_whatever_its_type():
    first = models.utterances("calibration", noise_db=5)
    for same in (5.0, np.float32(5), np.int64(5)):
        again = models.utterances("calibration", noise_db=same)
        assert all(a is b for a, b in zip(first, again, strict=True))


def test_without_a_ratio_the_sentences_are_as_recorded(clean):
    assert all(a is b for a, b in zip(clean, models.utterances("calibration", noise_db=None), strict=True))


@pytest.mark.parametrize(
    "noise_db", [True, np.True_, float("nan"), float("inf"), -float("inf"), -41, 101, 10**400, "5", [5], 5j]
)
def test_what_is_no_ratio_is_refused(noise_db):
    with pytest.raises(ValueError, match=r"noise_db is .*from -40 to 100"):
        models.utterances("test", noise_db=noise_db)


def test_nobody_can_write_to_samples_that_others_share(clean, in_noise):
    for utterance in (clean[0], in_noise[5][0]):
        with pytest.raises(ValueError, match="read-only"):
            utterance.samples[0] = 0


def test_where_the_noise_would_not_fit_speech_and_noise_are_turned_down_together(clean):
    people = [utterance.samples for utterance in clean[1:]]
    recording = clean[0].samples
    noise = street.street_noise(len(recording), 3, people)
    mixed = street.add_noise(recording, noise, -20.0).astype(np.float64)
    (of_speech, of_noise), *_ = np.linalg.lstsq(np.stack([recording, noise], axis=1).astype(np.float64), mixed)
    assert of_speech < 0.9
    assert np.abs(mixed).max() == 32767 / 32768
    assert db(energy(of_speech * recording) / energy(of_noise * noise)) == pytest.approx(-20, abs=0.1)
    # Saturated samples would depart from the sum by far more than a rounding.
    np.testing.assert_allclose(mixed, of_speech * recording + of_noise * noise, rtol=0, atol=0.6 / 32768)


numbers_of_16_bits = st.lists(st.integers(-32768, 32767), min_size=1, max_size=50)


@given(numbers_of_16_bits, st.data(), st.floats(-40, 100))
def test_a_mixture_is_a_recording_of_16_bits_whatever_is_mixed(spoken, data, noise_db):
    noise = data.draw(st.lists(st.integers(-(2**20), 2**20), min_size=len(spoken), max_size=len(spoken)))
    recording = np.float32(spoken) / np.float32(32768)
    mixed = street.add_noise(recording, np.array(noise, np.int64), noise_db)
    steps = mixed * np.float32(32768)
    assert mixed.dtype == np.float32
    np.testing.assert_array_equal(steps, np.rint(steps))
    assert np.abs(steps).max() <= street.FULL_SCALE


@settings(max_examples=25, deadline=None)
@given(st.integers(1, 3000), st.integers(0, 2**64))
def test_noise_of_any_length_comes_from_its_seed(count, seed):
    people = [np.float32([0.5, -0.25, 0.125]), np.zeros(7, np.float32)]
    noise = street.street_noise(count, seed, people)
    assert noise.dtype == np.int64
    assert noise.shape == (count,)
    assert np.abs(noise).max() < 2**31
    np.testing.assert_array_equal(noise, street.street_noise(count, seed, people))


def spectrum(sound):
    """Shares of the power, and their frequencies in Hz."""
    power = np.abs(np.fft.rfft(sound.astype(np.float64))) ** 2
    return power / power.sum(), np.fft.rfftfreq(len(sound), 1 / street.SECOND)


def swell(sound):
    """dB from the softest to the loudest fifth of a second."""
    levels = [energy(piece) for piece in np.split(sound, len(sound) // (street.SECOND // 5))]
    return db(max(levels) / min(levels))


def test_wind_rumbles_below_300_hz_and_comes_in_gusts():
    sound = street._wind(SECONDS_20, np.random.PCG64(1))
    power, hz = spectrum(sound)
    assert power[hz < 300].sum() > 0.9
    assert swell(sound) > 15


def test_cars_are_heard_below_2_khz_and_pass():
    sound = street._traffic(SECONDS_20, np.random.PCG64(1))
    power, hz = spectrum(sound)
    assert power[hz < 2000].sum() > 0.9
    assert power[(hz > 300) & (hz < 2000)].sum() > 0.2
    assert swell(sound) > 10


def test_a_street_spends_next_to_no_power_where_nobody_hears_it(clean):
    sound = street.street_noise(SECONDS_20, 1, [utterance.samples for utterance in clean])
    power, hz = spectrum(sound)
    assert power[hz < 20].sum() < 0.02
    assert power[(hz > 300) & (hz < 3400)].sum() > 0.2
