"""The one cache folder, and where a machine card comes from: measured, remembered there, or a reference card."""

import hashlib
import json
import os
from contextlib import suppress
from functools import cache
from pathlib import Path

from qlab.files import DATA, checked, write_whole
from qlab.machine.card import Card, cpu_fingerprint

REFERENCE_FOLDER = DATA / "machines"


def card(name: str | Card | None = None) -> Card:
    """The machine card of this machine, or the reference card called `name`; a Card is returned as it is.

    Without a name: measured in under 5 s the first time, then read from `cache_folder()`. A cached card belongs to one
    CPU and one version of the runtime; on another CPU, with another onnxruntime or from a damaged file it is measured.
    With a name: read from data/machines/, to explain another machine's figures beside one's own. `QLAB_CARD`, the name
    of a reference card or a card's file, stands in for this machine's card: notebooks then speak of that machine.
    Raises FileNotFoundError if no such card is there, ValueError for what is no name, or a file that holds no card.
    """
    if isinstance(name, Card):
        return name
    if name is not None:
        return _reference(name)
    if configured := os.environ.get("QLAB_CARD"):
        return _configured(configured)
    paths = [folder / cached_name() for folder in _cache_folders()]
    for path in paths:
        with suppress(OSError, ValueError):  # none yet, unreadable, or damaged: all three are mended by measuring
            return Card.from_json(path.read_text(encoding="utf-8"))
    measured = _measure()
    _remember(measured, paths[-1])
    return measured


def reference_cards() -> list[str]:
    """Names of the reference cards, which `card` takes."""
    return sorted(file.stem for file in REFERENCE_FOLDER.glob("*.json"))


def cache_folder() -> Path:
    """The one folder, created if need be, where qlab keeps what is costly to make: cards, filled models, int8 models.

    `QLAB_CACHE` names it; otherwise it is "quantization-lab" in the platform's own cache folder for this user. One that
    belongs to somebody else serves what it holds, see `cached`; what is made here goes to the platform's own.
    """
    return _cache_folders()[-1]


def cached(name: str) -> Path:
    """Path of the cached file `name`: in a cache that another user shares, if it is there, else in one's own."""
    paths = [folder / name for folder in _cache_folders()]
    return next((path for path in paths if path.exists()), paths[-1])


def _cache_folders():
    """Where to look, the folder to write into last."""
    configured = os.environ.get("QLAB_CACHE")
    try:
        folder = Path(configured).expanduser() if configured else _platforms_own()
        folder.mkdir(parents=True, exist_ok=True)
        if not _is_ones_own(folder):
            _platforms_own().mkdir(parents=True, exist_ok=True)
            return [folder, _platforms_own()]
    except (OSError, RuntimeError) as error:  # RuntimeError: no such user behind ~
        raise ValueError(f"cannot make the cache folder ({error}); set QLAB_CACHE to one you may write") from error
    return [folder]


def _platforms_own():
    from platformdirs import user_cache_path

    return user_cache_path("quantization-lab", appauthor=False)


def _is_ones_own(folder):
    """Whether this user owns it: what is written into another's folder could be changed by them."""
    return not hasattr(os, "getuid") or folder.stat().st_uid == os.getuid()


@cache  # also where the cache folder cannot be written: a card that changed between two calls would confuse
def _measure():
    from qlab.machine import probes  # loads onnx and onnxruntime, which reading a card does not need

    return probes.measure()


def cached_name():
    import numpy
    import onnxruntime

    from qlab.runtime import usable_cores

    parts = {
        "format": Card.FORMAT,
        "cpu": cpu_fingerprint(),
        "cores": usable_cores(),
        "onnxruntime": onnxruntime.__version__,
        "numpy": numpy.__version__,
    }
    digest = hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()
    return f"machine-{digest[:16]}.json"


def _remember(measured, path):
    """Keep the card for other processes. Where that fails, it lasts for this one."""
    with suppress(OSError, ValueError):
        write_whole(path, measured.to_json())


def _configured(value):
    """The card that QLAB_CARD names: a file, or a reference card."""
    if not value.endswith(".json"):
        return _reference(value)
    try:
        return Card.from_json(Path(value).expanduser().read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise FileNotFoundError(f"QLAB_CARD is {value}: no such file; unset it to measure this machine") from None
    except (OSError, RuntimeError, ValueError) as error:
        raise ValueError(f"QLAB_CARD is {value}: {error}; unset it to measure this machine") from error


def _reference(name):
    if not isinstance(name, str):
        raise ValueError(f"card is {name!r}; expected a machine card, the name of a reference card, or None")
    known = reference_cards()
    if name not in known:
        what = f"there are: {', '.join(known)}" if known else f"{REFERENCE_FOLDER} holds none"
        raise FileNotFoundError(
            f"no reference machine card {name!r}: {what}. The cards come with the course's repository, not with the "
            "wheel: work from a clone, or restore them there with `git checkout -- data/machines`"
        )
    return Card.from_json(checked(f"machines/{name}.json").read_text(encoding="utf-8"))
