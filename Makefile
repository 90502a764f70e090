# make demo   the whole way on real data          make test   every check
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt
# Two processes, one thread each: models this small lose by sharing work. In the order of the files,
# which tests/conftest.py makes: by the number of tests, as xdist would, the few that take long come
# last and one process waits. Bytecode is kept, whatever the environment says: otherwise each process
# compiles every module and every test again, half of the time that it takes to collect them.
PYTEST := PYTHONDONTWRITEBYTECODE= OMP_NUM_THREADS=1 \
  $(BIN)/pytest -n 2 --dist loadfile --no-loadscope-reorder
# Shapes and types are compared with annotations at every call, which takes as long as the tests do
# without: in every run where models, likelihoods and operators are called one by one, and in all tests
# by test-all.
ANNOTATED := --jaxtyping-packages=ancestral,beartype.beartype
CALLED := tests/models tests/likelihoods tests/test_philox.py tests/test_bound.py \
  tests/triton_kernels/test_linear.py tests/triton_kernels/test_recurrence.py
# Triton decides when a kernel is defined whether it interprets: these tests have their own process.
INTERPRETED := TRITON_INTERPRET=1 $(PYTEST)
# Where the tests are that are not slow.
KERNELS := tests/engine/test_triton.py tests/triton_kernels/kernels \
  tests/triton_kernels/test_new_operator.py tests/benchmarks/test_gpu_rehearsal.py

OLD_CPU := ATEN_CPU_CAPABILITY=default MKL_ENABLE_INSTRUCTIONS=SSE4_2 DNNL_MAX_CPU_ISA=SSE41
# Tests that compare numbers which PyTorch computes; the others read files, words and options.
COMPUTING := tests/laws tests/engine tests/export tests/likelihoods tests/models tests/train \
  tests/triton_kernels

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help install demo test test-all test-old-cpu test-install checks docs docs-links gpu bench \
  kernels-table clean

help: ## what can be made
	@sed -n 's/^\([a-z-]*\):[^#]*## \(.*\)/make \1\t\2/p' Makefile | expand -t 20

# torch first and pinned: resolved beside the other packages, an unpinned one may be downloaded too.
$(STAMP): pyproject.toml constraints.txt
	@command -v $(PYTHON) > /dev/null || { \
	  echo "expected Python 3.11 or newer as '$(PYTHON)', found no such command;" \
	       "name one: make PYTHON=python3.12 ..." >&2; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
	  echo "expected Python 3.11 or newer, got $$($(PYTHON) --version 2>&1 | head -n 1) as '$(PYTHON)';" \
	       "name another: make PYTHON=python3.12 ..." >&2; exit 1; }
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV) || { \
	  echo "'$(PYTHON) -m venv' failed; on Debian and Ubuntu: apt-get install python3-venv" >&2; exit 1; }
	@echo "installing into $(VENV); the first time takes some minutes of downloads"
	@$(PIP) torch
	@$(PIP) -e '.[train,export,cpu,text,dev,docs]'
	@touch $@

install: $(STAMP) ## .venv with everything that the demo and the tests need

demo: $(STAMP) ## train, export, verify, sample and bench the digits
	@$(BIN)/python -m benchmarks.demo

checks: $(STAMP) ## format, lint, types, layers and dead code, without the tests
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	@$(BIN)/lint-imports
	$(BIN)/vulture

test: checks ## every check: the above, then the tests but the slow ones
	$(PYTEST) -m "not slow and not gpu and not kernels" $(CALLED:%=--ignore=%)
	$(PYTEST) -m "not slow and not gpu and not kernels" $(ANNOTATED) $(CALLED)
	$(INTERPRETED) -m "kernels and not slow" $(KERNELS)

# Coverage traces every line, which takes as long again: it is measured here alone.
test-all: checks ## every check, the slow tests too, with coverage (those for a GPU: make gpu)
	$(PYTEST) -m "not gpu and not kernels" $(ANNOTATED) --cov --cov-report=term
	$(INTERPRETED) -m kernels
	@$(MAKE) --no-print-directory test-old-cpu

# PyTorch and its libraries choose instructions by the processor, and by these variables. ONNX Runtime
# has no such switch.
test-old-cpu: $(STAMP) ## the tests that compute, as on a processor with SSE 4.2 only
	$(OLD_CPU) $(PYTEST) -m "not slow and not gpu and not kernels" $(COMPUTING)

# The site needs no network: only the links to other sites do.
docs: $(STAMP) ## build the site into build/docs; a warning is an error
	$(BIN)/sphinx-build -q -W --keep-going -d build/doctrees docs build/docs
	@echo "the first page is build/docs/index.html"

docs-links: $(STAMP) ## follow the links of the docs to other sites; needs a network
	$(BIN)/sphinx-build -q -b linkcheck -d build/doctrees docs build/links

# What these hold in the environment is meant for other programs: they come from make's own arguments.
PYTHONS :=
INSTALL :=
GPU :=
# PYTHONS: names or paths, "python3.12 /opt/python3.14/bin/python3" say; INSTALL: further options.
test-install: $(STAMP) ## install with each Python found and check; write docs/installing.md
	@$(BIN)/python -m tests.install $(INSTALL) -- $(PYTHONS)

# An image with PyTorch for CUDA is taken as it is: nothing is installed there.
gpu: ## prove and measure on a CUDA GPU; without one, rehearse: make GPU='--parts steps' gpu
	@if $(PYTHON) -c 'import sys, torch; sys.exit(not torch.cuda.is_available())' 2> /dev/null; \
	  then python=$(PYTHON); else $(MAKE) --no-print-directory $(STAMP) && python=$(BIN)/python; fi; \
	  PYTHONPATH=src:. $$python -m benchmarks.gpu $(GPU)

bench: $(STAMP) ## append benchmark rows to benchmarks/results
	@$(BIN)/python -m benchmarks.run

kernels-table: $(STAMP) ## compile every kernel, write docs/kernels-compiled.md
	@$(BIN)/python -m ancestral.triton_kernels.tools.compile --table docs/kernels-compiled.md

clean: ## remove what was built, cached and drawn; .venv too
	rm -rf $(VENV) demo build dist src/*.egg-info .coverage .coverage.* htmlcov .hypothesis \
	  .import_linter_cache .mypy_cache .pytest_cache .ruff_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
