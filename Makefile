# Everything a newcomer needs: `make demo` and `make test`. Each sets up .venv by itself.
SHELL := /bin/bash
BIN := .venv/bin
.DEFAULT_GOAL := help

.PHONY: help setup demo test check bench bench-gateway fix

help:           ## show this list
	@grep -E '^[a-z-]+: .*##|^[a-z-]+:  +##' Makefile | sed -E 's/:.*## /\t/' | expand -t 16

setup: .venv/.ready  ## make .venv with every dependency at its locked version

.venv/.ready: pyproject.toml uv.lock .ci/bootstrap
	@bash .ci/bootstrap
	@touch .venv/.ready

demo: setup     ## two real local models behind one endpoint: pull, serve, ask, explain
	@$(BIN)/junctor demo

test: check     ## the gates, then every test (the two real models included)
	@$(BIN)/pytest -n 2 --dist loadfile

check: setup    ## the gates alone: ruff, basedpyright, import-linter, the house rules
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/lint-imports --no-logo 2>/dev/null || $(BIN)/lint-imports
	@$(BIN)/basedpyright
	@$(BIN)/pytest -q tests/test_house.py

bench: setup    ## the benchmarks of lab/ (never part of the tests)
	@$(BIN)/python lab/bench_routing.py
	@$(BIN)/python lab/bench_transport.py

bench-gateway: setup  ## Junctor beside nginx, LiteLLM and others (docs/benchmarks.md); 10 minutes, 2 cores to itself
	@$(BIN)/python lab/bench_gateway.py

fix: setup      ## format and mend what ruff can mend
	@$(BIN)/ruff check --fix . ; $(BIN)/ruff format .
