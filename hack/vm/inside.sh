#!/bin/bash
# inside.sh PART…: what test.sh runs inside the machine. The scratch disk is an XFS, for reflinks.
set -euo pipefail
modprobe -a xfs ext4 btrfs loop quota_v2 dm_log_writes
mkfs.xfs -q /dev/vda
mkdir /s # sockets want short paths
mount /dev/vda /s
export TMPDIR=/s HOSTVOL_BINARY=$PWD/hostvol HOSTVOL_FLEX_BINARY=$PWD/hostvol-flex

failed=()
for part; do
	printf '\nvm: %s, at %ds\n' "$part" $SECONDS
	"./$part.test" -test.v -test.timeout 2h ${HOSTVOL_VM_RUN:+-test.run "$HOSTVOL_VM_RUN"} || failed+=("$part")
done
[ ${#failed[@]} -eq 0 ] || {
	echo "vm: FAILED: ${failed[*]}"
	exit 1
}
echo "vm: all passed after ${SECONDS}s"
