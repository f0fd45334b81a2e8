# Needs make and Python 3.11 or newer with its venv module; no root. Everything else goes into .venv, once.
#
#   make            the environment, for bin/cdnlab
#   make up         the whole network; ARGS="--origin http://127.0.0.1:3000" and other words of `cdnlab up`
#   make load       Locust's web page, against the lab on this machine; HOST=http://127.0.0.1:18080 for another one,
#                   ARGS="--headless -t 30s" and other words of Locust's
#   make test       every test that needs nothing beyond PyPI; ARGS="tests/wire -k chunked" for some of them
#   make scenarios  whole labs that are killed, frozen and taken over; nothing beyond PyPI, but some minutes more
#   make check      style, types and import contracts
#   make compose-smoke   the whole lab in containers; needs Docker (or root and dockerd) and Compose
#   make bench      cost per request beside the peers that are installed; BENCH_ROWS="edge-1k l7-1k" for some rows

PYTHON ?= python3
ARGS ?=
HOST ?=
WORKERS ?= 2
BENCH_SECONDS ?= 4
BENCH_ROUNDS ?= 3
BENCH_ROWS ?=

VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check install -qq -c constraints.txt
RUNTIME := $(VENV)/.runtime-installed
DEVELOPMENT := $(VENV)/.development-installed
LOAD := $(VENV)/.load-installed

.PHONY: venv install up load test scenarios check compose-smoke bench
.DELETE_ON_ERROR:

venv: $(RUNTIME)
	@echo "$(VENV) is ready: bin/cdnlab up"

install: $(DEVELOPMENT)
	@echo "$(VENV) is ready: make test"

up: $(RUNTIME)
	@bin/cdnlab up $(ARGS)

load: $(LOAD)
	@$(BIN)/locust $(if $(HOST),--host "$(HOST)") $(ARGS)

test: $(DEVELOPMENT)
	$(BIN)/python -m pytest -q -n $(WORKERS) --dist loadscope -m "not peers and not scenario" $(ARGS)

scenarios: $(DEVELOPMENT)
	$(BIN)/python -m pytest -q -n $(WORKERS) --dist loadscope -m "scenario and not peers" $(ARGS)

check: $(DEVELOPMENT)
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/lint-imports

compose-smoke: $(RUNTIME)
	@$(BIN)/python -m tests.compose.smoke $(ARGS)

bench: $(RUNTIME)
	@$(BIN)/python -m bench --seconds $(BENCH_SECONDS) --rounds $(BENCH_ROUNDS) $(addprefix --row ,$(BENCH_ROWS)) $(ARGS)

$(BIN)/python:
	@command -v "$(PYTHON)" >/dev/null || { echo "make: there is no $(PYTHON): apt-get install python3 python3-venv, or make PYTHON=/path/to/python3.11" >&2; exit 1; }
	@"$(PYTHON)" -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "make: Python 3.11 or newer is needed, $(PYTHON) is $$("$(PYTHON)" -V 2>&1): make PYTHON=/path/to/python3.11" >&2; exit 1; }
	@"$(PYTHON)" -c 'import ensurepip, venv' 2>/dev/null || { echo "make: $(PYTHON) has no venv module: apt-get install python3-venv" >&2; exit 1; }
	@echo "Making $(VENV) with $(PYTHON) …"
	@"$(PYTHON)" -m venv $(VENV)

$(RUNTIME): pyproject.toml constraints.txt | $(BIN)/python
	@echo "Installing what cdnlab runs with into $(VENV) …"
	@$(PIP) -e .
	@touch $@

$(DEVELOPMENT): pyproject.toml constraints.txt | $(BIN)/python
	@echo "Installing what cdnlab runs and is tested with into $(VENV) …"
	@$(PIP) -e ".[dev]"
	@touch $@ $(RUNTIME) $(LOAD)

$(LOAD): pyproject.toml constraints.txt | $(BIN)/python
	@echo "Installing cdnlab and Locust into $(VENV) …"
	@$(PIP) -e ".[load]"
	@touch $@ $(RUNTIME)
