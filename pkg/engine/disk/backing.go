package disk

import (
	"context"
	"errors"
	"os"
	"time"

	"golang.org/x/time/rate"

	"github.com/hostvol/hostvol/pkg/engine"
	"github.com/hostvol/hostvol/pkg/host/safepath"
)

// ErrGone: the block device does not show this disk, or not any more.
var ErrGone = errors.New("the block device does not show this disk")

// Access is what a new device is to allow.
type Access int

// The kinds of access.
const (
	// Write: the device takes writes.
	Write Access = iota
	// WriteIfPossible: it takes writes unless the pool takes none.
	WriteIfPossible
	// Read: it takes no writes.
	Read
)

// Device is a block device of this machine that shows a disk.
type Device struct {
	// Name is that of its node in /dev, such as "loop7".
	Name     string
	ReadOnly bool
	// Ours: the backing has attached it, in this process or an earlier one.
	Ours bool
	// Leaving: it was detached while it was in use, and goes when that ends.
	Leaving bool
}

// Path is that of the device's node.
func (d Device) Path() string { return "/dev/" + d.Name }

// CopyOptions say what a copy of a disk is to be.
type CopyOptions struct {
	// Alone: the copy shares no blocks with its source.
	Alone bool
	// Snapshot: nothing will ever write to the copy.
	Snapshot bool
}

// Backing keeps the blocks of disks, one for each item of a pool, and shows them as
// block devices of this machine. It knows nothing of filesystems and of who uses a
// device. All methods are safe for concurrent use; the engine changes one disk from
// one goroutine at a time.
type Backing interface {
	// Name is the engine's name in records.
	Name() string
	// Shares means that a copy of an instant shares its blocks with the source.
	Shares() bool

	// Make makes an empty disk of v.Bytes in an empty item, and opens it to be written
	// to. The caller closes the file.
	Make(item *safepath.Dir, v engine.Volume) (*os.File, error)
	// Copy makes a disk in an empty item with the content of another, as large as that
	// one is, and opens it. It reports whether the two share blocks. It is
	// engine.ErrLive for a live source that it cannot copy in an instant.
	Copy(ctx context.Context, item *safepath.Dir, from engine.Source, o CopyOptions) (f *os.File, shared bool, err error)
	// Finish completes a disk of Make or Copy, open as f: it has v.Bytes afterwards,
	// allocated where v is thick. With content all of it is durable.
	Finish(item *safepath.Dir, f *os.File, v engine.Volume, content bool) error
	// Held is what a copy takes on its own in bytes once it shares nothing.
	Held(f *os.File) (int64, error)
	// CopyTime estimates how long a copy takes that shares no blocks.
	CopyTime(ctx context.Context, item *safepath.Dir) (time.Duration, error)
	// Size is how many bytes a disk has, and how many it had at least once. It is
	// fs.ErrNotExist for a disk that is gone.
	Size(item *safepath.Dir) (is, had int64, err error)
	// Room is how many bytes of a disk can still be written for the first time before
	// the pool is full.
	Room(item *safepath.Dir, v engine.Volume) (int64, error)
	// Extend makes a smaller disk as large as v, durably. After an error it has the
	// size that it had; engine.ErrTooLarge says that it can never have that one.
	Extend(item *safepath.Dir, v engine.Volume) error
	// Used is what a disk takes in bytes, and what of that it may share with others.
	Used(item *safepath.Dir) (bytes, shared int64, err error)
	// Blocks opens the disk as one file, to be read.
	Blocks(item *safepath.Dir) (*os.File, error)
	// Export moves the disk out of the item.
	Export(item *safepath.Dir, dst engine.Entry) error
	// Remove removes the item name of parent with all it holds. It may be repeated.
	Remove(ctx context.Context, parent *safepath.Dir, name string, limiter *rate.Limiter) error

	// Attach shows a disk by one more device. It fails, and nothing stays attached.
	Attach(ctx context.Context, item *safepath.Dir, v engine.Volume, a Access) (Device, error)
	// Find asks the kernel for all devices that show the disk, whoever attached them.
	Find(item *safepath.Dir) ([]Device, error)
	// Seen is Find as of some seconds ago, for a look that must cost little.
	Seen(item *safepath.Dir) ([]Device, error)
	// Open opens a device to be read or, where it takes that, to be written to. While
	// the file is open the device shows the disk. It is ErrGone when it does not.
	Open(item *safepath.Dir, d Device) (*os.File, error)
	// Busy reports whether a mounted filesystem, or another exclusive user, has the
	// device. It is ErrGone when the device does not show the disk.
	Busy(item *safepath.Dir, d Device) (bool, error)
	// Keep takes back a device that is leaving, returns what it is now, and opens it to be
	// read. It is ErrGone when the device does not show the disk.
	Keep(item *safepath.Dir, d Device) (Device, *os.File, error)
	// Resize makes a device as large as its disk.
	Resize(item *safepath.Dir, d Device) error
	// Detach takes a device off. One that is still in use goes when that ends, and is
	// leaving until then. A device that does not show the disk is no error.
	Detach(item *safepath.Dir, d Device) (leaving bool, err error)
}
