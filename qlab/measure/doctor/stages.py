"""Say what is going on, where it takes long enough to wonder."""

import sys
import threading
from contextlib import contextmanager

from tqdm import tqdm

PATIENCE_S = 3.0


@contextmanager
def stage(what, *, patience_s=PATIENCE_S):
    """Write `what` on stderr if the block takes longer than `patience_s` seconds, above any bar that is shown there."""
    timer = threading.Timer(patience_s, tqdm.write, [f"{what} ..."], {"file": sys.stderr})
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()
