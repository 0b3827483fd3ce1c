#!/usr/bin/env bash
# demo.sh: a claim, a pod and their volume on the test cluster, as a person at the command line sees them.
set -euo pipefail
# shellcheck source=hack/cluster/env.sh
. "$(dirname "$0")/env.sh"
need_root
started=$EPOCHREALTIME
cd "$repository"
example=deploy/examples/quick-start.yaml

[ -e "$KUBECONFIG" ] || "$here/up.sh"
[ -z "$(kubectl -n hostvol-system get statefulset hostvol --ignore-not-found -o name)" ] ||
	fail "the driver's other form is installed there: make cluster-down, and once more"
archive=$("$here/build.sh" driver)
for node in $(node_names); do "$here/node.sh" load "$node" "$archive"; done
kubectl -n hostvol-system delete pods -l app.kubernetes.io/component=driver --ignore-not-found >/dev/null

step() { printf '\n\033[1m%6.1fs  %s\033[0m\n' "$(awk "BEGIN { print $EPOCHREALTIME - $started }")" "$*"; }
[ -t 1 ] || step() { printf '\n%6.1fs  %s\n' "$(awk "BEGIN { print $EPOCHREALTIME - $started }")" "$*"; }

# show COMMAND…: the command, what it says, and how long it took.
show() {
	local begin=$EPOCHREALTIME
	printf '$ %s\n' "$*"
	"$@" 2>&1 | sed 's/^/  /'
	printf '  (%.1f s)\n' "$(awk "BEGIN { print $EPOCHREALTIME - $begin }")"
}
# refused COMMAND…: show, for a command that must fail.
refused() {
	printf '$ %s\n' "$*"
	! "$@" >"$store/refused" 2>&1 || fail "this should have been refused"
	sed 's/^/  /' "$store/refused"
}

# The claim first, without its pod.
claim() { sed '/^---/,$d' "$example"; }

kubectl delete -f "$example" --ignore-not-found >/dev/null
step "the driver: a DaemonSet, applied as it is"
show kubectl apply -k deploy/kubernetes/distributed/core
show kubectl -n hostvol-system rollout status daemonset/hostvol --timeout=120s

step "a claim waits for its first consumer"
claim | show kubectl apply -f -
show kubectl get pvc hello

step "a pod comes, the scheduler chooses a node, the volume is made there"
show kubectl apply -f "$example"
show kubectl wait --for=condition=Ready pod/hello --timeout=2m
show kubectl get pvc,pod -o wide
show kubectl get events --field-selector involvedObject.name=hello --sort-by=.metadata.creationTimestamp \
	-o 'custom-columns=KIND:.involvedObject.kind,REASON:.reason,MESSAGE:.message'

step "64 MiB were asked, and no more can be written"
show kubectl exec hello -- sh -c 'echo precious >/data/greeting'
refused kubectl exec hello -- dd if=/dev/zero of=/data/big bs=1M count=100

step "the pod is deleted and made again: same node, same data"
show kubectl delete pod hello
show kubectl apply -f "$example"
show kubectl wait --for=condition=Ready pod/hello --timeout=2m
show kubectl exec hello -- cat /data/greeting
show kubectl get pod hello -o wide

step "the claim grows to 128 MiB, under the running pod"
show kubectl patch pvc hello -p '{"spec":{"resources":{"requests":{"storage":"128Mi"}}}}'
show kubectl wait --for=jsonpath='{.status.capacity.storage}'=128Mi pvc/hello --timeout=3m
show kubectl exec hello -- dd if=/dev/zero of=/data/big bs=1M count=100

step "the claim is deleted, and its volume is gone"
volume=$(kubectl get pvc hello -o 'jsonpath={.spec.volumeName}')
show kubectl delete -f "$example"
show kubectl wait --for=delete "pv/$volume" --timeout=1m
step "that was all; make cluster-down ends the cluster"
