# Every target works on a fresh clone: it makes .venv by itself when that is missing or out of date.
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
STAMP  := $(VENV)/.installed
DATA   ?=

.DEFAULT_GOAL := help
.PHONY: help venv demo test check bench proto clean

help: ## show the targets
	@grep -hE '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 10

venv: $(STAMP) ## make .venv with everything pinned in constraints.txt

$(STAMP): constraints.txt pyproject.toml
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@echo "installing into $(VENV) (a few minutes the first time)"
	@$(BIN)/python -m pip install -qq --disable-pip-version-check "$$(grep '^torch==' constraints.txt)" -c constraints.txt
	@$(BIN)/python -m pip install -qq --disable-pip-version-check -c constraints.txt -e '.[train,postgres,notebook,dev]'
	@touch $(STAMP)

demo: venv ## a whole consortium on this machine: trains, queries, refuses, survives (DATA=dir for real data)
	@$(BIN)/python -m examples.demo $(if $(DATA),--data "$(DATA)")

test: venv ## all tests, files in two processes at a time
	@$(BIN)/python -m pytest -n 2 --dist loadfile

check: venv ## lint, types, import contract, generated code up to date
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy federation parties protocols policies compliance proto/inbond examples tests benchmarks
	@$(BIN)/lint-imports
	@$(BIN)/python -m proto.generate --check

bench: venv ## measure against peers and floors, write docs/performance.md
	@$(BIN)/python -m benchmarks all --write docs/performance.md

proto: venv ## regenerate proto/inbond/v1 from the .proto files
	@$(BIN)/python -m proto.generate

clean: ## remove what make made
	@rm -rf $(VENV) demo-run .mypy_cache .ruff_cache .pytest_cache .hypothesis
