# pi-gateway. `make help` lists the targets.

CARGO   ?= cargo
PREFIX  ?= /usr/local
DESTDIR ?=
# One run of the simulator (a number as printed by a failure), or how many fresh ones.
SEED    ?=
SEEDS   ?= 4000

BINARY  := target/release/pi-gw
MUSL    := $(shell uname -m)-unknown-linux-musl

.DEFAULT_GOAL := help
.PHONY: help run build test test-deps bench simulate lint install clean

help: ## show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-10s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

run: build ## build and start the gateway here; without pi it runs a demo agent
	./$(BINARY) gateway --allow-defaults --demo-if-no-pi

build: ## build the release binary (target/release/pi-gw)
	$(CARGO) build --release --bin pi-gw

test-deps: ## install what tests run against: the real pi, old and new (build/pi), OpenAI's clients, and Chromium
	tests/install-pi.sh
	tests/install-openai.sh
	tests/install-browser.sh

test: test-deps ## run every test
	node --test tests/web/*.test.mjs
	$(CARGO) test

bench: ## measure latency, throughput, memory (static build if its target is installed; PI_GW_BENCH_QUICK=1: short)
	$(CARGO) build --release --bin pi-gw --example fake-pi
	@if [ -d "$$(rustc --print sysroot)/lib/rustlib/$(MUSL)" ]; then \
		$(CARGO) build --release --bin pi-gw --target $(MUSL) && \
		export PI_GW_BENCH_BINARY='$(CURDIR)/target/$(MUSL)/release/pi-gw'; \
	fi && $(CARGO) bench --bench gateway

simulate: ## run the mind under random faults: SEEDS=n fresh seeds, or SEED=n to replay one with its trace
	PI_GW_SEED='$(SEED)' PI_GW_SEEDS='$(SEEDS)' $(CARGO) test --test simulation -- --nocapture

lint: ## formatting and clippy, as CI does it
	$(CARGO) fmt --check
	$(CARGO) clippy --all-targets -- -D warnings

install: build ## install to $(DESTDIR)$(PREFIX)
	install -D -m 755 $(BINARY) $(DESTDIR)$(PREFIX)/bin/pi-gw

clean: ## remove everything built, the installed pi included
	$(CARGO) clean
	rm -rf build
