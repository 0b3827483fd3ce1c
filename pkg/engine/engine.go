// Package engine is the contract between a pool and the ways in which a volume
// can be made in it. An engine works inside one item directory
// (volumes/<id>, or staging/<id> while it is built) that the pool has opened
// for it. It knows that directory, the kernel and nothing else: no pool, no
// record, no other engine.
package engine

import (
	"context"
	"errors"
	"os"

	"golang.org/x/time/rate"

	"github.com/hostvol/hostvol/pkg/host/mount"
	"github.com/hostvol/hostvol/pkg/host/safepath"
)

var (
	// ErrForm tells why a volume cannot be made, or used so.
	ErrForm = errors.New("not a volume that this engine can make")
	// ErrUnusable: the volume's own content is in the way; a person has to look.
	ErrUnusable = errors.New("the volume cannot be used as it is")
	// ErrForeign: something that this driver did not make uses the volume's disk.
	ErrForeign = errors.New("something else uses the volume's disk")
	// ErrTooLarge: the volume can never have that size.
	ErrTooLarge = errors.New("the volume can never have that size")
	// ErrNotGrown: the volume has the size that it had.
	ErrNotGrown = errors.New("the volume has not grown")
	// ErrLater: the volume has grown, but those who use it do not see that.
	ErrLater = errors.New("the volume has grown, and its filesystem will when it is published the next time")
)

// Policy is what a class asks of the enforcement of sizes.
type Policy string

// The policies of the class parameter "enforce".
const (
	Required  Policy = "required"  // refuse to make a volume whose size the kernel does not enforce
	Preferred Policy = "preferred" // enforce where the pool can
	None      Policy = "none"      // set no limit, where a volume can be without
)

// Policies lists them all, for messages.
func Policies() []Policy { return []Policy{Required, Preferred, None} }

// Spec is what a new volume shall be.
type Spec struct {
	// Bytes is the size, a positive number.
	Bytes int64
	// Enforce says whether the size is to be a limit; not Required on an
	// engine whose Enforcement is off.
	Enforce Policy
	// Mode is the mode of the volume's root directory, as for chmod(2).
	Mode uint32
	// UID and GID own the volume's root directory.
	UID, GID int
	// Form is what the volume is to be; the zero value is a directory.
	Form
	// MkfsOptions are arguments for the program that makes the filesystem.
	MkfsOptions []string
}

// Use is how an attached volume is to be used.
type Use struct {
	// ReadOnly: the caller mounts it read-only, and not even root can write to it
	// then. A device node, which such a mount does not protect, is of a device that
	// takes no writes.
	ReadOnly bool
	// Untouched: nothing of the volume's content changes, not even by the replay of a
	// journal. It is for a person who looks into a volume or snapshot that nothing
	// else uses. It wants ReadOnly.
	Untouched bool
	// Options are mount options of the volume's own filesystem.
	Options []string
}

// Form is what a volume is besides its size.
type Form struct {
	// Block tells a raw block device.
	Block bool `json:"block,omitempty"`
	// FSType is the volume's own filesystem, as mount(8) names it; "" when it has
	// none of its own.
	FSType string `json:"fstype,omitempty"`
	// Thick tells that its space was allocated beforehand.
	Thick bool `json:"thick,omitempty"`
}

// Volume is what an engine has to know of a volume it made: the part of the
// record that is the engine's.
type Volume struct {
	// Bytes is the size, a positive number.
	Bytes int64 `json:"bytes"`
	// Enforced tells whether the kernel refuses writes beyond Bytes.
	Enforced bool `json:"enforced"`
	// Project is the volume's project id, 0 where the engine uses none.
	Project uint32 `json:"project,omitempty"`
	Form
}

// Enforcement is what an engine can do about sizes on its pool, as it was
// found by trying.
type Enforcement struct {
	// Method is "btrfs-qgroup", "xfs-project", "ext4-project" or "image-size"; ""
	// when sizes are not enforced.
	Method string
	// Reason says why sizes are not enforced, and what would change that.
	Reason string
}

