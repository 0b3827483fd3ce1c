#!/usr/bin/env bash
# node-init.sh NODE: process 1 of a node, in namespaces of its own; node.sh starts it.
# The node sees a throw-away copy of the machine's file tree: what a pod writes on its "host" is gone with the node.
set -euo pipefail
# shellcheck source=hack/cluster/env.sh
. "$(dirname "$0")/env.sh"
node=$1 index=${1#n} home=$run/$1

make_root() {
	mount --make-rprivate /
	local scratch=$home/root
	mkdir -p "$scratch"
	mount -t tmpfs tmpfs "$scratch"
	mkdir "$scratch"/{upper,work,tree}
	mount -t overlay overlay -o "lowerdir=/,upperdir=$scratch/upper,workdir=$scratch/work" "$scratch/tree"
	local tree=$scratch/tree
	mount -t proc proc "$tree/proc"
	mount --rbind /sys "$tree/sys"
	mount --rbind /dev "$tree/dev"
	mount -t tmpfs tmpfs "$tree/run"
	mount -t tmpfs tmpfs "$tree/var/lib"
	mount -t tmpfs tmpfs "$tree/mnt"
	mkdir -p "$tree$store" "$tree$repository" "$tree"/run/{netns,lock}
	mount --bind "$repository" "$tree$repository"
	[ "${store#"$repository"/}" != "$store" ] || mount --bind "$store" "$tree$store"
	mkdir "$tree"/var/lib/{kubelet,containerd,cni,hostvol} "$tree/mnt/second"
	mount --bind "$home/kubelet" "$tree/var/lib/kubelet"
	mount --bind "$home/containerd" "$tree/var/lib/containerd"
	mount --bind "$home/log" "$tree/var/log"
	# The disks: one with quotas, which is the pool of the default configuration, and a plain one.
	mount -o loop "$home/disk.img" "$tree/var/lib/hostvol"
	btrfs quota enable "$tree/var/lib/hostvol"
	mount -o loop "$home/second.img" "$tree/mnt/second"
	stat -c %Hd:%Ld "$tree/var/lib/hostvol" "$tree/mnt/second" >"$home/devices" # for node.sh
	cd "$tree"
	pivot_root . .
	umount -l .
	cd /
	mount --make-rshared / # what Bidirectional and HostToContainer rest on
	hostname "$node"
	sysctl -qw net.ipv4.ip_forward=1
}

# Two kubelets must not share one tree of cgroups: each would end the other's pods.
make_cgroups() {
	local d f
	for d in $(cgroup_roots); do
		mkdir -p "$d/hostvol-$node"
		for f in cpuset.cpus cpuset.mems; do # version 1 leaves them empty
			[ ! -s "$d/$f" ] || [ ! -e "$d/hostvol-$node/$f" ] || cat "$d/$f" >"$d/hostvol-$node/$f"
		done
		[ ! -e "$d/cgroup.subtree_control" ] || # version 2
			sed 's/\w\+/+&/g' "$d/cgroup.controllers" >"$d/cgroup.subtree_control"
	done
}

write_configuration() {
	cat >"$home/cni/10-pods.conflist" <<-JSON
		{"cniVersion": "1.0.0", "name": "pods", "plugins": [
		  {"type": "bridge", "bridge": "pods", "isGateway": true, "hairpinMode": true,
		   "ipam": {"type": "host-local", "ranges": [[{"subnet": "10.90.$index.0/24"}]], "routes": [{"dst": "0.0.0.0/0"}]}}]}
	JSON
	# restrict_oom_score_adj: without CAP_SYS_RESOURCE runc may not lower it, and dies of that.
	cat >"$home/containerd.toml" <<-TOML
		version = 2
		root = "/var/lib/containerd"
		state = "/run/containerd"
		[grpc]
		  address = "/run/containerd/containerd.sock"
		[plugins."io.containerd.grpc.v1.cri"]
		  sandbox_image = "$PAUSE_IMAGE"
		  restrict_oom_score_adj = true
		  [plugins."io.containerd.grpc.v1.cri".containerd]
		    snapshotter = "overlayfs"
		    default_runtime_name = "runc"
		    [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
		      runtime_type = "io.containerd.runc.v2"
		      [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc.options]
		        BinaryName = "$debian/usr/sbin/runc"
		        SystemdCgroup = false
		  [plugins."io.containerd.grpc.v1.cri".cni]
		    bin_dir = "$debian/usr/lib/cni"
		    conf_dir = "$home/cni"
	TOML
	echo "nameserver 127.0.0.1" >"$home/resolv.conf"
	# volumePluginDir: the default lies in the node's throw-away tree, and would be empty after a stop.
	# syncFrequency: how soon the kubelet looks again at a volume that is to grow; its default is a minute.
	cat >"$home/kubelet.yaml" <<-YAML
		apiVersion: kubelet.config.k8s.io/v1beta1
		kind: KubeletConfiguration
		cgroupDriver: cgroupfs
		cgroupRoot: /hostvol-$node
		failCgroupV1: false
		failSwapOn: false
		containerRuntimeEndpoint: unix:///run/containerd/containerd.sock
		authentication: {anonymous: {enabled: false}, webhook: {enabled: true}, x509: {clientCAFile: $run/pki/ca.crt}}
		authorization: {mode: Webhook}
		resolvConf: $home/resolv.conf
		makeIPTablesUtilChains: false
		clusterDNS: [10.96.0.10]
		imageGCHighThresholdPercent: 100
		evictionHard: {memory.available: "50Mi", nodefs.available: "1%", imagefs.available: "1%"}
		nodeStatusUpdateFrequency: 2s
		syncFrequency: 10s
		volumeStatsAggPeriod: 10s
		volumePluginDir: /var/lib/kubelet/volumeplugins
		registryPullQPS: 0
		maxPods: 250
	YAML
}

# keep NAME COMMAND…: runs the command again whenever it ends.
keep() {
	local name=$1
	shift
	while :; do
		"$@" >>"/var/log/$name.log" 2>&1 &
		echo $! >"/run/$name.pid"
		wait $! || true
		sleep 0.5
	done
}

import_images() {
	local archive
	until_true 60 ctr version || fail "containerd does not answer"
	for archive in "$images"/*.tar; do ctr -n k8s.io images import "$archive" >/dev/null; done
}

[ -e "$home/containerd.toml" ] && fresh=false || fresh=true
write_configuration
make_root
make_cgroups
export PATH=$debian/usr/bin:$debian/usr/sbin:$PATH
keep containerd containerd -c "$home/containerd.toml" &
! $fresh || import_images
keep kubelet "$bin/kubeall" kubelet --config="$home/kubelet.yaml" --kubeconfig="$home/kubelet.kubeconfig" \
	--hostname-override="$node" --node-ip="$subnet.1$index" --node-labels="topology.kubernetes.io/zone=z$index" &
touch "$home/booted"
while :; do wait -n || true; done # reaps what is left to process 1
