// Package loop is the backing of disks that are files of the pool: a file named image
// in each item, which a loop device shows. What a volume writes reaches the pool's
// filesystem by direct I/O where that allows it. The package knows files and loop
// devices, and nothing of filesystems inside of them.
package loop

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"sync"
	"time"

	"golang.org/x/time/rate"

	"github.com/hostvol/hostvol/pkg/engine"
	"github.com/hostvol/hostvol/pkg/engine/disk"
	"github.com/hostvol/hostvol/pkg/host/errno"
	"github.com/hostvol/hostvol/pkg/host/imagefile"
	hostloop "github.com/hostvol/hostvol/pkg/host/loop"
	"github.com/hostvol/hostvol/pkg/host/rmtree"
	"github.com/hostvol/hostvol/pkg/host/safepath"
)

// Name is the engine's name in records.
const Name = "image"

// file is the disk, inside the item.
const file = "image"

// maxCopies is how many disks are copied, block by block, at a time in one pool.
const maxCopies = 4

// Options are what Open has to know of the pool.
type Options struct {
	// Staging is a directory in which trials may be made.
	Staging *safepath.Dir
	// ReadOnly means that no trial can be made.
	ReadOnly bool
}

// Backing keeps disks as files.
type Backing struct {
	opts Options
	// reflink means that files of the pool can share blocks.
	reflink bool
	// copies has room for those that go on at the same time; the others wait.
	copies chan struct{}

	mu   sync.Mutex
	seen map[safepath.Identity][]disk.Device
	at   time.Time
}

// Open finds out what the pool's filesystem can do.
func Open(o Options) (*Backing, error) {
	b := &Backing{opts: o, copies: make(chan struct{}, maxCopies)}
	if o.ReadOnly {
		return b, nil
	}
	var err error
	if b.reflink, err = shares(o.Staging); err != nil {
		return nil, fmt.Errorf("open engine %s: %w", Name, err)
	}
	return b, nil
}

// Name implements disk.Backing.
func (b *Backing) Name() string { return Name }

// Shares implements disk.Backing.
func (b *Backing) Shares() bool { return b.reflink }

// Make implements disk.Backing.
func (b *Backing) Make(item *safepath.Dir, v engine.Volume) (*os.File, error) {
	f, err := create(item, 0o600)
	if err != nil {
		return nil, err
	}
	return f, imagefile.Resize(f, v.Bytes)
}

func create(item *safepath.Dir, mode os.FileMode) (*os.File, error) {
	f, err := item.Open(file, os.O_RDWR|os.O_CREATE|os.O_EXCL, mode)
	if err == nil {
		imagefile.InPlace(f)
	}
	return f, err
}

// Finish implements disk.Backing.
func (b *Backing) Finish(item *safepath.Dir, f *os.File, v engine.Volume, content bool) error {
	err := imagefile.Resize(f, v.Bytes)
	if err == nil && v.Thick {
		err = imagefile.Allocate(f, v.Bytes)
	}
	if err == nil && (content || v.Thick) {
		err = f.Sync()
	}
	if err == nil {
		err = noteSize(item, v.Bytes)
	}
	return err
}

// Held implements disk.Backing.
func (b *Backing) Held(f *os.File) (int64, error) { return imagefile.Allocated(f) }

// Used implements disk.Backing.
func (b *Backing) Used(item *safepath.Dir) (bytes, shared int64, err error) {
	f, err := b.Blocks(item)
	if err != nil {
		return 0, 0, err
	}
	defer f.Close() //nolint:errcheck // read only
	if bytes, err = imagefile.Allocated(f); err == nil && isShared(item) {
		shared = bytes // at most
	}
	return bytes, shared, err
}

// Blocks implements disk.Backing.
func (b *Backing) Blocks(item *safepath.Dir) (*os.File, error) {
	return item.Open(file, os.O_RDONLY, 0)
}

// Export implements disk.Backing.
func (b *Backing) Export(item *safepath.Dir, dst engine.Entry) error {
	return item.Rename(file, dst.Parent, dst.Name)
}

// Remove implements disk.Backing.
func (b *Backing) Remove(ctx context.Context, parent *safepath.Dir, name string, limiter *rate.Limiter) error {
	return rmtree.Remove(ctx, parent.FD(), name, rmtree.Options{Limiter: limiter})
}

// Attach implements disk.Backing.
func (b *Backing) Attach(ctx context.Context, item *safepath.Dir, v engine.Volume, a disk.Access) (disk.Device, error) {
	f, err := item.Open(file, os.O_RDWR, 0)
	writable := err == nil
	if errno.ReadOnly(err) && a != disk.Write {
		f, err = item.Open(file, os.O_RDONLY, 0)
	}
	if err != nil {
		return disk.Device{}, err
	}
	defer f.Close() //nolint:errcheck // the device holds it
	d, err := hostloop.Attach(ctx, f, hostloop.Options{ReadOnly: !writable || a == disk.Read, NoDiscard: v.Thick})
	return shown(d), err
}

