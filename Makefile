# Two commands do everything: `make quickstart` (install, then the main job) and `make test`.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
# Processes that test, of one thread each: tiny models gain nothing from a second one.
JOBS ?= 2
# Another place for torch, e.g. TORCH_INDEX=https://download.pytorch.org/whl/cpu
TORCH_INDEX ?=
MEMBERS := $(wildcard plugins/*/pyproject.toml rewards/*/pyproject.toml)
EDITABLE := -e . $(patsubst %/pyproject.toml,-e ./%,$(MEMBERS))
PIP_INSTALL := $(BIN)/python -m pip install -q -c constraints.txt
export TAO_HUB_DATA ?= $(if $(wildcard ../shared/data),$(abspath ../shared/data))
export PIP_DISABLE_PIP_VERSION_CHECK = 1
export PIP_NO_INPUT = 1

.PHONY: quickstart test install install-dev clean

quickstart: install
	$(BIN)/tao-hub quickstart $(ARGS)

test: install-dev
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/tao-hub models add smollm2
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n $(JOBS) --dist loadfile --no-loadscope-reorder $(ARGS)

install: $(VENV)/.installed
install-dev: $(VENV)/.installed-dev

$(VENV)/.torch: constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(PIP_INSTALL) $(if $(TORCH_INDEX),--index-url $(TORCH_INDEX)) torch
	$(PIP_INSTALL) setuptools
	touch $@

# Without build isolation: built with the pinned setuptools, not with whatever is newest.
$(VENV)/.installed: $(VENV)/.torch pyproject.toml $(MEMBERS)
	$(PIP_INSTALL) --no-build-isolation $(EDITABLE)
	touch $@

$(VENV)/.installed-dev: $(VENV)/.installed
	$(PIP_INSTALL) --no-build-isolation -e '.[dev]' -e './rewards/tao-reward-sql[duckdb,postgres]'
	touch $@

clean:
	rm -rf $(VENV) build *.egg-info */*/*.egg-info */*/src/*.egg-info
