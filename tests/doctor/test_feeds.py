"""The file of feeds: what its keys mean, and what is wrong with those that are none."""

import struct
import zipfile

import numpy as np
import pytest

from qlab.doctor import feeds as feeding
from qlab.doctor.feeds import Feeds, feeds_for, read_feeds
from qlab.runtime import open_session
from tests.builders import blocks
from tests.builders.blocks import FLOAT, node, save, value

FEED = blocks.conformer_feed()


@pytest.fixture
def dotted(tmp_path):
    """A model whose inputs are called x and x.0."""
    inputs = [value(name, FLOAT, ["n"]) for name in ("x", "x.0")]
    nodes = [node("Add", ["x", "x.0"], ["y"])]
    return save(tmp_path / "dotted.onnx", nodes, inputs, [value("y", FLOAT, ["n"])], {})


def test_an_array_for_each_input_is_one_feed(fp32, tmp_path):
    np.savez(tmp_path / "one.npz", **FEED)
    (feed,) = read_feeds(tmp_path / "one.npz", fp32)
    assert set(feed) == set(FEED)
    np.testing.assert_array_equal(feed["speech"], FEED["speech"])


def test_numbers_tell_several_feeds_apart_in_their_order(fp32, feeds_file):
    feeds = [blocks.conformer_feed(frames) for frames in range(20, 32)]
    read = read_feeds(feeds_file(feeds), fp32)
    assert [feed["speech"].shape[1] for feed in read] == list(range(20, 32))


def test_an_input_whose_own_name_ends_in_a_number_keeps_working(dotted, tmp_path):
    x, y = np.float32([1, 2]), np.float32([3, 4])
    np.savez(tmp_path / "one.npz", **{"x": x, "x.0": y})
    (feed,) = read_feeds(tmp_path / "one.npz", dotted)
    np.testing.assert_array_equal(feed["x.0"], y)
    np.savez(tmp_path / "two.npz", **{"x.1": x, "x.0.1": y, "x.2": y, "x.0.2": x})
    first, second = read_feeds(tmp_path / "two.npz", dotted)
    np.testing.assert_array_equal(first["x.0"], y)
    np.testing.assert_array_equal(second["x.0"], x)


def test_an_input_with_a_default_may_be_fed(tmp_path):
    inputs = [value("x", FLOAT, ["n"]), value("gain", FLOAT, [1])]
    nodes, gain = [node("Mul", ["x", "gain"], ["y"])], {"gain": np.float32([2])}
    path = save(tmp_path / "gain.onnx", nodes, inputs, [value("y", FLOAT, ["n"])], gain)
    np.savez(tmp_path / "both.npz", x=np.float32([1]), gain=np.float32([3]))
    np.savez(tmp_path / "x.npz", x=np.float32([1]))
    assert set(read_feeds(tmp_path / "both.npz", path)[0]) == {"x", "gain"}
    assert set(read_feeds(tmp_path / "x.npz", path)[0]) == {"x"}


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"speech": FEED["speech"]}, r"bad\.npz: feed has \['speech'\]; .*missing: \['speech_lengths'\]"),
        (FEED | {"noise": np.zeros(3)}, r"bad\.npz has an array 'noise', which is no input of conformer\.onnx;"),
        (FEED | {"speech.x": np.zeros(3)}, r"has an array 'speech\.x', which is no input"),
        (FEED | {"speech.01": np.zeros(3)}, r"has an array 'speech\.01', which is no input"),
        (FEED | {"speech.1": np.zeros(3)}, r"has \['speech', 'speech_lengths'\] without a number, and feeds \[1\]"),
        ({"speech.3": FEED["speech"]}, r"bad\.npz, feed 3: feed has \['speech'\].*missing"),
        (FEED | {"speech": np.zeros((1, 9, 32))}, r"feed\['speech'\] is float64; .* takes float32"),
        (FEED | {"speech": np.zeros((1, 9, 31), np.float32)}, r"shape \(1, 9, 31\); .* takes \[batch, frames, 32\]"),
        (FEED | {"speech": np.full((1, 9, 32), np.nan, np.float32)}, "NaN or infinite"),
        (FEED | {"speech": np.array([{}])}, r"bad\.npz is no \.npz file of plain arrays \(Object arrays"),
        ({}, r"bad\.npz holds no array; write it with np\.savez"),
    ],
)
def test_a_file_of_wrong_arrays_is_refused_with_what_is_wrong(arrays, message, fp32, tmp_path):
    np.savez(tmp_path / "bad.npz", **arrays)
    with pytest.raises(ValueError, match=message):
        read_feeds(tmp_path / "bad.npz", fp32)


