# The front door. `make` alone lists the targets.

.DEFAULT_GOAL := help
.PHONY: help wheel plugin reproduce test test-releases test-aarch64 test-tfjs fuzz demo bench lint format clean checkout refresh verify rebase pr

# Which of the pinned releases a target is for.
export DIST TF PYTHON_VERSION KERAS FOR ARCH
# What to fuzz.
export SEED CASES CASE PROBLEM

help: ## List the targets
	@sed -nE 's/^([a-z-]+):.*## (.*)/\1\t\2/p' $(MAKEFILE_LIST) | expand -t 12

wheel: ## Build the wheel into dist/ (DIST=tensorflow, TF=<version>, PYTHON_VERSION=3.7: another pinned release; KERAS=<version>: Keras)
	@ci/make_wheel

plugin: ## Build the wheel that adds the kernels to TensorFlow as released into dist/ (TF=<version>: to one; FOR=<python>: to what that imports; ARCH=aarch64: for 64-bit Arm)
	@ci/make_wheel plugin

test: ## Run all tests
	@ci/run_tests

test-releases: ## Test the plugin in each release of TensorFlow that it serves: half an hour (ARGS='--only 2.18': some)
	@python3 -B ci/test_releases.py $(ARGS)

test-aarch64: ## Test what is for 64-bit Arm under qemu-user, on x86-64 (ARGS='--only kernels': some; ARGS=--help)
	@python3 -B ci/test_aarch64.py $(ARGS)

test-tfjs: ## Test what docs/exports.md says of TensorFlow.js, in Node.js (ARGS='--wheel <file>': a plugin that is there)
	@python3 -B ci/test_tfjs.py $(ARGS)

fuzz: ## Fuzz the kernels and the ops (SEED=<n>, CASES=<n>; CASE=<n> or PROBLEM=<string>: repeat one)
	@ci/run_fuzz

reproduce: ## Rebuild a wheel from nothing and say whether it is the same (WHEEL=<file>)
	@python3 -B ci/reproduce.py '$(WHEEL)'

demo: ## Train a small ResNeXt on digits with the built wheel
	@ci/run_demo

bench: ## Time the layers of known networks against other frameworks (ARGS=--quick: 8 layers, minutes; ARGS=--help)
	@ci/run_bench $(ARGS)

lint: ## Check formatting and lint of all sources
	@ci/lint check

format: ## Format all sources
	@ci/lint fix

checkout: ## Make a git repository to edit the patches in (SRC=<clone of TensorFlow>: of its sources)
	@python3 -B ci/checkout.py $(if $(SRC),--source '$(SRC)')

refresh: ## Write the commits of the checkout back to patches/ and tensorflow_overlay/
	@python3 -B ci/refresh.py

verify: ## Check that all patches apply exactly and are as they should be
	@python3 -B ci/verify.py

rebase: ## Carry the patches over to another pinned release (TO=<version>)
	@python3 -B ci/checkout.py --to '$(TO)'

pr: ## Write a folder of patches to send upstream (SRC=<clone of TensorFlow>: with all that its tree needs)
	@python3 -B ci/make_pr.py $(if $(SRC),--source '$(SRC)')

clean: ## Remove what was built (not the fetched releases, nor the checkouts)
	rm -rf dist bazel-*
	find build -mindepth 1 -maxdepth 1 ! -name checkout -exec rm -rf {} +
