# make demo   the whole workflow on real data     make test   every check
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt
# Two processes with one thread each: such small models lose by sharing work. Files run in the order
# that tests/conftest.py makes. xdist's own order, by the number of tests, puts the few slow files
# last, and one process waits. Bytecode is always kept: without it each process compiles all modules
# and tests again, which is half of the collection time.
PYTEST := PYTHONDONTWRITEBYTECODE= OMP_NUM_THREADS=1 \
  $(BIN)/pytest -n 2 --dist loadfile --no-loadscope-reorder
# Every call compares shapes and types with the annotations, which doubles the time of the tests:
# `test` does so where models, likelihoods and operators are called singly, `test-all` in every
# test that is not slow.
ANNOTATED := --jaxtyping-packages=ancestral,beartype.beartype
CALLED := tests/models tests/likelihoods tests/test_philox.py tests/test_bound.py \
  tests/triton_kernels/test_linear.py tests/triton_kernels/test_recurrence.py
# Triton decides when a kernel is defined whether to interpret it, so these tests run separately.
INTERPRETED := TRITON_INTERPRET=1 $(PYTEST)
# Tests with these marks have targets of their own.
ELSEWHERE := not gpu and not kernels and not browser and not clients and not bulk
# The files whose kernel tests are not slow.
KERNELS := tests/engine/test_triton.py tests/triton_kernels/kernels \
  tests/triton_kernels/test_new_operator.py tests/benchmarks/test_gpu_rehearsal.py

OLD_CPU := ATEN_CPU_CAPABILITY=default MKL_ENABLE_INSTRUCTIONS=SSE4_2 DNNL_MAX_CPU_ISA=SSE41
# Tests that compare numbers computed by PyTorch; the others check files, messages and options.
COMPUTING := tests/laws tests/engine tests/export tests/likelihoods tests/models tests/train \
  tests/triton_kernels

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help install demo test test-all test-old-cpu test-browser test-bulk test-clients \
  test-install checks docs docs-links gpu bench peers kernels-table clean

help: ## list the targets
	@sed -n 's/^\([a-z-]*\):[^#]*## \(.*\)/make \1\t\2/p' Makefile | expand -t 20

# torch is installed first, pinned: if pip resolves it with the other packages, it may download an
# unpinned version too.
$(STAMP): pyproject.toml constraints.txt
	@command -v $(PYTHON) > /dev/null || { \
	  echo "PYTHON: expected Python 3.11 or newer, got '$(PYTHON)', which does not exist;" \
	       "choose another: make PYTHON=python3.12 ..." >&2; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
	  echo "PYTHON: expected Python 3.11 or newer, got '$(PYTHON)'," \
	       "$$($(PYTHON) --version 2>&1 | head -n 1);" \
	       "choose another: make PYTHON=python3.12 ..." >&2; exit 1; }
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV) || { \
	  echo "'$(PYTHON) -m venv' failed; on Debian and Ubuntu install venv:" \
	       "apt-get install python3-venv" >&2; exit 1; }
	@echo "installing into $(VENV); the first time downloads for some minutes"
	@$(PIP) torch
	@$(PIP) -e '.[train,export,cpu,text,serve,bulk,dev,docs]'
	@touch $@

install: $(STAMP) ## create .venv with everything that the demo and the tests need

demo: $(STAMP) ## train, export, verify, sample and bench the digits
	@$(BIN)/python -m benchmarks.demo

checks: $(STAMP) ## check format, lint, types, layers and dead code, without the tests
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	@$(BIN)/lint-imports
	$(BIN)/vulture
	$(BIN)/python -m tests.prose

test: checks ## run every check: `make checks`, then all tests except the slow ones
	$(PYTEST) -m "not slow and $(ELSEWHERE)" $(CALLED:%=--ignore=%)
	$(PYTEST) -m "not slow and $(ELSEWHERE)" $(ANNOTATED) $(CALLED)
	$(INTERPRETED) -m "kernels and not slow" $(KERNELS)

# Annotations and coverage cost as much again as the tests themselves: the slow tests run without.
test-all: checks ## run every check and all tests, with coverage (GPU tests: make gpu)
	$(PYTEST) -m "not slow and $(ELSEWHERE)" $(ANNOTATED) --cov --cov-report=term
	$(PYTEST) -m "slow and $(ELSEWHERE)"
	$(INTERPRETED) -m kernels
	@$(MAKE) --no-print-directory test-old-cpu
	@if $(MAKE) --no-print-directory .bulk/.installed > /dev/null 2>&1; \
	  then $(MAKE) --no-print-directory test-bulk; \
	  else echo "test-bulk is left out: its packages cannot be installed here;" \
	       "to see why: make .bulk/.installed"; fi

