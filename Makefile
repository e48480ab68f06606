# Everything runs in a virtual environment of its own, made on first use.
# It needs Python 3.11 or later with venv, make, and a package index.

PYTHON ?= python3
VENV ?= .venv
BIN = $(VENV)/bin
# Processes that work side by side, and timings, get one thread each.
test lowest peers doc browser bench: export OMP_NUM_THREADS ?= 1
test lowest peers doc browser bench: export OPENBLAS_NUM_THREADS ?= 1
# Tests start Python several times: it may keep what it has compiled.
test lowest: export PYTHONDONTWRITEBYTECODE =

.PHONY: demo test lowest peers browser lint doc bench release clean

# Separate the bundled recording and say how good and how fast it was.
demo: $(VENV)/.core
	$(BIN)/skbss separate --demo -o demo

test: $(VENV)/.test
	$(BIN)/python -m pytest -n 2 --dist loadgroup

# Without any extra, and with the lowest version of each dependency that pyproject.toml
# allows. What newer packages say about old ones is no error here.
lowest: $(VENV)-lowest/.done
	$(VENV)-lowest/bin/skbss separate --demo -o demo
	$(VENV)-lowest/bin/python -W ignore -m pytest -n 2 --dist loadgroup -W ignore $(IN_CORE)

IN_CORE = $(patsubst %,tests/test_%.py,benchmark_run common compose inspection io \
	online report separators stft streaming)

# Compare with independent packages, run live.
peers: $(VENV)/.peers
	$(BIN)/python -m pytest -m peers $(shell grep -l peers tests/test_*.py)

# Open the report of a benchmark and the pages that `make doc` has built in Chromium,
# with chromedriver beside it.
browser: $(VENV)/.browser
	$(BIN)/python -m pytest -m browser tests/test_report_browser.py tests/test_site_browser.py

lint: $(VENV)/.lint
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/codespell --skip '*/_build,*/generated,*/auto_examples' \
		*.md .github doc examples
	$(BIN)/mypy

# The pages, in doc/_build/html. A warning is an error; no network is used.
doc: $(VENV)/.doc
	$(BIN)/sphinx-build -W --keep-going -q -d doc/_build/doctrees doc doc/_build/html
	$(BIN)/python doc/check_links.py doc/_build/html

# Speed beside the peers, one run, ratios.
bench: $(VENV)/.peers
	$(BIN)/python benchmarks/bench_batch.py

# What is uploaded, checked: the wheel is installed where nothing else is, and separates.
release: $(VENV)/.release
	rm -rf build dist
	$(BIN)/python -m build --outdir dist
	$(BIN)/python -m twine check --strict dist/*
	$(PYTHON) -m venv build/empty
	build/empty/bin/python -m pip install --quiet dist/*.whl
	cd build && empty/bin/skbss separate --demo -o demo
	cd build && empty/bin/skbss benchmark init > experiment.yaml
	cd build && empty/bin/skbss benchmark run experiment.yaml -o run \
		--set dataset.n_scenes=1 --set dataset.duration=2
	cd build && empty/bin/skbss benchmark report run
	@echo "Ready to upload: dist/"

clean:
	rm -rf $(VENV) $(VENV)-lowest demo build dist *.egg-info doc/_build doc/auto_examples doc/generated

$(VENV)/bin/python:
	$(PYTHON) -m venv $(VENV)

# A stamp per set of dependencies; pyproject.toml is their only list.
$(VENV)/.core: $(VENV)/bin/python pyproject.toml
	$(BIN)/python -m pip install --quiet --editable .
	touch $@

$(VENV)/.peers $(VENV)/.browser: $(VENV)/.test
$(VENV)/.test $(VENV)/.peers $(VENV)/.browser $(VENV)/.lint $(VENV)/.doc $(VENV)/.release: $(VENV)/.%: $(VENV)/bin/python pyproject.toml
	$(BIN)/python -m pip install --quiet --editable '.[$*]'
	touch $@

$(VENV)-lowest/.done: pyproject.toml .ci/lowest.py
	$(PYTHON) -m venv $(VENV)-lowest
	$(VENV)-lowest/bin/python .ci/lowest.py > $(VENV)-lowest/lowest.txt
	$(VENV)-lowest/bin/python -m pip install --quiet --editable . \
		--constraint $(VENV)-lowest/lowest.txt
	$(VENV)-lowest/bin/python -m pip install --quiet \
		--constraint $(VENV)-lowest/lowest.txt pytest pytest-xdist hypothesis numpydoc
	touch $@
