# make demo   run the demo study and say where its report lies
# make test   run the test suite
# make test-page [PAGE=results/demo/page.html]   test a study's page in Chromium (needs Chromium and npm)
# make submission PATH=folder [CONFIG=config/paper.yaml]   check reconstructions made elsewhere and score them
# All create .venv from envs/requirements.lock first.

PYTHON_ENV := .venv/installed.lock
BIN := .venv/bin
SMK := $(wildcard workflow/rules/*.smk workflow/methods/*.smk) Snakefile workflow/Snakefile tools/demo_networks/Snakefile
# `make submission PATH=...` hides the search path of commands, which is therefore taken from the shell.
ifeq ($(origin PATH),command line)
SUBMISSION := $(PATH)
override PATH := $(shell echo $$PATH):/usr/local/bin:/usr/bin:/bin
endif
override PATH := $(CURDIR)/$(BIN):$(PATH)
export PATH

.PHONY: demo test test-page lint clean submission

demo: $(PYTHON_ENV)
	@python scripts/run_demo.py

submission: $(PYTHON_ENV)
	@python scripts/validate_submission.py "$(SUBMISSION)" $(if $(CONFIG),--configfile $(CONFIG))

test: $(PYTHON_ENV) lint
	python -m pytest

test-page: $(PYTHON_ENV)
	@sh tests/browser/run.sh $(PAGE)

lint: $(PYTHON_ENV)
	ruff check scripts tests tools
	ruff format --check scripts tests tools
	snakefmt --check $(SMK)
	snakemake --lint
	snakemake --lint --configfile config/paper.yaml

$(PYTHON_ENV): envs/requirements.lock
	@sh envs/create_venv.sh

clean:
	rm -rf results/demo data/simulated logs/demo
