# Everything runs in .venv; uv is taken from the machine or fetched by pip into .venv itself.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
export PYTHONUNBUFFERED = 1

.PHONY: demo test test-all lint format bench results env clean

demo: env
	$(BIN)/selfray run digits

# Whole files go to either of two processes, each with a Ray of its own; in their order, so that long ones come first.
test: env
	$(BIN)/python -m pytest -n $(or $(PROCESSES),2) --dist loadfile --no-loadscope-reorder

test-all: env
	$(BIN)/python -m pytest -m "not gpu and not soak"

lint: env
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

format: env
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

bench: $(VENV)/.bench  # make bench NAMES="augment decode" for some of them; DATA=DIR for those on CIFAR-10
	$(BIN)/python -m tests.benchmarks $(NAMES) $(if $(DATA),--data $(DATA))

$(VENV)/.bench: $(VENV)/.installed
	UV=$$(command -v uv || echo $(BIN)/uv); \
	"$$UV" pip install --quiet --compile-bytecode --python $(BIN)/python --constraint constraints.txt --editable ".[dev,bench,peers]"
	touch $@

results: env
	$(BIN)/python -m tests.benchmarks.results $(or $(STORAGE),selfray-runs)
	$(BIN)/python -m tests.benchmarks.campaigns $(or $(STORAGE),selfray-runs)

env: $(VENV)/.installed

$(VENV)/.installed: pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit("Selfray needs Python 3.11 or newer; this is " + sys.version.split()[0] + ": make PYTHON=python3.12") if sys.version_info < (3, 11) else None'
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	UV=$$(command -v uv || true); \
	if [ -z "$$UV" ]; then $(BIN)/python -m pip install --quiet --disable-pip-version-check uv && UV=$(BIN)/uv; fi; \
	"$$UV" pip install --quiet --compile-bytecode --python $(BIN)/python --constraint constraints.txt --editable ".[dev]"
	touch $@

clean:
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache *.egg-info
