# Everything a newcomer needs: `make demo` and `make test`.
PYTHON ?= python3
VENV   := .venv
STAMP  := $(VENV)/.installed
export PATH := $(CURDIR)/$(VENV)/bin:$(PATH)

.PHONY: help setup demo picture test test-stripe lint bench faults fuzz fuzz-guided clean

help: ## show this list
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## /  \1\t/' | expand -t 16

setup: $(STAMP) ## make the virtual environment (quick when nothing changed)

$(STAMP): pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "Callmeter needs Python 3.11 or newer; set PYTHON=python3.11"; exit 1; }
	@test -x $(VENV)/bin/python || $(PYTHON) -m venv $(VENV)
	@echo "Installing Callmeter and its libraries into $(VENV) ..."
	@$(VENV)/bin/python -m pip install --quiet --disable-pip-version-check --editable '.[dev]'
	@touch $(STAMP)

demo: setup ## the whole pipeline on a real broker and engine, under a minute
	@callmeter demo

picture: setup ## docs/demo.svg anew, from a run of the demo
	@COLUMNS=80 callmeter demo --picture docs/demo.svg

lint: setup ## style and types
	@ruff check . && ruff format --check . && mypy

test: lint ## lint, types and all tests, on the real broker and engine
	@python -m pytest -n 3 --dist loadfile --no-loadscope-reorder

test-stripe: setup ## the Stripe gateway's tests on Stripe's sandbox (STRIPE_TEST_KEY=, STRIPE_TEST_ACCOUNT=)
	@python -m tests.jobs.gateways.sandbox

bench: setup ## the figures of the README, measured here (NAME=hot_path for one)
	@python -m bench $(NAME)

faults: setup ## break the running pipeline for minutes, and prove that nothing came of it (DURATION= seconds, SEED=)
	@python -m tests.faults $(if $(DURATION),--duration $(DURATION)) $(if $(SEED),--seed $(SEED))

fuzz: setup ## a million generated inputs through decoder and fold, every outcome checked (INPUTS=, SEED=)
	@python -m tests.fuzz $(if $(INPUTS),--inputs $(INPUTS)) $(if $(SEED),--seed $(SEED))

fuzz-guided: setup ## fuzzing led by coverage, for ten minutes (DURATION= seconds, SEED=); Linux on x86-64
	@python -c 'import atheris' 2>/dev/null || $(VENV)/bin/python -m pip install --quiet --disable-pip-version-check --editable '.[dev,fuzz]'
	@python -m tests.fuzz.guided $(if $(DURATION),--duration $(DURATION)) $(if $(SEED),--seed $(SEED))

clean: ## remove the virtual environment and caches
	@rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .hypothesis dist
