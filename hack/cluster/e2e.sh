#!/usr/bin/env bash
# e2e.sh [PACKAGE…]: runs the e2e tests, all or those named, with the driver of this tree on the test cluster, which it
# brings up if there is none and leaves up. More arguments for `go test` come from E2E_ARGS, such as -run=Growth.
set -euo pipefail
# shellcheck source=hack/cluster/env.sh
. "$(dirname "$0")/env.sh"
need_root
started=$EPOCHREALTIME
export CGO_ENABLED=0 GOFLAGS=-buildvcs=false

# The order matters: the first wants a cluster that has not seen the driver, the last looks back on all.
all=(quickstart measure distributed inline flexvolume failures single rights)

# The driver and the manifests of the commit before, for the test of an upgrade.
build_previous() {
	local commit=HEAD^ tree=$store/previous/tree
	git -C "$repository" diff --quiet HEAD -- cmd pkg deploy go.mod || commit=HEAD # what is not committed comes after it
	if ! git -C "$repository" rev-parse -q --verify "$commit" >/dev/null; then
		say "there is no commit before: the upgrade is from this one to itself"
		commit=HEAD
	fi
	rm -rf "$store/previous"
	mkdir -p "$tree"
	git -C "$repository" archive "$commit" | tar -x -C "$tree"
	"$here/build.sh" driver "$tree" previous >/dev/null
	cat >"$store/previous/kustomization.yaml" <<-YAML
		resources: [tree/test/e2e/deploy/distributed]
		images: [{name: "${HOSTVOL_IMAGE%:*}", newTag: previous}]
	YAML
}

# The same driver under another version, for the upgrade of the FlexVolume drivers.
build_next() { "$here/build.sh" driver "$repository" next >/dev/null; }

# renew: the driver that is installed, if one is, is this tree's.
renew() {
	local archive node
	archive=$("$here/build.sh" driver)
	for node in $(node_names); do "$here/node.sh" load "$node" "$archive"; done
	kubectl -n hostvol-system delete pods -l app.kubernetes.io/component=driver --ignore-not-found >/dev/null
}

main() {
	local packages=("$@") failed=() package log
	[ $# -gt 0 ] || packages=("${all[@]}")
	if [ ! -e "$run" ]; then "$here/up.sh"; else renew; fi
	build_previous
	build_next
	[ $# -gt 0 ] || rm -f "$run/audit.log.forms" # rights are counted from here on
	rm -rf "$repository/out/e2e"
	mkdir -p "$repository/out/e2e"
	cd "$repository/test/e2e"
	for package in "${packages[@]}"; do
		say "e2e $package"
		log=$repository/out/e2e/$package.log
		# shellcheck disable=SC2086 # several arguments
		go test -trimpath -v -count=1 -timeout 20m -parallel 6 -exec "$here/exec.sh" ${E2E_ARGS:-} "./$package" >"$log" 2>&1 ||
			failed+=("$package")
		# The stories and what they complain of; all of it is in the log.
		grep -Ev '^(=== |ok |PASS|$)' "$log" || true
	done
	[ ! -e "$repository/out/e2e/report.md" ] || cat "$repository/out/e2e/report.md"
	[ ${#failed[@]} -eq 0 ] || fail "e2e tests failed: ${failed[*]}; logs are in out/e2e"
	say "e2e tests passed"
}

main "$@"
exit
