#!/usr/bin/env bash
# build.sh: makes the virtual machine that run.sh boots: a kernel and a root filesystem of Debian $VM_SUITE, in
# .cache/vm. What is there already is not made again, unless this recipe has changed. Root; about 75 s.
#
# The release is pinned and its packages are not: Debian's mirrors carry only the latest point release and security
# update of each. What was taken is written to .cache/vm/packages.
set -euo pipefail
cd "$(dirname "$0")"
# shellcheck source=hack/versions.env
. ../versions.env
store=$(realpath -m ../../.cache/vm)

# What the tests need, and what makes it a system.
packages=(
	xfsprogs e2fsprogs btrfs-progs quota attr dmsetup # the filesystems and what is under them
	util-linux mount fdisk kmod udev procps iproute2
	nfs-kernel-server nfs-common rpcbind samba cifs-utils lvm2 # what the FlexVolume drivers mount
)

stamp=$({ cat build.sh kernel.sh init && echo "$VM_SUITE"; } | sha256sum)
mkdir -p "$store"
exec 9>"$store/lock"
flock 9
[ "$(cat "$store/stamp" 2>/dev/null)" != "$stamp" ] || exit 0

echo "vm: building a machine of Debian $VM_SUITE (about 75 s, once)"
rm -rf "${store:?}"/{root,root.img,vmlinuz,packages,stamp,build.log}
trap 'rm -rf "$store/root"' EXIT

joined=$(IFS=, && echo "${packages[*]}")
if ! mmdebstrap --mode=root --variant=minbase --include="$joined" \
	--aptopt='APT::Install-Recommends "false"' \
	--dpkgopt='path-exclude=/usr/share/doc/*' --dpkgopt='path-exclude=/usr/share/man/*' --dpkgopt='path-exclude=/usr/share/locale/*' \
	--customize-hook="'$PWD/kernel.sh' \"\$1\"" \
	"$VM_SUITE" "$store/root" >"$store/build.log" 2>&1; then
	cat "$store/build.log" >&2
	echo "vm: could not build the machine" >&2
	exit 1
fi
install -m 755 init "$store/root/sbin/vm-init"
# Modules are loaded by name. Loading what the devices could use takes ten seconds of self-tests without acceleration.
ln -sf /dev/null "$store/root/etc/udev/rules.d/80-drivers.rules"
truncate -s 2G "$store/root.img"
mke2fs -q -t ext4 -O ^has_journal -E root_owner=0:0,lazy_itable_init=1 -d "$store/root" "$store/root.img"
echo "$stamp" >"$store/stamp"
