package image

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"golang.org/x/time/rate"

	"github.com/hostvol/hostvol/pkg/engine"
	"github.com/hostvol/hostvol/pkg/host/errno"
	"github.com/hostvol/hostvol/pkg/host/filesystem"
	"github.com/hostvol/hostvol/pkg/host/imagefile"
	"github.com/hostvol/hostvol/pkg/host/loop"
	"github.com/hostvol/hostvol/pkg/host/mount"
	"github.com/hostvol/hostvol/pkg/host/rmtree"
	"github.com/hostvol/hostvol/pkg/host/safepath"
)

// Attach implements engine.Engine. A raw block volume that is published to write
// and to read has two devices; a filesystem has one, since the kernel must not see
// it twice, and is read-only by its mount.
func (e *Engine) Attach(ctx context.Context, item *safepath.Dir, v engine.Volume, readOnly bool, options []string) (*mount.Source, error) {
	if v.Block && len(options) > 0 {
		return nil, fmt.Errorf("%w: a raw block device takes no mount options: %v", engine.ErrForm, options)
	}
	image, writable, err := open(item, readOnly)
	if err != nil {
		return nil, err
	}
	defer image.Close() //nolint:errcheck // the device holds it
	if v.Bytes, err = usable(item, image, v); err != nil {
		return nil, err
	}
	id, err := imagefile.Identity(image)
	if err != nil {
		return nil, err
	}
	end, err := e.devices.begin(id)
	if err != nil {
		return nil, err
	}
	defer end()
	defer e.devices.change(id)()
	device, err := e.device(ctx, image, v, loop.Options{ReadOnly: !writable || v.Block && readOnly, NoDiscard: v.Thick})
	if err != nil {
		return nil, err
	}
	if device.ReadOnly && !readOnly {
		_ = device.open.Close()
		return nil, fmt.Errorf("%w: it is attached read-only, from when its pool was; unpublish it everywhere first", engine.ErrUnusable)
	}
	defer device.open.Close() //nolint:errcheck // opened for reading
	if v.Block {
		return node(device)
	}
	src, err := e.mount(ctx, image, device, v, options)
	if err != nil && device.fresh {
		_ = device.open.Close() // or it would stay until then
		_, derr := loop.Detach(image, device.Device)
		err = errors.Join(err, derr)
	}
	return src, err
}

// open opens an image to write, or to read where that suffices and its filesystem
// is read-only.
func open(item *safepath.Dir, readOnly bool) (image *os.File, writable bool, err error) {
	image, err = item.Open(file, os.O_RDWR, 0)
	if errno.ReadOnly(err) && readOnly {
		image, err = item.Open(file, os.O_RDONLY, 0)
		return image, false, err
	}
	return image, true, err
}

// usable refuses an image that has lost its end, and tells its size. One that was
// to grow and could not, since its pool is full, is used as it is.
func usable(item *safepath.Dir, image *os.File, v engine.Volume) (bytes int64, err error) {
	had, err := notedSize(item)
	if err != nil {
		return 0, err
	}
	info, err := image.Stat()
	if err != nil {
		return 0, err
	}
	if !info.Mode().IsRegular() || info.Size() < had {
		return 0, fmt.Errorf("%w: %s has %d bytes, it had %d; restore it from a snapshot or a backup", engine.ErrUnusable, image.Name(), info.Size(), had)
	}
	if info.Size() >= v.Bytes || enlarge(item, image, v) == nil {
		return v.Bytes, nil
	}
	return info.Size(), nil
}

