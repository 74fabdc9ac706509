# `make` alone lists the targets. Everything runs in .venv, which the targets make themselves.

PYTHON ?= python3.11
VENV := .venv
BIN := $(VENV)/bin
# Touched when an installation is complete, so that an interrupted one is done again.
BASE_STAMP := $(VENV)/.installed
DEV_STAMP := $(VENV)/.installed-dev
BENCH_STAMP := $(VENV)/.installed-bench
INSTALL := $(BIN)/pip install --quiet --disable-pip-version-check --build-constraint build-constraints.txt --constraint constraints.txt

.DEFAULT_GOAL := help
.PHONY: help quickstart test test-all lint format types contract unit crash-test serve bench clean

help: ## List the targets
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | awk -F ':.*## ' '{ printf "  %-12s %s\n", $$1, $$2 }'

quickstart: $(BASE_STAMP) ## Install, build an index of 600 generated images, answer a first query
	$(BIN)/lookalike build --config configs/quickstart.yaml
	$(BIN)/lookalike query examples/sailboat.jpg -n 6 --output artifacts/quickstart-result.png
	@echo
	@echo "Result picture: artifacts/quickstart-result.png"
	@echo "Metrics:        $$($(BIN)/lookalike status | sed -n 's/^  figures *//p')"

test: lint types contract unit ## Install what the tests need; lint, types, import contract, and all tests

lint: $(DEV_STAMP) ## Check style and formatting
	$(BIN)/ruff check
	$(BIN)/ruff format --check

format: $(DEV_STAMP) ## Fix style and formatting
	$(BIN)/ruff check --fix
	$(BIN)/ruff format

types: $(DEV_STAMP) ## Check types, strictly
	$(BIN)/mypy

contract: $(DEV_STAMP) ## Check that imports run one way: flows, tasks, lookalike
	$(BIN)/lint-imports

unit: $(DEV_STAMP) ## Run the tests that belong to every change, with coverage of lookalike/
	$(BIN)/pytest -m "not slow" --cov --cov-report=term:skip-covered --cov-fail-under=90

test-all: $(DEV_STAMP) ## Run all tests, the slow ones too
	$(BIN)/pytest

crash-test: $(DEV_STAMP) ## Kill a build at every point, fill its disk, race it: half an hour
	$(BIN)/pytest -s -m "slow or not slow" tests/crash

bench: $(BENCH_STAMP) ## Measure the hashing engine beside others and exact search; SIZES="100000 1000000" chooses
	$(BIN)/python -m benchmarks.search $(if $(SIZES),--sizes $(SIZES))

serve: $(BASE_STAMP) ## Serve scheduled rebuilds and queries (needs a Prefect server)
	$(BIN)/lookalike serve --config configs/quickstart.yaml

clean: ## Remove the environment and the caches, not the artifacts
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis .coverage

$(BIN)/pip:
	@command -v $(PYTHON) >/dev/null || { echo "$(PYTHON) was not found; name another: make $(MAKECMDGOALS) PYTHON=python3"; exit 1; }
	$(PYTHON) -m venv $(VENV)
	@# Older versions of pip do not know --build-constraint.
	$(BIN)/pip install --quiet --disable-pip-version-check --upgrade "pip>=25.3"

$(BASE_STAMP): $(BIN)/pip pyproject.toml constraints.txt build-constraints.txt
	@echo "Installing lookalike and its libraries; PyTorch is large, so this takes a few minutes ..."
	$(INSTALL) --editable .
	@touch $@

$(DEV_STAMP): $(BASE_STAMP)
	@echo "Installing what the tests need ..."
	$(INSTALL) --editable '.[dev]'
	@touch $@

$(BENCH_STAMP): $(BASE_STAMP)
	$(INSTALL) --editable '.[bench]'
	@touch $@
