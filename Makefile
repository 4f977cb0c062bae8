# make demo   install, audit scikit-learn's digits and a small language model, write runs/digits/report.html
# make test   the tests
# make check  linters and strict types
# make bench  examples per second of the ensemble engine, Opacus and plain SGD, runs/bench/engine.csv
# make faults  which planted faults does the gate catch? then 200 audits of the right trainer; writes runs/faults, docs/results
# make implementations  audits of Opacus and diffprivlib, in an environment of their own; writes runs/implementations
# make coverage  is every bound true, and how tight? minutes; writes runs/coverage

PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed

.PHONY: demo faults implementations figures test check bench coverage clean

demo: $(INSTALLED)
	$(BIN)/firedamp sweep experiments/digits.toml --out runs/digits

figures: demo
	cp runs/digits/plots/bounds.png docs/demo-bounds.png
	cp runs/digits/plots/extraction.png docs/demo-extraction.png

test: $(INSTALLED)
	OMP_NUM_THREADS=1 $(BIN)/pytest -n 2 --dist loadfile

check: $(INSTALLED)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

$(INSTALLED): pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; sys.exit(0 if sys.version_info >= (3, 11) else "Firedamp needs Python 3.11 or newer; name one: make PYTHON=python3.12")'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[dev]'
	touch $@

bench: $(INSTALLED)
	$(BIN)/python -W ignore experiments/bench_engine.py

faults: $(INSTALLED)
	OMP_NUM_THREADS=1 $(BIN)/python -m experiments.faults --out runs/faults --docs docs/results --jobs -1

IMPLEMENTATIONS := .venv-implementations

implementations: $(IMPLEMENTATIONS)/.installed
	OMP_NUM_THREADS=1 $(IMPLEMENTATIONS)/bin/python -W ignore -m experiments.implementations --out runs/implementations --docs docs/results

# diffprivlib 0.6.6 does not run beside the scikit-learn that the project is tested with.
$(IMPLEMENTATIONS)/.installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(IMPLEMENTATIONS)
	grep -v '^scikit-learn==' constraints.txt > $(IMPLEMENTATIONS)/constraints.txt
	$(IMPLEMENTATIONS)/bin/pip install --quiet --disable-pip-version-check --constraint $(IMPLEMENTATIONS)/constraints.txt --editable '.[diffprivlib]'
	touch $@

coverage: $(INSTALLED)
	OMP_NUM_THREADS=1 $(BIN)/python -m experiments.coverage --out runs/coverage --docs docs --jobs -1

clean:
	rm -rf $(VENV) $(IMPLEMENTATIONS) runs build *.egg-info
