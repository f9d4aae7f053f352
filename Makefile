# One command for everything; CI calls the same targets. `make help` lists them.
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help

PYTHON ?= python3
VENV   ?= .venv
TOPOLOGY ?= nested
MUTANTS ?= runs/mutants
ROUNDS ?= runs/rounds
BIN := $(VENV)/bin

.PHONY: help
help: ## list the targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## (.*)/  \1\t\2/' | expand -t 16

.PHONY: setup
setup: ## install what is missing: system packages by apt, Python packages into .venv
	@ci/setup "$(PYTHON)" "$(VENV)"

.PHONY: images
images: setup ## build the images (a second time: nothing to do)
	$(BIN)/harness images build

.PHONY: demo
demo: images ## migrate a guest under traffic on real vfio (TOPOLOGY=flat: the fast lab)
	$(BIN)/harness run testcases/migrate-under-traffic.yaml --variant $(TOPOLOGY)

.PHONY: check
check: setup ## ruff, mypy --strict, import-linter
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

.PHONY: selfcheck
selfcheck: setup ## the tests that need no VM
	$(BIN)/pytest tests -m "not lab and not nested"

.PHONY: test
test: check images ## all checks and tests, the nested lab included
	$(BIN)/pytest --cov=harness --cov-report=term

.PHONY: test-all
test-all: check images ## the slow ones too: every case, every negative control, builds from sources
	$(BIN)/pytest -m "slow or not slow" --cov=harness --cov-report=term

.PHONY: bench
bench: images ## the benchmarks: images, stages of a cold run, warm and cold, sending, reducing
	$(BIN)/python benchmarks/build_images.py
	$(BIN)/python benchmarks/cold_stages.py
	$(BIN)/python benchmarks/warm.py
	$(BIN)/python benchmarks/send_rate.py
	$(BIN)/python benchmarks/reduce.py

.PHONY: bench-mutants
bench-mutants: images ## which defects the catalogue finds: hours; again: goes on (MUTANTS: results)
	$(BIN)/python -m benchmarks.mutants $(MUTANTS)
	$(BIN)/python -m benchmarks.mutants $(MUTANTS) --table docs/mutants.md

.PHONY: bench-vng
bench-vng: images ## a first command in a guest, against virtme-ng (installed into VENV-vng)
	@[ -x $(VENV)-vng/bin/vng ] || { $(PYTHON) -m venv $(VENV)-vng && \
	    $(VENV)-vng/bin/pip install --quiet --disable-pip-version-check virtme-ng; }
	$(BIN)/python benchmarks/against_vng.py --vng $(VENV)-vng/bin/vng

.PHONY: bench-rounds
bench-rounds: images ## the flat catalogue ten times: does a verdict differ? again: goes on (ROUNDS: results)
	$(BIN)/python benchmarks/rounds.py $(ROUNDS)

.PHONY: docs
docs: setup ## regenerate the pages that are made from the code
	$(BIN)/python -m harness.topology.reference > docs/topology-reference.md
	$(BIN)/python -m harness.case.reference > docs/verbs.md
	$(BIN)/harness catalogue > docs/catalogue.md.new && mv docs/catalogue.md.new docs/catalogue.md
