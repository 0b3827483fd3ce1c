#!/usr/bin/env bash
# sandbox.sh [-d DIR] CMD…: runs CMD as root over a throw-away copy of the machine's file tree.
#
# A driver that is wrong can unmount or delete what it should not. Here it reaches only overlays: what is
# written outside DIR goes to a tmpfs and is gone afterwards, mounts and processes with it. DIR stays real, for
# the pools of tests; without -d it is a new folder below /var/tmp, removed at the end. CMD finds it in TMPDIR.
# Also usable as `go test -exec hack/sandbox.sh`.
set -euo pipefail

dir=
while getopts d: option; do
	case $option in
	d) dir=$(realpath "$OPTARG") ;;
	*) exit 2 ;;
	esac
done
shift $((OPTIND - 1))
if [ "$(id -u)" != 0 ]; then
	echo "sandbox: needs root: it mounts" >&2
	exit 1
fi

scratch=$(mktemp -d /var/tmp/hv.XXXXXX)
trap 'rm -rf --one-file-system "$scratch"' EXIT
mkdir "$scratch/box"
if [ -z "$dir" ]; then
	dir=$scratch/t
	mkdir "$dir"
fi

# Runs as the first process of its own pid namespace: when it ends, everything that it started ends.
inside() {
	set -euo pipefail
	local box=$1 dir=$2 old root n=0 target kind
	shift 2
	root=$box/root

	mount -t tmpfs sandbox "$box"
	mkdir "$root"
	cover() {
		n=$((n + 1))
		mkdir -p "$box/$n/upper" "$box/$n/work"
		mount -t overlay -o "lowerdir=$1,upperdir=$box/$n/upper,workdir=$box/$n/work" sandbox "$root$1"
	}
	cover /
	while read -r target kind; do
		case $target in
		/ | /proc | /proc/* | /sys | /sys/* | /dev | /dev/* | "$box" | "$box"/*) continue ;;
		esac
		[ -e "$root$target" ] || continue
		if [ "$kind" != autofs ] && [ -d "$target" ] && cover "$target" 2>/dev/null; then
			continue
		fi
		# A file, or a file system that cannot lie under an overlay: visible, not writable.
		mount --bind "$target" "$root$target"
		mount -o remount,bind,ro "$root$target"
	done < <(findmnt -rno TARGET,FSTYPE)
	mount -t proc proc "$root/proc"
	mount --rbind /sys "$root/sys"
	mount --rbind /dev "$root/dev"
	mkdir -p "$root$dir"
	mount --bind "$dir" "$root$dir"

	# pivot_root and not chroot: the real tree is then out of reach, also for setns.
	old=$root/.sandbox-old
	mkdir "$old"
	cd "$root"
	pivot_root . .sandbox-old
	umount -l /.sandbox-old
	rmdir /.sandbox-old
	cd "$workdir"
	TMPDIR=$dir "$@"
}

export workdir=$PWD
export -f inside
# Not exec: the trap removes the folder. setpriv ends everything if this shell is killed.
setpriv --pdeathsig KILL unshare --mount --propagation private --pid --fork --kill-child \
	bash -c 'inside "$@"; exit $?' sandbox "$scratch/box" "$dir" "$@"
