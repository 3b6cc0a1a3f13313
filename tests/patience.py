"""The one limit for a run that hangs. No test has a limit of its own, and none asserts how long anything took.

A busy or a small machine is many times slower than the one on which a limit would be chosen.
"""

import faulthandler
import os
import sys

RUN_LIMIT_S = 2 * 60 * 60
WAIT_LIMIT_S = RUN_LIMIT_S / 12  # for one thing that must come: what never comes fails before the whole run is ended


def end_what_hangs():
    """Print where every thread of this process stands, and end it, when the limit of the whole run has passed."""
    if sys.__stderr__ is not None:
        faulthandler.dump_traceback_later(RUN_LIMIT_S, exit=True, file=os.dup(sys.__stderr__.fileno()))
