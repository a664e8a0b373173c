# Fairlead. `make help` lists the targets.
# Targets need Go, gcc, git and make. They install everything else themselves (test/lab:
# Debian packages, the Kubernetes programs) and cache it in ~/.cache/fairlead.

GO       ?= go
BIN      := bin
IMAGE    ?= fairlead.dev/fairlead-agent:dev
# The version that each program prints; "unknown" if git does not know it (no history, another owner).
BUILD    ?= $(shell git describe --always --dirty 2>/dev/null || echo unknown)
LDFLAGS  := -s -w -X main.build=$(BUILD)
GOBUILD  := CGO_ENABLED=0 $(GO) build -trimpath -ldflags '$(LDFLAGS)'
LINT     := $(GO) tool -modfile=tools/lint.mod
ROOTPKGS  = $(shell grep -rl --include='*_test.go' '^//go:build root' . | xargs -r -n1 dirname | sort -u)
KEEP     ?=
FUZZTIME ?= 10s
FUZZPROCS ?= $(shell nproc)
FUZZJOBS ?= 1
SOAK     ?= 15m
SEED     ?=
LABLOGS   = $${FAIRLEAD_CACHE:-$$HOME/.cache/fairlead}/lab/run/log

.PHONY: build test test-unit test-fuzz test-root test-lab soak demo image lint generate verify bench bench-lab fuzz clean help

help: ## this list
	@awk -F':.*## ' '/^[a-z-]+:.*## /{printf "  %-11s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

build: ## the binaries, static, in bin/
	$(GOBUILD) -o $(BIN)/fairlead-agent ./cmd/fairlead-agent
	$(GOBUILD) -o $(BIN)/fairlead ./cmd/fairlead-cni
	$(GOBUILD) -o $(BIN)/fairleadctl ./cmd/fairleadctl

image: build ## the agent's image, dist/fairlead-agent.tar (no Docker needed)
	$(GO) run ./tools/image -tag $(IMAGE) -o dist/fairlead-agent.tar $(BIN)/fairlead-agent $(BIN)/fairlead $(BIN)/fairleadctl

test: test-unit test-fuzz test-root test-lab ## all tests; the lab part boots two nodes with SR-IOV NICs

test-unit: ## pure tests, no root needed
	@echo "== unit tests"
	$(GO) test ./...

# By count: at the end of a time, go test now and then fails with "context deadline exceeded".
test-fuzz: ## a short run of each fuzz target, no root needed
	@echo "== short fuzz runs"
	@$(MAKE) --no-print-directory fuzz FUZZTIME=1000x FUZZPROCS=1 FUZZJOBS=2

test-root: ## tests in real network namespaces; needs root
	@echo "== root tests (real network namespaces)"
	@[ "$$(id -u)" = 0 ] || { echo "test-root: needs root, for network namespaces: run it as root, or 'make test-unit' for less" >&2; exit 1; }
	@command -v ip >/dev/null || { echo "test-root: installing iproute2"; apt-get update -q && apt-get install -y -q iproute2; }
	$(GO) test -tags root -p 1 $(ROOTPKGS)

# inlab NAME,COMMANDS starts the lab and runs the commands. The logs of all parts are kept if one fails.
define inlab
	@rc=0; $(GO) run ./test/lab up && $(2) || rc=$$?; \
	if [ $$rc != 0 ]; then \
		rm -rf dist/lab-logs; mkdir -p dist; \
		if cp -r "$(LABLOGS)" dist/lab-logs; then echo "$(1): failed; the logs of all parts are in dist/lab-logs" >&2; fi; \
	fi; \
	if [ -n "$(KEEP)" ]; then echo "$(1): the lab is left up: '$(GO) run ./test/lab status', '… logs', '… down'"; \
	else $(GO) run ./test/lab down || rc=$$?; fi; \
	exit $$rc
endef

test-lab: image ## end to end on two nodes with real SR-IOV; KEEP=1 leaves the lab up
	@echo "== lab tests (Kubernetes, QEMU nodes, igb)"
	$(call inlab,test-lab,$(GO) test -tags lab -count=1 ./test/e2e/admission && $(GO) test -tags lab -count=1 -timeout 50m -v ./test/e2e)

soak: image ## pods come and go for SOAK (15m) while processes are killed; SEED=N repeats the choices of a run
	$(call inlab,soak,$(GO) run ./test/chaos -for $(SOAK) $(if $(SEED),-seed $(SEED)))

demo: image ## the main job on two nodes with real SR-IOV, checked and drawn
	$(GO) run ./test/demo

lint: ## gofmt, vet, staticcheck, import rows; sizes, nouns, English
	@out=$$(gofmt -l $$(git ls-files '*.go')); [ -z "$$out" ] || { echo "gofmt: $$out" >&2; exit 1; }
	$(GO) vet -tags root,lab ./...
	$(LINT) staticcheck -tags root,lab ./...
	$(LINT) depguard -test=false ./...
	$(GO) run ./tools/gates

generate: ## the generated files: the list of packages that the shim links, lower English ceilings
	$(GO) generate ./...
	$(GO) test ./cni/shim -run TestImports -update
	$(GO) run ./tools/gates -lower

verify: generate ## fails if a generated file is not committed as generated
	@git diff --exit-code -- . || { echo "verify: run 'make generate' and commit" >&2; exit 1; }

bench: ## benchmarks; as root also those in real network namespaces
	$(GO) test -run '^$$' -bench . -benchmem ./...
	@if [ "$$(id -u)" = 0 ]; then $(GO) test -tags root -p 1 -run '^$$' -bench . -benchmem $(ROOTPKGS); \
	else echo "bench: not root: benchmarks in real network namespaces are left out"; fi

bench-lab: image ## ADD and DEL by kind of attachment, in the lab, which stays up
	$(GO) run ./test/lab up
	$(GO) test -tags lab -count=1 -timeout 50m -run '^$$' -bench . -benchtime 9x ./test/e2e

# A long run: make fuzz FUZZTIME=10m FUZZPROCS=1 FUZZJOBS=4. Inputs of the last run are kept in Go's cache;
# a failing one is written below the package's testdata/fuzz, to be committed with the fix.
fuzz: ## each fuzz target for FUZZTIME (10s), FUZZJOBS (1) at a time with FUZZPROCS workers each
	@grep -rho --include='*_test.go' '^func Fuzz[A-Za-z0-9_]*' . >/dev/null || { echo "fuzz: no targets" >&2; exit 1; }
	@grep -rHo --include='*_test.go' '^func Fuzz[A-Za-z0-9_]*' . | sed 's#\(.*\)/[^/]*:func #\1 #' | sort -u | \
	xargs -P $(FUZZJOBS) -L 1 sh -c 'echo "== $$0 $$1"; exec $(GO) test -run "^$$" -fuzz "^$$1\$$" -fuzztime $(FUZZTIME) -fuzzminimizetime 20x -parallel $(FUZZPROCS) "$$0"'

clean: ## built files; the cache in ~/.cache/fairlead stays
	rm -rf $(BIN) dist
