"""Types that the public face shares, for editors and type checkers."""

import os
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Literal, Protocol

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]
Floats = npt.NDArray[np.float32]
ModelPath = str | os.PathLike[str]
DType = npt.DTypeLike  # of codes, "int4" and its like among them
Feed = Mapping[str, npt.ArrayLike]  # {name of an input: array}
Names = Sequence[str]
Method = Literal["minmax", "moving_average", "percentile", "mse", "entropy"]
RangesOf = Mapping[str, tuple[Any, Any]]  # {tensor: (min, max)}
CodeType = Literal["uint8", "int8"]


class CalibrationReader(Protocol):
    """What onnxruntime calls a CalibrationDataReader: it gives a feed a call, then None."""

    def get_next(self) -> Feed | None:
        """The next feed, or None behind the last."""
        ...


class Session(Protocol):
    """An onnxruntime.InferenceSession, or what runs feeds as it does."""

    def run(self, output_names: Names | None, input_feed: Feed) -> Sequence[Any]:
        """The outputs asked for, or all of them."""
        ...


Reader = Iterable[Feed] | CalibrationReader
Feeds = Feed | Reader  # one, or several
