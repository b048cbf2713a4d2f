# airflow-provider-mlops: everything a contributor runs. `make help` lists it.
SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
MAKEFLAGS += --no-builtin-rules

AIRFLOW ?= 3.3.2
OTHER_AIRFLOWS := 2.11.2 3.1.8
VENV := .venv
BIN := $(VENV)/bin
# More arguments for pytest: make test ARGS="tests/unit -x"
ARGS ?=
# One benchmark: make bench NAME=import_cost
NAME ?=
# Runs of the GitLab campaign, kills of the one for vector indexes, how many lives or processes at a time
RUNS ?= 3000
KILLS ?= 100
SERVER_KILLS ?= 20
JOBS ?= 2

.PHONY: help demo test campaign check servers test-matrix test-lowest test-wheel bench docs wheel constraints clean $(OTHER_AIRFLOWS:%=test-%)

help: ## This list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-14s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

demo: ## The whole path, from training to a release that can be rolled back, on this machine
	@./demo/run

test: $(VENV)/.ready ## All tests; those that need a real server run where it is there (ARGS="tests/unit -x")
	$(BIN)/python -m pytest $(ARGS)

campaign: $(VENV)/.ready ## Bad days: GitLab pipelines (RUNS=3000), or vector indexes (NAME=vector KILLS=100 SERVER_KILLS=20); JOBS=2
	@mkdir -p build
	$(BIN)/python -m tests.campaign $(or $(NAME),gitlab) --jobs $(JOBS) \
		$(if $(filter vector,$(NAME)),--kills $(KILLS) --server-kills $(SERVER_KILLS),--runs $(RUNS)) \
		--json build/campaign-$(or $(NAME),gitlab).json

check: $(VENV)/.ready docs ## Style, types, import contracts, documentation
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

servers: $(VENV)/.ready ## Build the real servers of the tests that are missing on this machine
	$(BIN)/python -m tests.servers build

test-matrix: $(OTHER_AIRFLOWS:%=test-%) ## On the other supported Airflows: unit tests, listing, a DAG, kill and Clear on a real stack

$(OTHER_AIRFLOWS:%=test-%): test-%: .venv-%/.ready
	.venv-$*/bin/python -m pytest tests/unit tests/packaging/test_listing.py \
		tests/packaging/test_broken_dependency.py tests/dags tests/stack tests/wire/test_bad_input.py $(ARGS)

test-lowest: ## Unit tests with the lowest version of every direct dependency
	scripts/lowest .venv-lowest $(ARGS)

test-wheel: $(VENV)/.ready ## The wheel alone, in a clean environment with Airflow
	$(BIN)/python -m pytest tests/packaging/test_wheel.py $(ARGS)

bench: $(VENV)/.ready ## Benchmarks, or one of them (NAME=import_cost); figures go to build/benchmarks
	@mkdir -p build/benchmarks
	@for file in benchmarks/$(or $(NAME),[a-z]*).py; do \
		$(BIN)/python "$$file" --json "build/benchmarks/$$(basename "$$file" .py).json"; \
	done

docs: $(VENV)/.ready ## The documentation, into docs/_build/html
	$(BIN)/python -m sphinx --fail-on-warning --quiet --builder html docs docs/_build/html

wheel: $(VENV)/.ready ## Build the wheel into dist
	$(BIN)/uv build --quiet --wheel --out-dir dist

constraints: ## Pin anew what each supported Airflow is tested with
	scripts/constraints

clean: ## Remove environments and everything that was built
	rm -rf .venv .venv-* build dist docs/_build .demo

$(VENV)/.ready: pyproject.toml constraints/airflow-$(AIRFLOW).txt scripts/environment
	scripts/environment $(VENV) constraints/airflow-$(AIRFLOW).txt test lint docs
	@touch $@

.venv-%/.ready: pyproject.toml constraints/airflow-%.txt scripts/environment
	scripts/environment .venv-$* constraints/airflow-$*.txt test
	@touch $@
.PRECIOUS: .venv-%/.ready
