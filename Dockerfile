# The driver's image: one static binary on a base without shell and package manager.
#
# Directory volumes execute nothing. Engines to come that make file systems (image, lvm) need mkfs tools in the
# image; a static base does not carry them, so that issue brings its own base here.
#
# The base has no version tags: for a release, pin it by digest, --build-arg BASE_IMAGE=…@sha256:….
ARG GO_IMAGE=golang:1.26-bookworm
ARG BASE_IMAGE=gcr.io/distroless/static-debian12:latest

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
    -o /out/hostvol ./cmd/hostvol

FROM ${BASE_IMAGE}
ARG VERSION=dev
LABEL org.opencontainers.image.title="hostvol" \
      org.opencontainers.image.description="CSI driver that turns directories of Kubernetes nodes into volumes" \
      org.opencontainers.image.source="https://github.com/hostvol/hostvol" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="${VERSION}"
COPY --from=build /out/hostvol /hostvol
# Mounting needs root; what else the container may do is set where it is deployed.
USER 0:0
ENTRYPOINT ["/hostvol"]