// device finds the attached device that suits, or attaches one. The caller closes
// the open file.
func (e *Engine) device(ctx context.Context, image *os.File, v engine.Volume, o loop.Options) (held, error) {
	id, found, err := e.devices.attached(image)
	if err != nil {
		return held{}, err
	}
	for i, h := range found {
		if v.Block && h.ReadOnly != o.ReadOnly {
			continue
		}
		// There must never be two under one filesystem: any will do, and one that was
		// detached while it was in use is taken back.
		if h.Device, err = loop.Keep(image, h.Device); errors.Is(err, loop.ErrNotBacked) {
			continue
		}
		closeAll(found[:i])
		closeAll(found[i+1:])
		return h, err
	}
	closeAll(found)
	d, err := loop.Attach(ctx, image, o)
	if err != nil {
		return held{}, err
	}
	e.devices.add(id, d)
	f, err := d.Open(image, os.O_RDONLY)
	if err != nil {
		_, derr := loop.Detach(image, d)
		return held{}, errors.Join(err, derr)
	}
	return held{Device: d, open: f, fresh: true}, nil
}

// node is the source of a raw block volume. The device is held open meanwhile, so
// that its node cannot be another's.
func node(device held) (*mount.Source, error) {
	return mount.OfNode(device.Path(), device.open)
}

// mount mounts the filesystem of a device, which is held open. One that is mounted
// nowhere is checked before, and grown where the device has grown.
func (e *Engine) mount(ctx context.Context, image *os.File, device held, v engine.Volume, options []string) (*mount.Source, error) {
	mounted, err := inUse(image, device.Device)
	if err != nil {
		return nil, err
	}
	if !mounted && !device.ReadOnly {
		if err := filesystem.Check(ctx, device.Path(), v.FSType); err != nil {
			return nil, fmt.Errorf("%w: %w", engine.ErrUnusable, err)
		}
	}
	again := func() (*mount.Source, error) {
		src, err := mount.Filesystem(v.FSType, device.Path(), device.ReadOnly, mountOptions(v, options))
		switch {
		case errors.Is(err, mount.ErrOption):
			err = fmt.Errorf("%w: %w", engine.ErrForm, err)
		case err != nil:
			err = fmt.Errorf("%w: %w", engine.ErrUnusable, err)
		}
		return src, err
	}
	src, err := again()
	if err != nil || mounted || device.ReadOnly {
		return src, err
	}
	err = grow(src, device.Path(), v)
	if errors.Is(err, filesystem.ErrOffline) && v.FSType == filesystem.Ext4 {
		if err := errors.Join(src.Close(), idle(ctx, image, device.Device)); err != nil {
			return nil, err
		}
		if err := filesystem.GrowOffline(ctx, device.Path(), v.Bytes); err != nil {
			return nil, err
		}
		return again()
	}
	if err != nil {
		return nil, errors.Join(err, src.Close())
	}
	return src, nil
}

const (
	idlePatience = 2 * time.Second
	idlePause    = 5 * time.Millisecond
)

// idle waits for an unmount to end. A child that was forked meanwhile has the
// mount open until it executes its program.
func idle(ctx context.Context, image *os.File, d loop.Device) error {
	for end := time.Now().Add(idlePatience); ; {
		used, err := inUse(image, d)
		if err != nil || !used {
			return err
		}
		if time.Now().After(end) {
			return fmt.Errorf("%w: somebody else has mounted %s", engine.ErrBusy, d.Path())
		}
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-time.After(idlePause):
		}
	}
}

// inUse tells whether somebody has the device exclusively, as a mount has.
func inUse(image *os.File, d loop.Device) (bool, error) {
	f, err := d.Open(image, os.O_RDONLY|loop.Exclusive)
	switch {
	case errno.Busy(err):
		return true, nil
	case errors.Is(err, loop.ErrNotBacked): // detached meanwhile
		return false, nil
	}
	if err != nil {
		return false, err
	}
	return false, f.Close()
}

func grow(src *mount.Source, device string, v engine.Volume) error {
	dir, err := src.OpenRoot()
	if err != nil {
		return err
	}
	defer dir.Close() //nolint:errcheck // nothing was written through it
	return filesystem.Grow(dir.FD(), device, v.FSType, v.Bytes)
}