def test_what_is_no_npz_file_is_refused(fp32, tmp_path, feeds_file):
    whole = feeds_file([FEED]).read_bytes()
    files = {"empty": b"", "text": b"speech = 3\n", "cut": whole[:-200], "damaged": whole[:300] + b"!!" + whole[302:]}
    for name, content in files.items():
        (tmp_path / name).write_bytes(content)
        with pytest.raises(ValueError, match=rf"{name} is no \.npz file of plain arrays .*; make it with np\.savez\("):
            read_feeds(tmp_path / name, fp32)
    np.save(tmp_path / "one.npy", FEED["speech"])
    with pytest.raises(ValueError, match=r"one\.npy is no \.npz file .*it is one array without a name"):
        read_feeds(tmp_path / "one.npy", fp32)
    with zipfile.ZipFile(tmp_path / "other.zip", "w") as archive:
        archive.writestr("speech", "hello")
    with pytest.raises(ValueError, match=r"other\.zip holds \['speech'\], no arrays"):
        read_feeds(tmp_path / "other.zip", fp32)


def test_a_file_that_is_not_there_is_missed_by_name(fp32, tmp_path):
    with pytest.raises(
        FileNotFoundError, match=r"gone\.npz: no such file of feeds; make it with np\.savez\('gone\.npz'"
    ):
        read_feeds(tmp_path / "gone.npz", fp32)


@pytest.mark.parametrize(
    ("count", "measured", "calibration"),
    [(1, [0], [0]), (4, [0], [0, 1, 2, 3]), (5, [0], [1, 2, 3, 4]), (10, [0, 1], list(range(2, 10)))],
)
def test_from_five_feeds_on_those_that_measure_do_not_calibrate(count, measured, calibration):
    feeds = Feeds(list(range(count)), None, {})
    assert (feeds.measured, feeds.calibration) == (measured, calibration)
    assert feeds.held_out is (count >= 5)


def test_four_feeds_are_the_most_to_measure_on():
    feeds = Feeds(list(range(100)), None, {})
    assert (len(feeds.measured), len(feeds.calibration)) == (4, 96)


def test_without_a_file_feeds_are_invented_and_the_declared_shapes_are_kept(fp32):
    feeds = feeds_for(fp32, open_session(fp32))
    assert feeds.source is None
    assert len(feeds.feeds) == 8
    assert feeds.declared == {"speech": ["batch", "frames", 32], "speech_lengths": ["batch"]}
    assert feeds.feeds[0]["speech_lengths"].dtype == np.int64


def test_feeds_without_a_number_in_them_are_refused(tmp_path):
    model = blocks.linear(tmp_path)
    (value,) = open_session(model).get_inputs()
    np.savez(tmp_path / "empty.npz", **{value.name: np.zeros((0, value.shape[-1]), np.float32)})
    with pytest.raises(ValueError, match=r"gives nothing for feed 0 of .*empty\.npz: it holds no numbers in"):
        feeds_for(model, open_session(model), tmp_path / "empty.npz")


def test_an_array_saved_alone_is_told_what_file_to_make(fp32, tmp_path):
    np.save(tmp_path / "one.npy", np.ones(3))
    with pytest.raises(ValueError, match=r"make it with np\.savez\('one\.npz', \*\*feed\)"):
        read_feeds(tmp_path / "one.npy", fp32)


