"""The scripts that make everything in data/: run `make data`."""

from pathlib import Path

import qlab  # noqa: F401 - switches onnxruntime's telemetry off before a script here imports onnxruntime

CACHE = Path(__file__).parent / "cache"
