# `make help` lists the targets. Every target installs what it needs; you need python3 >= 3.11 with pip.
PYTHON ?= python3
BIN := .venv/bin
.DEFAULT_GOAL := help

.PHONY: help
help: ## List the targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  %-16s %s\n", $$1, $$2}'

# --without-pip: a plain Debian python3 has no ensurepip, and its pip can install into another environment.
# --no-compile: most installed modules are never imported, and Python compiles the others on first import.
.venv/installed: requirements.lock pyproject.toml
	$(PYTHON) -m venv --without-pip --clear .venv
	$(PYTHON) -m pip --python $(BIN)/python install --quiet --disable-pip-version-check --no-warn-script-location \
		--no-compile --require-hashes -r requirements.lock
	$(PYTHON) -m pip --python $(BIN)/python install --quiet --disable-pip-version-check --no-warn-script-location \
		--no-deps --no-build-isolation --editable .
	@touch $@

.PHONY: setup
setup: .venv/installed ## Create the virtual environment in .venv

.PHONY: demo
demo: setup ## Call 200 simulated contacts in about a minute, and audit the result
	$(BIN)/dialer demo

.PHONY: up
up: setup ## Run everything on this machine until Ctrl-C
	$(BIN)/dialer up

# The checks use one core, so the tests run at the same time.
.PHONY: test
test: setup ## All checks, the default tests on real servers, and the proofs of the promises under faults
	$(MAKE) --no-print-directory --jobs=2 check suite
	$(BIN)/pytest --numprocesses 3 --dist worksteal --durations 25 -m 'proof and not slow' tests/chaos tests/scenarios tests/system

.PHONY: suite
suite: setup ## The default tests
	$(BIN)/pytest --numprocesses 3 --dist worksteal --durations 25

# Measuring takes half as long again, so `make test` does without.
.PHONY: coverage
coverage: setup ## The default tests, and which lines and branches they run: at least 95 %
	$(BIN)/pytest --numprocesses 3 --dist worksteal --durations 25 --cov --cov-report=term:skip-covered

.PHONY: test-slow
test-slow: setup ## The tests that take minutes
	$(BIN)/pytest -m slow --timeout 1200

SEEDS ?= 1-1000
.PHONY: chaos
chaos: setup ## Run random scenarios of crashes and faults, for example SEEDS=1-1000; print those that break a promise
	PYTHONPATH=tests $(BIN)/python -m chaos $(SEEDS)

.PHONY: mutants
mutants: setup ## Put small faults into the source; the tests must notice 95 %. Only some: MUTANTS="claim- lua-"
	PYTHONPATH=tests $(BIN)/python -m mutants $(MUTANTS)

STORMS ?= 2-4
.PHONY: storm
storm: setup ## Kill, restart and disconnect real processes at random, as STORMS=2-20 (minutes each)
	DIALER_STORM_SEEDS=$(STORMS) $(BIN)/pytest -m slow --timeout 1200 tests/system/test_storm.py

BENCH ?=
.PHONY: bench
bench: setup ## Measure Dialer, alone and beside the usual design. Only some figures: BENCH="carried beside --quick"
	mkdir -p build
	$(BIN)/python -m benchmarks --json build/bench.json $(BENCH)

MINUTES ?= 60
.PHONY: soak
soak: setup ## Run under a steady load with random faults, as MINUTES=60, and say which figures grow
	mkdir -p build
	$(BIN)/python -m benchmarks.soak --minutes $(MINUTES) --json build/soak.json

.PHONY: bench-rate
bench-rate: setup ## Measure how much of a trunk's calls per second is used
	$(BIN)/dialer bench rate --full

.PHONY: bench-import
bench-import: setup ## Measure imports of 10 thousand, 100 thousand and 1 million contacts over HTTP
	$(BIN)/dialer bench import --full

.PHONY: bench-api
bench-api: setup ## Measure the requests per second of an API process
	$(BIN)/dialer bench api --full

.PHONY: screenshots
screenshots: setup ## Write a picture of every page of the console into build/screenshots; needs Chromium
	$(BIN)/pytest -q tests/console/make_screenshots.py

.PHONY: vendor
vendor: setup ## Fetch the console's scripts from npm again, in the versions of VENDORED.toml
	$(BIN)/python scripts/vendor.py

.PHONY: check
check: setup lint-containers ## ruff, mypy, import-linter, and the container files
	$(BIN)/ruff format --check
	$(BIN)/ruff check
	$(BIN)/mypy
	$(BIN)/lint-imports

.PHONY: lint-containers
lint-containers: setup ## Check the container files; needs no Docker daemon
	$(BIN)/hadolint worker.Dockerfile
	$(BIN)/docker-compose --file docker-compose.yml --env-file /dev/null \
		--profile '*' config --quiet
	$(BIN)/compose-lint check --quiet --no-env docker-compose.yml

.PHONY: sbom
sbom: setup ## Write what the image installs into build/sbom.json (CycloneDX)
	mkdir -p build
	$(BIN)/uv tool run --quiet --from cyclonedx-bom==7.5.0 cyclonedx-py requirements --pyproject pyproject.toml \
		--output-reproducible --output-file build/sbom.json requirements.prod.lock

# --no-strip-extras: pip 23 installs the newest release of a package with an extra unless the lock names the extra too.
.PHONY: lock
lock: setup ## Update the dependency lock files
	$(BIN)/uv pip compile pyproject.toml --extra embedded --extra dev --universal --python-version 3.11 \
		--generate-hashes --no-header --no-annotate --no-strip-extras --no-emit-index-url --no-emit-find-links --quiet -o requirements.lock
	$(BIN)/uv pip compile pyproject.toml --constraint requirements.lock --universal --python-version 3.11 \
		--generate-hashes --no-header --no-annotate --no-strip-extras --no-emit-index-url --no-emit-find-links --quiet -o requirements.prod.lock