func shown(d hostloop.Device) disk.Device {
	return disk.Device{Name: d.Name(), ReadOnly: d.ReadOnly, Ours: d.Ours, Leaving: d.Autoclear}
}

// number finds the loop device of a name.
func number(d disk.Device) (hostloop.Device, error) {
	n, err := strconv.Atoi(strings.TrimPrefix(d.Name, "loop"))
	if err != nil {
		return hostloop.Device{}, fmt.Errorf("%q is no loop device: %w", d.Name, disk.ErrGone)
	}
	return hostloop.Device{Number: n, ReadOnly: d.ReadOnly}, nil
}

// with calls use with the file of an item, which is what every device is compared
// with, and with one of its devices.
func (b *Backing) with(item *safepath.Dir, d disk.Device, use func(f *os.File, d hostloop.Device) error) error {
	n, err := number(d)
	if err != nil {
		return err
	}
	f, err := b.Blocks(item)
	if errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("%s: %w", d.Name, disk.ErrGone)
	}
	if err != nil {
		return err
	}
	defer f.Close() //nolint:errcheck // read only
	if err = use(f, n); errors.Is(err, hostloop.ErrNotBacked) {
		err = fmt.Errorf("%w: %w", disk.ErrGone, err)
	}
	return err
}

// Find implements disk.Backing.
func (b *Backing) Find(item *safepath.Dir) (all []disk.Device, err error) {
	f, err := b.Blocks(item)
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	defer f.Close() //nolint:errcheck // read only
	found, err := hostloop.Find(f)
	for _, d := range found {
		all = append(all, shown(d))
	}
	return all, err
}

// Open implements disk.Backing.
func (b *Backing) Open(item *safepath.Dir, d disk.Device) (dev *os.File, err error) {
	flags := os.O_RDWR
	if d.ReadOnly {
		flags = os.O_RDONLY
	}
	err = b.with(item, d, func(f *os.File, d hostloop.Device) (err error) {
		dev, err = d.Open(f, flags)
		return err
	})
	return dev, err
}

// Busy implements disk.Backing.
func (b *Backing) Busy(item *safepath.Dir, d disk.Device) (busy bool, err error) {
	err = b.with(item, d, func(f *os.File, d hostloop.Device) error {
		dev, err := d.Open(f, os.O_RDONLY|hostloop.Exclusive)
		if errno.Busy(err) { // it may be another's by now
			busy = true
			dev, err = d.Open(f, os.O_RDONLY)
		}
		if err != nil {
			return err
		}
		return dev.Close()
	})
	return busy && err == nil, err
}

// Keep implements disk.Backing.
func (b *Backing) Keep(item *safepath.Dir, d disk.Device) (now disk.Device, dev *os.File, err error) {
	err = b.with(item, d, func(f *os.File, d hostloop.Device) (err error) {
		dev, d, err = d.OpenNow(f, os.O_RDONLY)
		if err == nil && d.Autoclear {
			if d, err = hostloop.Keep(f, d); err != nil {
				err = errors.Join(err, dev.Close())
			}
		}
		now = shown(d)
		return err
	})
	return now, dev, err
}

// Resize implements disk.Backing.
func (b *Backing) Resize(item *safepath.Dir, d disk.Device) error {
	return b.with(item, d, hostloop.Resize)
}

// Detach implements disk.Backing.
func (b *Backing) Detach(item *safepath.Dir, d disk.Device) (leaving bool, err error) {
	err = b.with(item, d, func(f *os.File, d hostloop.Device) (err error) {
		leaving, err = hostloop.Detach(f, d)
		return err
	})
	if errors.Is(err, disk.ErrGone) {
		return false, nil
	}
	return leaving, err
}

// seenFor is how old a look at all devices of the machine may be.
const seenFor = 10 * time.Second

// Seen implements disk.Backing.
func (b *Backing) Seen(item *safepath.Dir) ([]disk.Device, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if time.Since(b.at) > seenFor {
		all, err := hostloop.Backed()
		if err != nil {
			return nil, err
		}
		b.at, b.seen = time.Now(), map[safepath.Identity][]disk.Device{}
		for _, one := range all {
			id := safepath.Identity{Dev: one.Dev, Ino: one.Ino}
			b.seen[id] = append(b.seen[id], disk.Device{
				Name: hostloop.Device{Number: one.Number}.Name(), ReadOnly: one.ReadOnly, Ours: one.Ours, Leaving: one.Autoclear,
			})
		}
	}
	if len(b.seen) == 0 {
		return nil, nil
	}
	f, err := b.Blocks(item)
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	defer f.Close() //nolint:errcheck // read only
	id, err := imagefile.Identity(f)
	return b.seen[id], err
}
