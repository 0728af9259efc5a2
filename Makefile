# Every target calls one tool; what needs more than that lives in a script or a test.
# Tools run from source at a pinned version, so nothing has to be installed.

GOLANGCI_LINT := go run github.com/golangci/golangci-lint/v2/cmd/golangci-lint@v2.15.0
GOTESTSUM     := go run gotest.tools/gotestsum@v1.13.0
GOVULNCHECK   := go run golang.org/x/vuln/cmd/govulncheck@v1.9.0

# The modules of the workspace, as folders.
MODULES := $(shell go list -m -f '{{.Dir}}')

# Two packages at once, for tests start servers, containers and compilers of their own.
# Results are not reused: what e2e builds and runs is not known to the cache.
TESTFLAGS ?= -count=1 -p=2 -parallel=4 -timeout=20m
# The race detector needs cgo, and Go switches cgo off where it finds no C compiler.
RACE      := $(if $(filter 1,$(shell go env CGO_ENABLED)),-race)
FUZZTIME  ?= 10s

.DEFAULT_GOAL := help
.PHONY: help build demo test race lint fmt fuzz bench vuln

help: ## Show the targets
	@awk -F ':.*## ' '/^[a-z]+:.*## / {printf "  make %-7s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

build: ## Build every program into bin/
	go build -trimpath -o bin/ $(wildcard ./cmd/* ./services/*/cmd/*)

demo: ## Run the whole pipeline on this machine, with nothing installed but Go
	go build -trimpath -o bin/ ./cmd/tagship
	bin/tagship demo

test: lint ## Run every check and every test; this is what CI runs
	$(if $(RACE),,@echo 'No C compiler found: the tests run without the race detector.')
	$(GOTESTSUM) --format standard-quiet -- $(RACE) $(TESTFLAGS) work

race: ## Run the tests of PKG (default: all) with the race detector
	go test -race $(TESTFLAGS) $(or $(PKG),work)

lint: ## Check formatting, code and the import law
	go vet work
	$(GOLANGCI_LINT) run $(MODULES:%=%/...)

fmt: ## Format the code
	$(GOLANGCI_LINT) fmt $(MODULES)

fuzz: ## Run every fuzz target for FUZZTIME
	.ci/fuzz $(FUZZTIME)

bench: ## Measure the worker loop, many tags at once, the programs, and sweeps and webhooks of a GitHub
	go run ./e2e/bench

vuln: ## Look for known vulnerabilities (needs the network)
	$(GOVULNCHECK) work
