# The driver's image: two static binaries, the daemon and the FlexVolume executable, and the programs that volumes with a filesystem of their own need.
#
# Directory and block volumes execute nothing. For image volumes the driver runs mkfs, blkid, fsck, resize2fs and
# btrfstune; they come from Debian, and only they, their libraries and the loader are copied: the image has no shell, no
# package manager, and not the Python that xfsprogs depends on. bookworm and not newer: the XFS and ext4 that its
# programs make are understood by the kernels that nodes still have, and the tests run the same programs.
#
# The base's tag moves: for a release, pin it by digest, --build-arg BASE_IMAGE=…@sha256:….
ARG GO_IMAGE=golang:1.26-bookworm
ARG BASE_IMAGE=debian:bookworm-slim

FROM --platform=$BUILDPLATFORM ${GO_IMAGE} AS build
WORKDIR /src
COPY go.mod go.sum ./
RUN go mod download
COPY cmd cmd
COPY pkg pkg
ARG TARGETOS=linux
ARG TARGETARCH=amd64
ARG VERSION=dev
RUN CGO_ENABLED=0 GOOS=${TARGETOS} GOARCH=${TARGETARCH} go build -trimpath -buildvcs=false \
    -ldflags "-s -w -X github.com/hostvol/hostvol/pkg/version.Version=${VERSION}" \
    -o /out/ ./cmd/hostvol ./cmd/hostvol-flex

FROM ${BASE_IMAGE} AS programs
RUN apt-get update && \
    apt-get install -y --no-install-recommends btrfs-progs e2fsprogs util-linux xfsprogs
COPY hack/programs.sh /
RUN /programs.sh / /out

FROM scratch
ARG VERSION=dev
LABEL org.opencontainers.image.title="hostvol" \
      org.opencontainers.image.description="CSI driver that turns directories of Kubernetes nodes into volumes" \
      org.opencontainers.image.source="https://github.com/hostvol/hostvol" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="${VERSION}"
COPY --from=programs /out /
COPY --from=build /out/hostvol /out/hostvol-flex /
ENV PATH=/usr/sbin
# Mounting needs root; what else the container may do is set where it is deployed.
USER 0:0
ENTRYPOINT ["/hostvol"]
