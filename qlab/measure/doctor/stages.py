"""Say what is going on, where it takes long enough to wonder."""

import sys
import threading
import time
from contextlib import contextmanager

from tqdm import tqdm

PATIENCE_S = 3.0


class _Silence:
    """Since when, in seconds of time.monotonic, nothing was said; None where nobody is waiting."""

    since = None


@contextmanager
def waiting():
    """While somebody waits, several quick stages in a row count as one silence: each gets only the patience left."""
    _Silence.since = time.monotonic()
    try:
        yield
    finally:
        _Silence.since = None


@contextmanager
def stage(what, *, patience_s=PATIENCE_S):
    """Write `what` on stderr after `patience_s` seconds without a word, above any bar that is shown there."""

    def say():
        tqdm.write(f"{what} ...", file=sys.stderr)
        if _Silence.since is not None:
            _Silence.since = time.monotonic()

    silent_s = 0.0 if _Silence.since is None else time.monotonic() - _Silence.since
    timer = threading.Timer(max(0.0, patience_s - silent_s), say)
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()
