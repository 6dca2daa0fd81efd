# What can be done with Tally's sources. `make` alone lists it.

PYTHON ?= python3
BIN := .venv/bin
INSTALL = $(BIN)/python -m pip install -qq --disable-pip-version-check --editable

# .venv/place says which folder the environment was made for. It is written last, so an environment that was
# interrupted, moved, or whose Python has gone is made anew.
ifneq ($(CURDIR),$(shell $(BIN)/python -c '' 2>/dev/null && cat .venv/place 2>/dev/null))
.PHONY: .venv/place
endif

.PHONY: help run test lint audit soak bench demo screenshots clean packages
.NOTPARALLEL:
.DEFAULT_GOAL := help

help: ## List what can be made
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "  make %-11s %s\n", $$1, $$2 }' $(firstword $(MAKEFILE_LIST))

run: .venv/run ## Install what is missing, and run everything in the foreground; Ctrl-C stops it
	@exec $(BIN)/python -I -S app/ops/die_with_parent.py TERM $(BIN)/python -m flask --app wsgi serve

# The tests, which pytest rewrites, are kept compiled for the next run, also where Python is told to keep nothing.
test soak: export PYTHONDONTWRITEBYTECODE =

test: lint packages ## Check the style, then run every test, on SQLite and on PostgreSQL
	$(BIN)/python -m pytest -n 3 --no-loadscope-reorder

lint: .venv/develop ## Check the style and the types of the code
	$(BIN)/python -m ruff check .
	$(BIN)/python -m ruff format --check .
	$(BIN)/python -m mypy

audit: .venv/develop ## Ask on the internet for known flaws in what Tally stands on
	$(BIN)/python -m pip install -qq --disable-pip-version-check pip-audit
	$(BIN)/python -m pip freeze --exclude-editable > .venv/installed.txt
	$(BIN)/python -m pip_audit --strict --disable-pip --no-deps --requirement .venv/installed.txt

soak: .venv/develop packages ## Run the long form of every test, on both databases; faults alone are repeated for an hour
	SOAK=1 $(BIN)/python -m pytest

bench: .venv/develop ## Measure, and compare with the goals
	$(BIN)/python -m bench --short

demo: .venv/run ## Send a month of made-up events to the service that `make run` started
	$(BIN)/python -m bench.demo

screenshots: .venv/develop packages ## Photograph every page, of a service of their own, into bench/out/screenshots
	$(BIN)/python -m bench.screenshots

clean: ## Remove what was installed and built here; the data in var/ stays
	rm -rf .venv build *.egg-info .pytest_cache .ruff_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

packages:
	@.ci/packages

.venv/place:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo 'Tally needs Python 3.11 or newer, and $(PYTHON) is not. Name one: make $(MAKECMDGOALS) PYTHON=python3.12' >&2; exit 1; }
	@echo 'Making the Python environment in .venv …'
	@rm -rf .venv
	@$(PYTHON) -m venv .venv
	@pwd -P | tr -d '\n' > $@

.venv/run: .venv/place setup.cfg pyproject.toml
	@echo 'Installing what Tally needs into .venv …'
	@$(INSTALL) '.[parquet,s3]'
	@touch $@

.venv/develop: .venv/place setup.cfg pyproject.toml
	@echo 'Installing what Tally and its tests need into .venv …'
	@$(INSTALL) '.[s3,test,lint]'
	@touch .venv/run $@
