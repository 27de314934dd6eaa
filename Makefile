# make train [ARGS="model=lenet_bn data=fashion"], make test, make check: each sets up .venv first if that is needed,
# `make train` with the packages of a training alone.
VENV := .venv
PYTHON ?= python3
ARGS ?=
BIN := $(VENV)/bin

.PHONY: install train test quick promises lint check docs constraints leaderboard-smoke

install: $(VENV)/installed

$(VENV)/training: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --constraint constraints.txt --editable .
	touch $@

$(VENV)/installed: $(VENV)/training
	$(BIN)/pip install --quiet --constraint constraints.txt --editable '.[dev]'
	touch $@

train: $(VENV)/training
	$(BIN)/python -m lenet_pl.train $(ARGS)

test: install
	$(BIN)/python -m pytest --numprocesses 2 --dist worksteal -m 'not long' $(ARGS)

quick: install
	$(BIN)/python -m pytest --numprocesses 2 --dist worksteal -m 'not slow and not long' $(ARGS)

# What is promised, tested at length, an hour; and the table of it
promises: install
	$(BIN)/python -m pytest --numprocesses 2 --dist worksteal -m 'case or long' --promises=docs/promises.md $(ARGS)

lint: install
	$(BIN)/ruff format --check
	$(BIN)/ruff check
	$(BIN)/mypy

check: lint test

# A row of docs/leaderboard.csv repeated with five of its seeds; fails unless the mean is as recorded. At most two minutes
leaderboard-smoke: install
	$(BIN)/python -m lenet_pl.benchmark parts=[leaderboard] datasets=[digits] seeds=5 num_threads=1 $(ARGS)

# The site, docs/_build/html/index.html. A warning is an error, an unresolved reference is a warning; nothing is downloaded.
docs: install
	$(BIN)/python -m sphinx -W --keep-going -n -q -b html docs docs/_build/html

# The CUDA packages are left out: torch pins those that it needs.
constraints: install
	echo '# Versions that were tested together, on Python 3.11. Renew with `make constraints`.' > constraints.txt
	$(BIN)/pip freeze --exclude-editable | grep -vE '^(pip|setuptools|nvidia-|cuda-|triton)' >> constraints.txt
