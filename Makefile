# Each target stands alone on a fresh clone. `make help` lists them.

SHELL := bash
.DELETE_ON_ERROR:
.PHONY: help setup build demo test bench lint format asan tsan coverage mutants clean uninstall
.DEFAULT_GOAL := help

# Passed on: SETUP="--wheelhouse DIR --no-system" to scripts/setup.sh, ARGS="..." to the demo, tests,
# mutants or benchmarks.
SETUP ?=
ARGS ?=

help: ## List the targets
	@awk -F ':.*## ' '/^[a-z]+:.*## / {printf "  make %-10s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: ## Install what is needed, build arfc and install it into .venv (a second run takes seconds)
	@scripts/setup.sh $(SETUP)

build: setup ## The same: setup ends with the build

demo: setup ## Search Python's documentation by meaning, end to end, and measure (ARGS=--quick)
	@OMP_WAIT_POLICY=$${OMP_WAIT_POLICY:-PASSIVE} .venv/bin/python examples/documentation_search/demo.py $(ARGS)

test: setup ## Run every test: C++, Python, end to end, setup (ARGS: more for pytest)
	@scripts/test.sh $(ARGS)

bench: setup ## Run the benchmarks (ARGS: passed to each, such as --benchmark_filter=Scan)
	@scripts/bench.sh $(ARGS)

lint: ## Check formats, names, headers, arrows between rooms, and the scripts
	@scripts/setup.sh --dependencies-only --lint $(SETUP)
	@scripts/lint.sh

format: ## Rewrite the sources in the project's format
	@scripts/setup.sh --dependencies-only --lint $(SETUP)
	@scripts/format.sh

asan: ## Run the C++ tests under AddressSanitizer and UndefinedBehaviorSanitizer
	@scripts/setup.sh --dependencies-only $(SETUP)
	@scripts/sanitize.sh asan

tsan: ## Run the C++ tests under ThreadSanitizer
	@scripts/setup.sh --dependencies-only $(SETUP)
	@scripts/sanitize.sh tsan

coverage: ## Say which lines the C++ tests of four rooms run; 85 % or fail (ARGS=--missing: which not)
	@scripts/setup.sh --dependencies-only $(SETUP)
	@scripts/coverage.sh $(ARGS)

mutants: ## Change the C++ sources a little, 30 times, and count the changes that a test notices
	@scripts/setup.sh --dependencies-only $(SETUP)
	@.venv/bin/python tests/mutation/run.py $(ARGS)

clean: ## Remove what was built; .venv and the caches stay
	rm -rf build dist

uninstall: ## Remove what setup made: build folders, .venv and arfc's caches
	@scripts/uninstall.sh
