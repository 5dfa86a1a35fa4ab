# `make demo` and `make test` need nothing but Python 3.11 to 3.13 (with venv and pip) and make.
PYTHON ?= $(shell command -v python3.11 || command -v python3.12 || command -v python3.13 || command -v python3)
VENV ?= .venv
BIN = $(VENV)/bin

.PHONY: help demo test test-slow lint docs constraints pretrained clean

help:
	@echo "make demo       corpus, dataset, training, evaluation, codes and pictures in runs/demo"
	@echo "make test       lint and the whole test suite (under 10 minutes on 2 cores)"
	@echo "make test-slow  the tests that take minutes"
	@echo "make lint       rules, layout and types of the code, in half a minute"
	@echo "make docs       the website of the documents, in runs/site"
	@echo "make constraints  constraints.txt from the newest packages that fit"
	@echo "make pretrained CLIPS=sign_corpus.zip  the models that come with jaxvq"
	@echo "make clean      remove the virtual environment and runs/demo"

# One stamp file: the environment is set up once and again whenever its description changes.
$(BIN)/.installed: setup.py pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet --editable '.[test]' --constraint constraints.txt
	@touch $@

demo: $(BIN)/.installed
	$(BIN)/jaxvq demo --output runs/demo

# Two processes, because most tests compile, which keeps one core busy; a module stays in one, with
# what its tests share.
test: $(BIN)/.installed lint
	$(BIN)/python -m pytest --numprocesses 2 --dist loadfile

test-slow: $(BIN)/.installed
	$(BIN)/python -m pytest -m slow

lint: $(BIN)/.installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

# A link that leads nowhere fails.
docs: $(BIN)/.installed
	NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --strict

# The versions that the tests ran with, for tests that give the same result tomorrow; `pip install .`
# needs none of them. Made with Python 3.11, the oldest that jaxvq runs on: what has wheels for it
# has them for newer ones.
constraints:
	$(PYTHON) -m venv --clear $(VENV)/fresh
	$(VENV)/fresh/bin/python -m pip install --quiet '.[test]'
	$(VENV)/fresh/bin/python -m pip freeze --exclude jaxvq > constraints.txt
	rm -r $(VENV)/fresh

# The clips whose names begin with fs- are trained on, and the others measured with.
pretrained: $(BIN)/.installed
	$(BIN)/python -m jaxvq make pretrained $(CLIPS) --work runs/pretrained

clean:
	rm -rf $(VENV) runs/demo
