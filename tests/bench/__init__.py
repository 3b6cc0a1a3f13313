"""Programs that measure what tests must not depend on: run `make bench`."""

import qlab  # noqa: F401 - switches onnxruntime's telemetry off before a program here imports onnxruntime
