package image

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/hostvol/hostvol/pkg/engine"
	"github.com/hostvol/hostvol/pkg/host/freeze"
	"github.com/hostvol/hostvol/pkg/host/imagefile"
	"github.com/hostvol/hostvol/pkg/host/mount"
	"github.com/hostvol/hostvol/pkg/host/safepath"
)

// note is the attribute of an item whose filesystem is about to be frozen, so that
// the next daemon thaws it if this one and its guard end at once. It need not be
// durable: a boot thaws everything.
const note = "trusted.hostvol.frozen"

// Hold implements engine.Engine.
func (e *Engine) Hold(_ context.Context, sources []engine.Source) (engine.Held, error) {
	h := &hold{e: e}
	for _, src := range sources {
		if err := h.take(src); err != nil {
			return engine.Held{}, errors.Join(err, h.release())
		}
	}
	if h.live && len(sources) > 1 {
		err := fmt.Errorf("%w: a raw block volume is in use; unpublish it first", engine.ErrNotAtomic)
		return engine.Held{}, errors.Join(err, h.release())
	}
	until, err := h.freeze()
	if err != nil {
		return engine.Held{}, errors.Join(err, h.release())
	}
	return engine.Held{Live: h.live, Until: until, Release: h.release}, nil
}

// hold is one Hold, taken apart by release.
type hold struct {
	e      *Engine
	live   bool
	ends   []func() // of what was claimed in devices
	roots  []*os.File
	mounts []*mount.Source
	noted  []*safepath.Dir
	frozen *freeze.Frozen
}

// take looks how a volume is used now, and what that needs.
func (h *hold) take(src engine.Source) error {
	image, err := src.Item.Open(file, os.O_RDONLY, 0)
	if err != nil {
		return err
	}
	defer image.Close() //nolint:errcheck // read only
	id, err := imagefile.Identity(image)
	if err != nil {
		return err
	}
	// First this: whoever is about to attach it is seen, or sees it.
	calm, err := h.e.devices.calm(id)
	if err != nil {
		return err
	}
	mounted, err := h.look(image, id, src.Volume)
	if err != nil || mounted == nil {
		h.ends = append(h.ends, calm)
		return err
	}
	calm() // it stays mounted, frozen; who else mounts it gets the same
	h.mounts = append(h.mounts, mounted)
	end, err := h.e.devices.freeze(id)
	if err != nil {
		return err
	}
	h.ends = append(h.ends, end)
	return h.add(src.Item, mounted)
}

// look finds the mounted filesystem of an image, nil for none. Of a raw block
// volume it flushes what its users have written.
func (h *hold) look(image *os.File, id identity, v engine.Volume) (*mount.Source, error) {
	defer h.e.devices.change(id)()
	_, found, err := h.e.devices.attached(image)
	if err != nil {
		return nil, err
	}
	defer closeAll(found)
	for _, device := range found {
		if v.Block {
			if err := h.flush(image, device); err != nil {
				return nil, err
			}
			continue
		}
		if mounted, err := h.e.shown(image, device, v); err != nil || mounted != nil {
			return mounted, err
		}
	}
	return nil, nil
}

// flush writes out what a device's users have written, and has it counted as live.
func (h *hold) flush(image *os.File, device held) error {
	if device.ReadOnly {
		return nil
	}
	h.live = true
	f, err := device.Open(image, os.O_RDWR)
	if err != nil {
		return err
	}
	return errors.Join(f.Sync(), f.Close())
}

// add notes a filesystem that is to be frozen.
func (h *hold) add(item *safepath.Dir, mounted *mount.Source) error {
	root, err := mounted.OpenRoot()
	if err != nil {
		return err
	}
	h.roots = append(h.roots, os.NewFile(uintptr(root.FD()), mounted.Name()))
	if err := item.SetAttribute(note, []byte("1")); err != nil {
		return err
	}
	h.noted = append(h.noted, item)
	return nil
}

func (h *hold) freeze() (until time.Time, err error) {
	if len(h.roots) == 0 {
		return time.Time{}, nil
	}
	if h.frozen, err = freeze.Freeze(h.roots, h.e.opts.FreezeLimit, h.e.opts.Guard); err != nil {
		switch {
		case errors.Is(err, freeze.ErrFrozen):
			err = fmt.Errorf("%w: %w", engine.ErrUnusable, err)
		case errors.Is(err, freeze.ErrEnded):
			err = fmt.Errorf("%w: %w", engine.ErrThawed, err)
		}
		return time.Time{}, err
	}
	return h.frozen.Until, nil
}

func (h *hold) release() error {
	var errs []error
	thawed := true
	if h.frozen != nil {
		err := h.frozen.Thaw()
		if errors.Is(err, freeze.ErrEnded) {
			err = fmt.Errorf("%w: %w", engine.ErrThawed, err)
		} else {
			thawed = err == nil
		}
		errs = append(errs, err)
	}
	for _, item := range h.noted {
		if thawed { // else the next start tries again
			errs = append(errs, item.RemoveAttribute(note))
		}
	}
	for _, root := range h.roots {
		errs = append(errs, root.Close())
	}
	for _, m := range h.mounts {
		errs = append(errs, m.Close())
	}
	for _, end := range h.ends {
		end()
	}
	*h = hold{e: h.e}
	return errors.Join(errs...)
}

// Known implements engine.Engine: it thaws what an earlier daemon has left frozen.
func (e *Engine) Known(item *safepath.Dir, v engine.Volume) {
	if _, err := item.Attribute(note, len("1")); err != nil {
		return
	}
	image, err := item.Open(file, os.O_RDONLY, 0)
	if err != nil {
		return // Inspect tells
	}
	defer image.Close() //nolint:errcheck // read only
	id, found, err := e.devices.attached(image)
	defer closeAll(found)
	for _, device := range found {
		err = errors.Join(err, e.thaw(image, device, v))
	}
	if err == nil {
		err = item.RemoveAttribute(note)
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	if err != nil {
		e.stuck[id] = err
	}
}

func (e *Engine) thaw(image *os.File, device held, v engine.Volume) error {
	src, err := e.shown(image, device, v)
	if err != nil || src == nil || v.Block {
		return errors.Join(err, src.Close())
	}
	defer src.Close() //nolint:errcheck // nothing was written through it
	root, err := src.OpenRoot()
	if err != nil {
		return err
	}
	dir := os.NewFile(uintptr(root.FD()), src.Name())
	_, err = freeze.Thaw(dir)
	return errors.Join(err, dir.Close())
}
