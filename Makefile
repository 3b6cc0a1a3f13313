# Quantization Lab. Each target sets up what it needs; works with GNU make 3.81 (macOS) and newer.
#
#   make lab        open the course in JupyterLab      LAB_ARGS="--no-browser --port=8899" passes options on
#   make update     git pull; what you changed or ran stays, in my-notebooks/
#   make copies     bring my-notebooks/ up to date, for another editor than JupyterLab
#   make test       run every test, on every core      TEST_ARGS="-n0 -k calibration" passes options on
#   make test-big   run the tests on a model of more than 2 GB: 12 GB of memory and of disk, 5 minutes
#   make test-fast  run the tests that take under a minute
#   make notebooks  re-execute and clean notebooks     NOTEBOOKS="notebooks/00_the_puzzle.ipynb" chooses
#   make data       build the models and the speech again, from nothing (hours)
#   make bench      measure, and print, what tests must not depend on
#   make lock       resolve requirements.lock again from pyproject.toml
#   make clean      remove the environments, the caches and what was built (not your progress, nor your notebooks)
#
# PYTHON=/path/to/python3.12 chooses the interpreter for the environment.

LAB_ARGS =
TEST_ARGS =
NOTEBOOKS =
PYTHON_IN_VENV = .venv/bin/python
ON_EVERY_CORE = -n logical --maxprocesses 8
SETUP = PYTHON="$(PYTHON)" sh .ci/setup

# onnxruntime sends telemetry unless this is set when it is imported, which a notebook may do before it imports qlab.
ifneq ($(ORT_DISABLE_TELEMETRY),0)
export ORT_DISABLE_TELEMETRY = 1
endif

.PHONY: help setup lab update copies test test-fast test-big browser notebooks data bench lock clean

help:
	@sed -n 's/^#   //p' Makefile

setup:
	@$(SETUP) .venv

lab: setup
	@$(PYTHON_IN_VENV) .jupyter/lab.py $(LAB_ARGS)

copies: setup
	@$(PYTHON_IN_VENV) .jupyter/copies.py

update: setup
	@$(PYTHON_IN_VENV) .jupyter/copies.py update

test: setup browser
	@$(PYTHON_IN_VENV) -m pytest $(ON_EVERY_CORE) $(TEST_ARGS)

test-fast: setup
	@$(PYTHON_IN_VENV) -m pytest $(ON_EVERY_CORE) -m "not slow and not notebook and not browser" $(TEST_ARGS)

test-big: setup
	@QLAB_BIG=1 $(PYTHON_IN_VENV) -m pytest tests/recipes/test_big.py $(TEST_ARGS)

browser:
	@sh .ci/browser

notebooks: setup
	@$(PYTHON_IN_VENV) .ci/notebooks.py $(NOTEBOOKS)

data:
	@command -v espeak-ng >/dev/null && command -v flite >/dev/null || sh .ci/apt espeak-ng flite || \
		{ echo "data: espeak-ng and flite speak the sentences: install both (Debian: apt install espeak-ng flite)" >&2; exit 1; }
	@$(SETUP) .venv-data data/build/requirements.txt
	@.venv-data/bin/python -m data.build

bench: setup
	@status=0; for file in tests/bench/bench_*.py; do \
		$(PYTHON_IN_VENV) -m "tests.bench.$$(basename "$$file" .py)" || status=1; \
	done; exit $$status

lock: setup
	@test -x .venv-lock/bin/uv || { $(PYTHON_IN_VENV) -m venv .venv-lock && .venv-lock/bin/python -m pip install --quiet uv; }
	@.venv-lock/bin/uv pip compile --quiet --universal --generate-hashes --no-emit-index-url --no-header \
		--fork-strategy fewest --extra dev pyproject.toml -o requirements.lock

clean:
	rm -rf .venv .venv-data .venv-lock .artifacts .pytest_cache .ruff_cache .hypothesis build ./*.egg-info
	find . \( -name .git -o -name my-notebooks \) -prune -o \( -name __pycache__ -o -name .ipynb_checkpoints \) -prune -exec rm -rf {} +
