# Every target sets up what it needs: a virtual environment with pinned, hash-checked dependencies.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
# Decides everything that is random in `make fuzz`.
SEED ?= 1
# The TypeScript client, and the example app that is tested with it in a browser.
CLIENT := clients/node
EXAMPLE := examples/electron
CLIENT_READY := $(CLIENT)/node_modules/.ready
EXAMPLE_READY := $(EXAMPLE)/node_modules/.ready
NPM_CI := npm ci --ignore-scripts --no-audit --no-fund --loglevel=error

.PHONY: demo test test-python test-node browser bench chaos fuzz lint types format generate lock clean

demo: $(READY) ## read real prose, kill the writer, back up, verify, and print what was measured
	$(BIN)/keepdb demo

test: test-python test-node ## all tests but the browser's, short versions of the long suites included

test-python: $(READY)
	$(BIN)/python -m pytest -n 2

test-node: $(READY) $(CLIENT_READY)
	cd $(CLIENT) && npm test

browser: $(READY) $(EXAMPLE_READY) ## the example app in real Chromium, against real processes that are really killed
	cd $(EXAMPLE) && npm run e2e

bench: $(READY) $(CLIENT_READY) ## measure; prints a table and writes benchmarks/latest.json
	cd $(CLIENT) && npm run --silent build
	$(BIN)/python -m benchmarks

chaos: $(READY) ## kill every actor 20 times under load and check that nothing was lost
	$(BIN)/python -m tests.chaos kills --rounds 20

fuzz: $(READY) ## 200 000 random transactions under live queries, compared with a re-query after each one
	$(BIN)/python -m tests.fuzz live --transactions 200000 --seed $(SEED)

lint: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(READY) $(EXAMPLE_READY)
	$(BIN)/mypy
	$(BIN)/mypy tests benchmarks
	cd $(CLIENT) && npm run typecheck
	cd $(EXAMPLE) && npm run types

format: $(READY)
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

generate: $(READY) ## write anew what is generated: types of the wire and of the schema we come with, test vectors
	$(BIN)/keepdb typegen --wire -o clients/node/src/generated/wire.ts
	$(BIN)/python -m tests.conformance.vectors
	$(BIN)/keepdb typegen --schema keepdb/schema/schema.yaml -o examples/electron/src/generated/schema.ts

lock: ## pin anew; needs pip-tools in PATH
	pip-compile -q --upgrade --generate-hashes --no-emit-index-url --no-emit-find-links --no-emit-trusted-host \
		--no-header --strip-extras --allow-unsafe --extra dev -o requirements-dev.lock pyproject.toml
	pip-compile -q --generate-hashes --no-emit-index-url --no-emit-find-links --no-emit-trusted-host \
		--no-header --strip-extras --allow-unsafe -c requirements-dev.lock -o requirements.lock pyproject.toml

clean:
	rm -rf $(VENV) .mypy_cache .ruff_cache .hypothesis
	rm -rf $(CLIENT)/node_modules $(CLIENT)/dist $(CLIENT)/.test $(EXAMPLE)/node_modules $(EXAMPLE)/dist $(EXAMPLE)/dist-e2e

$(READY): requirements-dev.lock pyproject.toml
	$(PYTHON) -c 'import sys; sys.version_info < (3, 11) and sys.exit("KeepDB needs Python 3.11 or later: set PYTHON")'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install -q --disable-pip-version-check --require-hashes -r requirements-dev.lock
	$(BIN)/python -m pip install -q --disable-pip-version-check --no-deps --no-build-isolation -e .
	touch $(READY)

$(CLIENT_READY): $(CLIENT)/package.json $(CLIENT)/package-lock.json
	@node -e 'process.exit(parseInt(process.versions.node) < 20 ? 1 : 0)' 2>/dev/null && npm --version >/dev/null 2>&1 || \
		{ echo "The TypeScript client needs Node.js 20 or later with npm: install it and try again." >&2; exit 1; }
	cd $(CLIENT) && $(NPM_CI)
	touch $(CLIENT_READY)

# The example installs the built client as a package.
$(EXAMPLE_READY): $(CLIENT_READY) $(EXAMPLE)/package.json $(EXAMPLE)/package-lock.json $(shell find $(CLIENT)/src -type f 2>/dev/null)
	cd $(CLIENT) && npm run build
	cd $(EXAMPLE) && $(NPM_CI)
	touch $(EXAMPLE_READY)
