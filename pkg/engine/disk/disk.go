// Package disk is the engine that makes a volume as a disk of its own: a raw block
// volume, or one with a filesystem of its own. The size is a limit on every pool and
// for every user: a disk has an end. Where the blocks lie, a Backing knows; this
// package knows filesystems, and block devices that show the blocks.
//
// Each volume has one state: it is detached, attached (a raw block volume, by a
// device to write and one to read at most), mounted (by one device, with one mount
// that the engine keeps), or held for a copy while it is detached. The kept mount
// answers every look, and each publication is a clone of it. The kernel forgets all
// at a boot; the next publication attaches the volume again.
package disk

import (
	"context"
	"errors"
	"fmt"
	"math"
	"os"
	"slices"
	"sync"
	"time"

	"golang.org/x/time/rate"

	"github.com/hostvol/hostvol/pkg/engine"
	"github.com/hostvol/hostvol/pkg/host/filesystem"
	"github.com/hostvol/hostvol/pkg/host/mount"
	"github.com/hostvol/hostvol/pkg/host/safepath"
)

// sectorBytes is the unit of a disk's size.
const sectorBytes = 512

// Options are what an engine is made of.
type Options struct {
	// Backing keeps the blocks.
	Backing Backing
	// Room keeps the mounts of the engine's own. Without one nothing can be attached.
	Room *mount.Room
	// FreezeLimit is how long a mounted filesystem may be frozen.
	FreezeLimit time.Duration
	// Guard is the program that thaws what a killed daemon has frozen; see package
	// freeze.
	Guard []string
}

// Engine makes disk volumes in one pool.
type Engine struct {
	opts    Options
	backing Backing

	mu      sync.Mutex
	volumes map[safepath.Identity]*volume
	// table is the mount table as of the start, until Known has been asked of all.
	table *[]mount.Entry
}

// Open makes the engine. It attaches and mounts nothing.
func Open(o Options) *Engine {
	return &Engine{opts: o, backing: o.Backing, volumes: map[safepath.Identity]*volume{}}
}

// Name implements engine.Engine.
func (e *Engine) Name() string { return e.backing.Name() }

// Enforcement implements engine.Engine.
func (e *Engine) Enforcement() engine.Enforcement {
	return engine.Enforcement{Method: e.backing.Name() + "-size"}
}

// Atomic implements engine.Engine: while a volume is held, every copy of it is of
// one instant.
func (e *Engine) Atomic() bool { return true }

// Size implements engine.Engine.
func (e *Engine) Size(bytes int64, form engine.Form) (int64, error) {
	switch {
	case form.Block && form.FSType != "":
		return 0, fmt.Errorf("%w: a raw block volume has no filesystem %s", engine.ErrForm, form.FSType)
	case !form.Block && !slices.Contains(filesystem.Kinds(), form.FSType):
		return 0, fmt.Errorf("%w: filesystem %q must be one of %v", engine.ErrForm, form.FSType, filesystem.Kinds())
	case bytes > math.MaxInt64-sectorBytes:
		return 0, fmt.Errorf("%w: no disk has %d bytes", engine.ErrTooLarge, bytes)
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
	return engine.Volume{}, fmt.Errorf("%w: a directory cannot be adopted as a disk", engine.ErrForm)
}

// Export implements engine.Engine. What it moves out is the disk.
func (e *Engine) Export(ctx context.Context, item *safepath.Dir, v engine.Volume, dst engine.Entry) error {
	if err := e.Detach(ctx, item, v); err != nil {
		return err
	}
	return e.backing.Export(item, dst)
}

// Blocks implements engine.Engine. What the disk's end lacks of the volume's size
// was never written.
func (e *Engine) Blocks(item *safepath.Dir, _ engine.Volume) (*os.File, error) {
	f, err := e.backing.Blocks(item)
	if errors.Is(err, os.ErrNotExist) {
		return nil, fmt.Errorf("%w: its content is missing: %w", engine.ErrUnusable, err)
	}
	return f, err
}

// Destroy implements engine.Engine. What cannot be detached is not removed: the next
// start would not find the device of a disk that is gone.
func (e *Engine) Destroy(ctx context.Context, parent *safepath.Dir, name string, v engine.Volume, limiter *rate.Limiter) error {
	item, err := parent.OpenDir(name)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err == nil {
		err := e.Detach(ctx, item, v)
		if err == nil {
			err = e.forget(item)
		}
		if err = errors.Join(err, item.Close()); err != nil {
			return err
		}
	}
	if err := e.backing.Remove(ctx, parent, name, limiter); err != nil {
		return fmt.Errorf("remove %s: %w", name, err)
	}
	return nil
}

// Close implements engine.Engine. What is attached stays so, and what is published
// stays mounted; the engine lets its own mounts go.
func (e *Engine) Close() error {
	e.mu.Lock()
	defer e.mu.Unlock()
	var errs []error
	for _, vol := range e.volumes {
		errs = append(errs, vol.drop())
	}
	return errors.Join(errs...)
}
