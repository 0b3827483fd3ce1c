// Package admin is the daemon's second, small service: what an administrator
// asks of it through the command line, as JSON over HTTP on a unix socket that
// only root can open. So a pool never has two writers. The package has both
// ends.
package admin

import (
	"time"

	"github.com/hostvol/hostvol/pkg/volume"
)

// Pool is a pool in answers.
type Pool struct {
	Name       string `json:"name"`
	Path       string `json:"path"`
	UUID       string `json:"uuid,omitempty"`
	Filesystem string `json:"filesystem,omitempty"`
	Open       bool   `json:"open"`
	// Enforcement is the method; "" with the reason when there is none.
	Enforcement   string `json:"enforcement,omitempty"`
	NotEnforced   string `json:"notEnforced,omitempty"`
	Problem       string `json:"problem,omitempty"`
	TotalBytes    int64  `json:"totalBytes"`
	FreeBytes     int64  `json:"freeBytes"`
	LimitBytes    int64  `json:"limitBytes"`
	ReservedBytes int64  `json:"reservedBytes"`
	TrashBytes    int64  `json:"trashBytes"`
	Available     int64  `json:"availableBytes"`
	Volumes       int    `json:"volumes"`
	Snapshots     int    `json:"snapshots"`
	TrashEntries  int    `json:"trashEntries"`
	Quarantined   int    `json:"quarantined"`
}

// Volume is a volume in answers.
type Volume struct {
	ID     string `json:"id"`
	Handle string `json:"handle"`
	Pool   string `json:"pool"`
	Engine string `json:"engine"`
	// Kind is "directory", "block", or the filesystem of the volume's own.
	Kind     string    `json:"kind"`
	Bytes    int64     `json:"bytes"`
	Enforced bool      `json:"enforced"`
	Created  time.Time `json:"created"`
	Origin   string    `json:"origin,omitempty"`
	// From is what it has started with: "snapshot HANDLE" or "volume HANDLE".
	From string `json:"from,omitempty"`
	// Pod is the uid of the pod whose ephemeral volume it is.
	Pod string `json:"pod,omitempty"`
	// Targets at which it is mounted now.
	Targets []string `json:"targets,omitempty"`
	// Attached says by what it is attached: "loop7", "loop7 (kept mount)".
	Attached string `json:"attached,omitempty"`
	// UsedBytes is -1 where nobody counts.
	UsedBytes int64 `json:"usedBytes"`
}

// Snapshot is a snapshot in answers.
type Snapshot struct {
	ID     string `json:"id"`
	Handle string `json:"handle"`
	Pool   string `json:"pool"`
	// Source is the handle of its volume, which may be gone, SourceID its id.
	Source   string `json:"source"`
	SourceID string `json:"sourceID"`
	// Bytes is the size of the volume then, HeldBytes what the snapshot counts.
	Bytes     int64 `json:"bytes"`
	HeldBytes int64 `json:"heldBytes"`
	// It shows the volume between Created and Until, in that Consistency.
	Created     time.Time `json:"created"`
	Until       time.Time `json:"until"`
	Consistency string    `json:"consistency"`
	Method      string    `json:"method"`
	// Group is the handle of the group that it belongs to.
	Group string `json:"group,omitempty"`
}

// Restored is the answer of a restore.
type Restored struct {
	Kind   string `json:"kind"`
	ID     string `json:"id"`
	Handle string `json:"handle"`
	Pool   string `json:"pool"`
}

// TrashEntry is a deleted volume or snapshot in answers.
type TrashEntry struct {
	Name    string    `json:"name"`
	ID      string    `json:"id"`
	Pool    string    `json:"pool"`
	Kind    string    `json:"kind"`
	Bytes   int64     `json:"bytes"`
	Deleted time.Time `json:"deleted"`
	// Expiry is when it is purged; absent for what is purged by hand only.
	Expiry  time.Time `json:"expiry,omitzero"`
	ByHand  bool      `json:"byHand,omitempty"`
	Purging bool      `json:"purging,omitempty"`
	Problem string    `json:"problem,omitempty"`
}

// Adoption is the request of adopt.
type Adoption struct {
	Pool    string `json:"pool"`
	Name    string `json:"name"`
	Path    string `json:"path"`
	Bytes   int64  `json:"bytes,omitempty"`
	Convert bool   `json:"convert,omitempty"`
	DryRun  bool   `json:"dryRun,omitempty"`
}

// Released is the answer of release.
type Released struct {
	Origin string `json:"origin"`
}

// Inspection is the answer of inspect.
type Inspection struct {
	// Path is where it is mounted, on the node.
	Path string `json:"path"`
}

// Deleted is the answer of a delete.
type Deleted struct {
	ID string `json:"id"`
}

// Purged is the answer of a purge.
type Purged struct {
	Entries int `json:"entries"`
}

// Fault is one broken invariant, or finding, of a check.
type Fault = volume.Fault