// On tells whether sizes are enforced.
func (e Enforcement) On() bool { return e.Method != "" }

// Usage is the space a volume takes and may take. Numbers that the engine
// cannot tell in constant time are -1.
type Usage struct {
	BytesTotal, BytesUsed, BytesAvailable    int64
	InodesTotal, InodesUsed, InodesAvailable int64
	// Own tells that the numbers are the volume's; otherwise they are those of
	// the whole filesystem.
	Own bool
	// BytesShared is the part of BytesUsed that snapshots or clones hold as well:
	// what overwrites it takes new space. 0 where that is not counted.
	BytesShared int64
}

// FilesystemUsage is the usage of a volume that nobody counts.
func FilesystemUsage(s safepath.Space) Usage {
	u := Usage{
		BytesTotal: s.Bytes, BytesUsed: s.Bytes - s.BytesFree, BytesAvailable: s.BytesAvailable,
		InodesTotal: s.Inodes, InodesUsed: s.Inodes - s.InodesFree, InodesAvailable: s.InodesFree,
	}
	if s.Inodes == 0 { // btrfs does not count them
		u.InodesTotal, u.InodesUsed, u.InodesAvailable = -1, -1, -1
	}
	return u
}

// Problem is something wrong with one volume that an engine can see.
type Problem struct {
	// Reason is a short CamelCase word for machines.
	Reason string
	// Message tells a person what is wrong and what to do.
	Message string
	// Lost tells that data is gone; Unusable that it cannot be reached.
	Lost, Unusable bool
}

// The reasons of problems.
const (
	DataMissing  = "DataMissing"
	LimitMissing = "LimitMissing"
	QuotaOff     = "QuotaOff"
	// QuotaInconsistent: the kernel has lost count.
	QuotaInconsistent = "QuotaInconsistent"
	NestedSubvolume   = "NestedSubvolumes"
	OutsideProject    = "FilesOutsideProject"
	// ImageShort: an image has lost its end.
	ImageShort = "ImageTooShort"
	// GrowthPending: a volume has not the size yet that its record says.
	GrowthPending      = "GrowthPending"
	FilesystemReadOnly = "FilesystemReadOnly"
	// FilesystemDead: the kernel has shut the volume's filesystem down.
	FilesystemDead = "FilesystemShutDown"
	// Frozen: no process can write to the volume.
	Frozen = "FilesystemFrozen"
	// ForeignDevice: something that this driver did not make uses the volume's disk.
	ForeignDevice = "ForeignDevice"
)

