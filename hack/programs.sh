#!/usr/bin/env bash
# programs.sh ROOT OUT: copies what image volumes need besides the driver, from the Debian tree ROOT into OUT: the
# programs, the libraries and the loader that they are linked with, and their settings; nothing else of their packages
# (those of XFS would bring Python). The Dockerfile and the test cluster lay out the same image by it.
set -euo pipefail
root=${1%/} out=$2

# fsck runs fsck.ext4 by that name. Without either of them a filesystem would be mounted unchecked, and nobody told.
programs=(blkid btrfstune e2fsck fsck fsck.ext4 mkfs.btrfs mkfs.ext4 mkfs.xfs resize2fs)
# Which features mkfs.ext4 switches on.
settings=(etc/mke2fs.conf)

fail() {
	printf 'programs: %s\n' "$*" >&2
	exit 1
}

# first FILE…: the one that is there.
first() {
	local f
	for f; do
		[ ! -e "$f" ] || { echo "$f" && return; }
	done
	return 1
}

loader=$(first "$root"/lib64/ld-linux-*.so.* "$root"/lib/ld-linux-*.so.*) || fail "$root has no loader"
path=
for directory in "$root"/{,usr/}lib/*-linux-gnu*; do path=$path:$directory; done

mkdir -p "$out/usr/sbin"
install -D -m 755 "$loader" "$out${loader#"$root"}"
for program in "${programs[@]}"; do
	file=$(first "$root"/{usr/,}{sbin,bin}/"$program") || fail "$root has no $program"
	install -m 755 "$file" "$out/usr/sbin/$program"
	needs=$("$loader" --library-path "${path#:}" --list "$file") || fail "$file: $needs"
	while read -r name arrow library _; do
		[ "$arrow" = '=>' ] || continue
		case $library in
		"$root"/*) ;;
		*) fail "$file needs $name, and $root has none: $library" ;;
		esac
		[ "${name##*/}" = "${loader##*/}" ] ||
			install -D -m 644 "$library" "$out/usr/lib/$(basename "$(dirname "$library")")/$name"
	done <<<"$needs"
done
for file in "${settings[@]}"; do install -D -m 644 "$root/$file" "$out/$file"; done
