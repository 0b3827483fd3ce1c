// Package image is the engine that makes a volume as one file, which a loop device
// shows as a disk: for raw block volumes, and for volumes with a filesystem of
// their own. The size is a limit on every pool, for everybody: a device has an
// end. What a volume writes reaches the pool's filesystem by direct I/O where that
// allows it.
//
// A device is attached from a volume's first use to its last. The kernel forgets
// devices at a boot; the next publication attaches the volume again.
package image

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"sync"
	"time"

	"golang.org/x/time/rate"

	"github.com/hostvol/hostvol/pkg/engine"
	"github.com/hostvol/hostvol/pkg/host/clone"
	"github.com/hostvol/hostvol/pkg/host/errno"
	"github.com/hostvol/hostvol/pkg/host/filesystem"
	"github.com/hostvol/hostvol/pkg/host/safepath"
)

// Name is the engine's name in records.
const Name = "image"

// file is the volume's content, inside the item.
const file = "image"

// sectorBytes is the unit of a device's size.
const sectorBytes = 512

// maxCopies is how many images are copied, block by block, at a time in one pool.
const maxCopies = 4

// Options are what Open has to know of the pool.
type Options struct {
	// Staging is a directory in which trials may be made.
	Staging *safepath.Dir
	// ReadOnly tells that no trial can be made.
	ReadOnly bool
	// FreezeLimit is how long a mounted filesystem may be frozen.
	FreezeLimit time.Duration
	// Guard is the program that thaws what a killed daemon has frozen; see package
	// freeze.
	Guard []string
}

// Engine makes image volumes in one pool.
type Engine struct {
	opts Options
	// reflink tells that images of the pool can share blocks.
	reflink bool
	devices devices
	// copies has room for those that go on at the same time; the others wait.
	copies chan struct{}

	mu sync.Mutex
	// stuck are the errors of filesystems that could not be thawed, by image.
	stuck map[identity]error
}

// Open finds out what the pool's filesystem can do, and which images are attached.
func Open(o Options) (*Engine, error) {
	e := &Engine{opts: o, copies: make(chan struct{}, maxCopies), stuck: map[identity]error{}}
	e.devices.find()
	if o.ReadOnly {
		return e, nil
	}
	var err error
	if e.reflink, err = shares(o.Staging); err != nil {
		return nil, fmt.Errorf("open engine %s: %w", Name, err)
	}
	return e, nil
}

// The names in staging/ of the files of a trial, which no volume can have.
const trialFrom, trialTo = ".reflink-from", ".reflink-to"

// shares tries whether two files can share blocks. On a full disk nothing can be
// tried, and no is a safe answer.
func shares(staging *safepath.Dir) (bool, error) {
	from, err := scratch(staging, trialFrom)
	if err != nil {
		return false, ignoreFull(err)
	}
	defer drop(staging, from, trialFrom)
	to, err := scratch(staging, trialTo)
	if err != nil {
		return false, ignoreFull(err)
	}
	defer drop(staging, to, trialTo)
	if _, err := from.Write(make([]byte, 4096)); err != nil {
		return false, ignoreFull(err)
	}
	_, err = clone.File(context.Background(), from, to, clone.Options{Reflink: clone.Always})
	if errors.Is(err, clone.ErrNoReflink) {
		return false, nil
	}
	return err == nil, ignoreFull(err)
}

func ignoreFull(err error) error {
	if errno.NoSpace(err) {
		return nil
	}
	return err
}

func scratch(dir *safepath.Dir, name string) (*os.File, error) {
	return dir.Open(name, os.O_RDWR|os.O_CREATE|os.O_TRUNC, 0o600)
}

func drop(dir *safepath.Dir, f *os.File, name string) {
	_ = f.Close()
	_ = dir.Unlink(name)
}

// Name implements engine.Engine.
func (e *Engine) Name() string { return Name }

// Enforcement implements engine.Engine.
func (e *Engine) Enforcement() engine.Enforcement { return engine.Enforcement{Method: "image-size"} }

// Size implements engine.Engine.
func (e *Engine) Size(bytes int64, form engine.Form) (int64, error) {
	switch {
	case form.Block && form.FSType != "":
		return 0, fmt.Errorf("%w: a raw block volume has no filesystem %s", engine.ErrForm, form.FSType)
	case !form.Block && !slices.Contains(filesystem.Kinds(), form.FSType):
		return 0, fmt.Errorf("%w: filesystem %q is none of %v", engine.ErrForm, form.FSType, filesystem.Kinds())
	case !form.Block:
		bytes = max(bytes, filesystem.MinBytes(form.FSType))
	}
	if over := bytes % sectorBytes; over > 0 {
		bytes += sectorBytes - over
	}
	return bytes, nil
}

// Import implements engine.Engine: only a directory can be adopted.
func (e *Engine) Import(context.Context, *safepath.Dir, engine.Entry, engine.Spec, bool, func(engine.Volume) error) (engine.Volume, error) {
	return engine.Volume{}, fmt.Errorf("%w: a directory cannot be adopted as an image", engine.ErrForm)
}

// Export implements engine.Engine. What it moves out is the image, a file.
func (e *Engine) Export(ctx context.Context, item *safepath.Dir, v engine.Volume, dst engine.Entry) error {
	if err := e.Detach(ctx, item, v); err != nil {
		return err
	}
	return item.Rename(file, dst.Parent, dst.Name)
}

// Destroy implements engine.Engine.
func (e *Engine) Destroy(ctx context.Context, parent *safepath.Dir, name string, v engine.Volume, limiter *rate.Limiter) error {
	return destroy(ctx, e, parent, name, v, limiter)
}

// Close implements engine.Engine. Devices stay attached: volumes are in use.
func (e *Engine) Close() error { return nil }
