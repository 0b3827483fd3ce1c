#!/usr/bin/env bash
# node.sh create|start|stop NODE: a node of the cluster. stop is a plug that is pulled: every process is killed at
# once, every mount is gone, and the node's disks stay as they are for the next start.
# node.sh restart-kubelet NODE kills the kubelet, which is started anew.
# node.sh exec NODE COMMAND… runs a command inside. node.sh load NODE ARCHIVE imports an image.
set -euo pipefail
# shellcheck source=hack/cluster/env.sh
. "$(dirname "$0")/env.sh"
# shellcheck source=hack/cluster/pki.sh
. "$here/pki.sh"
need_root

# create NODE: its network, its certificate, its disks.
create() {
	local node=$1 index=${1#n} home=$run/$1
	mkdir -p "$home"/{kubelet,containerd,log,cni}
	ip netns add "hostvol-$node"
	ip link add name "hv-$node" netns "$control_plane" type veth peer name eth0 netns "hostvol-$node"
	ip -n "$control_plane" link set "hv-$node" master nodes up
	ip -n "hostvol-$node" link set lo up
	ip -n "hostvol-$node" addr add "$subnet.1$index/24" dev eth0
	ip -n "hostvol-$node" link set eth0 up
	ip -n "hostvol-$node" route add default via "$subnet.1"
	ip -n "$control_plane" route add "10.90.$index.0/24" via "$subnet.1$index" # its pods
	certificate "node-$node" "/O=system:nodes/CN=system:node:$node" "IP:$subnet.1$index,DNS:$node"
	kubeconfig "$home/kubelet.kubeconfig" "node-$node"
	truncate -s 8G "$home/disk.img"
	mkfs.btrfs -q "$home/disk.img" >/dev/null 2>&1 # says more than its -q lets expect
	truncate -s 512M "$home/second.img"
	mkfs.ext4 -q "$home/second.img"
	boot "$node"
}

start() {
	boot "$1"
	until_true 60 test -e "$run/$1/booted" || fail "node $1 does not boot: $(tail -n 3 "$run/$1/log/init.log")"
}

boot() {
	local node=$1 home=$run/$1
	! init_of "$node" >/dev/null || fail "node $node runs already"
	rm -f "$home/keeper.pid" "$home/booted"
	setsid nsenter --net="/run/netns/hostvol-$node" -- \
		unshare --mount --propagation private --pid --fork --uts --kill-child=KILL -- \
		"$here/node-init.sh" "$node" >>"$home/log/init.log" 2>&1 </dev/null &
	note_process "$home/keeper.pid" $!
}

stop() {
	local node=$1 child disk
	if child=$(init_of "$node"); then
		end_process "$run/$node/keeper.pid"
		until_true 60 test ! -e "/proc/$child" || fail "the processes of node $node do not end"
	fi
	remove_cgroups "$node"
	detach_loops "$node"
	for disk in disk second; do # the kernel lets go of them in its own time
		until_true 30 not_attached "$run/$node/$disk.img" || fail "the loop device of $disk.img of node $node stays"
	done
}
not_attached() { [ -z "$(losetup -j "$1" 2>/dev/null)" ]; }

# detach_loops NODE: the kernel is the machine's and lives on, and with it the loop devices of images on the node's
# disks, and those that the kubelet has put on them as a lock. A reboot would forget them.
detach_loops() {
	local device disk of number
	local -a all
	[ -s "$run/$1/devices" ] || return 0
	mapfile -t all < <(losetup -nO NAME,BACK-MAJ:MIN,BACK-INO)
	while read -r disk; do
		for device in "${all[@]}"; do
			read -r device of _ <<<"$device"
			[ "$of" = "$disk" ] || continue
			number=$(stat -c %i "$device")
			while read -r lock; do let_go "$lock"; done \
				< <(printf '%s\n' "${all[@]}" | awk -v of="$(stat -c %Hd:%Ld "$device")" -v number="$number" '$2 == of && $3 == number { print $1 }')
			let_go "$device"
		done
	done <"$run/$1/devices"
}

# let_go DEVICE: one that the kernel has let go of meanwhile is as good.
let_go() { losetup -d "$1" 2>/dev/null || ! losetup "$1" >/dev/null 2>&1 || fail "$1 cannot be detached"; }

# remove_cgroups NODE: they outlive the processes.
remove_cgroups() {
	local d
	for d in $(cgroup_roots); do
		[ ! -d "$d/hostvol-$1" ] || until_true 20 remove_tree "$d/hostvol-$1" || echo "cluster: $d/hostvol-$1 stays" >&2
	done
}
remove_tree() {
	find "$1" -depth -type d -exec rmdir {} + 2>/dev/null || true
	[ ! -d "$1" ]
}

remove() {
	stop "$1"
	ip netns del "hostvol-$1" 2>/dev/null || true
}

restart_kubelet() {
	local before
	before=$(in_node "$1" cat /run/kubelet.pid)
	in_node "$1" kill -KILL "$before"
	until_true 30 in_node "$1" sh -c "[ \"\$(cat /run/kubelet.pid)\" != $before ]" || fail "the kubelet of $1 does not come back"
}

[ $# -ge 2 ] || fail "usage: node.sh create|start|stop|remove|restart-kubelet NODE, exec NODE COMMAND…, load NODE ARCHIVE"
command=$1 node=$2
shift 2
case $command in
create | start | stop | remove) $command "$node" ;;
restart-kubelet) restart_kubelet "$node" ;;
exec) in_node "$node" "$@" ;;
load) in_node "$node" "$debian/usr/bin/ctr" -n k8s.io images import "$1" >/dev/null ;;
*) fail "there is no command $command" ;;
esac
