# make demo | test | bench | lint | docs-pictures | constraints | clean | distclean
#
# Everything runs in a virtual environment in $(VENV), which is made on the first call.
# Variables: HEADLESS=1 (virtual display), ONLY=align (some benchmarks), ARGS=... (pytest options),
# PYTHON=python3.12 (the interpreter for a new environment), INSTALL_SYSTEM=0 (install no system
# packages), TORCH_PIP_ARGS=... (where pip finds torch).

SHELL := bash
VENV ?= .venv
RUN := "$(VENV)/bin/python"
export VENV

.DEFAULT_GOAL := help
.PHONY: help setup setup-gui demo test bench lint docs-pictures constraints clean distclean

help:
	@head -n 6 Makefile | sed 's/^# \{0,1\}//'

setup:
	@bash scripts/setup.sh dev

setup-gui:
	@bash scripts/setup.sh gui

demo: setup-gui
	@if [ "$$HEADLESS" = 1 ] || [ -z "$$DISPLAY$$WAYLAND_DISPLAY" ]; then bash scripts/install-display.sh || true; fi
	@bash scripts/with-display.sh "$(VENV)/bin/napari-stomics" demo

test: setup
	@bash scripts/test.sh $(ARGS)

bench: setup
	@bash scripts/install-display.sh || true
	@OMP_NUM_THREADS="$${OMP_NUM_THREADS:-1}" $(RUN) -m benchmarks $(if $(ONLY),--only "$(ONLY)")

lint: setup
	@$(RUN) -m ruff check .
	@$(RUN) -m ruff format --check .
	@$(RUN) -m mypy
	@"$(VENV)/bin/lint-imports"

docs-pictures: setup
	@bash scripts/install-display.sh
	@HEADLESS=1 bash scripts/with-display.sh $(RUN) scripts/docs_pictures.py

constraints: setup
	@$(RUN) scripts/constraints.py

clean:
	rm -rf demo-output tests-output build dist benchmarks/results.jsonl
	rm -rf .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis
	find src tests benchmarks scripts -name __pycache__ -type d -prune -exec rm -rf {} +

distclean: clean
	rm -rf "$(VENV)"
