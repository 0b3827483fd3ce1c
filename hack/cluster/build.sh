#!/usr/bin/env bash
# build.sh: makes what the cluster runs: Kubernetes, containerd, the sidecars, and all images.
# What is there already is not made again. `build.sh driver` makes the driver's image only.
#
# Kubernetes takes about 14 minutes of processor time with an empty Go build cache, the sidecars 6.
set -euo pipefail
# shellcheck source=hack/cluster/env.sh
. "$(dirname "$0")/env.sh"

export CGO_ENABLED=0 GOFLAGS=-buildvcs=false
started=$EPOCHREALTIME

# once NAME INPUT… -- COMMAND…: runs the command unless it ran with the same inputs before.
once() {
	local name=$1 inputs=() sum
	shift
	while [ "$1" != -- ]; do
		inputs+=("$1")
		shift
	done
	shift
	sum=$({ go version && cat "${inputs[@]}"; } | sha256sum)
	[ "$(cat "$store/$name.sum" 2>/dev/null)" != "$sum" ] || return 0
	"$@"
	echo "$sum" >"$store/$name.sum"
}

# Unpacked and not installed: no daemon starts, nothing outside $store changes.
fetch_debian() {
	say "containerd, runc, CNI plugins and busybox from Debian"
	rm -rf "$debian"
	unpack "$debian" containerd runc containernetworking-plugins busybox-static
}

# The driver's programs, as the Dockerfile has them. On a Debian where nothing is installed, all that they depend on is
# to be installed; what is no library, such as xfsprogs' Python, they do not need to run.
fetch_programs() {
	say "programs of the driver's image from Debian"
	rm -rf "$store/base" "$programs"
	local wanted=(btrfs-progs e2fsprogs util-linux xfsprogs) all
	all=$(apt-get -qq update && apt-get -s -o Dir::State::status=/dev/null install --no-install-recommends "${wanted[@]}") 2>/dev/null
	mapfile -t all < <(awk '$1 == "Inst" && $2 ~ /^lib/ { print $2 }' <<<"$all")
	unpack "$store/base" "${wanted[@]}" "${all[@]}"
	"$repository/hack/programs.sh" "$store/base" "$programs"
}

# unpack DIRECTORY PACKAGE…
unpack() (
	packages=$1.packages
	rm -rf "$packages"
	mkdir -p "$packages" "$1"
	cd "$packages"
	apt-get download -qq "${@:2}" >/dev/null 2>&1 ||
		{ apt-get update -qq && apt-get download -qq "${@:2}"; }
	for package in *.deb; do dpkg -x "$package" "$1"; done
	rm -rf "$packages"
)

