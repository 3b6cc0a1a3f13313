"""The one limit for a run that hangs. No test has a limit of its own, and none asserts how long anything took.

A busy or a small machine is many times slower than the one on which a limit would be chosen.
"""

import faulthandler
import os
import sys
import time

from hypothesis import HealthCheck, settings

RUN_LIMIT_S = 2 * 60 * 60
WAIT_LIMIT_S = RUN_LIMIT_S / 12  # for one thing that must come: what never comes fails before the whole run is ended
_REPORT_S = 60  # by which the process that starts xdist's workers outlives them, so that they say where they stand

_started = time.monotonic()
_stderr = None  # as it was before pytest captured it


def end_what_hangs():
    """Print where every thread of this process stands, and end it, when the limit of the whole run has passed.

    To be called again after each exception: at the first one, pytest's own plugin calls off whatever would end it.
    """
    global _stderr
    if _stderr is None and sys.__stderr__ is not None:
        _stderr = os.dup(sys.__stderr__.fileno())
    if _stderr is not None:
        limit = RUN_LIMIT_S + (0 if "PYTEST_XDIST_WORKER" in os.environ else _REPORT_S)
        left = max(1, _started + limit - time.monotonic())
        faulthandler.dump_traceback_later(left, exit=True, file=_stderr)


def give_examples_time():
    """Hypothesis has limits of its own: for an example, and for drawing some. Here it has none, in any test."""
    settings.register_profile("patient", deadline=None, suppress_health_check=[HealthCheck.too_slow])
    settings.load_profile("patient")
