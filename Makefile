# The verbs of this repository; CI calls the same ones. Each sets up what it needs.

SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help
.PHONY: help demo test coverage check format docs reference bench year clean

PORT ?= 8000
DIR ?= demo-data
ARGS ?=

# Pyright must not ask the network whether there is a newer one.
export PYRIGHT_PYTHON_IGNORE_WARNINGS := 1

help: ## List the verbs
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "make %-10s%s\n", $$1, $$2 }' Makefile

demo: .venv/.runtime ## Run the demo site (PORT=8000 DIR=demo-data)
	@.venv/bin/consent-mw demo --port "$(PORT)" --directory "$(DIR)"

# One process more than there are cores: many tests wait for servers, browsers and processes that they killed.
test: .venv/.dev ## Run the tests (ARGS="-k cookie" goes to pytest)
	@scripts/setup browser
	@.venv/bin/pytest -n $$(($$(nproc) + 1)) --dist loadfile --no-loadscope-reorder $(ARGS)

coverage: .venv/.dev ## Run the tests and list the lines and branches that none reached
	@scripts/setup browser
	@.venv/bin/pytest --cov $(ARGS)

check: .venv/.dev ## Lint, formatting, types, and advisories of the dependencies
	@mkdir -p .make
	@.venv/bin/ruff check
	@.venv/bin/ruff format --check
	@.venv/bin/mypy
	@.venv/bin/pyright
# Found through PATH the package counts as an installed library, as it does for a user's checker.
	@PATH="$(CURDIR)/.venv/bin:$$PATH" pyright --verifytypes consent_mw --ignoreexternal > .make/types.log \
		|| { grep -A 2 ' error: ' .make/types.log; grep completeness .make/types.log; exit 1; }
	@grep completeness .make/types.log
	@.venv/bin/python scripts/advisories

format: .venv/.dev ## Format the code and mend what the linter can
	@.venv/bin/ruff check --fix
	@.venv/bin/ruff format

# The theme announces its successor at each build; docs/architecture.md says why it stands here all the same.
docs: .venv/.docs ## Build the documentation into build/docs; a warning or a broken link fails
	@NO_MKDOCS_2_WARNING=1 .venv/bin/mkdocs build --strict
	@echo "build/docs: to read it, .venv/bin/python -m http.server --bind 127.0.0.1 --directory build/docs $(PORT)"

reference: .venv/.runtime ## Write docs/reference from the code
	@.venv/bin/python scripts/reference

bench: .venv/.bench ## Measure side by side, in-process and under uvicorn (ARGS="--markdown")
	@for part in bench bench.load bench.draining bench.imports bench.age; do .venv/bin/python -m $$part $(ARGS); done

year: .venv/.dev ## Live through a simulated year, judged by the documents (ARGS="--seed 2 --store sqlite")
	@.venv/bin/python -m tests.year $(ARGS)

clean: ## Remove everything that these verbs made, except the demo's data
	@rm -rf .venv .make .mypy_cache .pytest_cache .ruff_cache .hypothesis .coverage build dist
	@find src tests bench examples -name __pycache__ -prune -exec rm -rf {} + 2>/dev/null || true

# A stamp says that a dependency group was installed as pyproject.toml now states it.
.venv/.%: pyproject.toml scripts/setup
	@scripts/setup $*
