package engine

import (
	"errors"
	"time"

	"github.com/hostvol/hostvol/pkg/host/safepath"
)

// Consistency is what a snapshot shows of a volume that is written meanwhile.
type Consistency string

const (
	// Atomic: the whole volume at one instant, as a power cut would leave it.
	Atomic Consistency = "atomic"
	// BestEffort: each file as it was at some moment while the snapshot was made,
	// and a file that is written at that very moment in some state between. A file
	// or directory that is moved or renamed meanwhile may be missing, or there
	// twice; one that is replaced under its name is there.
	BestEffort Consistency = "best-effort"
)

// Consistencies lists them all, for messages.
func Consistencies() []Consistency { return []Consistency{Atomic, BestEffort} }

// Why content cannot be copied.
var (
	// ErrBusy: it is being used in a way that excludes this for a moment.
	ErrBusy = errors.New("in use for a moment")
	// ErrLive: somebody writes to it, and it cannot be copied in an instant.
	ErrLive = errors.New("the volume is in use, and its pool cannot copy it in an instant")
	// ErrThawed: a mounted filesystem was frozen for as long as it may be, and the
	// copy was not done.
	ErrThawed = errors.New("the volume's filesystem cannot be frozen for as long as a copy takes; unpublish it first, use a pool on XFS or btrfs, or set copies.freezeFor")
	// ErrNotAtomic: only a copy that takes its time is possible.
	ErrNotAtomic = errors.New("no snapshot of one instant is possible")
	// ErrNested: a volume with subvolumes inside has no snapshot, since they would
	// be missing in it.
	ErrNested = errors.New("subvolumes are nested in the volume")
	// ErrChanging: a directory was moved under a copy. Another try may succeed.
	ErrChanging = errors.New("directories of the source were moved while it was copied; try again")
)

// Source is the content that a new volume or snapshot starts with.
type Source struct {
	// Item is its item directory, made by an engine of the same name, and Volume what
	// that knows of it. It may lie in another pool, and others may write to it.
	Item   *safepath.Dir
	Volume Volume
	// Taken, if set, is to be called as soon as the content has been taken, so that
	// what is held for it is let go. It is an error when that was too late.
	Taken func() error
	// Live tells that somebody may write to it meanwhile, so that only a copy of one
	// instant makes sense; see Hold.
	Live bool
	// Within tells, once the content has been taken, the size in bytes within which
	// a limit has kept it, 0 for none. The kernel may count a little more.
	Within func() int64
	// Progress, if set, is called now and then, and once at the end, with what has
	// been copied so far. A snapshot of one instant copies nothing.
	Progress func(Progress)
}

// Progress is how far a copy has come: files of all kinds, and the sizes of the
// regular ones in bytes.
type Progress struct{ Files, Bytes int64 }

// Cut is what a snapshot is.
type Cut struct {
	// Method is how it was made: "btrfs-snapshot", "reflink" or "copy".
	Method string
	// Consistency that was reached.
	Consistency Consistency
	// Held is what it takes on its own in bytes, once nothing is shared any more;
	// -1 where nobody counts.
	Held int64
}

// Held is what Hold gives.
type Held struct {
	// Live tells that writes go on, as on a disk: what is taken in one instant is
	// what a power cut would leave.
	Live bool
	// Until is when it ends by itself; zero for never.
	Until time.Time
	// Release ends it. ErrThawed tells that it had ended before: what was copied
	// meanwhile is not of one instant. From the second call on it does nothing.
	Release func() error
}
