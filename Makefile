# The two commands: `make demo` and `make test`. Both set up .venv first; PYTHON names the interpreter to make it from.
PYTHON ?= python3
BIN := .venv/bin
# The file is touched last: an interrupted installation is done again.
READY := .venv/ready

.PHONY: demo test lint types tests clean

# Run again, it goes on where it was interrupted, or shows the end again.
demo: $(READY)
	$(BIN)/orchestrator prepare studies/quickstart.toml --profile local
	@if test -d runs/quickstart; then $(BIN)/orchestrator resume runs/quickstart; \
	else $(BIN)/orchestrator launch studies/quickstart.toml --profile local; fi

test: lint types tests

lint: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports

types: $(READY)
	$(BIN)/mypy

# Three processes even on two cores: many tests wait for schedulers. One thread each, not to be in each other's way.
tests: $(READY)
	OMP_NUM_THREADS=1 $(BIN)/pytest --numprocesses 3 --dist loadgroup

clean:
	rm -rf .venv build *.egg-info

$(READY): pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed: make PYTHON=python3.12 …")'
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt torch==2.13.0
	$(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[llm,tpe,mads,dev]'
	touch $@
