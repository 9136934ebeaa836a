# Relais. `make run` runs the server, `make test` runs every test; each does its own set-up.

SHELL := bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help
ARGS ?=
PREFIX ?= /usr/local
# Where rustup puts cargo, also in a terminal that was opened before.
export PATH := $(PATH):$(HOME)/.cargo/bin

.PHONY: help run build install test check unit clients fuzz bench api cache need

help: ## Show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-10s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

run: build ## Build and run the server on embedded defaults (ARGS="--listen 127.0.0.1:9000")
	@exec target/release/relais serve $(ARGS)

build: need cache ## Build the release binary, target/release/relais
	@cargo build --release --locked -p relais

install: ## Put what `make run` or `make build` built on the path: sudo make install (or PREFIX=~/.local)
	@test -f target/release/relais || { echo "relais: nothing is built yet: run make build first" >&2; exit 1; }
	@install -D -m 755 target/release/relais $(DESTDIR)$(PREFIX)/bin/relais
	@echo "$(DESTDIR)$(PREFIX)/bin/relais"

test: ## Run every test: checks, Rust tests on both databases, fuzzers for a moment, real clients
	@scripts/test

check: cache ## Formatting, lints, dependency rules, spelling
	@scripts/check

unit: cache ## Rust tests only, on SQLite and PostgreSQL
	@scripts/test unit

clients: cache ## Tests with the real clients only
	@scripts/test clients

fuzz: cache ## Fuzz every parser for a minute each (needs cargo-fuzz and a nightly toolchain)
	@scripts/fuzz

bench: build ## Measure beside the peers; the table goes to docs/performance.md
	@bench/run $(ARGS)

api: cache ## Write docs/api/openapi.json and docs/api/asyncapi.json anew
	@cargo build --locked -p relais
	@target/debug/relais openapi > docs/api/openapi.json
	@target/debug/relais asyncapi > docs/api/asyncapi.json

need:
	@scripts/need cargo cc

cache:
	@scripts/build-cache
