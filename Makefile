# Two commands do everything: `make quickstart` (install, then the main job) and `make test`.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
# Another place for torch, e.g. TORCH_INDEX=https://download.pytorch.org/whl/cpu
TORCH_INDEX ?=
MEMBERS := $(wildcard plugins/*/pyproject.toml rewards/*/pyproject.toml)
EDITABLE := -e . $(patsubst %/pyproject.toml,-e ./%,$(MEMBERS))
export TAO_HUB_DATA ?= $(if $(wildcard ../shared/data),$(abspath ../shared/data))
export PIP_DISABLE_PIP_VERSION_CHECK = 1

.PHONY: quickstart test install install-dev clean

quickstart: install
	$(BIN)/tao-hub quickstart $(ARGS)

test: install-dev
	$(BIN)/tao-hub models add smollm2
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/python -m pytest $(ARGS)

install: $(VENV)/.installed
install-dev: $(VENV)/.installed-dev

$(VENV)/.torch: constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install -q -c constraints.txt $(if $(TORCH_INDEX),--index-url $(TORCH_INDEX)) torch
	touch $@

$(VENV)/.installed: $(VENV)/.torch pyproject.toml $(MEMBERS)
	$(BIN)/python -m pip install -q -c constraints.txt $(EDITABLE)
	touch $@

$(VENV)/.installed-dev: $(VENV)/.installed
	$(BIN)/python -m pip install -q -c constraints.txt -e '.[dev]'
	touch $@

clean:
	rm -rf $(VENV) build *.egg-info */*/*.egg-info */*/src/*.egg-info
