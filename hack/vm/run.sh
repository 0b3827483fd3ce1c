#!/usr/bin/env bash
# run.sh [-t SECONDS] [-m MIB] [-d SIZE]… [-f FILE]… COMMAND [ARGUMENT…]: boots the machine that build.sh has made,
# runs the command in it as root, shows what it prints, and ends with its status.
#
#   -f FILE     copies a file or directory into the command's working directory; the command may be one: ./name
#   -d SIZE     adds an empty disk: /dev/vda, /dev/vdb, … in this order
#   -t SECONDS  the limit for all of it, 600 if not given
#   -m MIB      memory, 2048 if not given
#
# Status 125: the machine did not report one, or the time was over. Nothing is left behind, and nothing that the
# command does reaches the host. Emulated in software on purpose: it works on every host, and hardware acceleration
# may be there and hang in nested machines. Disks are files that nobody syncs: to cut the power of this machine
# loses nothing that was written (test/power does that in another way).
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
store=$here/../../.cache/vm

limit=600 memory=2048 disks=() files=()
while getopts t:m:d:f: option; do
	case $option in
	t) limit=$OPTARG ;;
	m) memory=$OPTARG ;;
	d) disks+=("$OPTARG") ;;
	f) files+=("$OPTARG") ;;
	*) exit 125 ;;
	esac
done
shift $((OPTIND - 1))
[ $# -gt 0 ] || {
	sed -n '2,3s/^# //p' "$0" >&2
	exit 125
}
[ -e "$store/stamp" ] || {
	echo "vm: there is no machine; hack/vm/build.sh makes it" >&2
	exit 125
}

run=$(mktemp -d "$store/run.XXXXXX")
machine=
trap '[ -z "$machine" ] || { kill "$machine" && wait "$machine"; } 2>/dev/null; rm -rf "$run"' EXIT
trap 'exit 125' INT TERM HUP

mkdir "$run/payload"
for file in "${files[@]}"; do cp -a "$file" "$run/payload/"; done
printf '%q ' "$@" >"$run/payload/.command"
tar -C "$run/payload" -cf "$run/payload.tar" .
truncate -s %512 "$run/payload.tar"

devices=()
number=0
for size in "${disks[@]}"; do
	truncate -s "$size" "$run/disk$number"
	devices+=(-drive "file=$run/disk$number,format=raw,if=none,id=disk$number,cache=unsafe,discard=unmap,detect-zeroes=unmap"
		-device "virtio-blk-pci,drive=disk$number,serial=disk$number")
	number=$((number + 1))
done

mkfifo "$run/out"
: >"$run/status"
cat "$run/out" &
printer=$!
# TMPDIR: the changes to the root filesystem, a deleted file. Each process dies with the one that started it.
TMPDIR=$run setpriv --pdeathsig KILL timeout -k 5 "$limit" \
	setpriv --pdeathsig KILL qemu-system-x86_64 -nodefaults -no-user-config -display none -no-reboot \
	-machine q35 -accel tcg,thread=multi,tb-size=512 -cpu max,-la57 -smp 2 -m "$memory" \
	-kernel "$store/vmlinuz" -append "root=/dev/nvme0n1 rw rootfstype=ext4 init=/sbin/vm-init console=ttyS0 panic=-1 quiet mitigations=off" \
	-drive "file=$store/root.img,format=raw,if=none,id=root,snapshot=on" -device nvme,drive=root,serial=root \
	-drive "file=$run/payload.tar,format=raw,if=none,id=payload,read-only=on" -device nvme,drive=payload,serial=payload \
	"${devices[@]}" \
	-object rng-random,filename=/dev/urandom,id=random -device virtio-rng-pci,rng=random -device virtio-serial-pci \
	-chardev "file,id=out,path=$run/out,append=on" -device virtserialport,chardev=out,name=out \
	-chardev "file,id=status,path=$run/status" -device virtserialport,chardev=status,name=status \
	-serial "file:$run/console" </dev/null >"$run/qemu" 2>&1 &
machine=$!

ended=0
wait "$machine" || ended=$?
machine=
: <>"$run/out" # a machine that did not start has never opened it
wait "$printer" || true

status=$(sed -n 's/^status=//p' "$run/status")
if [ -z "$status" ]; then
	echo "vm: no status came back (qemu ended with $ended; the limit is $limit s). Its console ends:" >&2
	cat "$run/qemu" >&2
	tail -n 30 "$run/console" >&2 || true
	exit 125
fi
exit "$status"
