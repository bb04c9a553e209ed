# The front door. `make` alone lists the targets.

.DEFAULT_GOAL := help
.PHONY: help wheel test demo lint format clean

help: ## List the targets
	@sed -nE 's/^([a-z-]+):.*## (.*)/\1\t\2/p' $(MAKEFILE_LIST) | expand -t 12

wheel: ## Build the wheel into dist/ (DIST=tensorflow, TF=<version>, PYTHON_VERSION=3.7: another pinned release)
	@DIST='$(DIST)' TF='$(TF)' PYTHON_VERSION='$(PYTHON_VERSION)' ci/make_wheel

test: ## Run all tests
	@ci/run_tests

demo: ## Train a small ResNeXt on digits with the built wheel
	@ci/run_demo

lint: ## Check formatting and lint of all sources
	@ci/lint check

format: ## Format all sources
	@ci/lint fix

clean: ## Remove what was built (not the fetched releases)
	rm -rf build dist bazel-*
