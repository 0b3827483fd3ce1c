#!/usr/bin/env bash
# setup.sh demo|test|lint|bench|cluster|vm: makes sure that the commands this part needs are there.
# Quiet and fast when they are. Otherwise it installs their Debian packages, as root, or says what is missing.
set -euo pipefail
export PATH=$PATH:/usr/local/go/bin:/usr/sbin:/sbin

part=${1:?"usage: setup.sh demo|test|lint|bench|cluster|vm"}
packages=()

# need PACKAGE TEST…: the package is wanted unless the test succeeds.
need() {
	local package=$1
	shift
	"$@" >/dev/null 2>&1 || packages+=("$package")
}

if ! command -v go >/dev/null; then
	echo "setup: Go is missing: install the version named in go.mod or a newer one, https://go.dev/doc/install" >&2
	exit 1
fi

mounting() {
	need util-linux command -v unshare
	need mount command -v losetup
	need btrfs-progs command -v mkfs.btrfs
}

need git command -v git
case $part in
demo)
	mounting
	;;
test)
	mounting
	need gcc command -v gcc # for go test -race
	need libc6-dev test -e /usr/include/stdlib.h
	need xfsprogs command -v mkfs.xfs
	need e2fsprogs command -v mkfs.ext4
	need attr command -v getfattr
	;;
lint)
	need shellcheck command -v shellcheck
	;;
bench)
	mounting
	need strace command -v strace
	need xfsprogs command -v mkfs.xfs
	need e2fsprogs command -v mkfs.ext4
	need fio command -v fio
	;;
cluster)
	mounting
	need e2fsprogs command -v mkfs.ext4
	need iproute2 command -v ip
	need openssl command -v openssl
	need procps command -v sysctl
	;;
vm)
	need qemu-system-x86 command -v qemu-system-x86_64
	need mmdebstrap command -v mmdebstrap
	need e2fsprogs command -v mke2fs
	;;
*)
	echo "setup: unknown part $part: demo, test, lint, bench, cluster or vm" >&2
	exit 2
	;;
esac

[ ${#packages[@]} -gt 0 ] || exit 0
if [ "$(id -u)" != 0 ] || ! command -v apt-get >/dev/null; then
	echo "setup: missing, by their Debian names: ${packages[*]}. Install them, or run as root on Debian." >&2
	exit 1
fi
echo "setup: installing ${packages[*]}"
export DEBIAN_FRONTEND=noninteractive
log=$(mktemp)
trap 'rm -f "$log"' EXIT
if ! { apt-get update -qq && apt-get install -qq --no-install-recommends "${packages[@]}"; } >"$log" 2>&1; then
	cat "$log" >&2
	echo "setup: could not install ${packages[*]}" >&2
	exit 1
fi
