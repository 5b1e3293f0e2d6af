# The lab's front door: one line each. `make help` lists the targets.
SHELL := /bin/sh
PYTHON ?= python3
PIP := .venv/bin/python -m pip
LOCKED := --quiet --disable-pip-version-check --require-hashes --constraint requirements.lock
PACKAGES := --group build --group workshop $(foreach s,rng hasher worker webui,--requirement services/$(s)/requirements.txt)

.DEFAULT_GOAL := help
# A half-made file must not pass for a whole one.
.DELETE_ON_ERROR:
.PHONY: help install up down test fuzz test-compose tools wheels stand-ins bench soak chaos docs dashboards lock clean

help:  ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-13s %s\n", $$1, $$2}' Makefile

install: .venv/installed  ## install the workshop command as .venv/bin/workshop; make up does so too

up: .venv/installed  ## start the lab natively, without Docker, and wait until there is data
	@.venv/bin/workshop up

down: .venv/installed  ## stop the lab; Redis keeps its data
	@.venv/bin/workshop down

tools: .venv/installed  ## build the real Prometheus, Collector, Jaeger and Compose into the tools cache
	@.venv/bin/workshop tools

test: .venv/installed-dev  ## run every test that this machine can run
	.venv/bin/ruff check && .venv/bin/ruff format --check && .venv/bin/mypy && .venv/bin/python -m pytest

FUZZ ?= 20
fuzz: .venv/installed-dev  ## send bad input, other than that of make test, and 20 times as much (FUZZ=20)
	FUZZ=$(FUZZ) .venv/bin/python -m pytest tests/fuzz --timeout=3600

test-compose: .venv/installed-dev  ## of these, the tests of compose.yaml on a real Docker engine
	.venv/bin/python -m pytest tests/compose

wheels: .venv/pip.txt  ## save the Python packages into wheels/, for machines without a network
	@$(PIP) download $(LOCKED) $(PACKAGES) --dest wheels

stand-ins: .venv/installed  ## make stand-ins for the images that the Docker engine lacks, without a registry
	@.venv/bin/python -m tests.compose.images

bench: .venv/installed-dev  ## measure what telemetry costs, and how the lab scales, into bench/results
	@.venv/bin/python -m bench

soak: .venv/installed-dev  ## ten minutes at full speed: memory, lost spans, failed scrapes
	@.venv/bin/python -m bench.soak

chaos: .venv/installed-dev  ## forty rounds in which something breaks: does all come back, and is the count exact
	@.venv/bin/python -m bench.chaos

docs: .venv/installed  ## make what is generated in docs/ anew, after a change of its sources
	@.venv/bin/python docs/generate.py

dashboards: .venv/installed-dev  ## make grafana/dashboards/*.json anew, after a change of the code beside them
	@.venv/bin/python -m grafana.dashboards

lock: .venv/bin/uv  ## resolve requirements.lock anew, after a change of the dependencies
	.venv/bin/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-emit-find-links \
	  --no-annotate --no-header pyproject.toml services/*/requirements.txt \
	  --group build --group workshop --group dev --group go --output-file requirements.lock

clean:  ## remove the virtual environment (not the lab's data)
	rm -rf .venv

# An old pip cannot check hashes against a constraints file, so the locked pip comes first.
.venv/pip.txt: requirements.lock
	@$(PYTHON) -c 'import sys; sys.exit("the lab needs Python 3.11 or later: make up PYTHON=python3.12" if sys.version_info < (3, 11) else 0)'
	@$(PYTHON) -m venv .venv
	@sed -n '/^pip==/,/[^\\]$$/p' requirements.lock > $@
	@$(PIP) install --quiet --disable-pip-version-check --require-hashes --requirement $@

.venv/installed: .venv/pip.txt pyproject.toml services/rng/requirements.txt services/hasher/requirements.txt services/worker/requirements.txt services/webui/requirements.txt
	@echo "installing the Python packages into .venv: half a minute, once"
	@$(PIP) install $(LOCKED) $(PACKAGES)
	@$(PIP) install --quiet --no-deps --no-index --no-build-isolation --editable .
	@touch $@

# Not from the lock file as a whole: that cannot be installed while a dependency is missing from it.
.venv/bin/uv: | .venv/pip.txt
	@$(PIP) install $(LOCKED) uv

.venv/installed-dev: .venv/installed
	@$(PIP) install $(LOCKED) --group dev
	@touch $@
