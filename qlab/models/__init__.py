"""What the course quantizes: trained models and full-size skeletons by name, speech, digits.

>>> from qlab import models
>>> models.path("digits").name
'digits.onnx'

Trained: "conformer" (speech to words), "digits", and "face" (speech and half a picture to a face that talks). Full
size, random weights, latency only: "conformer_full" and "face_unet_full".
"""

from pathlib import Path

from qlab.files import checked
from qlab.models.catalog import digit_split, lent
from qlab.models.face import Frame, face_frames, mouth_opening, mouth_psnr
from qlab.models.full_size import example_feed, filled_path
from qlab.models.speech import Utterance, features, feed, transcribe, units, utterances, wer, word_errors

__all__ = [
    "NAMES", "Frame", "Utterance", "digit_split", "example_feed", "face_frames", "features", "feed", "mouth_opening",
    "mouth_psnr", "path", "transcribe", "units", "utterances", "wer", "word_errors",
]  # fmt: skip

TRAINED = ("conformer", "digits", "face")
FULL_SIZE = ("conformer_full", "face_unet_full")
NAMES = TRAINED + FULL_SIZE


def path(name: str) -> Path:
    """Path of the .onnx called `name`, one of `NAMES`: its sha256 verified; a full-size one filled from its seed.

    It lies in a folder of this process's own, in which others' quantizers may write beside it.
    Raises ValueError for another name or an altered file, FileNotFoundError for a missing one.
    """
    if name in TRAINED:
        return lent(checked(f"models/{name}.onnx"))
    if name in FULL_SIZE:
        return lent(filled_path(name))
    raise ValueError(f"there is no model {name!r}; there are: {', '.join(NAMES)}")
