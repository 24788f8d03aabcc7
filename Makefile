# Every target sets up what it needs; `make help` lists them.
# PYTHON picks the interpreter (3.11 or newer) that the virtual environment is made from.
PYTHON ?= python3
FUZZ_SECONDS ?= 600
VENV := .venv
BIN := $(VENV)/bin
LOWEST := $(VENV)-lowest
UNIT := -m pytest --numprocesses 2 --dist worksteal --ignore tests/stories -m "not server and not long"
export PIP_DISABLE_PIP_VERSION_CHECK := 1

.PHONY: help demo unit coverage test test-lowest test-all test-busy faults fuzz lint format bench docs clean
.DEFAULT_GOAL := help

help: ## list the targets
	@grep -E '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed 's/:.*## /\t/' | expand -t 13

$(BIN)/python:
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip

# One stamp for each set of packages; a change of pyproject.toml installs it again.
$(VENV)/.demo: pyproject.toml | $(BIN)/python
	$(BIN)/python -m pip install --quiet --editable .
	@touch $@

$(VENV)/.%: pyproject.toml | $(BIN)/python
	$(BIN)/python -m pip install --quiet --editable '.[hiredis]' --group $*
	@touch $@

demo: $(VENV)/.demo ## a page with live events on http://127.0.0.1:8000, no Redis needed
	$(BIN)/python examples/demo/serve.py

unit: $(VENV)/.test ## the tests that need no server and no tool: the first thing to run, under a minute
	$(BIN)/python $(UNIT) $(ARGS)

coverage: $(VENV)/.test ## which lines and branches the unit tests reach; fails below the floor of pyproject.toml
	$(BIN)/python $(UNIT) --cov --cov-report term:skip-covered $(ARGS)

test: $(VENV)/.test ## install what the tests need and run all of them (ARGS="-k words" for some)
	$(BIN)/python tests/tools.py
	$(BIN)/python -m pytest --numprocesses 4 --dist loadscope $(ARGS)

test-lowest: $(LOWEST)/.test ## unit tests and contract suites with the lowest versions that pyproject.toml allows
	$(LOWEST)/bin/python tests/tools.py
	$(LOWEST)/bin/python $(UNIT) $(ARGS)
	$(LOWEST)/bin/python -m pytest --numprocesses 2 --dist worksteal -m "server and not long" tests/brokers $(ARGS)

$(LOWEST)/.test: pyproject.toml tests/lowest.py
	$(PYTHON) -m venv $(LOWEST)
	$(LOWEST)/bin/python -m pip install --quiet --upgrade pip
	$(LOWEST)/bin/python tests/lowest.py > $(LOWEST)/constraints.txt
	$(LOWEST)/bin/python -m pip install --quiet --constraint $(LOWEST)/constraints.txt --editable '.[hiredis]' --group test
	@touch $@

test-all: ## unit tests on every supported Python that is here, each in its own environment
	$(PYTHON) tests/pythons.py

test-busy: $(VENV)/.test ## the same beside two processes that burn the cores: no test may go by the clock
	$(BIN)/python tests/tools.py
	$(BIN)/python tests/busy.py $(BIN)/python -m pytest --numprocesses 4 --dist loadscope $(ARGS)

faults: $(VENV)/.test ## the faults that take longer, and a minute of chaos (LONG=1: ten minutes)
	$(BIN)/python tests/tools.py
	$(BIN)/python -m pytest -m long $(ARGS)

fuzz: $(VENV)/.test ## hostile bytes at every door, ten minutes each (FUZZ_SECONDS=60: a minute)
	FUZZ_SECONDS=$(FUZZ_SECONDS) $(BIN)/python -m pytest --numprocesses 2 --dist load tests/stories/fuzz $(ARGS)

lint: $(VENV)/.test $(VENV)/.lint ## style, types, the direction of imports and the choice of words
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	set -e; for app in examples/*/app.py; do $(BIN)/mypy --config-file= --strict $$app; done
	$(BIN)/lint-imports --no-cache
	$(BIN)/python tests/lint/words.py

format: $(VENV)/.lint ## fix what the linter can fix by itself
	$(BIN)/ruff check --fix
	$(BIN)/ruff format

bench: $(VENV)/.bench ## measure, with peers beside us (ARGS="fanout burst" for some)
	$(BIN)/python tests/tools.py
	$(BIN)/python -m benchmarks.tools
	$(BIN)/python -m benchmarks $(ARGS)

docs: $(VENV)/.docs ## build the documentation into docs/_build
	$(BIN)/sphinx-build --fail-on-warning --quiet docs docs/_build

clean: ## remove all that make made
	rm -rf $(VENV) $(VENV)-* .coverage* build dist docs/_build tests/clients/node_modules benchmarks/servers/better-sse/node_modules
