#!/usr/bin/env bash
# snapshots.sh: what a cluster has to bring along for snapshots: the CRDs and the snapshot controller, as the module of
# external-snapshotter has them, but for one replica, no waiting, and the mode in which a node cuts its own snapshots.
set -euo pipefail
# shellcheck source=hack/cluster/env.sh
. "$(dirname "$0")/env.sh"

directory() {
	local module="github.com/kubernetes-csi/external-snapshotter/$1@${CSI_SNAPSHOTTER_IMAGE##*:}" dir
	dir=$(go -C "$here/sidecars" mod download -json "$module" | sed -n 's/^\t"Dir": "\(.*\)",$/\1/p')
	[ -d "$dir" ] || fail "cannot fetch $module"
	echo "$dir"
}
crds=$(directory client/v8)/config/crd
controller=$(directory v8)/deploy/kubernetes/snapshot-controller
kubectl apply -k "$crds" >/dev/null
kubectl apply -f "$controller/rbac-snapshot-controller.yaml" >/dev/null
kubectl create clusterrole snapshot-controller-nodes --verb=get,list,watch --resource=nodes >/dev/null
kubectl create clusterrolebinding snapshot-controller-nodes --clusterrole=snapshot-controller-nodes \
	--serviceaccount=kube-system:snapshot-controller >/dev/null
sed "s|image: .*|image: $SNAPSHOT_CONTROLLER_IMAGE|; s/replicas: .*/replicas: 1/; s/minReadySeconds: .*/minReadySeconds: 0/
	s/leader-election=true/leader-election=false\"\n            - \"--enable-distributed-snapshotting=true/; s/v=5/v=2/" \
	"$controller/setup-snapshot-controller.yaml" | kubectl apply -f - >/dev/null
kubectl -n kube-system rollout status deployment/snapshot-controller --timeout=120s >/dev/null
