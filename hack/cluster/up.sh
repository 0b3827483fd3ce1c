#!/usr/bin/env bash
# up.sh: brings the test cluster up, and builds what it needs first. NODES says how many nodes, default 3.
set -euo pipefail
# shellcheck source=hack/cluster/env.sh
. "$(dirname "$0")/env.sh"
# shellcheck source=hack/cluster/pki.sh
. "$here/pki.sh"
need_root
started=$EPOCHREALTIME

[ ! -e "$run" ] || fail "there is a cluster already: make cluster-down ends it"
[ ! -e "/run/netns/$control_plane" ] || fail "a cluster of another clone runs on this machine: end it there first"
"$here/build.sh"

mkdir -p "$run/log"
trap '[ $? = 0 ] || echo "cluster: not up; logs are in $run, make cluster-down clears up" >&2' EXIT
is_ready() { kubectl get node "$1" -o 'jsonpath={.status.conditions[?(@.type=="Ready")].status}' | grep -qx True; }

# The kubelet sets these for the whole machine.
for name in vm.overcommit_memory vm.panic_on_oom kernel.panic kernel.panic_on_oops kernel.keys.root_maxkeys kernel.keys.root_maxbytes; do
	echo "$name=$(sysctl -n $name)"
done >"$run/sysctl.before"

make_authority
certificate apiserver /CN=kube-apiserver \
	"IP:127.0.0.1,IP:$subnet.1,IP:$service_address,DNS:kubernetes,DNS:kubernetes.default,DNS:kubernetes.default.svc"
certificate admin /O=system:masters/CN=admin
for name in controller-manager scheduler; do
	certificate $name /CN=system:kube-$name
	kubeconfig "$run/$name.kubeconfig" $name
done
kubeconfig "$KUBECONFIG" admin

ip netns add "$control_plane"
ip -n "$control_plane" link set lo up
ip -n "$control_plane" addr add "$service_address/32" dev lo
ip -n "$control_plane" link add nodes type bridge
ip -n "$control_plane" addr add "$subnet.1/24" dev nodes
ip -n "$control_plane" link set nodes up
in_control_plane sysctl -qw net.ipv4.ip_forward=1

"$here/control-plane.sh" start etcd
"$here/control-plane.sh" start kube-apiserver
until_true 120 kubectl get --raw /readyz || fail "the apiserver is not ready: $(tail -n 3 "$run/log/kube-apiserver.log")"
say "apiserver ready"
"$here/control-plane.sh" start kube-controller-manager
"$here/control-plane.sh" start kube-scheduler

for node in $(node_names); do "$here/node.sh" create "$node"; done
for node in $(node_names); do
	until_true 120 is_ready "$node" || fail "node $node is not ready: $(tail -n 3 "$run/$node/log/kubelet.log")"
	say "node $node ready"
done
"$here/snapshots.sh"
until_true 60 kubectl get serviceaccount default
say "up; try: $here/kubectl get nodes"
