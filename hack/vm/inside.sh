#!/bin/bash
# inside.sh short|power: what test.sh runs inside the machine. The scratch disk is an XFS, for reflinks.
set -euo pipefail
modprobe -a xfs ext4 btrfs loop quota_v2 dm_log_writes
mkfs.xfs -q /dev/vda
mkdir /s
mount /dev/vda /s
export TMPDIR=/s HOSTVOL_BINARY=$PWD/hostvol

failed=()
part() { # part NAME: runs the tests of that name
	echo "=== $1 (at ${SECONDS}s)"
	"./$1.test" -test.v -test.timeout 50m "${@:2}" || failed+=("$1")
}
if [ "$1" = short ]; then
	part quota
	part vm
fi
part power
[ ${#failed[@]} -eq 0 ] || {
	echo "vm: FAILED: ${failed[*]}"
	exit 1
}
echo "vm: all passed after ${SECONDS}s"
