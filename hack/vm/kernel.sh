#!/usr/bin/env bash
# kernel.sh ROOT: puts the kernel of ROOT's release beside it, and its modules into it; a hook of mmdebstrap in build.sh.
#
# The kernel is unpacked and not installed: no initramfs, no boot loader. It is the "cloud" one, which has nvme and
# ext4 built in and so needs neither.
set -euo pipefail
root=$1
store=$(dirname "$root")

work=$(mktemp -d "$store/kernel.XXXXXX")
trap 'rm -rf "$work"' EXIT
cd "$work"
export APT_CONFIG=$MMDEBSTRAP_APT_CONFIG # that of ROOT, whatever this machine runs
name=$(apt-cache depends --important linux-image-cloud-amd64 | sed -n 's/^ *Depends: \(linux-image-[0-9].*\)$/\1/p')
apt-get download -qq "$name"
dpkg -x ./*.deb unpacked
version=${name#linux-image-}
mkdir -p "$root/lib/modules"
mv "unpacked/lib/modules/$version" "$root/lib/modules/"
mv "unpacked/boot/vmlinuz-$version" "$store/vmlinuz"
chroot "$root" depmod -a "$version"
{
	chroot "$root" dpkg-query -W
	echo "$name $(dpkg-deb -f ./*.deb Version)"
} >"$store/packages"
