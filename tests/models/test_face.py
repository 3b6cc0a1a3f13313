"""The talking face: the same pictures everywhere, sets that share nothing, and a network as good as its card says."""

import hashlib
import re

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from data.build import evaluate, face_set
from qlab import files, models
from qlab.models import face, heads
from qlab.runtime import open_session

PICTURES = {
    "calibration": "cadfac67966d5413",
    "test": "fd9c3f42a0341793",
}


@pytest.fixture(scope="session")
def frames():
    """Both sets, which take some seconds to draw: tests of them are slow ones."""
    return {split: models.face_frames(split) for split in face.SPLITS}


def row_of_card(name):
    """The numbers in the row of data/README.md that starts so."""
    card = (files.DATA / "README.md").read_text(encoding="utf-8")
    (line,) = re.findall(rf"^\| {re.escape(name)} \|(.*)\|$", card, re.M)
    return [float(number) for number in re.findall(r"\d+\.?\d*", line)]


@pytest.mark.slow
@pytest.mark.parametrize("split", face.SPLITS)
def test_the_pictures_are_the_same_on_every_machine(frames, split):
    pictures = b"".join(frame.picture.tobytes() for frame in frames[split])
    assert hashlib.sha256(pictures).hexdigest()[:16] == PICTURES[split]


@pytest.mark.slow
def test_a_frame_has_the_shapes_and_types_that_the_network_takes(frames):
    frame = frames["test"][7]
    for array, shape in ((frame.audio, (1, 144, 16)), (frame.face, (1, 6, 96, 96)), (frame.truth, (1, 3, 96, 96))):
        assert (array.dtype, array.shape) == (np.float32, shape)
    assert 0 <= frame.face.min() < frame.face.max() <= 1
    assert open_session(models.path("face")).run(None, frame.feed)[0].shape == (1, 3, 96, 96)


@pytest.mark.slow
def test_the_face_shows_a_reference_and_hides_the_lower_half_of_the_present_picture(frames):
    frame = frames["test"][30]
    reference, present = frame.face[:, :3], frame.face[:, 3:]
    assert np.array_equal(present[..., :48, :], frame.truth[..., :48, :])
    assert not present[..., 48:, :].any()
    assert np.array_equal(reference, frames["test"][31].face[:, :3])
    assert not np.array_equal(reference, frame.truth)


@pytest.mark.slow
def test_the_audio_is_the_conformers_output_around_the_moment(frames):
    first, ninth = frames["test"][0], frames["test"][8]
    vectors = open_session(models.path("conformer")).run(["encoder_out"], models.feed(first.sentence.samples))[0][0]
    assert np.allclose(ninth.audio[0], vectors[:16].T, atol=1e-5)
    assert np.allclose(first.audio[0, :, :9], vectors[:1].T, atol=1e-5)  # before the beginning, the first again


@pytest.mark.slow
def test_a_frame_belongs_to_each_vector_of_the_sentence(frames):
    frame = frames["test"][0]
    own = [other.number for other in frames["test"] if other.sentence is frame.sentence]
    assert own == list(range(len(frame.vectors)))


@pytest.mark.slow
def test_no_person_and_no_sentence_stands_in_two_sets(frames):
    people = [{frame.reference.tobytes() for frame in frames[split]} for split in face.SPLITS]
    sentences = [{frame.sentence.text for frame in frames[split]} for split in face.SPLITS]
    assert [len(each) for each in people] == [len(each) for each in sentences] == [16, 24]
    assert not people[0] & people[1]
    assert not sentences[0] & sentences[1]


@pytest.mark.slow
def test_the_network_was_trained_on_none_of_these_sentences():
    trained = set(face_set.texts())
    shipped = {said.text for split in ("calibration", "test", "unseen") for said in models.utterances(split)}
    assert len(trained) == face_set.SENTENCES
    assert not trained & shipped


@pytest.mark.slow
def test_the_network_was_trained_on_none_of_these_people():
    trained = {person.skin.tobytes() for person in face_set.people()}
    tested = {person.head.skin[0].tobytes() for split in face.SPLITS for person in face._people(split)}
    assert (len(trained), len(tested)) == (face_set.HEADS, 40)
    assert not trained & tested


