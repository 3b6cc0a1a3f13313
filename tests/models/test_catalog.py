"""The data by name: verified when opened, and refused with the way to restore them."""

import hashlib

import pytest
from onnxruntime.quantization import quantize_dynamic

from qlab import models
from qlab.models import catalog


@pytest.fixture
def shelf(tmp_path, monkeypatch):
    """A data folder with one good file, one altered and one missing."""
    (tmp_path / "models").mkdir()
    lines = []
    for name in ("good", "altered", "missing"):
        lines.append(f"{hashlib.sha256(name.encode()).hexdigest()}  models/{name}.onnx\n")
        (tmp_path / f"models/{name}.onnx").write_text(name)
    (tmp_path / "models/altered.onnx").write_text("something else")
    (tmp_path / "models/missing.onnx").unlink()
    (tmp_path / "models/stranger.onnx").write_text("not listed")
    (tmp_path / "SHA256SUMS").write_text("".join(lines))
    monkeypatch.setattr(catalog, "DATA", tmp_path)
    catalog._checksums.cache_clear()
    yield tmp_path
    catalog._checksums.cache_clear()


def test_a_file_with_the_right_hash_opens(shelf):
    assert catalog.checked("models/good.onnx") == shelf / "models/good.onnx"


def test_an_altered_file_is_named_with_both_hashes_and_how_to_restore_it(shelf):
    with pytest.raises(
        ValueError, match=r"altered\.onnx was altered: its sha256 .* `git checkout -- data/models/altered"
    ):
        catalog.checked("models/altered.onnx")


def test_a_missing_file_is_named_with_how_to_restore_it(shelf):
    with pytest.raises(FileNotFoundError, match=r"missing\.onnx is missing: restore it with `git checkout"):
        catalog.checked("models/missing.onnx")


def test_a_file_that_the_listing_does_not_know_is_refused(shelf):
    with pytest.raises(ValueError, match="not listed"):
        catalog.checked("models/stranger.onnx")


def test_a_missing_listing_is_named(shelf):
    (shelf / "SHA256SUMS").unlink()
    with pytest.raises(FileNotFoundError, match="SHA256SUMS is missing"):
        catalog.checked("models/good.onnx")


def test_an_unknown_model_is_refused_with_the_names_that_exist():
    with pytest.raises(ValueError, match="conformer, digits, face, conformer_full, face_unet_full"):
        models.path("resnet")


def test_every_shipped_file_has_its_hash_and_every_hash_its_file():
    shipped = {
        path.relative_to(catalog.DATA).as_posix()
        for pattern in ("models/*", "speech/*.tsv", "speech/*/*", "face/*")
        for path in catalog.DATA.glob(pattern)
        if path.is_file()
    }
    assert set(catalog._checksums()) == shipped
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
