# Settings and small functions of the test cluster; sourced by the scripts beside it.
# shellcheck shell=bash disable=SC2034 # the sourcing script uses what is set here

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
repository=$(cd "$here/../.." && pwd)
# shellcheck source=hack/versions.env
. "$repository/hack/versions.env"
export PATH=$PATH:/usr/local/go/bin:/usr/sbin:/sbin

# What is built stays in $store; what belongs to the running cluster is in $run and goes with it.
store=${HOSTVOL_CLUSTER_STORE:-$repository/.cache/cluster}
case $store in
/*/*) ;;
*)
	echo "cluster: HOSTVOL_CLUSTER_STORE must be an absolute path of a directory of its own" >&2
	exit 1
	;;
esac
bin=$store/bin
images=$store/images
debian=$store/debian/root
programs=$store/programs # of the driver's image
run=$store/run

nodes=${NODES:-3}
node_names() { seq -f 'n%.0f' 1 "$nodes"; }

# Network: a bridge in the control plane's namespace, a veth to each node, no way out of the machine.
# The apiserver owns the service address, so that it is reached from pods without a kube-proxy.
control_plane=hostvol-cp
subnet=10.89.0 # .1 is the control plane, .11 the first node
service_range=10.96.0.0/16
service_address=10.96.0.1
export KUBECONFIG=$run/admin.kubeconfig

say() { printf '%6.1fs  %s\n' "$(awk "BEGIN { print $EPOCHREALTIME - ${started:=$EPOCHREALTIME} }")" "$*"; }
fail() {
	printf 'cluster: %s\n' "$*" >&2
	exit 1
}
need_root() { [ "$(id -u)" = 0 ] || fail "run this as root: it makes namespaces, mounts and cgroups"; }

in_control_plane() { nsenter --net="/run/netns/$control_plane" -- "$@"; }
kubectl() { in_control_plane "$bin/kubeall" kubectl "$@"; }

# in_node NODE COMMAND…: inside the mount, pid, network and uts namespaces of a node.
in_node() {
	local pid
	pid=$(init_of "$1") || fail "node $1 is not running"
	shift
	nsenter -t "$pid" -m -p -n -u -- "$@"
}

# init_of NODE: the pid, outside, of the process that is 1 inside.
init_of() {
	local keeper child
	keeper=$(process_of "$run/$1/keeper.pid") || return 1
	child=$(cat "/proc/$keeper/task/$keeper/children" 2>/dev/null) || return 1
	[ -n "${child// /}" ] && echo "${child// /}"
}

# until_true SECONDS COMMAND…: polls; fails when the time is over.
until_true() {
	local end=$((SECONDS + $1))
	shift
	until "$@" >/dev/null 2>&1; do
		[ $SECONDS -lt $end ] || return 1
		sleep 0.1
	done
}

# A process is known by its pid, the time of its start and the boot: after a reboot the number is somebody else's.
identity_of() { echo "$1 $(sed 's/.*) //' "/proc/$1/stat" | cut -d ' ' -f 20) $(cat /proc/sys/kernel/random/boot_id)"; }

# note_process FILE PID: for process_of.
note_process() { identity_of "$2" >"$1"; }

# process_of FILE: the pid of the process that was noted, if it still runs.
process_of() {
	local noted
	noted=$(cat "$1" 2>/dev/null) && [ "$noted" = "$(identity_of "${noted%% *}" 2>/dev/null)" ] && echo "${noted%% *}"
}

# end_process FILE: ends what was noted there and waits until it is gone.
end_process() {
	local pid
	if pid=$(process_of "$1"); then
		kill -KILL "$pid" 2>/dev/null || true
		until_true 30 test ! -e "/proc/$pid" || fail "process $pid of $1 does not end"
	fi
	rm -f "$1"
}

# cgroup_roots: the directories below which a node needs a cgroup of its own.
cgroup_roots() {
	if [ -e /sys/fs/cgroup/cgroup.controllers ]; then
		echo /sys/fs/cgroup
	else
		local d
		for d in /sys/fs/cgroup/*/; do
			[ ! -e "${d}cgroup.procs" ] || echo "${d%/}"
		done
	fi
}
