"""Speech: the sets, the features, decoding, and the word error rate that the card states."""

import numpy as np
import pytest

from data.build import grammar
from qlab import models
from qlab.models import speech


@pytest.fixture(scope="module")
def sets():
    return {split: models.utterances(split) for split in speech.SPLITS}


def test_the_sets_are_as_large_as_promised(sets):
    assert len(sets["calibration"]) >= 64
    assert len(sets["test"]) >= 300
    assert len(sets["unseen"]) >= 300


@pytest.mark.slow
def test_no_sentence_stands_in_two_sets_nor_in_training(sets):
    from data.build import corpus, training_set

    texts = {split: [utterance.text for utterance in spoken] for split, spoken in sets.items()}
    assert corpus.shipped_texts() == texts
    shipped = [text for part in texts.values() for text in part]
    assert len(shipped) == len(set(shipped))
    distinct, drawn = corpus.training_texts(training_set.DISTINCT, training_set.DRAWN)
    assert not set(shipped) & (set(distinct) | set(drawn))


def test_unseen_voices_are_never_trained_on(sets):
    from data.build import voices

    unseen = {utterance.voice for utterance in sets["unseen"]}
    assert unseen == set(voices.UNSEEN)
    assert "flite/slt" in unseen
    assert any(voice.startswith("espeak-ng") for voice in unseen)
    known = {utterance.voice for split in ("calibration", "test") for utterance in sets[split]}
    assert not unseen & (known | set(voices.KNOWN_ESPEAK) | set(voices.KNOWN_FLITE))


def test_the_grammar_has_at_least_200_words_and_the_model_knows_them_all():
    assert len(grammar.vocabulary()) >= 200
    assert models.units() == ("<blank>", *grammar.vocabulary())


def test_samples_are_16_khz_float32_in_range(sets):
    for utterance in sets["test"][:20]:
        assert utterance.samples.dtype == np.float32
        assert utterance.samples.ndim == 1
        assert 0.01 < np.abs(utterance.samples).max() <= 1
        assert 0.3 < utterance.seconds < 8


def test_features_are_80_log_energies_every_10_ms(sets):
    samples = sets["test"][0].samples
    seen = models.features(samples)
    assert seen.dtype == np.float32
    assert seen.shape == (1 + (len(samples) - 400) // 160, 80)
    assert np.isfinite(seen).all()
    np.testing.assert_array_equal(seen, models.features(samples))


def test_doubling_the_level_adds_the_logarithm_of_four(sets):
    samples = sets["test"][0].samples
    np.testing.assert_allclose(models.features(2 * samples), models.features(samples) + np.log(4), atol=2e-2)


@pytest.mark.parametrize(
    ("samples", "message"),
    [
        (np.zeros(399, np.float32), "at least 400 samples"),
        (np.zeros((400, 2), np.float32), r"one channel.*\(400, 2\)"),
        (np.full(400, np.nan, np.float32), "NaN or infinity"),
    ],
)
def test_features_refuse_what_is_no_recording(samples, message):
    with pytest.raises(ValueError, match=message):
        models.features(samples)


def test_features_of_digital_silence_are_finite():
    assert np.isfinite(models.features(np.zeros(1600, np.float32))).all()


def test_an_unknown_set_is_refused_with_the_names_that_exist():
    with pytest.raises(ValueError, match="calibration, test, unseen"):
        models.utterances("train")


def test_decoding_merges_repetitions_and_drops_blanks():
    words = models.units()
    path = [0, 5, 5, 0, 5, 7, 7, 0]
    log_probs = np.log(np.eye(len(words), dtype=np.float32)[path] + 1e-9)
    assert speech.decode(log_probs) == f"{words[5]} {words[5]} {words[7]}"


def test_decoding_only_blanks_gives_no_words():
    assert speech.decode(np.log(np.eye(4, dtype=np.float32)[[0, 0]] + 1e-9)) == ""


def test_word_errors_add_up_to_the_word_error_rate():
    texts = ["turn on the fan", "open the gate", "close it"]
    heard = ["turn the fan now", "open the gate", ""]
    errors, words = models.word_errors(texts, heard)
    assert errors.tolist() == [2, 0, 2]
    assert words.tolist() == [4, 3, 2]
    assert models.wer(texts, heard) == pytest.approx(4 / 9)


def test_wer_refuses_lists_of_unlike_length():
    with pytest.raises(ValueError, match="got 1 and 2"):
        models.wer(["a", "b"], ["a"])