// mountOptions are those of the volume's filesystem; the given ones come last, and
// win. A thin volume gives back the space of what is deleted; copies of an XFS
// share their UUID with it; an ext4 with errors is not written to any more.
func mountOptions(v engine.Volume, given []string) []string {
	var all []string
	if !v.Thick {
		all = append(all, "discard")
	}
	switch v.FSType {
	case filesystem.XFS:
		all = append(all, "nouuid")
	case filesystem.Ext4:
		all = append(all, "errors=remount-ro")
	}
	return append(all, given...)
}

// Attached implements engine.Engine.
func (e *Engine) Attached(_ context.Context, item *safepath.Dir, v engine.Volume) ([]*mount.Source, error) {
	image, err := item.Open(file, os.O_RDONLY, 0)
	if err != nil {
		return nil, err
	}
	defer image.Close() //nolint:errcheck // read only
	id, found, err := e.devices.attached(image)
	if err != nil {
		return nil, err
	}
	defer closeAll(found)
	end, err := e.devices.glance(id)
	if err != nil {
		return nil, err
	}
	defer end()
	var out []*mount.Source
	for _, h := range found {
		src, err := e.shown(image, h, v)
		if err != nil {
			for _, src := range out {
				err = errors.Join(err, src.Close())
			}
			return nil, err
		}
		if src != nil {
			out = append(out, src)
		}
	}
	return out, nil
}

// shown is what a device shows, nil for a filesystem that is not mounted.
func (e *Engine) shown(image *os.File, h held, v engine.Volume) (*mount.Source, error) {
	if v.Block {
		return node(h)
	}
	if mounted, err := inUse(image, h.Device); err != nil || !mounted {
		return nil, err
	}
	return mount.Filesystem(v.FSType, h.Path(), h.ReadOnly, mountOptions(v, nil))
}

// Devices implements engine.Engine.
func (e *Engine) Devices(_ context.Context, item *safepath.Dir, _ engine.Volume) ([]string, error) {
	image, err := item.Open(file, os.O_RDONLY, 0)
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	defer image.Close() //nolint:errcheck // read only
	_, found, err := e.devices.attached(image)
	defer closeAll(found)
	var names []string
	for _, h := range found {
		names = append(names, h.Name())
	}
	return names, err
}

// Detach implements engine.Engine. A device that somebody else has open detaches
// itself when that ends.
func (e *Engine) Detach(_ context.Context, item *safepath.Dir, _ engine.Volume) error {
	image, err := item.Open(file, os.O_RDONLY, 0)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	defer image.Close() //nolint:errcheck // read only
	id, err := imagefile.Identity(image)
	if err != nil {
		return err
	}
	defer e.devices.change(id)()
	var errs []error
	for _, d := range e.devices.list(id) {
		lingering, err := loop.Detach(image, d)
		if !lingering && err == nil {
			e.devices.remove(id, d)
		}
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}

// destroy detaches what is to be removed, and removes it.
func destroy(ctx context.Context, e *Engine, parent *safepath.Dir, name string, v engine.Volume, limiter *rate.Limiter) error {
	item, err := parent.OpenDir(name)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err == nil {
		if err := errors.Join(e.Detach(ctx, item, v), e.forget(item), item.Close()); err != nil {
			return err
		}
	}
	if err := rmtree.Remove(ctx, parent.FD(), name, rmtree.Options{Limiter: limiter}); err != nil {
		return fmt.Errorf("remove %s: %w", name, err)
	}
	return nil
}

// forget drops what is kept of the image of an item that is about to be removed:
// its inode may become another's.
func (e *Engine) forget(item *safepath.Dir) error {
	image, err := item.Open(file, os.O_RDONLY, 0)
	if err != nil {
		return nil //nolint:nilerr // nothing is kept of what was never opened
	}
	defer image.Close() //nolint:errcheck // read only
	id, err := imagefile.Identity(image)
	if err != nil {
		return err
	}
	e.devices.forget(id)
	e.mu.Lock()
	defer e.mu.Unlock()
	delete(e.stuck, id)
	return nil
}
