"""Keep onnxruntime's tools from writing to the reader's screen, and hear what they say."""

import logging
from contextlib import contextmanager

import onnxruntime

SILENT, USUAL = 4, 2  # onnxruntime's levels: fatal errors only, and warnings, its default (which it does not tell)


@contextmanager
def captured_logs():
    """A list that fills with the log records of the block, from warnings up, instead of the screen."""
    records = []
    handler = logging.Handler(logging.WARNING)
    handler.emit = records.append
    root = logging.getLogger()
    handlers = root.handlers[:]
    root.handlers[:] = [handler]
    onnxruntime.set_default_logger_severity(SILENT)
    try:
        yield records
    finally:
        onnxruntime.set_default_logger_severity(USUAL)
        root.handlers[:] = handlers
