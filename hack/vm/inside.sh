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
	pattern=${HOSTVOL_VM_RUN:-.}
	# The conformance suite runs on the ordinary kernel. Here run the tests of what this kernel does differently.
	[ "$part" != disk ] || pattern=${HOSTVOL_VM_RUN:-'Random|Foreign|Two|Hold|Looks|Conditions|Untouched|Freeze|Detach'}
	"./$part.test" -test.v -test.timeout 2h -test.run "$pattern" || failed+=("$part")
done
[ ${#failed[@]} -eq 0 ] || {
	echo "vm: FAILED: ${failed[*]}"
	exit 1
}
echo "vm: all passed after ${SECONDS}s"
