# Two commands set everything up on a fresh machine:
#   make demo   installs the program and shows it at work on simulated particles
#   make test   installs the test tools too and runs the suite

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# Modules are compiled as they are first imported: of all that is installed few are. They are
# kept, whatever is the habit here: else every process would compile them anew.
unexport PYTHONDONTWRITEBYTECODE
# Of pyright: two are sooner ready, one costs less.
THREADS := 2
# Which tests `make test` runs.
TESTS := not slow and not gpu
INSTALL := $(BIN)/python -m pip install --quiet --no-compile --constraint constraints.txt

.PHONY: demo test check lint format types layers acceptance gpu-test fix clean

demo: $(VENV)/.analysis
	$(BIN)/cryodrgn demo -o demo
	@echo 'In the browser: $(BIN)/cryodrgn dashboard demo/00_vae32_z1'

test: $(VENV)/.test
	$(BIN)/python -m pytest -n auto --dist worksteal -m "$(TESTS)" --durations=10

check: lint format types layers

lint: $(VENV)/.test
	$(BIN)/ruff check

format: $(VENV)/.test
	$(BIN)/ruff format --check

types: $(VENV)/.test
	$(BIN)/pyright --threads $(THREADS)

layers: $(VENV)/.test
	$(BIN)/lint-imports

# Whole runs that take minutes, and what needs the acceptance data, which is skipped without:
# CRYODRGN_ACCEPTANCE=/path/to/data make acceptance
acceptance: $(VENV)/.test
	$(BIN)/python -m pytest -n auto --maxschedchunk 1 -m "slow or acceptance" --durations=10

# Every command on the GPU of this machine beside the processor; DEVICE=cpu tries the suite itself.
gpu-test: $(VENV)/.test
	$(BIN)/python -m pytest -m gpu -rs tests/gpu tests/benchmarking --durations=10

fix: $(VENV)/.test
	$(BIN)/ruff check --fix
	$(BIN)/ruff format

clean:
	rm -rf $(VENV)

$(BIN)/python:
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed, e.g. make PYTHON=python3.12")'
	$(PYTHON) -m venv $(VENV)

$(VENV)/.analysis: $(BIN)/python pyproject.toml constraints.txt
	$(INSTALL) --editable '.[analysis,dashboard]'
	touch $@

$(VENV)/.test: $(BIN)/python pyproject.toml constraints.txt
	$(INSTALL) --editable '.[test]'
	touch $@
