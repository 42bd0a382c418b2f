# The verbs of this repository; CI calls the same ones. Each sets up what it needs.

SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help
.PHONY: help demo test quick dist coverage mutants check format docs reference bench year clean

# PYTHON=python3.13 chooses another interpreter, which has an environment of its own beside .venv.
PYTHON ?=
VENV := .venv$(if $(PYTHON),-$(patsubst python%,%,$(notdir $(PYTHON))))

PORT ?= 8000
DIR ?= demo-data
ARGS ?=

# Pyright must not ask the network whether there is a newer one.
export PYRIGHT_PYTHON_IGNORE_WARNINGS := 1

help: ## List the verbs
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "make %-10s%s\n", $$1, $$2 }' Makefile

demo: $(VENV)/.demo ## Run the demo site (PORT=8000 DIR=demo-data)
	@$(VENV)/bin/consent-mw demo --port "$(PORT)" --directory "$(DIR)"

# Two processes more than there are cores: many tests wait for servers, browsers and processes that they killed.
test: $(VENV)/.dev ## Run the tests (ARGS="-k cookie" goes to pytest)
	@scripts/setup browser
	@$(VENV)/bin/pytest -n $$(($$(nproc) + 2)) --dist loadfile --no-loadscope-reorder $(ARGS)

quick: $(VENV)/.quick ## Run the tests of tests/quick.txt: no framework, browser or other server
	@$(VENV)/bin/pytest -n $$(nproc) @tests/quick.txt $(ARGS)

dist: $(VENV)/.dist ## Build sdist and wheel, check them, and run the quick tests of the one with the other
	@scripts/dist $(VENV)/bin/python

coverage: $(VENV)/.dev ## Run the tests and list the lines and branches that none reached
	@scripts/setup browser
	@$(VENV)/bin/pytest --cov $(ARGS)

mutants: $(VENV)/.dev ## Break one place at a time, and see whether a test fails (ARGS="--seed 2 --count 40")
	@scripts/setup browser
	@$(VENV)/bin/python scripts/mutants $(ARGS)

check: $(VENV)/.dev ## Lint, formatting, types, and advisories of the dependencies
	@mkdir -p .make
	@$(VENV)/bin/ruff check
	@$(VENV)/bin/ruff format --check
	@$(VENV)/bin/mypy
	@$(VENV)/bin/pyright
# Found through PATH the package counts as an installed library, as it does for a user's checker.
	@PATH="$(CURDIR)/$(VENV)/bin:$$PATH" pyright --verifytypes consent_mw --ignoreexternal > .make/types.log \
		|| { grep -A 2 ' error: ' .make/types.log; grep completeness .make/types.log; exit 1; }
	@grep completeness .make/types.log
	@$(VENV)/bin/python scripts/advisories

format: $(VENV)/.dev ## Format the code and fix what the linter can
	@$(VENV)/bin/ruff check --fix
	@$(VENV)/bin/ruff format

# The theme announces its successor at each build; docs/architecture.md says why it stands here all the same.
docs: $(VENV)/.docs ## Build the documentation into build/docs; a warning or a broken link fails
	@NO_MKDOCS_2_WARNING=1 $(VENV)/bin/mkdocs build --strict
	@echo "build/docs: to read it, $(VENV)/bin/python -m http.server --bind 127.0.0.1 --directory build/docs $(PORT)"

reference: $(VENV)/.runtime ## Write docs/reference from the code
	@$(VENV)/bin/python scripts/reference

bench: $(VENV)/.bench ## Measure side by side, in-process and under uvicorn (ARGS="--markdown")
	@for part in bench.mix bench bench.load bench.draining bench.imports bench.age; do $(VENV)/bin/python -m $$part $(ARGS); done

year: $(VENV)/.dev ## Live through a simulated year, judged by the documents (ARGS="--seed 2 --store sqlite")
	@$(VENV)/bin/python -m tests.year $(ARGS)

clean: ## Remove everything that these verbs made, except the demo's data
	@rm -rf .venv .venv-3* .make .mypy_cache .pytest_cache .ruff_cache .hypothesis .coverage build dist
	@find src tests bench examples -name __pycache__ -prune -exec rm -rf {} + 2>/dev/null || true

# A stamp says that a dependency group was installed as pyproject.toml now states it.
$(VENV)/.%: pyproject.toml scripts/setup
	@VENV="$(VENV)" PYTHON="$(PYTHON)" scripts/setup $*
