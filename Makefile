# make demo   run the demo study and say where its report lies
# make test   run the test suite
# Both create .venv from envs/requirements.lock first.

PYTHON_ENV := .venv/installed.lock
BIN := .venv/bin
SMK := $(wildcard workflow/*.smk workflow/rules/*.smk workflow/methods/*.smk) Snakefile workflow/Snakefile
export PATH := $(CURDIR)/$(BIN):$(PATH)

.PHONY: demo test lint clean

demo: $(PYTHON_ENV)
	@python scripts/run_demo.py

test: $(PYTHON_ENV) lint
	python -m pytest

lint: $(PYTHON_ENV)
	ruff check scripts tests
	ruff format --check scripts tests
	snakefmt --check $(SMK)
	snakemake --lint
	snakemake --lint --configfile config/paper.yaml

$(PYTHON_ENV): envs/requirements.lock
	@sh envs/create_venv.sh

clean:
	rm -rf results/demo data/simulated logs/demo .snakemake
