# Every target brings up the environments it needs (infra/local/environment.py) and is a line or two.
PYTHON ?= python3
PORT ?= 8080
HOST ?= 127.0.0.1
DEMO ?= 1
ARCHIVE ?=
DAYS ?=
TESTS ?= tests
MINUTES ?= 30
BENCH ?=

ENVIRONMENT := $(PYTHON) infra/local/environment.py
IN := .venv/bin/python -m
COMPILE := $(IN) uv pip compile --quiet --universal --generate-hashes --no-emit-index-url --python-version 3.11 --custom-compile-command "make lock"
SOURCES := $(wildcard layers/clustercockpit/python/clustercockpit containers/metric-store/cc_metric_store \
	containers/metric-store/cc_job_events infra/local/local_stack infra/local/simulator)
export SAM_CLI_TELEMETRY = 0

.PHONY: help run test check bench soak build deploy-local clean lock
.DEFAULT_GOAL := help

help: ## This list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-13s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

run: ## The whole system with a demo site (PORT=8080 HOST=127.0.0.1 DEMO=0 ARCHIVE=path DAYS=n)
	@$(ENVIRONMENT) project aws-emulator ui
	@exec $(IN) local_stack --port $(PORT) --host $(HOST) --demo $(DEMO) $(if $(ARCHIVE),--archive "$(ARCHIVE)") $(if $(DAYS),--days $(DAYS))

test: ## All tests (TESTS=tests/unit for some)
	@$(ENVIRONMENT) project aws-emulator deploy ui
	@$(IN) pytest $(TESTS) --ignore tests/bench

check: ## Formatting, lint, types, templates
	@$(ENVIRONMENT) project deploy ui
	@$(IN) ruff format --check . && $(IN) ruff check . && $(IN) mypy $(SOURCES)
	@.venv-sam/bin/cfn-lint && .venv-sam/bin/sam validate --lint --region eu-central-1

bench: ## Measure what the budgets are about (BENCH=bench_metric_store for one script)
	@$(ENVIRONMENT) project aws-emulator ui
	@$(IN) tests.bench.run $(BENCH)

soak: ## The metric store under faults, kills and fuzzers for longer than the tests have time (MINUTES=30)
	@$(ENVIRONMENT) project aws-emulator
	@$(IN) uv pip install --quiet 'atheris==3.1.0' || echo "Atheris cannot be had for this Python: the fuzzers run without coverage"
	@$(IN) tests.soak $(MINUTES)

build: ## Functions and layer for AWS (arm64), without Docker, into .aws-sam/build
	@$(ENVIRONMENT) project deploy ui
	@.venv-sam/bin/sam build

deploy-local: ## Build for this machine and deploy to a local AWS emulator that stays up until Ctrl-C
	@$(ENVIRONMENT) project aws-emulator deploy ui
	@exec $(IN) local_stack.deploy --port $(PORT)

clean: ## Remove what was built; var (the local stack's data) stays
	rm -rf .venv .venv-aws .venv-sam .venv-node .aws-sam build web/dist web/node_modules .mypy_cache .ruff_cache .pytest_cache .hypothesis

lock: ## Lock the requirements anew (hashed, without registry addresses)
	@$(ENVIRONMENT) project
	@$(COMPILE) --all-extras pyproject.toml requirements/dev.in -o requirements/dev.txt
	@for name in installer aws-emulator deploy node; do $(COMPILE) requirements/$$name.in -o requirements/$$name.txt; done
	@$(COMPILE) --extra metric-store -c requirements/dev.txt pyproject.toml -o requirements/container.txt
	@$(COMPILE) -c requirements/dev.txt layers/clustercockpit/requirements.in -o layers/clustercockpit/requirements.txt
	@for f in functions/*; do $(COMPILE) --no-deps -c requirements/dev.txt $$f/requirements.in -o $$f/requirements.txt; done
