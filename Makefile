# Two commands do everything: `make dev` runs Rowgate on this machine, `make test` runs the tests.
# Nothing is installed outside this folder.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
NPM := npm

.PHONY: dev install test check fuzz docs bench bench-check soak example screens paint clean

dev: install ## The whole stack on this machine: Postgres, identity provider, gateway
	@$(BIN)/rowgate dev

install: $(VENV)/.run ## The environment alone

$(VENV)/.run: requirements/run.txt pyproject.toml hatch_build.py src/rowgate/pgwire/compiled.pyx
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "Rowgate needs Python 3.11 or newer; choose one with: make PYTHON=python3.12" >&2; exit 1; }
	@echo "Installing into $(VENV) ..."
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements/run.txt
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	@touch $@

$(VENV)/.test: $(VENV)/.run requirements/test.txt
	@echo "Installing what the tests need ..."
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements/test.txt
	@touch $@

tests/clients/node_modules/.installed: tests/clients/package-lock.json
	@echo "Installing the Node packages of the tests ..."
	@cd tests/clients && $(NPM) ci --silent --no-audit --no-fund
	@touch $@

examples/%/node_modules/.installed: examples/%/package-lock.json
	@echo "Installing the Node packages of examples/$* ..."
	@cd examples/$* && $(NPM) ci --silent --no-audit --no-fund
	@touch $@

NEXTJS := examples/nextjs-todos
NEXTJS_SOURCES := $(wildcard $(NEXTJS)/*.ts $(NEXTJS)/lib/* $(NEXTJS)/app/* $(NEXTJS)/app/*/* $(NEXTJS)/app/*/*/*)

$(NEXTJS)/.next/.built: $(NEXTJS)/node_modules/.installed $(NEXTJS_SOURCES)
	@echo "Building $(NEXTJS) ..."
	@cd $(NEXTJS) && NEXT_TELEMETRY_DISABLED=1 $(NPM) run --silent build >/dev/null
	@touch $@

EXAMPLES_READY := $(NEXTJS)/.next/.built examples/vite-react/node_modules/.installed

example: $(VENV)/.test ## An example with all it needs: make example APP=nextjs-todos, vite-react or python-todos
	@$(BIN)/python -m examples $(APP)

test: $(VENV)/.test tests/clients/node_modules/.installed bench/node_modules/.installed $(EXAMPLES_READY) ## All tests
	@$(BIN)/python -m pytest -n 3 --dist loadfile --no-loadscope-reorder $(ARGS)

check: $(VENV)/.test ## Lint, types and import rules
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy
	@$(BIN)/python -m pytest -q tests/unit/test_imports.py

SECONDS ?= 600

$(VENV)/.fuzz: $(VENV)/.test requirements/fuzz.txt
	@echo "Installing the fuzzer ..."
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements/fuzz.txt
	@touch $@

fuzz: $(VENV)/.fuzz ## Hostile bytes for ten minutes a target: make fuzz TARGET=http SECONDS=60
	@$(BIN)/python -m tests.fuzz --seconds $(SECONDS) $(TARGET)

docs: $(VENV)/.test ## The pages that come from code, and the documentation as a site in build/site
	@$(BIN)/python -m docs.generate
	@NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --quiet

screens: $(VENV)/.test tests/clients/node_modules/.installed ## Pictures of the console: all in build/screens, README's anew
	@SCREENS=all $(BIN)/python -m pytest -q tests/browser/test_console.py
	@mkdir -p docs/images
	@cp build/screens/authorize-1440.png build/screens/why-no-row-1440.png build/screens/tables-1440.png docs/images/

paint: $(VENV)/.test ## How long the console's pages take to their first paint, with much to show
	@$(BIN)/python -m tests.browser.paint

bench/node_modules/.installed: bench/package-lock.json
	@echo "Installing the peers to measure against ..."
	@cd bench && $(NPM) ci --silent --no-audit --no-fund
	@touch $@

$(VENV)/.bench: $(VENV)/.run requirements/bench.txt
	@echo "Installing what the benchmarks need ..."
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements/bench.txt
	@touch $@

bench: $(VENV)/.bench bench/node_modules/.installed ## Rates, latencies, CPU and memory, beside pgbench and what people would write instead
	@$(BIN)/python -m bench $(ARGS)

bench-check: $(VENV)/.run ## Instructions of the hot path's parts, counted by valgrind, against a baseline
	@$(BIN)/python -m bench.instructions $(ARGS)

soak: $(VENV)/.test ## 200 users for 20 minutes while everything around the gateway fails: SECONDS=60 for less
	@$(BIN)/python -m bench.soak $(if $(filter environment% command%,$(origin SECONDS)),--seconds $(SECONDS)) $(ARGS)

clean: ## Removes the environment and everything generated; the data folder .rowgate stays
	rm -rf $(VENV) build dist .mypy_cache .ruff_cache .pytest_cache .hypothesis bench/results
	rm -rf tests/clients/node_modules bench/node_modules examples/*/node_modules examples/*/.next examples/*/dist
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
