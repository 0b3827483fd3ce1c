#!/usr/bin/env bash
# control-plane.sh start|stop etcd|kube-apiserver|kube-controller-manager|kube-scheduler: one process of the control plane.
set -euo pipefail
# shellcheck source=hack/cluster/env.sh
. "$(dirname "$0")/env.sh"

arguments() {
	case $1 in
	etcd) # its files go with the cluster, so it need not flush them
		echo --name=cluster --data-dir="$run/etcd" --unsafe-no-fsync --log-level=warn
		echo --listen-client-urls=http://127.0.0.1:2379 --advertise-client-urls=http://127.0.0.1:2379
		echo --listen-peer-urls=http://127.0.0.1:2380 --initial-advertise-peer-urls=http://127.0.0.1:2380
		echo --initial-cluster=cluster=http://127.0.0.1:2380
		;;
	kube-apiserver)
		echo --etcd-servers=http://127.0.0.1:2379
		echo --secure-port=443 --bind-address=0.0.0.0 --advertise-address="$subnet.1"
		echo --service-cluster-ip-range="$service_range" --allow-privileged=true
		echo --authorization-mode=Node,RBAC --enable-admission-plugins=NodeRestriction
		echo --client-ca-file="$run/pki/ca.crt"
		echo --tls-cert-file="$run/pki/apiserver.crt" --tls-private-key-file="$run/pki/apiserver.key"
		echo --kubelet-client-certificate="$run/pki/admin.crt" --kubelet-client-key="$run/pki/admin.key"
		echo --kubelet-preferred-address-types=InternalIP
		echo --service-account-issuer=https://kubernetes.default.svc
		echo --service-account-key-file="$run/pki/service-accounts.key"
		echo --service-account-signing-key-file="$run/pki/service-accounts.key"
		echo --audit-policy-file="$here/audit-policy.yaml" --audit-log-path="$run/audit.log" --audit-log-format=json --audit-log-maxsize=2000
		;;
	kube-controller-manager)
		# A dead node is noticed after 10 s and not after 50, so that the tests need not wait. For each claim this
		# process makes about five requests, and its default of 20 a second is all that one would measure.
		echo --kubeconfig="$run/controller-manager.kubeconfig" --bind-address=127.0.0.1 --leader-elect=false
		echo --authentication-kubeconfig="$run/controller-manager.kubeconfig"
		echo --authorization-kubeconfig="$run/controller-manager.kubeconfig"
		echo --use-service-account-credentials=true --root-ca-file="$run/pki/ca.crt"
		echo --service-account-private-key-file="$run/pki/service-accounts.key"
		echo --node-monitor-grace-period=10s --kube-api-qps=200 --kube-api-burst=400
		;;
	kube-scheduler)
		echo --kubeconfig="$run/scheduler.kubeconfig" --bind-address=127.0.0.1 --leader-elect=false
		echo --authentication-kubeconfig="$run/scheduler.kubeconfig"
		echo --authorization-kubeconfig="$run/scheduler.kubeconfig"
		;;
	*) fail "there is no component $1" ;;
	esac
}

start() {
	! process_of "$run/$1.pid" >/dev/null || fail "$1 runs already"
	local words
	read -r -d '' -a words < <(arguments "$1") || true
	# A session of its own, so that it outlives the terminal.
	setsid nsenter --net="/run/netns/$control_plane" -- "$bin/kubeall" "$1" "${words[@]}" \
		>>"$run/log/$1.log" 2>&1 </dev/null &
	note_process "$run/$1.pid" $!
}

case ${1:-} in
start) start "$2" ;;
stop) end_process "$run/$2.pid" ;;
*) fail "usage: control-plane.sh start|stop COMPONENT" ;;
esac
