package disk

import (
	"context"
	"errors"
	"fmt"
	"os"

	"github.com/hostvol/hostvol/pkg/engine"
	"github.com/hostvol/hostvol/pkg/host/filesystem"
	"github.com/hostvol/hostvol/pkg/host/mount"
	"github.com/hostvol/hostvol/pkg/host/safepath"
)

// Attach implements engine.Engine. A raw block volume that is published to write
// and to read has two devices. A filesystem has one, since the kernel must not see it
// twice, and is read-only by its mount; while it is mounted, a further publication
// costs a clone of the kept mount.
func (e *Engine) Attach(ctx context.Context, item *safepath.Dir, v engine.Volume, use engine.Use) (*mount.Source, error) {
	switch {
	case v.Block && len(use.Options) > 0:
		return nil, fmt.Errorf("%w: a raw block device takes no mount options: %v", engine.ErrForm, use.Options)
	case v.Block && use.Untouched:
		return nil, fmt.Errorf("%w: a raw block volume has no filesystem to look into", engine.ErrForm)
	case use.Untouched && !use.ReadOnly:
		return nil, fmt.Errorf("%w: what is not to be touched is used read-only", engine.ErrForm)
	}
	vol, err := e.of(item)
	if err != nil {
		return nil, err
	}
	vol.change.Lock()
	defer vol.change.Unlock()
	if err := vol.free(); err != nil {
		return nil, err
	}
	if v.Block {
		return e.attachBlock(ctx, item, v, vol, use)
	}
	was := vol.kept != nil
	src, err := e.attachMounted(ctx, item, v, vol, use)
	if err != nil {
		if !was {
			err = errors.Join(err, e.takeOff(ctx, item, vol))
		}
		return nil, err
	}
	vol.set(func(vol *volume) { vol.claimed = true })
	return src, nil
}

// attachMounted gives a clone of the kept mount, and mounts the filesystem first
// where it is not mounted.
func (e *Engine) attachMounted(ctx context.Context, item *safepath.Dir, v engine.Volume, vol *volume, use engine.Use) (*mount.Source, error) {
	if vol.kept == nil {
		if err := e.bringUp(ctx, item, v, vol, use); err != nil {
			return nil, err
		}
	} else if err := fits(vol, v, use); err != nil {
		return nil, err
	}
	if err := usable(vol, v, use); err != nil {
		return nil, err
	}
	return vol.kept.Source()
}

// fits checks a further use against the one for which the volume was mounted.
func fits(vol *volume, v engine.Volume, use engine.Use) error {
	switch {
	case vol.untouched && !use.Untouched:
		return fmt.Errorf("%w: a person looks into it; end that with hostvol inspect --end", engine.ErrForeign)
	case !vol.untouched && use.Untouched:
		return fmt.Errorf("%w: it is mounted; unpublish it everywhere, then look into it", engine.ErrForeign)
	case len(use.Options) > 0: // they have no effect, and must be right
		return optionError(mount.CheckOptions(v.FSType, use.Options))
	}
	return nil
}

func optionError(err error) error {
	if errors.Is(err, mount.ErrOption) {
		err = fmt.Errorf("%w: %w", engine.ErrForm, err)
	}
	return err
}

// usable refuses a mounted filesystem that takes no writes any more. One whose
// device takes none was mounted so on purpose, and can be read.
func usable(vol *volume, v engine.Volume, use engine.Use) error {
	d := vol.by
	condition, err := filesystem.ConditionOf(vol.kept.FD(), d.Path(), v.FSType)
	switch {
	case err != nil:
		return err
	case condition == filesystem.Dead:
		return fmt.Errorf("%w: the kernel has shut its %s down; see the kernel's log for %s, then delete its pods: the next publication checks it", engine.ErrUnusable, v.FSType, d.Name)
	case condition == filesystem.ReadOnly && !d.ReadOnly:
		return fmt.Errorf("%w: its %s takes no writes, by a remount or after an error; see the kernel's log for %s, then delete its pods: the next publication checks it", engine.ErrUnusable, v.FSType, d.Name)
	case d.ReadOnly && !use.ReadOnly:
		return fmt.Errorf("%w: it is attached read-only, from when its pool was; unpublish it everywhere first", engine.ErrUnusable)
	}
	return nil
}