// Engine makes volumes of one kind in one pool. All methods are safe for
// concurrent use on different items; the caller locks an item.
type Engine interface {
	// Name is the engine's name in records.
	Name() string
	// Enforcement is what was found when the engine was opened on its pool.
	Enforcement() Enforcement
	// Create builds the volume inside the empty directory item. After an error
	// the caller destroys the item. The content of files is durable on return,
	// names and limits need not be yet; the pool sees to that.
	//
	// With from, the volume starts with that content, and its root has the owner
	// and mode of the source's, not those of spec.
	Create(ctx context.Context, item *safepath.Dir, spec Spec, from *Source) (Volume, error)
	// Size is the size that a volume of at least so many bytes gets. It fails with
	// an ErrForm when the engine makes no volume of that form.
	Size(bytes int64, form Form) (int64, error)
	// Atomic tells whether Snapshot can give the Atomic consistency, of volumes
	// that Create has made.
	Atomic() bool
	// Hold sees to it, until it is released, that copies of the volumes are of one
	// instant, if they are made before Held.Until: a filesystem is frozen, a volume
	// that nobody uses stays unused. It is ErrNotAtomic for several volumes that
	// have no instant in common, and ErrBusy while one is being published. Of a
	// single volume whose copies are what they are, nothing is held.
	Hold(ctx context.Context, sources []Source) (Held, error)
	// Snapshot makes a snapshot inside the empty directory item, as Create makes a
	// volume; it is not limited. It fails with ErrNotAtomic when want is Atomic and
	// the source does not allow that, with ErrNested and, as Create does with from,
	// with ErrChanging.
	Snapshot(ctx context.Context, item *safepath.Dir, from Source, want Consistency) (Cut, error)
	// Import makes a volume of the directory src, with all it holds. When it
	// takes the directory itself over, by a rename, it calls moving right before
	// that, and does not go on after an error. When convert is set the volume is
	// made in the form in which its size is enforced; where that takes a copy,
	// moving is not called and src stays as it is. It fails with an ErrForm when the
	// engine takes no directories.
	Import(ctx context.Context, item *safepath.Dir, src Entry, spec Spec, convert bool, moving func(Volume) error) (Volume, error)
	// Export moves the volume's content, which is published nowhere, out of the item
	// to dst, which must not exist: as a directory without limits, or as a file that
	// is a disk. After an error nothing was moved.
	Export(ctx context.Context, item *safepath.Dir, v Volume, dst Entry) error
	// Grows fails with ErrTooLarge when the volume can never have so many bytes. It
	// looks at what exists, and changes nothing.
	Grows(ctx context.Context, item *safepath.Dir, v Volume, bytes int64) error
	// Apply makes the limit agree with v.Bytes, which Size has given, and with
	// v.Enforced. It may be repeated: at growth, while the volume is used or not, and
	// for every volume at start-up. ErrLater means that the rest is done by the first
	// Attach after a Detach; until then a repeat says so again. ErrNotGrown means that
	// nothing has changed, and that v.Bytes does not fit now.
	Apply(ctx context.Context, item *safepath.Dir, v Volume) error
	// Known tells the engine at start-up of a volume that exists, in any state,
	// so that what belongs to it is not given away.
	Known(item *safepath.Dir, v Volume)
	// Attach makes ready what a publish mounts. It may be repeated, and is needed
	// again after a boot. The caller closes the source; what was attached stays until
	// Detach. It fails with an ErrForm for options that the volume does not take, with
	// ErrForeign while something else uses the volume's disk, with ErrUnusable for a
	// filesystem that takes no writes any more, and with ErrBusy while the volume is
	// held unused; then nothing that was not attached before stays attached.
	Attach(ctx context.Context, item *safepath.Dir, v Volume, use Use) (*mount.Source, error)
	// Attached returns the existing attachments: none, one, or one to write and one to
	// read. It never creates one, mounts nothing, and waits for nothing.
	Attached(ctx context.Context, item *safepath.Dir, v Volume) ([]*mount.Source, error)
	// Devices names the block devices, such as "loop7", that the engine has attached
	// for the volume; nil where it never attaches any.
	Devices(ctx context.Context, item *safepath.Dir, v Volume) ([]string, error)
	// Blocks opens the content of a volume or snapshot as the one file of a disk, to
	// be read. It fails with ErrForm when that is no disk, and with ErrUnusable when
	// it is gone.
	Blocks(item *safepath.Dir, v Volume) (*os.File, error)
	// Detach undoes Attach. The volume is published nowhere. It may be repeated.
	Detach(ctx context.Context, item *safepath.Dir, v Volume) error
	// Usage is told in constant time.
	Usage(ctx context.Context, item *safepath.Dir, v Volume) (Usage, error)
	// Inspect looks for problems: in constant time, or when deep by a walk.
	Inspect(ctx context.Context, item *safepath.Dir, v Volume, deep bool) ([]Problem, error)
	// Destroy removes the item name of parent with all it holds, as fast as the
	// limiter lets it, and releases what belongs to it. It may be repeated, and
	// continues what an earlier call left.
	Destroy(ctx context.Context, parent *safepath.Dir, name string, v Volume, limiter *rate.Limiter) error
	// Close lets go of what the engine holds open.
	Close() error
}

// Entry is a named entry of an open directory.
type Entry struct {
	Parent *safepath.Dir
	Name   string
}
