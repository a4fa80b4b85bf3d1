# pi-gateway. `make help` lists the targets.

CARGO   ?= cargo
PREFIX  ?= /usr/local
DESTDIR ?=
# One run of the simulator (a number as printed by a failure), or how many fresh ones.
SEED    ?=
SEEDS   ?= 4000

BINARY  := target/release/pi-gw
MUSL    := $(patsubst arm%-unknown-linux-musl,arm-unknown-linux-musleabihf,$(shell uname -m)-unknown-linux-musl)
# What `make dist` packs.
TRIPLES ?= x86_64-unknown-linux-musl aarch64-unknown-linux-musl armv7-unknown-linux-musleabihf arm-unknown-linux-musleabihf

.DEFAULT_GOAL := help
.PHONY: help run build musl aarch64 armv7 armv6 zig check-static dist test test-deps bench simulate lint install clean

help: ## show this list
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## / { printf "  make %-13s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

run: build ## build and start the gateway here; without pi it runs a demo agent
	./$(BINARY) gateway --allow-defaults --demo-if-no-pi

build: ## build the release binary (target/release/pi-gw)
	$(CARGO) build --release --bin pi-gw

musl: ## a static binary for this machine's architecture (target/static/TRIPLE/release/pi-gw)
	.ci/dist/build-static $(MUSL)

aarch64: ## a static binary for a 64-bit Raspberry Pi OS
	.ci/dist/build-static aarch64-unknown-linux-musl

armv7: ## a static binary for 32-bit ARM from the Pi 2 on
	.ci/dist/build-static armv7-unknown-linux-musleabihf

armv6: ## a static binary for every 32-bit ARM of the Pi family, Zero and 1 included
	.ci/dist/build-static arm-unknown-linux-musleabihf

zig: ## install the compiler and linker of the static builds (build/zig)
	.ci/dist/install-zig

check-static: ## run each static binary that was built here, ARM under qemu
	.ci/dist/check-static target/static/*/release/pi-gw

dist: ## the downloads: static binaries of all targets, packed, with checksums (target/dist)
	.ci/dist/pack $(TRIPLES)

test-deps: ## install what tests run against: the real pi, old and new (build/pi), OpenAI's clients, and Chromium
	tests/install-pi.sh
	tests/install-openai.sh
	tests/install-browser.sh

test: test-deps ## run every test
	node --test tests/web/*.test.mjs
	$(CARGO) test --no-fail-fast

bench: ## measure latency, throughput, memory (of the static build, after `make musl`; PI_GW_BENCH_QUICK=1: short)
	$(CARGO) build --release --bin pi-gw --example fake-pi --example fake-bot-api
	@static=target/static/$(MUSL)/release/pi-gw; \
	if [ -x $$static ] && [ -z "$$(find src Cargo.lock -newer $$static -print -quit)" ]; then \
		export PI_GW_BENCH_BINARY="$(CURDIR)/$$static"; \
	fi; $(CARGO) bench --bench gateway
	@benches/footprint-of target/release/pi-gw $(wildcard target/static/*/release/pi-gw)

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
