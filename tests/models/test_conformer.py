"""The trained conformer: its contract, its independence of padding, its word error rates."""

import numpy as np
import onnx
import pytest

from qlab import models
from qlab.machine.runtime import open_session


@pytest.fixture(scope="module")
def session():
    return open_session(models.path("conformer"), threads=2)


@pytest.fixture(scope="module")
def errors(session):
    """{split: (voice of each sentence, errors, words)} of the shipped model on the shipped sets."""
    found = {}
    for split in ("test", "unseen"):
        spoken = models.utterances(split)
        heard = models.transcribe(session, spoken)
        found[split] = (np.array([u.voice for u in spoken]), *models.word_errors([u.text for u in spoken], heard))
    return found


def rate(errors, split, voice=None):
    voices, wrong, words = errors[split]
    chosen = np.ones(len(voices), bool) if voice is None else voices == voice
    return wrong[chosen].sum() / words[chosen].sum()


@pytest.mark.slow
def test_known_voices_are_understood_with_at_most_5_percent_word_errors(errors):
    assert rate(errors, "test") <= 0.05


@pytest.mark.slow
def test_the_unseen_human_voice_slt_is_understood_with_at_most_35_percent_word_errors(errors):
    assert rate(errors, "unseen", "flite/slt") <= 0.35


@pytest.mark.slow
def test_the_card_states_the_word_error_rates_that_the_files_give(errors):
    card = models.catalog.DATA.joinpath("README.md").read_text(encoding="utf-8")
    for split, voice in [("test", None), *(("unseen", voice) for voice in sorted(set(errors["unseen"][0])))]:
        assert f"{100 * rate(errors, split, voice):.1f} %" in card, (split, voice)


def test_inputs_and_outputs_are_wenets(session):
    assert [(i.name, i.type, i.shape[2:]) for i in session.get_inputs()] == [
        ("speech", "tensor(float)", [80]),
        ("speech_lengths", "tensor(int64)", []),
    ]
    assert [o.name for o in session.get_outputs()] == ["encoder_out", "encoder_out_lens", "ctc_log_probs"]


def test_weights_bear_the_names_of_wenets_state_dict():
    names = {tensor.name for tensor in onnx.load(models.path("conformer")).graph.initializer}
    for name in (
        "encoder.embed.conv.0.weight",
        "encoder.encoders.0.self_attn.linear_q.bias",
        "encoder.encoders.5.self_attn.pos_bias_u",
        "encoder.encoders.3.conv_module.depthwise_conv.weight",
        "encoder.after_norm.weight",
        "ctc.ctc_lo.bias",
    ):
        assert name in names


def test_the_model_has_3_to_4_million_parameters():
    graph = onnx.load(models.path("conformer")).graph
    assert 3e6 < sum(np.prod(tensor.dims) for tensor in graph.initializer) < 4e6


def test_a_padded_batch_gives_each_sentence_what_it_gets_alone(session):
    spoken = models.utterances("test")[:6]
    feeds = [models.feed(utterance.samples) for utterance in spoken]
    lengths = np.array([feed["speech"].shape[1] for feed in feeds])
    assert len(set(lengths)) > 1
    # What is in the padding must not matter: random noise, not zeros.
    batch = np.random.default_rng(0).normal(5, 9, (len(feeds), lengths.max() + 40, 80)).astype(np.float32)
    for row, feed in zip(batch, feeds, strict=True):
        row[: feed["speech"].shape[1]] = feed["speech"][0]
    together, frames, log_probs = session.run(None, {"speech": batch, "speech_lengths": lengths})
    for index, feed in enumerate(feeds):
        alone, alone_frames, alone_log_probs = session.run(None, feed)
        assert frames[index] == alone_frames[0] == alone.shape[1]
        np.testing.assert_allclose(together[index, : frames[index]], alone[0], atol=2e-3)
        np.testing.assert_allclose(log_probs[index, : frames[index]], alone_log_probs[0], atol=5e-3)


@pytest.mark.parametrize("frames", [7, 8, 64, 1000])
def test_any_length_from_7_frames_runs(session, frames):
    speech = np.zeros((2, frames, 80), np.float32)
    out = session.run(None, {"speech": speech, "speech_lengths": np.array([frames, frames])})
    assert out[1].tolist() == [(frames - 3) // 4] * 2
    np.testing.assert_allclose(np.exp(out[2]).sum(-1), 1, atol=1e-4)
