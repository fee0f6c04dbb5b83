# Every recipe is a plain go command that works without make, too. `make` alone prints this list.

GO           ?= go
GOLANGCI     := github.com/golangci/golangci-lint/v2/cmd/golangci-lint@v2.15.0
GOVULNCHECK  := golang.org/x/vuln/cmd/govulncheck@v1.9.0
VERSION      ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo dev)
LDFLAGS      := -s -w -X main.version=$(VERSION)

.DEFAULT_GOAL := help
.PHONY: help run build test race check fmt lint vuln e2e conformance bench bench-quick bench-rate bench-peers bench-flame bench-counts bench-instructions soak docker clean

help: ## show this list
	@awk 'BEGIN {FS = ":.*## "} /^[a-z0-9-]+:.*## / {printf "  make %-19s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

run: ## start Gatehouse without configuration, on http://localhost:8080
	CGO_ENABLED=0 $(GO) run ./cmd/gatehouse

build: ## build the static binary bin/gatehouse
	CGO_ENABLED=0 $(GO) build -trimpath -ldflags '$(LDFLAGS)' -o bin/gatehouse ./cmd/gatehouse

test: ## run every test that needs only Go
	CGO_ENABLED=0 $(GO) test -timeout 30m ./...

race: ## run the same tests under the race detector (needs a C compiler)
	CGO_ENABLED=1 $(GO) test -race -timeout 60m ./...

check: ## everything before sending: format, vet, lint, tidy, import arrows, vulnerabilities
	@unformatted=$$(gofmt -l bench cmd internal e2e); test -z "$$unformatted" || { echo "run make fmt; not formatted:"; echo "$$unformatted"; exit 1; }
	$(GO) vet ./...
	$(GO) vet -tags e2e ./e2e/...
	$(GO) mod tidy -diff
	$(GO) test ./internal/archtest
	$(MAKE) --no-print-directory lint vuln

fmt: ## format the source
	gofmt -w bench cmd internal e2e

lint: ## run golangci-lint (.golangci.yml)
	$(GO) run $(GOLANGCI) run ./...

vuln: ## look for known vulnerabilities that the program can reach (skipped without network)
	@out=$$($(GO) run $(GOVULNCHECK) ./... 2>&1) && echo "$$out" || case "$$out" in \
	  *"fetching vulnerabilities"*) echo "vuln: SKIPPED, the vulnerability database cannot be reached" ;; \
	  *) echo "$$out"; exit 1 ;; esac

e2e: ## end to end: real mcp-remote, server-everything, Go SDK client, Chromium, conformance suite, identity providers
	e2e/run.sh

conformance: ## the official MCP conformance suite alone (part of e2e)
	e2e/run.sh -run 'Conformance'

bench: ## measure CPU time, connections and memory beside nginx (five minutes; needs nginx)
	$(GO) run ./bench run

bench-quick: ## the same in under a minute
	$(GO) run ./bench run --quick

bench-rate: ## latencies at a constant rate, beside nginx (under a minute)
	$(GO) run ./bench rate

bench-peers: ## install other gateways and proxies, and measure them beside Gatehouse and nginx (two minutes once installed)
	-$(GO) run ./bench install-peers
	$(GO) run ./bench run --peers

bench-flame: ## draw docs/callpath.svg, a flame graph of a call
	$(GO) run ./bench profile --svg docs/callpath.svg

bench-counts: ## compare what benchmarks allocate with bench/baseline.txt
	$(GO) run ./bench counts

bench-instructions: ## compare how many instructions a call takes with bench/instructions.txt (two minutes; needs valgrind)
	$(GO) run ./bench instructions

soak: ## load Gatehouse for three minutes with everything going wrong around it (MINUTES=20 for longer)
	$(GO) run ./bench soak --minutes $(or $(MINUTES),3)

docker: ## build the container image gatehouse:dev
	docker build --build-arg VERSION=$(VERSION) -t gatehouse:dev .

clean: ## remove what was built
	rm -rf bin dist artifacts
