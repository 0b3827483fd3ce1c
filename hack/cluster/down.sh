#!/usr/bin/env bash
# down.sh: ends what up.sh started and removes its state. What was built stays.
set -euo pipefail
# shellcheck source=hack/cluster/env.sh
. "$(dirname "$0")/env.sh"
need_root
[ -d "$run" ] || exit 0

for home in "$run"/n*/; do
	[ ! -d "$home" ] || "$here/node.sh" remove "$(basename "$home")"
done
for component in kube-scheduler kube-controller-manager kube-apiserver etcd; do end_process "$run/$component.pid"; done
ip netns del "$control_plane" 2>/dev/null || true
[ ! -s "$run/sysctl.before" ] || sysctl -qp "$run/sysctl.before" || true
! grep -F " $run" /proc/self/mounts || fail "these mounts are left"
rm -rf --one-file-system "$run"
