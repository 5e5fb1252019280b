# The same commands CI calls. `make demo` and `make test` do all set-up themselves.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
TASK ?= topics
PORT ?= 8000
# Another build of torch: TORCH_INDEX=https://download.pytorch.org/whl/cu128
TORCH_INDEX ?=
TORCH := torch==2.13.0

.PHONY: demo run test soak lint format bench lock openapi vendor clean help
.DEFAULT_GOAL := help

help: ## This list
	@grep -hE '^[a-z]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12

# torch first: with none installed, another package would pull the newest CUDA build of several GB. Modules are compiled
# when they are first imported, as most never are: compiling all took 50 s of the installation's 145.
PIP := $(BIN)/pip install --quiet --disable-pip-version-check --no-compile

$(VENV)/.installed: requirements.txt requirements-starter.txt pyproject.toml
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@$(BIN)/python -c 'import sys; sys.exit(sys.version_info[:2] < (3, 11))' || { echo "Priorhub needs Python 3.11 or newer: make PYTHON=python3.11 …"; exit 1; }
	@echo "Installing (once; about 1.5 GB on disk) …"
	@$(PIP) $(if $(TORCH_INDEX),--index-url $(TORCH_INDEX)) "$(TORCH)"
	@$(PIP) -r requirements.txt
	@$(PIP) --no-deps -r requirements-starter.txt
	@$(PIP) --no-deps --no-build-isolation --editable .
	@touch $@

demo: $(VENV)/.installed ## The main job end to end on real data: TASK=topics|sms|movie|digits|wine
	@$(BIN)/python manage.py demo $(TASK)

run: $(VENV)/.installed ## The hub on this machine: make run PORT=8000
	@$(BIN)/python manage.py up --port $(PORT)

test: $(VENV)/.installed ## The test suite; .ci/run adds what takes minutes, and repeats it on PostgreSQL and Redis
	$(BIN)/python -m pytest -n 2 --dist loadfile -m "not slow"

soak: $(VENV)/.installed ## Races, kills and random draws at full count, into docs/soak.md (half an hour; goes on where it was interrupted)
	$(BIN)/python scripts/soak

lint: $(VENV)/.installed ## Formatting, style, types, layers, migrations
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/djade --check --target-version 5.2 $$(git ls-files 'templates/*.html')
	$(BIN)/python manage.py makemigrations --check --dry-run

format: $(VENV)/.installed ## Put the code into shape
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .
	$(BIN)/djade --target-version 5.2 $$(git ls-files 'templates/*.html')

bench: $(VENV)/.installed ## Ratios against the best alternatives, in one interleaved run
	$(BIN)/python -m benchmarks

lock: $(VENV)/.installed ## Compile requirements.in into requirements.txt
	$(BIN)/pip-compile --quiet --strip-extras --no-emit-index-url --no-emit-trusted-host --output-file requirements.txt requirements.in
	sed -i "s/^\(torch==[0-9.]*\)+cpu/\1/" requirements.txt # any build of that version will do

openapi: $(VENV)/.installed ## Write docs/openapi.json
	$(BIN)/python manage.py openapi > docs/openapi.json

vendor: ## Fetch the browser libraries of static/vendor from npm
	sh scripts/vendor

clean: ## Remove the environment and caches; var/ stays
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .hypothesis
