"""The data by name: every file is listed, small enough, and never written to. The digits: their split, and accuracy."""

import subprocess
import sys

import numpy as np
import pytest
from onnxruntime.quantization import quantize_dynamic

from qlab import files, models
from qlab.runtime import open_session


def test_an_unknown_model_is_refused_with_the_names_that_exist():
    with pytest.raises(ValueError, match="conformer, digits, face, conformer_full, face_unet_full"):
        models.path("resnet")


def test_the_models_are_there_without_matplotlib():
    code = "import sys; from qlab import models; print('matplotlib' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "False\n"


def test_every_shipped_file_has_its_hash_and_every_hash_its_file():
    shipped = {
        path.relative_to(files.DATA).as_posix()
        for pattern in ("models/*", "speech/*.tsv", "speech/*/*", "face/*", "machines/*")
        for path in files.DATA.glob(pattern)
        if path.is_file()
    }
    assert set(files.checksums()) == shipped
    for name in shipped:
        files.checked(name)


def test_the_speech_takes_at_most_30_mb_and_a_skeleton_less_than_one():
    assert sum(path.stat().st_size for path in files.DATA.glob("speech/**/*.flac")) < 30e6
    for name in models.FULL_SIZE:
        assert files.checked(f"models/{name}.onnx").stat().st_size < 1e6


def test_quantizers_that_write_beside_a_model_write_nowhere_near_the_courses(tmp_path):
    folder = files.DATA / "models"
    before, path = folder.stat().st_mtime_ns, models.path("digits")
    assert (path.name, path) == ("digits.onnx", models.path("digits"))
    quantize_dynamic(path, tmp_path / "int8.onnx")
    assert folder.stat().st_mtime_ns == before  # nothing was written there, not for a moment either
    assert models.path("face_unet_full").parent == path.parent


@pytest.fixture(scope="module")
def split():
    return models.digit_split()


def test_the_split_is_fixed_and_complete(split):
    x_train, y_train, x_test, y_test = split
    assert (x_train.shape, x_test.shape) == ((1198, 1, 8, 8), (599, 1, 8, 8))
    assert x_train.dtype == x_test.dtype == np.float32
    assert 0 <= x_train.min() < x_train.max() <= 1
    assert set(y_train) == set(y_test) == set(range(10))
    assert y_test[:8].tolist() == [2, 5, 8, 1, 4, 7, 0, 3]


def test_no_picture_stands_on_both_sides(split):
    x_train, _, x_test, _ = split
    assert not {x.tobytes() for x in x_train} & {x.tobytes() for x in x_test}


def test_the_model_recognizes_the_held_out_third_as_the_card_says(split):
    _, _, x, y = split
    right = open_session(models.path("digits")).run(None, {"images": x})[0].argmax(1) == y
    assert right.mean() >= 0.985
    assert f"{100 * right.mean():.2f} %" in files.DATA.joinpath("README.md").read_text(encoding="utf-8")
