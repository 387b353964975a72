# Every target sets up its virtual environment first: nothing but Python 3.11 or newer and make is needed.
#   make test ARGS="-k order -x"       make train JOB=jobs/quickstart.yaml ARGS="--set seed=2"

PYTHON ?= python3
JOB ?= jobs/quickstart.yaml
ARGS ?=
BIN := .venv/bin

.DEFAULT_GOAL := help
.PHONY: help train test real quick check bench gpu format lock clean

help: ## show this list
	@sed -n 's/^\([a-z]*\):.*## \(.*\)/  make \1\t\2/p' Makefile | expand -t 16

train: .venv/.installed ## train the quickstart recipe, or JOB=jobs/another.yaml
	$(BIN)/lstmgan train $(JOB) $(ARGS)

# Clusters come last, two files at a time, for they are killed and must notice it in time, and wait most of it. Four processes
# take the rest, for some of it waits: for servers, for silence; by names, for by their numbers of tests the longest files
# would come last. pytest ends with 5 where ARGS leaves it nothing to do.
test: .venv/.installed ## run every test but the benchmarks
	$(BIN)/python -m pytest --numprocesses 4 --dist loadfile --no-loadscope-reorder -m "not cluster and not real" $(ARGS); code=$$?; [ $$code = 0 -o $$code = 5 ]
	$(BIN)/python -m pytest --numprocesses 2 --dist loadfile --no-loadscope-reorder -m "cluster and not real" $(ARGS); code=$$?; [ $$code = 0 -o $$code = 5 ]

# Debian's packages, and none of their services: while they are installed, what starts those is told not to. Where they
# cannot be installed, tests are skipped and say what is missing.
real: .venv/.installed ## run the tests on real servers and schedulers of Debian's, which root gets installed
	@$(install_real)
	$(BIN)/python -m pytest -m real $(ARGS); code=$$?; [ $$code = 0 -o $$code = 5 ]
	$(BIN)/python -m pytest --real-s3 tests/test_storage_s3.py tests/training/test_s3_runs.py $(ARGS); code=$$?; [ $$code = 0 -o $$code = 5 ]

quick: .venv/.installed ## run the tests that need neither a server nor much computing: a minute
	$(BIN)/python -m pytest --numprocesses 2 --dist loadfile --no-loadscope-reorder -m "not slow and not cluster and not real" $(ARGS)

check: .venv/.installed ## lint, format, types and the floors of the house
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/pyright
	$(BIN)/lint-imports

bench: .venv-bench/.installed ## measure, beside the libraries we compare with
	.venv-bench/bin/python -m tests.benchmarks $(ARGS)

# Nothing is installed: PYTHON needs a torch that knows the GPU, what pyproject.toml depends on beside Ray, and its group dev.
gpu: ## run the tests and benchmarks that need a GPU, with PYTHON as it is
	$(PYTHON) -m pytest -m gpu $(ARGS)
	$(PYTHON) -m tests.benchmarks likelihood drawing updates exactness gpu --save

format: .venv/.installed ## put the code in order
	$(BIN)/ruff check --fix
	$(BIN)/ruff format

lock: $(BIN)/uv ## resolve pyproject.toml again; ARGS=--upgrade for the newest versions
	$(COMPILE) --extra cluster --extra s3 --extra export --group dev -o requirements.lock
	$(COMPILE) --extra cluster --extra s3 --extra export --group bench -o requirements-bench.lock

clean: ## remove the environments and every cache; runs/ stays
	rm -rf .venv .venv-bench .pytest_cache .ruff_cache .import_linter_cache .hypothesis build dist
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

REAL_PACKAGES := slurmctld slurmd slurm-client openssh-server openssh-client rsync iproute2 prometheus radosgw ceph-mon ceph-osd

define install_real
if dpkg --status $(REAL_PACKAGES) > /dev/null 2>&1; then exit 0; fi; \
if ! command -v apt-get > /dev/null || [ "$$(id -u)" != 0 ]; then \
	echo "Not installed, for that takes root on a Debian: $(REAL_PACKAGES). Tests that need them are skipped."; exit 0; \
fi; \
policy=/usr/sbin/policy-rc.d; \
if [ ! -e $$policy ]; then trap 'rm -f '$$policy EXIT INT TERM; printf '#!/bin/sh\nexit 101\n' > $$policy; chmod 755 $$policy; fi; \
{ apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -qq -y --no-install-recommends $(REAL_PACKAGES); } \
	> /dev/null 2>&1 || echo "apt-get could not install $(REAL_PACKAGES). Tests that need them are skipped."
endef

# Who runs what is decided in tests/conftest.py.
COMPILE = UV_CUSTOM_COMPILE_COMMAND="make lock" $(BIN)/uv pip compile --quiet pyproject.toml --universal \
	--python-version 3.11 --generate-hashes --no-emit-index-url --no-emit-find-links $(ARGS)

.venv/.installed: requirements.lock pyproject.toml
	$(set_up)

.venv-bench/.installed: requirements-bench.lock pyproject.toml
	$(set_up)

$(BIN)/uv:
	$(new_venv)
	.venv/bin/python -m pip install --quiet uv

define new_venv
@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "lstmgan-dist needs Python 3.11 or newer, and $(PYTHON) is " + sys.version.split()[0] + ": make PYTHON=python3.11 ...")'
@echo "Setting up $(firstword $(subst /, ,$@)): a minute or two the first time, most of it PyTorch"
$(PYTHON) -m venv $(firstword $(subst /, ,$@))
endef

# pip brings uv, and uv the rest; both accept only the files whose hashes the lock names. Compiled once, the packages are
# imported in half the time by every process that a test or a cluster starts.
define set_up
$(new_venv)
@sed -n '/^uv==/,/[^\\]$$/p' $< > $(@D)/uv.lock
$(@D)/bin/python -m pip install --quiet --require-hashes -r $(@D)/uv.lock
$(@D)/bin/uv pip sync --quiet --compile-bytecode --python $(@D)/bin/python --require-hashes $<
$(@D)/bin/uv pip install --quiet --python $(@D)/bin/python --no-deps --no-build-isolation --editable .
@touch $@
endef
