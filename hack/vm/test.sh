#!/usr/bin/env bash
# test.sh PART…: builds tests that need a real kernel, and runs them in the virtual machine. Root. The parts:
#
#   quota  the unit tests of project quotas, on XFS and ext4
#   loop   the unit tests of loop devices
#   mount  the unit tests of mounts
#   disk   the tests of disk volumes, on a kernel that clones attached mounts only
#   vm     the daemon on XFS and ext4 with project quotas, test/vm
#   flex   the FlexVolume drivers nfs, cifs and lvm, test/flex
#   power  power cuts under ext4, XFS and btrfs, test/power; its variables are passed on
#
# HOSTVOL_VM_RUN is a pattern of tests (-test.run), HOSTVOL_VM_SECONDS the limit for all of it (default 3600).
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
cd "$here/../.."

"$here/build.sh"
out=$PWD/.cache/vm/tests
mkdir -p "$out"
export CGO_ENABLED=0
files=(-f "$here/inside.sh")
compile() { # compile PART TAG PACKAGE
	go test -c -trimpath -tags "$2" -o "$out/$1.test" "$3"
	files+=(-f "$out/$1.test")
}
echo "vm: compiling the tests"
for part; do
	case $part in
	quota) compile quota prjquota ./pkg/host/quota ;;
	loop | mount) compile "$part" '' "./pkg/host/$part" ;;
	disk) compile disk '' ./pkg/engine/disk ;;
	vm)
		compile vm vm ./test/vm
		go build -trimpath -buildvcs=false -o "$out/hostvol" ./cmd/hostvol
		files+=(-f "$out/hostvol")
		;;
	flex)
		compile flex vm ./test/flex
		go build -trimpath -buildvcs=false -ldflags '-s -w' -o "$out/hostvol-flex" ./cmd/hostvol-flex
		files+=(-f "$out/hostvol-flex")
		;;
	power) compile power power ./test/power ;;
	*)
		echo "vm: unknown part $part: quota, loop, mount, disk, vm, flex or power" >&2
		exit 2
		;;
	esac
done

settings=()
for name in HOSTVOL_VM_RUN HOSTVOL_RANDOM_SECONDS HOSTVOL_POWER_CUTS HOSTVOL_POWER_OPERATIONS HOSTVOL_POWER_SEED; do
	[ -z "${!name:-}" ] || settings+=("$name=${!name}")
done
echo "vm: booting a machine that is slow, since nothing accelerates it"
"$here/run.sh" -t "${HOSTVOL_VM_SECONDS:-3600}" -m 3072 -d 32G -d 8G "${files[@]}" env "${settings[@]}" ./inside.sh "$@"
