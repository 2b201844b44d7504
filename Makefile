# make demo   run the demo study and print the path of its page
# make test   run lint and the test suite, with a process for each core
# make test-slurm   run the tests that need a real Slurm, which they start (needs root, and munge and slurm-wlm of Debian)
# make lint   run the linters, the type checker and the spelling check
# make plan [STUDY=paper]   print jobs, GPU hours, memory, disk and the longest chain of a study before it runs
# make data [STUDY=config/paper.yaml] [LIST=1]   list the data and networks of a study: what is there, what is missing, whose
#   form it needs; then fetch what can be fetched, or nothing with LIST=1
# make dataset PATH=folder [CONFIG=file]   check a folder of your own scans, and write a study of them (FROM= means the same)
# make submission FROM=folder [CONFIG=config/paper.yaml]   check reconstructions made elsewhere and score them
# make laion-check [STUDY=file]   decode one real session of LAION-fMRI, which needs no form; STUDY= is laid over its configuration
# make method FROM=folder   check a method's folder on a tiny study
# make slurm-check [STUDY=config/paper.yaml]   say what of a study does not fit this cluster, before anything is submitted
# make test-page [PAGE=results/demo/page.html]   test a study's page in Chromium (needs Chromium and npm)
# make verify [STUDY=demo]   compare all files of a study with their checksums; what made a damaged one, what to rerun
# make benchmarks   time what can take long against other ways and the device's limits, and write README's table
# make clean   delete the demo study's results and data
# All create .venv from envs/requirements.lock first; PYTHON_ENV= uses the Python and tools on the PATH instead.

# `make dataset PATH=folder` gives the folder by the name of the variable with which programs are found. The folder becomes
# FROM, and programs are found again as in the environment that make was started in. (Before make 4.4 a shell gets that
# environment; later ones pass the folder on, and Linux still has the old one in /proc.)
ifeq ($(origin PATH),command line)
FROM := $(PATH)
override PATH := $(shell given="$$PATH"; PATH=/usr/bin:/bin; if [ "$$given" = '$(subst ','\'',$(FROM))' ]; then \
  given=$$(tr '\0' '\n' < /proc/$$PPID/environ | sed -n 's/^PATH=//p'); fi; echo "$${given:-/usr/local/bin:/usr/bin:/bin}")
endif
override export PATH := $(CURDIR)/.venv/bin:$(PATH)

PYTHON_ENV := .venv/installed.lock
PYTHON := scripts tests tools
SMK := Snakefile workflow/Snakefile tools/demo_networks/Snakefile $(shell find workflow scripts -name "*.smk")

.PHONY: demo test test-slurm lint plan data dataset submission method laion-check slurm-check test-page benchmarks clean

demo: $(PYTHON_ENV)
	@python scripts/run_demo.py

# One thread each: threads of small networks wait for each other longer than they work.
test: $(PYTHON_ENV) lint
	OMP_NUM_THREADS=1 python -m pytest --numprocesses auto --maxprocesses 8 --dist loadfile --no-loadscope-reorder

test-slurm: $(PYTHON_ENV)
	@sh tests/slurm/run.sh $(INSTALL)

lint: $(PYTHON_ENV)
	ruff check $(PYTHON)
	ruff format --check $(PYTHON)
	snakefmt --check $(SMK)
	codespell
	python tools/lint/english.py
	mypy
	snakemake --lint
	snakemake --lint --configfile config/paper.yaml
	snakemake --lint --configfile config/transfer.yaml
	snakemake --lint --configfile config/laion.yaml

plan: $(PYTHON_ENV)
	@python scripts/plan_study.py $(STUDY)

data: $(PYTHON_ENV)
	@python scripts/fetch_data.py $(STUDY) $(if $(LIST),--list)

dataset: $(PYTHON_ENV)
	@python scripts/add_dataset.py "$(FROM)" $(if $(CONFIG),--config "$(CONFIG)")

submission: $(PYTHON_ENV)
	@python scripts/validate_submission.py "$(FROM)" $(if $(CONFIG),--configfile $(CONFIG))

method: $(PYTHON_ENV)
	@python scripts/check_method.py "$(FROM)"

laion-check: $(PYTHON_ENV)
	@python scripts/run_study.py config/laion_check.yaml $(STUDY)

slurm-check: $(PYTHON_ENV)
	@python scripts/slurm_check.py $(if $(STUDY),--configfile $(STUDY))

test-page: $(PYTHON_ENV)
	@sh tests/browser/run.sh $(PAGE)

.PHONY: verify
verify: $(PYTHON_ENV)
	@python scripts/verify_study.py $(STUDY)

benchmarks: $(PYTHON_ENV)
	@PYTHONPATH=scripts:tests/benchmarks python tests/benchmarks/run_benchmarks.py --readme

$(PYTHON_ENV): envs/requirements.lock
	@sh envs/create_venv.sh

clean:
	rm -rf results/demo data/simulated logs/demo
