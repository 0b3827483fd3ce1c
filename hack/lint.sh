#!/usr/bin/env bash
# lint.sh: every static check, each by its name. All run, so that one run shows all faults.
set -uo pipefail
cd "$(dirname "$0")/.." || exit
export PATH=$PATH:/usr/local/go/bin

files() { # files PATTERN…: tracked and new files that exist
	git ls-files --cached --others --exclude-standard -- "$@" | while read -r f; do
		[ ! -e "$f" ] || echo "$f"
	done
}

shell_scripts() {
	files | while read -r f; do
		if [ -f "$f" ] && head -n 1 "$f" | grep -aqE '^#!.*\b(ba)?sh\b'; then echo "$f"; fi
	done
}

check_gofmt() {
	local bad
	bad=$(files '*.go' | xargs -r gofmt -l) || return 1
	[ -z "$bad" ] || {
		echo "not formatted, run make fmt:"
		echo "$bad"
		return 1
	}
}
check_vet() {
	go vet ./... || return 1
	go vet -tags prjquota,vm,power ./pkg/host/quota ./test/vm ./test/flex ./test/power || return 1
	go -C test/kubelet vet ./... || return 1
	# As the e2e tests are built, so that both share the build cache.
	local module
	for module in test/e2e hack/cluster/tools; do CGO_ENABLED=0 go -C "$module" vet -trimpath ./... || return 1; done
}
check_golangci() { .cache/bin/golangci-lint run ./...; }
check_tidy() { go mod tidy -diff && go -C hack/dockerlint mod tidy -diff && go -C hack/manifests mod tidy -diff && go -C test/e2e mod tidy -diff && go -C test/kubelet mod tidy -diff && go -C hack/cluster/tools mod tidy -diff; }
check_shell() { shell_scripts | xargs -r shellcheck -x; }
check_dockerfile() { go -C hack/dockerlint run . ../..; }
check_manifests() {
	local config
	go -C hack/manifests run . ../.. && go -C hack/manifests test . >/dev/null || return 1
	for config in deploy/kubernetes/base/config.yaml deploy/kubernetes/{components,overlays}/*/config.yaml; do
		go run ./cmd/hostvol check-config "$config" >/dev/null || return 1
	done
}

failed=()
for name in gofmt vet golangci tidy shell dockerfile manifests; do
	start=$SECONDS
	if "check_$name"; then
		printf 'lint: %-10s ok    %3ds\n' "$name" $((SECONDS - start))
	else
		printf 'lint: %-10s FAULT %3ds\n' "$name" $((SECONDS - start))
		failed+=("$name")
	fi
done
[ ${#failed[@]} -eq 0 ] || {
	echo "lint: faults in ${failed[*]}"
	exit 1
}