# PyTorch and its libraries choose instructions by the processor and by these variables. ONNX
# Runtime has no such switch.
test-old-cpu: $(STAMP) ## run the tests that compute, as on a processor with only SSE 4.2
	$(OLD_CPU) $(PYTEST) -m "not slow and $(ELSEWHERE)" $(COMPUTING)

# Chromium must be installed: on Debian and Ubuntu, apt-get install chromium. CHROMIUM=PATH names
# another one.
BROWSER := .browser
$(BROWSER)/.installed: $(STAMP) tests/browser/requirements.txt
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --upgrade \
	  --target $(BROWSER) -r tests/browser/requirements.txt
	@touch $@

test-browser: $(BROWSER)/.installed ## test the server's page in Chromium, which must be installed
	PYTHONPATH=$(BROWSER) OMP_NUM_THREADS=1 $(BIN)/pytest -m browser tests/browser

# The site needs no network: only the links to other sites do.
docs: $(STAMP) ## build the site into build/docs; a warning is an error
	$(BIN)/sphinx-build -q -W --keep-going -d build/doctrees docs build/docs
	@echo "the first page is build/docs/index.html"

docs-links: $(STAMP) ## follow the links of the docs to other sites; needs a network
	$(BIN)/sphinx-build -q -b linkcheck -d build/doctrees docs build/links

# Set only by make's arguments: environment variables of these names are for other programs.
PYTHONS :=
INSTALL :=
GPU :=
PEERS :=
# PYTHONS: names or paths, for example "python3.12 /opt/python3.14/bin/python3".
# INSTALL: further options.
test-install: $(STAMP) ## test the installation with each Python found; write docs/installing.md
	@$(BIN)/python -m tests.install $(INSTALL) -- $(PYTHONS)

# If $(PYTHON) has PyTorch for CUDA, it is used directly, and nothing is installed.
gpu: ## test and measure on a CUDA GPU; without one, rehearse: make GPU='--parts steps' gpu
	@if $(PYTHON) -c 'import sys, torch; sys.exit(not torch.cuda.is_available())' 2> /dev/null; \
	  then python=$(PYTHON); else $(MAKE) --no-print-directory $(STAMP) && python=$(BIN)/python; fi; \
	  PYTHONPATH=src:. $$python -m benchmarks.gpu $(GPU)

bench: $(STAMP) ## append benchmark rows to benchmarks/results
	@$(BIN)/python -m benchmarks.run

# The first time it downloads some gigabytes into .peers, and exports the models, which takes minutes.
peers: $(STAMP) ## compare with other programs: make PEERS='--only W2 --rounds 5' peers
	@$(BIN)/python -m benchmarks.peers --install $(PEERS)

kernels-table: $(STAMP) ## compile every kernel; write docs/kernels-compiled.md
	@$(BIN)/python -m ancestral.triton_kernels.tools.compile --table docs/kernels-compiled.md

# The first time it downloads some gigabytes into .clients. torch is installed first: pip might
# download another version too.
.clients/.installed: tests/clients/requirements.txt
	@test -x .clients/bin/python || $(PYTHON) -m venv .clients
	@.clients/bin/python -m pip install --quiet --disable-pip-version-check \
	  "$$(grep ^torch== $<)"
	@.clients/bin/python -m pip install --quiet --disable-pip-version-check -r $<
	@touch $@

test-clients: $(STAMP) .clients/.installed ## test the server with programs that others wrote
	CLIENTS=1 OMP_NUM_THREADS=1 $(BIN)/pytest -m clients tests/clients tests/serve/test_serving_page.py

# The environment adds to .venv, whose packages it sees. The first time it downloads a gigabyte.
.bulk/.installed: $(STAMP) tests/bulk/requirements.txt
	@test -x .bulk/bin/python || $(BIN)/python -m venv .bulk
	@$(BIN)/python -c 'import site; print(f"import site; site.addsitedir({site.getsitepackages()[0]!r})")' \
	  > "$$(.bulk/bin/python -c 'import site; print(site.getsitepackages()[0])')/project.pth"
	@.bulk/bin/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -r $(word 2,$^)
	@touch $@

# Ray and Spark start processes of their own: one test at a time.
test-bulk: .bulk/.installed ## test bulk work with Ray, Spark (needs Java), S3 and readers of tables
	OMP_NUM_THREADS=1 .bulk/bin/python -m pytest -m bulk tests/bulk

clean: ## remove everything that was built, cached or drawn, and .venv
	rm -rf $(VENV) .browser .bulk .clients .peers demo build dist src/*.egg-info .coverage .coverage.* \
	  htmlcov .hypothesis .import_linter_cache .mypy_cache .pytest_cache .ruff_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
