#!/usr/bin/env bash
# tools.sh: builds the pinned golangci-lint into .cache/bin, unless that version is there already.
set -euo pipefail
cd "$(dirname "$0")/.."
. hack/versions.env

bin=$PWD/.cache/bin
module=github.com/golangci/golangci-lint/v2
have=$(go version -m "$bin/golangci-lint" 2>/dev/null | awk -v m="$module" '$1 == "mod" && $2 == m { print $3 }') || true
[ "$have" != "$GOLANGCI_LINT_VERSION" ] || exit 0

echo "tools: building golangci-lint $GOLANGCI_LINT_VERSION (one to three minutes, once)"
mkdir -p "$bin"
GOFLAGS='' GOBIN=$bin CGO_ENABLED=0 go install "$module/cmd/golangci-lint@$GOLANGCI_LINT_VERSION"
