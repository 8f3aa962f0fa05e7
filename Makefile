# What a person types. The work is in scripts/ and in cargo; nothing here is needed to build pyro.

SHELL := /bin/sh
.DEFAULT_GOAL := help
.SUFFIXES:

CARGO ?= cargo
# One directory for every build, so that nothing is built twice and scripts know where things are.
CARGO_TARGET_DIR ?= $(CURDIR)/target
# A Rust installed a minute ago is not yet on this shell's PATH.
PATH := $(PATH):$(HOME)/.cargo/bin
PREFIX ?= $(shell if [ "$$(id -u)" -eq 0 ]; then echo /usr/local; else echo "$$HOME/.local"; fi)
DESTDIR ?=
export CARGO CARGO_TARGET_DIR PATH PREFIX DESTDIR

.PHONY: help
help: ## list these targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-13s %s\n", $$1, $$2 }' Makefile

.PHONY: demo
demo: ## install what is lacking, build, and run a command in a real VM
	@scripts/prerequisites.sh run
	@scripts/build.sh
	@scripts/demo.sh

.PHONY: test
test: ## format, lints, docs, all tests, nothing left behind: what CI runs first, before `make test-kvm`
	@scripts/prerequisites.sh test
	@scripts/test.sh

.PHONY: test-kvm
test-kvm: ## the tests under real KVM and over vsock, in an emulated machine that has both; needs neither
	@scripts/prerequisites.sh test-kvm
	@scripts/kvm-lane.sh

.PHONY: check
check: ## the part of `make test` that needs no virtual machine and runs no test
	@scripts/prerequisites.sh check
	@scripts/test.sh check

.PHONY: build
build: ## build the release binary
	@scripts/prerequisites.sh build
	@scripts/build.sh

.PHONY: install
install: ## put pyro and its completions under PREFIX (~/.local, for root /usr/local)
	@scripts/install.sh install

.PHONY: uninstall
uninstall: ## remove what `make install` put there
	@scripts/install.sh uninstall

.PHONY: bench
bench: ## measure this machine; results go to bench/results/
	@scripts/prerequisites.sh run
	@scripts/build.sh
	@bench/run.sh

.PHONY: compare
compare: ## measure a run against podman, gVisor and a cold boot, in turn; results go to bench/results/
	@scripts/prerequisites.sh run
	@scripts/build.sh
	@bench/compare.sh

.PHONY: deny
deny: ## check the dependencies' licenses, advisories and sources with cargo-deny
	@scripts/deny.sh

.PHONY: clean
clean: ## remove everything that was built, with the test suite's environment
	@$(CARGO) clean
