"""The data by name: every file is listed, small enough, and never written to."""

import pytest
from onnxruntime.quantization import quantize_dynamic

from qlab import files, models
from qlab.models import catalog


def test_an_unknown_model_is_refused_with_the_names_that_exist():
    with pytest.raises(ValueError, match="conformer, digits, face, conformer_full, face_unet_full"):
        models.path("resnet")


def test_every_shipped_file_has_its_hash_and_every_hash_its_file():
    shipped = {
        path.relative_to(catalog.DATA).as_posix()
        for pattern in ("models/*", "speech/*.tsv", "speech/*/*", "face/*", "machines/*")
        for path in catalog.DATA.glob(pattern)
        if path.is_file()
    }
    assert set(files.checksums()) == shipped
    for name in shipped:
        catalog.checked(name)


def test_the_speech_takes_at_most_30_mb_and_a_skeleton_less_than_one():
    assert sum(path.stat().st_size for path in catalog.DATA.glob("speech/**/*.flac")) < 30e6
    for name in models.FULL_SIZE:
        assert catalog.checked(f"models/{name}.onnx").stat().st_size < 1e6


def test_quantizers_that_write_beside_a_model_write_nowhere_near_the_courses(tmp_path):
    folder = catalog.DATA / "models"
    before, path = folder.stat().st_mtime_ns, models.path("digits")
    assert (path.name, path) == ("digits.onnx", models.path("digits"))
    quantize_dynamic(path, tmp_path / "int8.onnx")
    assert folder.stat().st_mtime_ns == before  # nothing was written there, not for a moment either
    assert models.path("face_unet_full").parent == path.parent
