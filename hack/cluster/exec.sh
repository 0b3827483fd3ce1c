#!/usr/bin/env bash
# exec.sh COMMAND…: runs it where the test cluster is reached, with KUBECONFIG set. `go test -exec` runs the e2e tests so.
set -euo pipefail
# shellcheck source=hack/cluster/env.sh
. "$(dirname "$(readlink -f "$0")")/env.sh"
need_root
[ -e "$KUBECONFIG" ] || fail "there is no cluster: make cluster brings one up"
export HOSTVOL_REPOSITORY=$repository HOSTVOL_CLUSTER_STORE=$store
exec nsenter --net="/run/netns/$control_plane" -- "$@"
