# Every target sets up what it needs: a virtual environment with pinned, hash-checked dependencies.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready

.PHONY: demo test bench chaos lint types format lock clean

demo: $(READY) ## read real prose, kill the writer, back up, verify, and print what was measured
	$(BIN)/keepdb demo

test: $(READY) ## all tests, short versions of the long suites included
	$(BIN)/python -m pytest -n 2

bench: $(READY) ## measure; prints a table and writes benchmarks/latest.json
	$(BIN)/python -m benchmarks

chaos: $(READY) ## kill every actor 20 times under load and check that nothing was lost
	$(BIN)/python -m tests.chaos kills --rounds 20

lint: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(READY)
	$(BIN)/mypy
	$(BIN)/mypy tests benchmarks

format: $(READY)
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

lock: ## pin anew; needs pip-tools in PATH
	pip-compile -q --upgrade --generate-hashes --no-emit-index-url --no-emit-find-links --no-emit-trusted-host \
		--no-header --strip-extras --allow-unsafe --extra dev -o requirements-dev.lock pyproject.toml
	pip-compile -q --generate-hashes --no-emit-index-url --no-emit-find-links --no-emit-trusted-host \
		--no-header --strip-extras --allow-unsafe -c requirements-dev.lock -o requirements.lock pyproject.toml

clean:
	rm -rf $(VENV) .mypy_cache .ruff_cache .hypothesis

$(READY): requirements-dev.lock pyproject.toml
	$(PYTHON) -c 'import sys; sys.version_info < (3, 11) and sys.exit("KeepDB needs Python 3.11 or later: set PYTHON")'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install -q --disable-pip-version-check --require-hashes -r requirements-dev.lock
	$(BIN)/python -m pip install -q --disable-pip-version-check --no-deps --no-build-isolation -e .
	touch $(READY)
