# Two commands matter: `make serve` and `make test`. They need Python 3.11 or later, make and git.

PY ?= python3
VENV := .venv
BIN := $(VENV)/bin
PYTHON := $(BIN)/python

# One a line: make would take the rest of the line for the value.
export PIP_DISABLE_PIP_VERSION_CHECK := 1
export UV_NO_PROGRESS := 1
export UV_PYTHON_DOWNLOADS := never

# Compiled once, and not at each of a hundred starts, whatever the environment says of it.
unexport PYTHONDONTWRITEBYTECODE

# Serving needs no development packages, but must not remove those that are there.
SERVING := $(if $(wildcard $(VENV)/.dev),$(VENV)/.dev,$(VENV)/.serving)

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help serve test check lint contracts drift types openapi bench journey journey-admission fuzz-long \
	faults-long lock

help:  ## List the targets
	@sed -n 's/^\([a-z][a-z-]*\):.*  ## \(.*\)/\1	\2/p' Makefile | \
	while IFS='	' read -r target what; do printf '  make %-12s %s\n' "$$target" "$$what"; done

serve: $(SERVING)  ## Serve the API, with an embedded PostgreSQL unless STEPWELL_DATABASE_URL is set
	$(PYTHON) -m app serve

test: $(VENV)/.dev  ## Run the tests, with coverage
	$(PYTHON) -m pytest -q -n 2 --no-loadscope-reorder --cov=app --cov-branch --cov-fail-under=90

check: lint contracts drift types  ## Everything but the tests, in the order that fails fastest

lint: $(VENV)/.dev  ## Format and lint, changing nothing
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .

contracts: $(VENV)/.dev  ## Check which layer imports which
	$(BIN)/lint-imports

drift: $(VENV)/.dev  ## Check that openapi/ is what the code says
	$(PYTHON) -m app openapi --check

types: $(VENV)/.dev  ## Check types
	$(BIN)/mypy

openapi: $(SERVING)  ## Write openapi/ from the code
	$(PYTHON) -m app openapi --write

bench: $(VENV)/.dev  ## Measure, and compare with the floors
	$(PYTHON) -m benchmarks

journey: $(VENV)/.dev  ## Walk one participant from referral to discharge, over a running server
	$(PYTHON) -m tests.journey

journey-admission: $(VENV)/.dev  ## Walk four ways through an intake, and print why each was suggested
	$(PYTHON) -m tests.journey admission

fuzz-long: $(VENV)/.dev  ## Throw generated input at every parser and route, for long
	$(PYTHON) -m pytest -q -m "long and fuzz"

faults-long: $(VENV)/.dev  ## Kill and starve processes at work, for long
	$(PYTHON) -m pytest -q -m "long and faults"

# `make lock UPGRADE=--upgrade` takes newer versions; without it only what changed moves.
COMPILE = $(BIN)/uv pip compile -q $(UPGRADE) --universal --python-version 3.11 --generate-hashes \
	--no-emit-index-url --no-annotate --custom-compile-command "make lock"

lock: $(BIN)/uv  ## Make the three lock files anew
	echo uv | $(COMPILE) - -o requirements-bootstrap.lock
	$(COMPILE) pyproject.toml --extra embedded --extra nats -o requirements.lock
	$(COMPILE) pyproject.toml --extra embedded --extra nats --group dev -o requirements-dev.lock

# The environment. The project itself is not installed: it runs from here.

$(BIN)/uv: requirements-bootstrap.lock scripts/venv.sh
	@PY="$(PY)" VENV="$(VENV)" sh scripts/venv.sh

# A sync removes what is not listed, so uv is listed with it.
$(VENV)/.serving: $(BIN)/uv $(BIN)/stepwell requirements.lock
	$(BIN)/uv pip sync -q --python $(PYTHON) --require-hashes requirements.lock requirements-bootstrap.lock
	@touch $@

$(VENV)/.dev: $(BIN)/uv $(BIN)/stepwell requirements-dev.lock
	$(BIN)/uv pip sync -q --python $(PYTHON) --require-hashes requirements-dev.lock requirements-bootstrap.lock
	@touch $@

$(BIN)/stepwell: $(BIN)/uv
	@printf '%s\n' '#!/bin/sh' 'PYTHONPATH="$(CURDIR)" exec "$(CURDIR)/$(PYTHON)" -P -m app "$$@"' > $@
	@chmod +x $@
