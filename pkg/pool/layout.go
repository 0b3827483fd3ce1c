// Package pool owns one directory of a node's filesystem that holds volumes:
// its layout, its records, which of them exist, what space is promised, the
// trash, and how all of it comes back after a crash. It knows nothing of how a
// volume is made (that is an engine), of requests, or of mounts on targets.
//
// Everything rests on one commit point: an item is built whole in staging/,
// renamed into volumes/, and made durable before anybody is told. See
// docs/architecture.md.
package pool

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/hostvol/hostvol/pkg/pool/id"
)

// The names in a pool.
const (
	identityFile = "pool.json"
	lockFile     = "lock"
	stagingDir   = "staging"
	VolumesDir   = "volumes" // exported: mounts of volumes show it
	snapshotsDir = "snapshots"
	trashDir     = "trash"
)

func subdirs() []string { return []string{stagingDir, VolumesDir, snapshotsDir, trashDir} }

// ValidID tells whether s can be the name of an item; see id.Valid.
func ValidID(s string) bool { return id.Valid(s) }

// purging marks a trash entry whose removal has begun: it cannot be restored.
const purging = ".purging"

func trashName(id string, at time.Time) string {
	return id + "@" + strconv.FormatInt(at.UnixNano(), 10)
}

// parseTrashName undoes trashName, with or without the purging mark.
func parseTrashName(name string) (id string, at time.Time, begun bool, err error) {
	plain, begun := strings.CutSuffix(name, purging)
	id, nanos, ok := strings.Cut(plain, "@")
	n, perr := strconv.ParseInt(nanos, 10, 64)
	if !ok || perr != nil || !ValidID(id) {
		return "", time.Time{}, false, fmt.Errorf("%q is not the name of a trash entry", name)
	}
	return id, time.Unix(0, n), begun, nil
}
