# `make demo` and `make test` do all their set-up on a fresh Debian 12 or 13. `make help` lists the rest.
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help

BIN := target/release/portald
INSTALL := packaging/install-packages
# Browser tests and benchmarks drive Debian's Chromium and Firefox through one, and the relay that cameras are tried
# against needs the other; nothing of npm is in the product.
NODE_MODULES := tests/browser/node_modules/.package-lock.json tests/relay/node_modules/.package-lock.json
# The driver of the fuzz targets, of a version that is known to work; kept as long as `target` is.
CARGO_FUZZ_VERSION := 0.13.2
CARGO_FUZZ_ROOT := target/tools/cargo-fuzz-$(CARGO_FUZZ_VERSION)
CARGO_FUZZ := $(CARGO_FUZZ_ROOT)/bin/cargo-fuzz
# What packs the .deb, in the same way.
CARGO_DEB_VERSION := 3.8.0
CARGO_DEB_ROOT := target/tools/cargo-deb-$(CARGO_DEB_VERSION)
CARGO_DEB := $(CARGO_DEB_ROOT)/bin/cargo-deb
# How long the wall is watched.
SOAK_MINUTES ?= 480
# What Prometheus has to say of /metrics and of what stands on it.
PROMTOOL := target/tools/promtool

.PHONY: help demo build check pictures test test-mdns test-metrics test-turn test-vm test-ws fuzz fuzz-min soak soak-joins soak-wall bench clean deb test-deb test-arm64 release

help: ## what can be made
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## / { printf "make %-8s %s\n", $$1, $$2 }' Makefile

demo: build ## install what is missing, build, and run the wall with two test cameras and those plugged in
	$(BIN) run --demo

build: ## the release binary
	$(INSTALL) build run
	cargo build --release --locked

check: ## formatting, lints, documentation
	$(INSTALL) build run
	cargo fmt --check
	cargo clippy --locked --all-targets -- -D warnings
	cargo clippy --locked --no-default-features --all-targets -- -D warnings
	RUSTDOCFLAGS="-D warnings" cargo doc --locked --no-deps

test: build $(NODE_MODULES) ## every test that needs no virtual machine
	cargo test --locked --no-default-features
	cargo test --locked
	cd tests/browser && PORTALD_BIN=$(abspath $(BIN)) npm test

pictures: build $(NODE_MODULES) ## the pictures in docs/ anew
	cd tests/browser && PORTALD_BIN=$(abspath $(BIN)) node pictures.mjs

test-vm: build deb $(NODE_MODULES) ## a virtual machine with the stock kernel's cameras (needs root)
	$(INSTALL) test vm
	PORTALD_DEB=$$(ls -t target/debian/portald_*_$$(dpkg --print-architecture).deb | head -n 1) tests/vm/run.sh

test-turn: ## pictures through a real TURN server (installs coturn, whose service Debian starts: for a container)
	$(INSTALL) build run turn
	cargo test --locked --test it -- --ignored turn::

test-metrics: $(PROMTOOL) ## /metrics, alerts and dashboard, checked with Prometheus' promtool
	$(INSTALL) build run
	PROMTOOL=$(abspath $(PROMTOOL)) cargo test --locked --test it -- --ignored metrics::

test-mdns: build ## the wall is found by Avahi (needs root; installs Avahi, whose service Debian starts: for a container)
	$(INSTALL) mdns
	tests/mdns/run.sh $(abspath $(BIN))

test-ws: ## the WebSocket conformance suite Autobahn (needs root)
	$(INSTALL) build ws
	cargo build --locked --no-default-features --features echo --example ws_echo
	tests/ws/run.sh $(abspath target/debug/examples/ws_echo)

deb: $(CARGO_DEB) ## target/debian/portald_*.deb for Debian 12 and 13; ARCH=arm64 for the other architecture
	$(INSTALL) build run deb
	CARGO_DEB=$(abspath $(CARGO_DEB)) packaging/deb/build.sh $(ARCH)

test-deb: $(CARGO_DEB) ## the .deb installed, upgraded and purged in containers with Debian 12 and 13 (needs root)
	$(INSTALL) build run deb
	CARGO_DEB=$(abspath $(CARGO_DEB)) tests/deb/run.sh

test-arm64: $(CARGO_DEB) ## the arm64 .deb, cross-built, run by emulation with Debian 12's and 13's libraries (needs root)
	$(INSTALL) build run deb arm64
	CARGO_DEB=$(abspath $(CARGO_DEB)) tests/deb/arm64.sh

release: $(CARGO_DEB) ## the packages of a release, if everything was tested and nothing is uncommitted
	$(INSTALL) build run deb
	CARGO_DEB=$(abspath $(CARGO_DEB)) packaging/deb/release.sh

fuzz: $(CARGO_FUZZ) ## each fuzz target for FUZZ_SECONDS (60)
	$(INSTALL) build fuzz
	PORTALD_CARGO_FUZZ=$(abspath $(CARGO_FUZZ)) fuzz/run.sh

fuzz-min: $(CARGO_FUZZ) ## keep in fuzz/corpus the fewest inputs that reach all that was reached
	$(INSTALL) build fuzz
	PORTALD_CARGO_FUZZ=$(abspath $(CARGO_FUZZ)) fuzz/run.sh --minimize

# One after the other also with -j: beside each other they would measure each other.
soak: ## all of soak-wall, then soak-joins (many hours)
	$(MAKE) soak-wall
	$(MAKE) soak-joins

soak-wall: build $(NODE_MODULES) ## eight tiles in Chromium for SOAK_MINUTES (480): table, JSON and SVG in benches/out
	cd tests/browser && PORTALD_BIN=$(abspath $(BIN)) PORTALD_SOAK_MINUTES=$(SOAK_MINUTES) node soak.mjs

soak-joins: build $(NODE_MODULES) ## 10 000 joins and leaves (hours)
	PORTALD_TEST_ROUNDS=10000 cargo test --locked --release --test it -- --exact churn::rounds --nocapture

bench: build $(NODE_MODULES) ## figures as a table, JSON and SVG in benches/out
	cargo bench --locked --bench wall
	cargo bench --locked --bench load

$(PROMTOOL): packaging/packages.txt
	packaging/unpack-program metrics promtool $@

$(CARGO_FUZZ):
	$(INSTALL) build fuzz
	cargo install cargo-fuzz --locked --version $(CARGO_FUZZ_VERSION) --root $(CARGO_FUZZ_ROOT)

$(CARGO_DEB):
	$(INSTALL) build
	cargo install cargo-deb --locked --version $(CARGO_DEB_VERSION) --root $(CARGO_DEB_ROOT)

tests/%/node_modules/.package-lock.json: tests/%/package-lock.json
	$(INSTALL) test
	cd tests/$* && npm ci --no-audit --no-fund

clean: ## remove what was built
	rm -rf target fuzz/target tests/browser/node_modules tests/relay/node_modules benches/out
