"""The filled skeletons in the cache, and inputs for them."""

import hashlib

import numpy as np
import onnx

from qlab.models.catalog import checked
from qlab.models.kept import kept
from qlab.types import Array

SEED = 2024


def filled_path(name):
    """Path of the skeleton `name` with its weights, made once (a second or two) and cached outside the repository.

    The cached file's name holds the hash of skeleton and seed.
    """
    bare = checked(f"models/{name}.onnx").read_bytes()
    key = hashlib.sha256(bare + f"seed {SEED}, format 1".encode()).hexdigest()[:16]

    def make():
        from qlab.models import skeletons  # with it comes qlab.graph, and matplotlib, which writes a list of fonts

        model = onnx.load_from_string(bare)
        skeletons.fill(model, SEED)
        return model.SerializeToString(deterministic=True)

    return kept(f"{name}-{key}.onnx", make)


def example_feed(name: str, *, frames: int = 250) -> dict[str, Array]:
    """A feed of the right shapes for a full-size model, {input: array}: noise, the same every time.

    "conformer_full": speech [1, frames, 80], one frame every 10 ms. "face_unet_full": audio and face.
    """
    rng = np.random.default_rng(SEED)
    if name == "conformer_full":
        speech = rng.standard_normal((1, frames, 80)).astype(np.float32)
        return {"speech": speech, "speech_lengths": np.array([frames], np.int64)}
    if name == "face_unet_full":
        shapes = {"audio": (1, 128, 16, 32), "face": (1, 6, 160, 160)}
        return {key: rng.random(shape, np.float32) for key, shape in shapes.items()}
    raise ValueError(f"expected 'conformer_full' or 'face_unet_full', got {name!r}")
