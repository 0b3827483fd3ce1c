#!/usr/bin/env bash
# test.sh short|power: builds the tests that need a real kernel, and runs them in the virtual machine. Root.
#
# short: project quotas and the daemon on XFS and ext4, and ten power cuts. power: power cuts only, as many as
# HOSTVOL_POWER_CUTS says (120 if not given).
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
cd "$here/../.."
form=$1

"$here/build.sh"
out=$PWD/.cache/vm/tests
mkdir -p "$out"
compile() { # compile NAME TAG PACKAGE
	CGO_ENABLED=0 go test -c -tags "$2" -o "$out/$1.test" "$3"
}
echo "vm: compiling the tests"
compile power power ./test/power
files=(-f "$out/power.test" -f "$here/inside.sh")
limit=420
settings=()
for name in HOSTVOL_POWER_CUTS HOSTVOL_POWER_OPERATIONS HOSTVOL_POWER_SEED; do
	[ -z "${!name:-}" ] || settings+=("$name=${!name}")
done
case $form in
short)
	compile quota prjquota ./pkg/host/quota
	compile vm vm ./test/vm
	CGO_ENABLED=0 go build -trimpath -buildvcs=false -o "$out/hostvol" ./cmd/hostvol
	files+=(-f "$out/quota.test" -f "$out/vm.test" -f "$out/hostvol")
	;;
power)
	limit=3000
	[ -n "${HOSTVOL_POWER_CUTS:-}" ] || settings+=(HOSTVOL_POWER_CUTS=120)
	[ -n "${HOSTVOL_POWER_OPERATIONS:-}" ] || settings+=(HOSTVOL_POWER_OPERATIONS=400)
	;;
*)
	echo "vm: unknown form $form: short or power" >&2
	exit 2
	;;
esac
echo "vm: booting; its clock is that of a slow machine, since nothing is accelerated"
"$here/run.sh" -t "$limit" -m 3072 -d 32G "${files[@]}" env "${settings[@]}" ./inside.sh "$form"
