# sandbox: build, test and install. `make help` lists what there is to do.

GO      ?= go
ifeq ($(origin CC),default)
CC      := gcc
endif
PREFIX  ?= /usr/local
DESTDIR ?=
# Scales every count of the tests: 1 is a CI run, `make soak` takes 20.
N       ?= 1
# STRICT=1 makes a skipped test an error. It is always on when make test runs as root.
STRICT  ?=
FUZZTIME ?= 10s

STATICCHECK := honnef.co/go/tools/cmd/staticcheck@v0.8.2
VERSION     ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo devel)
VERSION_VAR := sandbox.example/sandbox/cli.version

export CC N STRICT
export CGO_ENABLED := 1

TAGS    := netgo,osusergo
LDFLAGS := -linkmode external -extldflags -static -s -w -X $(VERSION_VAR)=$(VERSION)

# The stage program runs in any root, with no C library, from a sealed memfd.
STAGE       := sandbox/stage/stage.elf
STAGE_SRC   := $(wildcard sandbox/stage/c/*.c)
STAGE_HDR   := $(wildcard sandbox/stage/c/*.h)
STAGE_FLAGS := -Os -std=gnu11 -Wall -Wextra -Werror -static -nostdlib -nostartfiles \
	-ffreestanding -fno-stack-protector -fno-pie -no-pie -fno-asynchronous-unwind-tables \
	-Wl,--build-id=none -Wl,-z,noseparate-code -s

# Small static programs that the script tests run inside sandboxes.
PROG_SRC := $(wildcard testdata/prog/*.c)
PROGS    := $(PROG_SRC:testdata/prog/%.c=bin/prog/%)

.DEFAULT_GOAL := build
.DELETE_ON_ERROR:

.PHONY: help
help: ## show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-10s %s\n", $$1, $$2 }' Makefile
	@echo
	@echo '  N=20 scales the counts of the tests; STRICT=1 fails on a skip; PREFIX= is where to install;'
	@echo '  CC=musl-gcc builds with another C library; FUZZTIME=1m fuzzes longer.'

.PHONY: build
build: bin/sandbox ## build the static binary bin/sandbox

.PHONY: demo
demo: bin/sandbox ## run a real compilation in a sandbox, and prove what it could not touch
	@testdata/demo/demo.sh bin/sandbox

.PHONY: check
check: lint ## format, vet, staticcheck, layering, unit tests with -race (3 minutes)
	$(GO) test -race -run '^(TestLayering|TestLeak)' .
	$(GO) test -race $$($(GO) list ./... | grep -v '^sandbox\.example$$')

.PHONY: lint
lint: $(STAGE)
	@bad=$$(gofmt -l $$(find . -name '*.go' -not -path './bin/*')); \
	if [ -n "$$bad" ]; then echo "gofmt: run gofmt -w on:"; echo "$$bad"; exit 1; fi
	$(GO) vet ./... ./testdata/testrun
	$(GO) vet -tags bench .
	$(GO) run $(STATICCHECK) ./... ./testdata/testrun

.PHONY: test
test: build test-binaries ## everything, as CI runs it (12 minutes on 2 cores)
	@$(MAKE) --no-print-directory lint
	@GO='$(GO)' testdata/test.sh

.PHONY: soak
soak: ## the tests with their full counts
	@$(MAKE) --no-print-directory N=20 SOAK=1 test

.PHONY: bench
bench: bin/sandbox ## measure against the peers in PATH; writes docs/bench.json
	$(GO) test -tags bench -run '^TestBench$$' -v -timeout 60m .

.PHONY: fuzz
fuzz: $(STAGE) ## run each fuzz target for FUZZTIME (10s)
	@set -e; for pkg in $$($(GO) list ./...); do \
		for target in $$($(GO) test -list '^Fuzz' $$pkg | grep '^Fuzz' || true); do \
			echo "== $$pkg $$target"; \
			$(GO) test -run '^$$' -fuzz "^$$target\$$" -fuzztime $(FUZZTIME) $$pkg; \
		done; \
	done

.PHONY: generate
generate: $(STAGE) ## remake the generated files that are committed
	$(GO) generate ./...

.PHONY: install
install: bin/sandbox ## install to $(DESTDIR)$(PREFIX)/bin
	install -d $(DESTDIR)$(PREFIX)/bin
	install -m 0755 bin/sandbox $(DESTDIR)$(PREFIX)/bin/sandbox

.PHONY: clean
clean: ## remove what was built
	rm -rf bin $(STAGE)

# --- what the targets above are made of -------------------------------------

.PHONY: FORCE
FORCE:

$(STAGE): $(STAGE_SRC) $(STAGE_HDR) Makefile
	$(CC) $(STAGE_FLAGS) -o $@ $(STAGE_SRC)

# go build knows best what is up to date.
bin/sandbox: $(STAGE) FORCE
	$(GO) build -buildvcs=false -trimpath -tags $(TAGS) -ldflags '$(LDFLAGS)' -o $@ .

# The same program with the race detector: dynamic, so for the host root only.
bin/sandbox-race: $(STAGE) FORCE
	$(GO) build -buildvcs=false -race -tags $(TAGS) -ldflags '-X $(VERSION_VAR)=$(VERSION)' -o $@ .

bin/prog/%: testdata/prog/%.c
	@mkdir -p bin/prog
	$(CC) -O1 -std=gnu11 -Wall -Wextra -Werror -static -o $@ $<

.PHONY: progs
progs: $(PROGS)

# A compiled test binary for every package with tests, and bin/test/list: one
# line "BINARY<tab>PACKAGE<tab>DIRECTORY" each. Copied, they run as a user who
# can read neither this clone nor the module cache.
.PHONY: test-binaries
test-binaries: $(STAGE) bin/sandbox-race $(PROGS)
	@mkdir -p bin/test
	@rm -f bin/test/*.test bin/test/list
	$(GO) build -buildvcs=false -o bin/testrun ./testdata/testrun
	@set -e; dirs=$$($(GO) list -f '{{if or .TestGoFiles .XTestGoFiles}}{{.ImportPath}}{{"\t"}}{{.Dir}}{{end}}' ./...); \
	printf '%s\n' "$$dirs" | while IFS='	' read -r pkg dir; do \
		[ -n "$$pkg" ] || continue; \
		rel=$${dir#"$(CURDIR)"}; rel=$${rel#/}; name=$$(printf %s "$$pkg" | tr / _).test; \
		echo "go test -c -race $$pkg"; \
		$(GO) test -c -race -ldflags '-s -w' -o "bin/test/$$name" "$$pkg"; \
		printf '%s\t%s\t%s\n' "bin/test/$$name" "$$pkg" "$${rel:-.}" >>bin/test/list; \
	done
