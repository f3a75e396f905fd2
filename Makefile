SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
MAKEFLAGS += --no-builtin-rules
.DELETE_ON_ERROR:

GO ?= go
VERSION ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo unknown)
LDFLAGS := -s -w -X main.version=$(VERSION)

# Tools are built once per version and Go release, outside the tree, so that a
# fresh checkout on the same machine finds them.
TOOLS := $(or $(XDG_CACHE_HOME),$(HOME)/.cache)/sekisho/tools/$(shell $(GO) env GOVERSION)
tool_version = $(shell awk '$$1 == "$(1)" && $$2 { print $$2 }' tools.mod)
LINT := $(TOOLS)/golangci-lint-$(call tool_version,github.com/golangci/golangci-lint/v2)
GOTESTSUM := $(TOOLS)/gotestsum-$(call tool_version,gotest.tools/gotestsum)

# What `make generate` writes.
GENERATED := internal/api/model docs/compatibility.md

# Real clients that e2e/install.sh had to bring itself are here.
VENV := $(CURDIR)/.cache/e2e/venv
TESTFLAGS ?=
# RACE=-race adds the race detector to `make test`; it needs a C compiler.
RACE ?=

.PHONY: help build build-devices demo test packaging e2e e2e-postgres soak conformance conformance-mqtt bench lint fmt generate verify clients

help: ## what there is
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## / { printf "  %-16s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

# What devices run on.
DEVICES := linux-amd64 linux-arm64 linux-armv7 windows-amd64
MAX_DEVICE_SIZE := 15728640

build: ## write bin/sekisho and bin/sekisho-device
	CGO_ENABLED=0 $(GO) build -trimpath -ldflags '$(LDFLAGS)' -o bin/ ./cmd/sekisho ./cmd/sekisho-device

build-devices: $(DEVICES:%=bin/sekisho-device-%) ## write bin/sekisho-device-OS-ARCH for what devices run on

.PHONY: $(DEVICES:%=bin/sekisho-device-%)
$(DEVICES:%=bin/sekisho-device-%): bin/sekisho-device-%:
	GOOS=$(word 1,$(subst -, ,$*)) GOARCH=$(patsubst armv7,arm,$(word 2,$(subst -, ,$*))) GOARM=7 CGO_ENABLED=0 \
		$(GO) build -trimpath -ldflags '$(LDFLAGS)' -o $@$(if $(findstring windows,$*),.exe) ./cmd/sekisho-device
	@size=$$(wc -c < $@$(if $(findstring windows,$*),.exe)); if [ $$size -gt $(MAX_DEVICE_SIZE) ]; then \
		echo "$@ has $$size bytes, more than $(MAX_DEVICE_SIZE)" >&2; exit 1; fi

demo: build ## the whole main job in a temporary folder
	bin/sekisho demo

test: $(GOTESTSUM) ## every test that needs nothing but Go
	$(GOTESTSUM) --format pkgname-and-test-fails -- -timeout 10m $(RACE) $(TESTFLAGS) ./...

clients: ## install what is missing of the real clients
	e2e/install.sh $(VENV)

packaging: build clients ## check the Dockerfile, the Kubernetes manifest and the systemd unit
	PATH="$(VENV)/bin:$$PATH" packaging/check bin/sekisho

e2e: build build-devices clients packaging $(GOTESTSUM) ## real clients against bin/sekisho
	PATH="$(VENV)/bin:$$PATH:/usr/sbin" $(GOTESTSUM) --format testname -- -tags e2e -count 1 -timeout 12m $(TESTFLAGS) ./e2e/...
	$(MAKE) e2e-postgres

# The main job's tests, again.
ON_POSTGRES := ^Test(Document001|Credential.*|Crash|Revocation.*|Refusals|GoSDK|Boto3|CLI(S3|Tags|Pagination)|Enroll|Explain|PrefixIsolation|DeviceUpload|Terraform|ServeLifecycle)$$

e2e-postgres: build build-devices clients $(GOTESTSUM) ## the stores and the main job on a PostgreSQL server of their own
	$(GO) build -o .cache/e2e/ ./e2e/withpostgres
	.cache/e2e/withpostgres $(GOTESTSUM) --format testname -- -count 1 -timeout 5m ./internal/sqlstore/...
	.cache/e2e/withpostgres $(GOTESTSUM) --format testname -- -count 1 -timeout 5m -run 'Rule7|Migrate' ./internal/servertest
	PATH="$(VENV)/bin:$$PATH:/usr/sbin" .cache/e2e/withpostgres $(GOTESTSUM) --format testname -- -tags e2e -count 1 -timeout 8m -run '$(ON_POSTGRES)' ./e2e

soak: build clients $(GOTESTSUM) ## the long ones: crash rounds, a mixed load for SEKISHO_E2E_SOAK, a device on a bad network, every fuzz target
	PATH="$(VENV)/bin:$$PATH:/usr/sbin" SEKISHO_E2E_CRASH_ROUNDS=50 $(GOTESTSUM) --format testname -- -tags e2e -count 1 -timeout 60m -run 'Crash' ./e2e
	SEKISHO_E2E_SOAK=$(or $(SEKISHO_E2E_SOAK),30m) $(GOTESTSUM) --format testname -- -tags e2e,soak -count 1 -timeout 0 -run 'Soak' ./e2e
	.ci/fuzz $(or $(FUZZTIME),60s)

conformance: build ## S3 clients that the end-to-end tests do not have (docs/conformance-s3.md)
	e2e/conformance/run $(dir $(VENV))conformance

conformance-mqtt: ## the suites of a checkout PAHO of paho.mqtt.testing (docs/conformance-mqtt.md)
	e2e/conformance/mqtt $(PAHO)

bench: build ## benchmark tables (docs/benchmarks.md)
	$(GO) test -tags bench -count 1 -timeout 60m -v ./bench $(BENCHFLAGS)

lint: $(LINT) ## golangci-lint with .golangci.yml, and what devices run as Windows sees it
	$(LINT) run ./...
	GOOS=windows $(GO) vet ./internal/agent/... ./cmd/internal/... ./cmd/sekisho-device/...

fmt: $(LINT) ## gofumpt and goimports
	$(LINT) fmt

generate: ## shapes and bindings from AWS's API models, docs/compatibility.md
	$(GO) run ./internal/api/model/gen
	$(GO) run ./internal/api/compatgen

verify: generate ## generate, then fail on a difference
	@changed="$$(git status --porcelain -- $(GENERATED))"; \
	if [ -n "$$changed" ]; then git --no-pager diff --stat -- $(GENERATED); \
		printf 'generated files differ from what is committed:\n%s\n' "$$changed" >&2; exit 1; fi

$(LINT):
	$(GO) build -modfile=tools.mod -o $@ github.com/golangci/golangci-lint/v2/cmd/golangci-lint

$(GOTESTSUM):
	$(GO) build -modfile=tools.mod -o $@ gotest.tools/gotestsum
