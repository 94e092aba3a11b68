# What people run while they work on landscape. `make` alone lists the targets.
# Every cargo command gets CARGO_FLAGS (CI passes --locked).

CARGO ?= cargo
CARGO_FLAGS ?=

.PHONY: help build demo test coverage test-real check bench runtime runtime-if-needed clean

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-9s %s\n", $$1, $$2 }' Makefile

build: ## build the program (target/release/landscape)
	$(CARGO) build --release $(CARGO_FLAGS)

# A relative CARGO_TARGET_DIR is relative to the folder in which make was started, not to the example's.
demo: runtime-if-needed ## draw the figures of the example into plots/, their data into notebooks-data/
	@case "$${CARGO_TARGET_DIR:-/}" in \
	  /*) ;; \
	  *) CARGO_TARGET_DIR=$$PWD/$$CARGO_TARGET_DIR; export CARGO_TARGET_DIR ;; \
	esac; \
	cd examples/digits && \
	landscape="$(CARGO) run --quiet --release $(CARGO_FLAGS) --manifest-path ../../Cargo.toml --" && \
	$(CARGO) build --release $(CARGO_FLAGS) --manifest-path ../../Cargo.toml && \
	$$landscape plane --origin zs.onnx --a ft1 --b ft2 --out ../.. && \
	$$landscape line --origin zs.onnx --a ft1 --b ft16 --out ../.. && \
	$$landscape soup --origin zs.onnx --models models.csv --limit 0 --out ../.. && \
	$$landscape pairs --origin zs.onnx --models models.csv \
	  --hyperparameters augmentation,label_smoothing,dropout --out ../.. && \
	$$landscape soup --origin zs.onnx --models basin.csv --limit 0 --name basin --out ../.. && \
	$$landscape plane --origin zs.onnx --a ft1 --b ft2 --steps 15 --arrows --name arrows --out ../.. && \
	$$landscape spectrum --origin zs.onnx --at ft1 --on test --limit 250 --out ../..
	@echo "The figures are in plots/, their data in notebooks-data/."

test: runtime-if-needed ## run all tests
	$(CARGO) test $(CARGO_FLAGS)

check: ## check formatting, lints and documentation, and run all tests, as CI does
	$(CARGO) fmt --check
	$(CARGO) clippy --all-targets $(CARGO_FLAGS) -- -D warnings
	RUSTDOCFLAGS="-D warnings" $(CARGO) doc --no-deps --document-private-items $(CARGO_FLAGS)
	@$(MAKE) --no-print-directory test

# PyTorch and the other packages go into an environment of their own; CI needs none of them.
BENCH ?= $(CURDIR)/.cache/bench
PYTHON ?= python3

bench: runtime-if-needed ## time planes, soups and gradients, and other tools (a quarter of an hour)
	$(CARGO) build --release $(CARGO_FLAGS)
	@test -x $(BENCH)/env/bin/python || $(PYTHON) -m venv $(BENCH)/env
	$(BENCH)/env/bin/pip install --quiet torch numpy onnx onnxscript onnxruntime safetensors matplotlib loss-landscape-3d==0.1.3
	$(BENCH)/env/bin/python bench/networks.py $(BENCH)/networks
	@case "$${CARGO_TARGET_DIR:-target}" in \
	  /*) program=$$CARGO_TARGET_DIR/release/landscape ;; \
	  *) program=$$PWD/$${CARGO_TARGET_DIR:-target}/release/landscape ;; \
	esac; for part in bench limits gradients; do \
	  $(BENCH)/env/bin/python bench/$$part.py $$program $(BENCH)/networks || exit; \
	done
	$(CARGO) bench --bench gram $(CARGO_FLAGS)

coverage: ## draw data 2000 times and count how often intervals hold the truth (some minutes)
	$(CARGO) test $(CARGO_FLAGS) --test coverage -- --ignored --nocapture

# What takes too long, or too much memory or disk, for every change. Exports are kept in the cache: each network is exported again only if its code or a package changed.
REAL ?= $(CURDIR)/.cache/real

test-real: runtime-if-needed ## try real model families, public files and a network of 2.6 GB (half an hour, 12 GB of disk)
	$(CARGO) build --release $(CARGO_FLAGS)
	@test -x $(REAL)/env/bin/python || $(PYTHON) -m venv $(REAL)/env
	$(REAL)/env/bin/pip install --quiet -r tests/real/requirements.txt
	OMP_NUM_THREADS=1 $(REAL)/env/bin/python tests/real/exports.py $(REAL)/files
	@case "$${CARGO_TARGET_DIR:-target}" in \
	  /*) program=$$CARGO_TARGET_DIR/release/landscape ;; \
	  *) program=$$PWD/$${CARGO_TARGET_DIR:-target}/release/landscape ;; \
	esac; \
	$(REAL)/env/bin/python tests/real/run.py $$program $(REAL)/files --commit "$$(git rev-parse --short HEAD)" && \
	OMP_NUM_THREADS=1 $(REAL)/env/bin/python tests/real/public.py $$program $(REAL)/files && \
	tests/real/big.sh $$program $(REAL)/env/bin/python

runtime: ## download ONNX Runtime into the cache folder, unless it is there
	@scripts/get-onnxruntime.sh

# Does nothing if ORT_DYLIB_PATH or the active Python environment provides a library.
runtime-if-needed:
	@scripts/get-onnxruntime.sh --if-needed

clean: ## remove what was built (ONNX Runtime stays in the cache folder)
	$(CARGO) clean
