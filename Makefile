# SPDX-License-Identifier: GPL-2.0-or-later
# Everything runs from .venv, which `make venv` makes; each target makes it where it is missing or out of date.
PYTHON ?= python3
BIN := .venv/bin

.PHONY: run test bench venv lint bare-debian picture clean

run: venv
	@$(BIN)/passthru run mtty

test: venv lint
	@$(BIN)/python -m pytest -n auto --maxprocesses 4 --dist loadgroup

lint: venv
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy

bench: venv
	@$(BIN)/python -m tests.bench

venv:
	@$(PYTHON) ci/make_venv.py

# The two commands above as an ordinary user of a bare Debian 12 root; needs root, debootstrap and some minutes.
bare-debian:
	@$(PYTHON) ci/bare_debian.py

picture: venv
	@$(BIN)/python ci/record_picture.py

clean:
	rm -rf .venv build dist .mypy_cache .ruff_cache .hypothesis
