"""The scripts that make everything in data/: run `make data`."""

from pathlib import Path

CACHE = Path(__file__).parent / "cache"