def npz(path, header, content=bytes(256), name="speech.npy", flags=0):
    """An .npz file of one array whose header says what it likes."""
    header = header.encode() + b" " * (63 - (10 + len(header)) % 64) + b"\n"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(name, b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header + content)
    if flags:
        whole = bytearray(path.read_bytes())
        whole[6] |= flags
        whole[whole.find(b"PK\x01\x02") + 8] |= flags
        path.write_bytes(whole)
    return path


@pytest.mark.parametrize(
    ("header", "says"),
    [
        (
            "{'descr': '<f4', 'fortran_order': False, 'shape': (1099511627776,), }",
            "header promises 4,398,046,511",
        ),
        (f"{{'descr': '<f4', 'fortran_order': False, 'shape': ({2**80},), }}", "header promises"),
        ("{'descr': '<f4', 'fortran_order': False, 'shape': (-64,), }", "header promises|negative"),
        ("{'descr': '|O', 'fortran_order': False, 'shape': (32,), }", "Object arrays"),
        ("(" * 200, "no .npz file of plain arrays"),
        ("{'descr': '<f4'}", "no .npz file of plain arrays"),
        ("{'descr': [], 'fortran_order': False, 'shape': (1,), }", "no .npz file|bytes"),
        ("1" * 20_000, "no .npz file of plain arrays"),
    ],
)
def test_a_header_is_checked_before_anything_is_allocated(header, says, fp32, tmp_path):
    with pytest.raises(ValueError, match=rf"(?s)a\.npz.*({says}).*make it with np\.savez"):
        read_feeds(npz(tmp_path / "a.npz", header), fp32)


def test_an_encrypted_file_is_no_file_of_feeds(fp32, tmp_path):
    header = "{'descr': '<f4', 'fortran_order': False, 'shape': (1, 2, 32), }"
    with pytest.raises(ValueError, match=r"no \.npz file of plain arrays .*encrypted"):
        read_feeds(npz(tmp_path / "a.npz", header, flags=1), fp32)


@pytest.mark.parametrize(
    ("shape", "dtype", "says"),
    [
        ((1, 2**12, 32), np.float64, r"is float64; .* takes float32"),
        ((1, 2**14, 33), np.float32, r"shape \(1, 16384, 33\); .* takes"),
        ((2**14, 32), np.float32, r"shape \(16384, 32\); .* takes"),
        ((2**11, 32, 32), np.float32, r"GB of arrays; a dozen feeds do"),
    ],
)
def test_what_does_not_fit_the_model_is_never_read(shape, dtype, says, fp32, tmp_path, monkeypatch):
    path, zeros = tmp_path / "zeros.npz", bytes(2**16)
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive, archive.open("speech.npy", "w") as file:
        stand_in = np.broadcast_to(np.zeros((), dtype), shape)
        np.lib.format.write_array_header_1_0(file, np.lib.format.header_data_from_array_1_0(stand_in))
        for _ in range(stand_in.size * stand_in.itemsize // len(zeros)):
            file.write(zeros)
    np.savez(tmp_path / "lengths.npz", speech_lengths=np.int64([1]))
    with zipfile.ZipFile(tmp_path / "lengths.npz") as other, zipfile.ZipFile(path, "a") as archive:
        archive.writestr("speech_lengths.npy", other.read("speech_lengths.npy"))
    monkeypatch.setattr(feeding, "MOST_BYTES", 5e6)
    monkeypatch.setattr(np, "load", lambda *_, **__: pytest.fail("it was read"))
    with pytest.raises(ValueError, match=says):
        read_feeds(path, fp32)


def test_feeds_of_the_other_byte_order_are_read_as_the_numbers_that_they_are(fp32, tmp_path):
    np.savez(
        tmp_path / "big.npz", **{name: array.astype(array.dtype.newbyteorder(">")) for name, array in FEED.items()}
    )
    (feed,) = read_feeds(tmp_path / "big.npz", fp32)
    for name, array in FEED.items():
        assert feed[name].dtype.isnative
        np.testing.assert_array_equal(feed[name], array)