build_kubernetes() {
	say "Kubernetes $KUBERNETES_VERSION (with an empty build cache 8 to 12 minutes on two processors)"
	local minor=${KUBERNETES_VERSION#*.} flags="-s -w" package
	minor=${minor%%.*}
	for package in k8s.io/component-base/version k8s.io/client-go/pkg/version; do
		flags+=" -X $package.gitVersion=v$KUBERNETES_VERSION -X $package.gitMajor=1 -X $package.gitMinor=$minor"
		flags+=" -X $package.gitTreeState=clean -X $package.buildDate=1970-01-01T00:00:00Z"
	done
	go -C "$here/kube" build -trimpath -ldflags "$flags" -o "$bin/kubeall" .
	ln -sf kubeall "$bin/kubectl"
}

build_sidecars() {
	say "sidecars"
	go -C "$here/sidecars" build -trimpath -ldflags '-s -w' -o "$bin/" tool
}

build_tools() {
	say "tools of the cluster"
	go -C "$here/tools" build -trimpath -ldflags '-s -w' -o "$bin/" ./...
}

# image NAME:TAG BINARY…: an image that runs one of our binaries.
image() {
	"$bin/pack" -o "$images/${1##*/}.tar" -ref "$1" -entrypoint "/$2" -file "/$2=$bin/$2"
}

pack_images() {
	say "images"
	mkdir -p "$images"
	rm -f "$images"/*.tar
	image "$PAUSE_IMAGE" pause
	image "$CSI_PROVISIONER_IMAGE" csi-provisioner
	image "$CSI_ATTACHER_IMAGE" csi-attacher
	image "$CSI_RESIZER_IMAGE" csi-resizer
	image "$CSI_SNAPSHOTTER_IMAGE" csi-snapshotter
	image "$SNAPSHOT_CONTROLLER_IMAGE" snapshot-controller
	"$bin/pack" -o "$images/registrar.tar" -ref "$NODE_DRIVER_REGISTRAR_IMAGE" \
		-entrypoint /csi-node-driver-registrar -file "/csi-node-driver-registrar=$bin/registrar"
	pack_busybox
}

# What the pods of tests and examples run.
pack_busybox() {
	local links=() applet
	for applet in $("$debian/bin/busybox" --list | grep -vx busybox); do links+=(-link "/bin/$applet=busybox"); done
	printf 'root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/:/bin/false\n' >"$store/passwd"
	"$bin/pack" -o "$images/busybox.tar" -ref "$BUSYBOX_IMAGE" \
		-file "/bin/busybox=$debian/bin/busybox" "${links[@]}" -file "/etc/passwd=$store/passwd" \
		-dir /tmp -dir /proc -dir /sys -dir /dev -dir /root
}

# driver_image [SOURCE] [TAG]: the driver of a source tree with its programs, as the Dockerfile lays them out.
driver_image() {
	local source=${1:-${HOSTVOL_SOURCE:-$repository}} ref=$HOSTVOL_IMAGE
	[ -z "${2:-}" ] || ref=${ref%:*}:$2
	local version=${ref##*:} program files=()
	for program in hostvol hostvol-flex; do
		[ -d "$source/cmd/$program" ] || continue # an older tree
		go -C "$source" build -trimpath -ldflags "-s -w -X github.com/hostvol/hostvol/pkg/version.Version=$version" \
			-o "$bin/$program" "./cmd/$program"
		files+=(-file "/$program=$bin/$program")
	done
	mkdir -p "$images"
	"$bin/pack" -o "$images/hostvol-$version.tar" -ref "$ref" -entrypoint /hostvol -tree "$programs" "${files[@]}"
	echo "$images/hostvol-$version.tar"
}

# same MODULE DIRECTORY VERSION: what is pinned is what is built.
same() {
	local have
	have=$(go -C "$here/$2" list -m -f '{{.Version}}' "$1")
	[ "$have" = "$3" ] || fail "hack/versions.env has $3, hack/cluster/$2/go.mod builds $1 $have"
}

mkdir -p "$bin"
# What the driver's image needs, also where it is made alone; its archive alone is to be printed then.
once tools "$here/tools/go.sum" "$here"/tools/*/*.go -- build_tools >&2
once programs "$here/build.sh" "$repository/hack/programs.sh" -- fetch_programs >&2
if [ "${1:-}" = driver ]; then
	driver_image "${@:2}"
	exit
fi
csi=github.com/kubernetes-csi
same k8s.io/kubernetes kube "v$KUBERNETES_VERSION"
same $csi/external-provisioner/v6 sidecars "${CSI_PROVISIONER_IMAGE##*:}"
same $csi/external-attacher/v4 sidecars "${CSI_ATTACHER_IMAGE##*:}"
same $csi/external-resizer/v2 sidecars "${CSI_RESIZER_IMAGE##*:}"
same $csi/external-snapshotter/v8 sidecars "${CSI_SNAPSHOTTER_IMAGE##*:}"
same $csi/external-snapshotter/v8 sidecars "${SNAPSHOT_CONTROLLER_IMAGE##*:}"

once debian "$here/build.sh" -- fetch_debian
once kubernetes "$here/kube/go.mod" "$here/kube/go.sum" "$here/kube/main.go" -- build_kubernetes
once sidecars "$here/sidecars/go.mod" "$here/sidecars/go.sum" -- build_sidecars
once images "$store"/{debian,tools,sidecars}.sum "$here/build.sh" "$repository/hack/versions.env" -- pack_images
driver_image >/dev/null