// attachBlock finds the device of a raw block volume that suits, or attaches one.
func (e *Engine) attachBlock(ctx context.Context, item *safepath.Dir, v engine.Volume, vol *volume, use engine.Use) (*mount.Source, error) {
	bytes, err := e.whole(item, v, use)
	if err != nil {
		return nil, err
	}
	v.Bytes = bytes
	access := Write
	if use.ReadOnly {
		access = Read
	}
	for _, d := range vol.devices {
		now, f, err := e.backing.Keep(item, d)
		if errors.Is(err, ErrGone) {
			continue
		}
		if err != nil {
			return nil, err
		}
		if now.ReadOnly == (access == Read) {
			return e.nodeOf(vol, now, f)
		}
		_ = f.Close() // opened for reading
	}
	d, err := e.attachOne(ctx, item, v, vol, access)
	if err != nil {
		return nil, err
	}
	all, err := e.backing.Find(item) // after it: whoever was faster is among them
	if err == nil {
		err = refuseForeign(all)
	}
	var src *mount.Source
	if err == nil {
		src, err = e.node(item, d)
	}
	if err != nil {
		return nil, errors.Join(err, e.detachOne(item, vol, d))
	}
	vol.set(func(vol *volume) { vol.claimed = true })
	return src, nil
}

// nodeOf is the source of a device that is open as f.
func (e *Engine) nodeOf(vol *volume, d Device, f *os.File) (*mount.Source, error) {
	src, err := mount.OfNode(d.Path(), f)
	_ = f.Close() // opened for reading
	if err == nil {
		vol.set(func(vol *volume) { vol.claimed = true })
	}
	return src, err
}

// refuseForeign fails when the backing has not attached all of the devices.
func refuseForeign(all []Device) error {
	for _, d := range all {
		if !d.Ours {
			return fmt.Errorf("%w: it is attached to %s, and not by this driver (losetup, mount -o loop); unmount that, take it off (losetup -d %s), and try again", engine.ErrForeign, d.Path(), d.Path())
		}
	}
	return nil
}

// node is the source of a raw block volume. The device is held open meanwhile, so
// that its node cannot be another's.
func (e *Engine) node(item *safepath.Dir, d Device) (*mount.Source, error) {
	f, err := e.backing.Open(item, Device{Name: d.Name, ReadOnly: true})
	if err != nil {
		return nil, err
	}
	defer f.Close() //nolint:errcheck // opened for reading
	return mount.OfNode(d.Path(), f)
}

// attachOne attaches one more device. It is known from then on until it is off.
func (e *Engine) attachOne(ctx context.Context, item *safepath.Dir, v engine.Volume, vol *volume, a Access) (Device, error) {
	d, err := e.backing.Attach(ctx, item, v, a)
	if err == nil {
		vol.set(func(vol *volume) { vol.devices = append(vol.devices, d) })
	}
	return d, err
}

// Attached implements engine.Engine.
func (e *Engine) Attached(_ context.Context, item *safepath.Dir, v engine.Volume) ([]*mount.Source, error) {
	vol, err := e.of(item)
	if err != nil {
		return nil, err
	}
	src, devices, err := vol.look()
	if err != nil || src != nil {
		return []*mount.Source{src}, err
	}
	if !v.Block {
		return nil, nil
	}
	var out []*mount.Source
	for _, d := range devices {
		src, err := e.node(item, d)
		if errors.Is(err, ErrGone) {
			continue
		}
		if err != nil {
			for _, src := range out {
				err = errors.Join(err, src.Close())
			}
			return nil, err
		}
		out = append(out, src)
	}
	return out, nil
}

// Devices implements engine.Engine.
func (e *Engine) Devices(_ context.Context, item *safepath.Dir, _ engine.Volume) ([]string, error) {
	vol, err := e.of(item)
	if err != nil {
		return nil, err
	}
	src, devices, err := vol.look()
	if err != nil {
		return nil, err
	}
	var names []string
	for _, d := range devices {
		f, err := e.backing.Open(item, Device{Name: d.Name, ReadOnly: true})
		if errors.Is(err, ErrGone) {
			continue
		}
		if err != nil {
			return nil, errors.Join(err, src.Close())
		}
		_ = f.Close() // opened for reading
		names = append(names, d.Name)
	}
	return names, src.Close()
}
