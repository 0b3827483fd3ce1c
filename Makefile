# hostvol: what a developer runs. As root for everything that mounts; `make help` lists the targets.
SHELL := /bin/bash
.DEFAULT_GOAL := help

export PATH := $(PATH):/usr/local/go/bin:/usr/sbin:/sbin
VERSION ?= $(shell git describe --always --dirty 2>/dev/null || echo dev)
LDFLAGS := -X github.com/hostvol/hostvol/pkg/version.Version=$(VERSION)

# Mounts of tests and demo stay in a mount namespace of their own. HOSTVOL_BINARY: what the tests start.
PRIVATE := unshare -m --propagation private
SANDBOX := -exec $(CURDIR)/hack/sandbox.sh
RACE_BINARY := HOSTVOL_BINARY=$(CURDIR)/bin/hostvol-race HOSTVOL_FLEX_BINARY=$(CURDIR)/bin/hostvol-flex
SYSTEM_TESTS := $(addsuffix /...,$(wildcard ./test/daemon ./test/sanity ./test/integration ./test/crash ./test/flex))

.PHONY: help build build-race demo test test-previous crash test-vm test-power bench bench-short lint fmt clean setup-demo setup-test setup-lint setup-bench setup-cluster setup-vm cluster cluster-down e2e demo-cluster root

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## / { printf "  make %-12s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

build: ## build bin/hostvol and bin/hostvol-flex, static
	CGO_ENABLED=0 go build -trimpath -buildvcs=false -ldflags '$(LDFLAGS)' -o bin/hostvol ./cmd/hostvol
	@# Small: a copy of it lies on each node for each driver.
	CGO_ENABLED=0 go build -trimpath -buildvcs=false -ldflags '-s -w $(LDFLAGS)' -o bin/hostvol-flex ./cmd/hostvol-flex

build-race:
	CGO_ENABLED=1 go build -race -buildvcs=false -ldflags '$(LDFLAGS)' -o bin/hostvol-race ./cmd/hostvol

demo: root setup-demo build ## walk through a volume's life on a scratch pool, in under a minute (root)
	@$(PRIVATE) go run -buildvcs=false ./test/demo -binary bin/hostvol

test: root setup-test build build-race ## unit, sanity, integration and crash tests on real mounts (root)
	$(PRIVATE) env $(RACE_BINARY) go test -race -count=1 -timeout 15m ./pkg/... ./cmd/...
	$(RACE_BINARY) go test -race -count=1 -timeout 20m -p 2 $(SANDBOX) $(SYSTEM_TESTS)
	$(RACE_BINARY) go -C test/kubelet test -count=1 -timeout 10m $(SANDBOX) ./...

crash: root setup-test build-race ## the long crash test; HOSTVOL_CRASH_SECONDS sets its length, default 600 (root)
	HOSTVOL_CRASH_SECONDS=$${HOSTVOL_CRASH_SECONDS:-600} $(RACE_BINARY) \
		go test -race -count=1 -timeout 24h -v $(SANDBOX) ./test/crash/...

test-previous: root setup-test build-race ## an earlier executable, PREVIOUS=PATH, and this one on the same pool, in turn (root)
	@test -x "$(PREVIOUS)" || { echo "give PREVIOUS=PATH, the executable hostvol of an earlier version" >&2; exit 1; }
	HOSTVOL_PREVIOUS_BINARY=$(realpath $(PREVIOUS)) $(RACE_BINARY) go test -race -count=1 -v -run TestThePreviousProgram $(SANDBOX) ./test/integration

test-vm: root setup-vm ## quotas, images, FlexVolume and ten power cuts on real kernels, in a virtual machine; about eleven minutes (root)
	@hack/vm/test.sh quota mount disk vm flex power

test-power: root setup-vm ## cut the power of a pool's disk, HOSTVOL_POWER_CUTS times, default 120; half an hour (root)
	@HOSTVOL_POWER_CUTS=$${HOSTVOL_POWER_CUTS:-120} HOSTVOL_POWER_OPERATIONS=$${HOSTVOL_POWER_OPERATIONS:-400} \
		HOSTVOL_VM_SECONDS=$${HOSTVOL_VM_SECONDS:-7200} hack/vm/test.sh power

bench: root setup-bench build ## measure every call and copy against the floor of the same disk, about twelve minutes (root)
	@mkdir -p out
	@$(PRIVATE) go run -buildvcs=false ./test/bench -binary bin/hostvol -o out/bench.json
	@$(PRIVATE) go run -buildvcs=false ./test/bench/copies -binary bin/hostvol -o out/bench-copies.json

bench-short: root setup-bench build ## the same with less of everything, under three minutes (root)
	@mkdir -p out
	@$(PRIVATE) go run -buildvcs=false ./test/bench -short -binary bin/hostvol -o out/bench-short.json
	@$(PRIVATE) go run -buildvcs=false ./test/bench/copies -short -binary bin/hostvol -o out/bench-copies-short.json

cluster: root setup-cluster ## bring up a real Kubernetes of three nodes; the first time builds it, about 12 minutes (root)
	@hack/cluster/up.sh

cluster-down: root ## end that cluster without a trace (root)
	@hack/cluster/down.sh

e2e: root setup-cluster ## users' stories on that cluster, brought up if it is not, with a report at the end (root)
	@hack/cluster/e2e.sh

demo-cluster: root setup-cluster ## watch a claim, a pod and their volume on that cluster (root)
	@hack/cluster/demo.sh

lint: setup-lint ## gofmt, vet, golangci-lint with the layers, go mod tidy, shellcheck, Dockerfile, manifests
	@hack/tools.sh
	@hack/lint.sh

fmt: ## format the Go files
	gofmt -w $$(git ls-files --cached --others --exclude-standard '*.go')

clean: ## remove what was built; downloads and tools stay in .cache
	rm -rf bin out

setup-demo setup-test setup-vm setup-lint setup-bench setup-cluster: setup-%:
	@hack/setup.sh $*

root:
	@[ "$$(id -u)" = 0 ] || { echo "this target mounts file systems: run it as root" >&2; exit 1; }
