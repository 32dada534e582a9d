# `make` lists the commands. Everything runs in .venv, which is made the first time it is needed.
PYTHON ?= python3
BIN := .venv/bin
READY := .venv/.ready

# Python keeps the bytecode of what it imports, even where the environment says that it should not: pip writes none, and
# each of some hundred processes of the tests that import TensorFlow would need 14 s of CPU for it instead of 6.
unexport PYTHONDONTWRITEBYTECODE

# Tests and committed notebooks give the same numbers everywhere: no weights from this machine, no network.
HERMETIC := env -u DFUTILS_WEIGHTS DFUTILS_OFFLINE=1 DFUTILS_CACHE=$(CURDIR)/.cache

# The same for notebooks, which run in their own folder; a warning may name the cache, so its path names no machine, and
# how quick an epoch was is not told. Without oneDNN, which TensorFlow takes on some processors only and which rounds
# differently, training gives almost the same second decimals on all.
PAGES := $(HERMETIC) DFUTILS_CACHE=../.cache DFUTILS_PROGRESS=0 TF_ENABLE_ONEDNN_OPTS=0

.DEFAULT_GOAL := help
.PHONY: help install demo test lint types unit notebooks-check notebooks reports images format wheel clean \
	test-kaggle-image test-processors test-container

help: ## list the commands
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-18s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

install: $(READY) ## make .venv with everything (done by the others when needed)

$(READY): requirements.txt requirements-dev.txt constraints.txt pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))' \
		|| { echo "Python 3.11 to 3.13 is needed; name it with make PYTHON=python3.12"; exit 1; }
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-compile -r requirements-dev.txt -c constraints.txt
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --editable .
	@touch $(READY)

demo: $(READY) ## run the whole pipeline on made-up clips: extract, train, evaluate, predict, report
	$(BIN)/dfutils demo --out demo-output

# Types, notebooks and unit tests are checked in parallel. The unit tests take longest and finish last; their last line
# says how many were skipped for lack of a browser.
test: lint ## everything that CI runs
	@$(MAKE) --no-print-directory --jobs 3 types unit notebooks-check

lint: $(READY) ## check style and format
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(READY) ## check types
	$(BIN)/mypy

unit: $(READY) ## unit tests, doctests and one end-to-end run
	$(HERMETIC) $(BIN)/python -m pytest -n 3 --dist loadfile --no-loadscope-reorder

notebooks-check: $(READY) ## run the committed notebooks and compare what they say, but no images (tests/nbval.cfg)
	rm -rf notebooks/output notebooks/submission.csv
	$(PAGES) $(BIN)/python -m pytest -o addopts= -q notebooks -p tests.notebooks.close_numbers --nbval --nbval-current-env \
		--nbval-cell-timeout 900 --nbval-sanitize-with tests/nbval.cfg

EXECUTE := $(PAGES) $(BIN)/jupyter-nbconvert --to notebook --execute \
	--ExecutePreprocessor.timeout=900 --ExecutePreprocessor.record_timing=False

notebooks: $(READY) ## run the notebooks on demo data and keep their outputs
	rm -rf notebooks/output notebooks/submission.csv
	$(EXECUTE) --inplace notebooks/*.ipynb

reports: $(READY) notebooks/output/report/report.html ## render notebooks and evaluation report to HTML in reports/
	rm -rf reports
	$(BIN)/python -m dfutils.notebook.pages notebooks/*.ipynb --report notebooks/output/report --out reports

# Those that lead to the report, run as copies: what is committed stays as it is.
notebooks/output/report/report.html:
	$(EXECUTE) --output-dir notebooks/output/executed $(wildcard notebooks/0[134]-*.ipynb)

images: reports ## take the screenshots in docs/ again (needs Chromium)
	$(BIN)/python -m benchmarks.screenshots reports

# Each of these rounds float32 otherwise, as another processor does: kernels for fewer vector instructions, TensorFlow's
# own instead of oneDNN's, and sums that are not shared out among threads.
PROCESSORS := ONEDNN_MAX_CPU_ISA=AVX2 ONEDNN_MAX_CPU_ISA=AVX512_CORE TF_ENABLE_ONEDNN_OPTS=0 TF_ENABLE_ONEDNN_OPTS=1 \
	"OMP_NUM_THREADS=1 TF_NUM_INTRAOP_THREADS=1 TF_NUM_INTEROP_THREADS=1"

test-processors: $(READY) ## compare networks with the rounding of five other processors
	set -e; for processor in $(PROCESSORS); do \
		echo "$$processor"; \
		$(HERMETIC) $$processor $(BIN)/python -m pytest -n 2 --dist loadfile -m rounding tests; done

# Kaggle's image of today, or with IMAGE=next the next one; their versions stand in the constraints. Its Python where that
# is installed, else this one: IMAGE_PYTHON=… names another.
IMAGE ?= current
IMAGE_PYTHON ?= $(shell python$(if $(filter next,$(IMAGE)),3.13,3.12) -c 'import sys; print(sys.executable)' \
	2>/dev/null || echo $(PYTHON))
IMAGE_CONSTRAINTS := tests/kaggle_image/constraints$(if $(filter-out current,$(IMAGE)),-$(IMAGE)).txt
IMAGE_VENV := .venv-kaggle-$(IMAGE)
IMAGE_READY := $(IMAGE_VENV)/.ready

test-kaggle-image: $(IMAGE_READY) ## the package's tests with the versions of Kaggle's image, or of IMAGE=next; its wheel with OpenCV 4.13 and 5
	@$(IMAGE_VENV)/bin/python --version
	$(HERMETIC) $(IMAGE_VENV)/bin/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder --ignore tests/notebooks
	PYTHONPATH=. $(IMAGE_VENV)/bin/python tests/kaggle_image/check_wheel.py

$(IMAGE_READY): $(IMAGE_CONSTRAINTS) requirements.txt requirements-dev.txt
	$(IMAGE_PYTHON) -m venv --clear $(IMAGE_VENV)
	cat requirements.txt requirements-dev.txt | grep -v -e '^opencv' -e '^-r ' | sed 's/ *#.*//' > $(IMAGE_VENV)/requirements.txt
	$(IMAGE_VENV)/bin/python -m pip install --quiet --disable-pip-version-check opencv-python-headless \
		-r $(IMAGE_VENV)/requirements.txt -c $(IMAGE_CONSTRAINTS)
	@touch $(IMAGE_READY)

test-container: $(READY) ## follow the Containerfile in a fresh folder, and predict in a sandbox (needs pip's index)
	$(BIN)/python tests/containers/check_containerfile.py --python \
		$(shell python3.12 -c 'import sys; print(sys.executable)' 2>/dev/null || echo $(PYTHON))

format: $(READY) ## format the code
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

wheel: $(READY) ## build the wheel into dist/
	$(BIN)/python -m pip wheel --quiet --no-deps --wheel-dir dist .

clean: ## remove what the other commands made, but not .venv
	rm -rf build dist .cache demo-output reports notebooks/output notebooks/submission.csv .venv-kaggle-* .mypy_cache .pytest_cache .ruff_cache .hypothesis