@pytest.mark.slow
def test_half_of_the_test_speaks_with_voices_never_trained_on(frames):
    unseen = {utterance.voice for utterance in models.utterances("unseen")}
    voices = {frame.sentence: frame.sentence.voice in unseen for frame in frames["test"]}
    assert sorted(voices.values()) == [False] * 12 + [True] * 12


@pytest.mark.slow
def test_the_card_tells_how_good_the_mouths_are():
    figures = evaluate.face_figures()
    for name, found in figures.items():
        assert row_of_card(name) == pytest.approx(found, abs=0.02 if found[0] < 1 else 0.2), name
    psnr, silence, opening = (found[0] for found in figures.values())
    assert psnr >= 28
    assert psnr - silence >= 3
    assert opening >= 0.9


@pytest.mark.slow
def test_what_is_seen_is_kept(frames):
    session, chosen = open_session(models.path("face")), frames["test"][::60]
    painted = np.concatenate([session.run(None, frame.feed)[0] for frame in chosen])
    truth = np.concatenate([frame.truth for frame in chosen])
    assert -10 * np.log10(np.mean((painted - truth)[..., :48, :] ** 2)) > 30


@pytest.mark.slow
def test_psnr_of_the_truth_is_infinite_and_falls_by_6_db_when_the_error_doubles(frames):
    truth = frames["test"][3].truth
    assert models.mouth_psnr(truth, truth) == float("inf")
    one, two = (models.mouth_psnr(truth, truth + error) for error in (0.01, 0.02))
    assert one == pytest.approx(40, abs=0.01)
    assert one - two == pytest.approx(6.02, abs=0.01)


@pytest.mark.slow
def test_only_the_mouth_counts(frames):
    truth = frames["test"][3].truth
    elsewhere = truth.copy()
    elsewhere[..., :50, :] = 0
    assert models.mouth_psnr(truth, elsewhere) == float("inf")


def of_jaw(jaw, seed):
    """One drawn picture of a random head whose jaw is so far open."""
    pose = heads.at_rest()
    pose.mouth[:] = (jaw, 0.1, 0.5, 0.15, 0)
    return heads.draw(heads.stacked([heads.random_head(np.random.default_rng(seed))]), pose)


@settings(max_examples=20)
@given(st.integers(0, 10_000))
def test_the_opening_grows_with_the_jaw_for_every_skin_and_light(seed):
    closed, half, wide = (models.mouth_opening(of_jaw(jaw, seed))[0] for jaw in (0, 0.5, 1))
    assert closed < half < wide - 1.5


def test_heads_drawn_together_are_those_drawn_alone():
    people = [heads.random_head(np.random.default_rng(seed)) for seed in range(9)]
    together = heads.draw(heads.stacked(people), heads.at_rest(9))
    alone = np.concatenate([heads.draw(heads.stacked([one]), heads.at_rest()) for one in people])
    assert np.array_equal(together, alone)
    assert np.abs(heads.draw(heads.stacked(people), heads.at_rest(9), np.float32) - together).max() < 1e-4


def test_an_unknown_set_is_refused_with_the_names_that_exist():
    with pytest.raises(ValueError, match="no set of face frames 'unseen'; there are: calibration, test"):
        models.face_frames("unseen")


@pytest.mark.parametrize(
    ("picture", "says"),
    [
        (np.zeros((3, 64, 64)), r"\[\.\.\., 3, 96, 96\], got \(3, 64, 64\)"),
        (np.zeros((96, 96, 3)), r"got \(96, 96, 3\)"),
        (np.full((3, 96, 96), np.nan), "NaN or infinity"),
    ],
)
def test_pictures_of_another_shape_and_nan_are_refused(picture, says):
    with pytest.raises(ValueError, match=says):
        models.mouth_opening(picture)


def test_pictures_of_two_shapes_are_not_compared():
    with pytest.raises(ValueError, match="expected the same shape"):
        models.mouth_psnr(np.zeros((2, 3, 96, 96)), np.zeros((3, 96, 96)))


def test_the_model_and_all_data_stay_small():
    assert models.path("face").stat().st_size < 6e6
    kept = [path for path in files.DATA.rglob("*") if path.is_file() and "cache" not in path.parts]
    assert sum(path.stat().st_size for path in kept if "__pycache__" not in path.parts) < 45e6
