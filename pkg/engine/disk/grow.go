package disk

import (
	"context"
	"errors"
	"fmt"

	"github.com/hostvol/hostvol/pkg/engine"
	"github.com/hostvol/hostvol/pkg/host/errno"
	"github.com/hostvol/hostvol/pkg/host/filesystem"
	"github.com/hostvol/hostvol/pkg/host/imagefile"
	"github.com/hostvol/hostvol/pkg/host/safepath"
)

// Grows implements engine.Engine: what the filesystem's own layout allows.
func (e *Engine) Grows(_ context.Context, item *safepath.Dir, v engine.Volume, bytes int64) error {
	if v.Block {
		return nil
	}
	f, err := e.backing.Blocks(item)
	if err != nil {
		return err
	}
	defer f.Close() //nolint:errcheck // read only
	is, err := filesystem.Measure(imagefile.Path(f), v.FSType)
	if errors.Is(err, filesystem.ErrUnknown) { // a publication reports it, and a growth harms nothing
		return nil
	}
	if err == nil && is.MaxBytes > 0 && bytes > is.MaxBytes {
		err = fmt.Errorf("%w: its %s, with blocks of %d bytes, grows to %d bytes at most; ask for less, or copy the content into a new volume", engine.ErrTooLarge, v.FSType, is.BlockBytes, is.MaxBytes)
	}
	return err
}

// Apply implements engine.Engine: the disk grows first, then its devices, then the
// filesystem, while all are in use. A filesystem that is mounted nowhere grows when
// it is mounted next.
func (e *Engine) Apply(_ context.Context, item *safepath.Dir, v engine.Volume) error {
	is, had, err := e.backing.Size(item)
	if err != nil {
		return err
	}
	if is < had {
		return fmt.Errorf("%w: its disk has %d bytes, it had %d", engine.ErrUnusable, is, had)
	}
	vol, err := e.of(item)
	if err != nil {
		return err
	}
	vol.change.Lock()
	defer vol.change.Unlock()
	if is < v.Bytes {
		err := e.roomToGrow(item, v, is)
		if err == nil {
			err = e.backing.Extend(item, v)
		}
		if err != nil {
			return fmt.Errorf("%w: %w", engine.ErrNotGrown, err)
		}
	}
	for _, d := range vol.devices {
		if err := e.backing.Resize(item, d); err != nil && !errors.Is(err, ErrGone) {
			return err
		}
	}
	if vol.kept == nil || vol.by.ReadOnly {
		return nil
	}
	err = e.grow(item, vol, v)
	vol.set(func(vol *volume) { vol.pending = err })
	if errors.Is(err, filesystem.ErrOffline) {
		err = fmt.Errorf("%w: %w", engine.ErrLater, err)
	}
	return err
}

// What a filesystem writes when it grows, at most: so much, and a part of the growth.
const growthBytes, growthPart = 32 << 20, 1024

// roomToGrow fails where the pool has no room for what a filesystem writes when it
// grows from so many bytes. A growth that meets a full pool halfway damages the
// filesystem (seen: resize2fs, "resize inode not valid"), or stops its users.
func (e *Engine) roomToGrow(item *safepath.Dir, v engine.Volume, from int64) error {
	if v.FSType == "" {
		return nil
	}
	room, err := e.backing.Room(item, v)
	if need := growthBytes + (v.Bytes-from)/growthPart; err == nil && room < need {
		err = fmt.Errorf("%w: to grow the %s to %d bytes takes up to %d bytes, and the pool has %d", errno.ErrNoSpace, v.FSType, v.Bytes, need, room)
	}
	return err
}

// grow grows the mounted filesystem to v.Bytes.
func (e *Engine) grow(item *safepath.Dir, vol *volume, v engine.Volume) error {
	is, err := filesystem.Measure(vol.by.Path(), v.FSType)
	if err != nil || is.Full(v.Bytes) {
		return err
	}
	if err := e.roomToGrow(item, v, is.Bytes); err != nil {
		return err
	}
	root, err := vol.kept.OpenRoot()
	if err != nil {
		return err
	}
	defer root.Close() //nolint:errcheck // nothing was written through it
	return filesystem.Grow(root.FD(), vol.by.Path(), v.FSType, v.Bytes)
}

// growFresh grows a filesystem that this call has mounted. An optional step is no
// condition of access: what cannot grow stays mounted at the size that it has, and
// Inspect reports why.
func (e *Engine) growFresh(ctx context.Context, item *safepath.Dir, v engine.Volume, vol *volume, options []string) error {
	err := e.grow(item, vol, v)
	d, offline := vol.by, errors.Is(err, filesystem.ErrOffline) && v.FSType == filesystem.Ext4
	again := offline
	if !offline { // a growth that failed halfway may have shut it down
		condition, cerr := filesystem.ConditionOf(vol.kept.FD(), d.Path(), v.FSType)
		again = cerr != nil || condition != filesystem.Sound
	}
	if again {
		if err := errors.Join(vol.drop(), e.idle(ctx, item, d)); err != nil {
			return err
		}
		if offline {
			err = filesystem.GrowOffline(ctx, d.Path(), v.Bytes)
		}
		if err := e.keep(vol, v, d, options, false); err != nil {
			return err
		}
	}
	vol.set(func(vol *volume) { vol.pending = err })
	return nil
}

// reach grows the filesystem of a disk that is being made with content to v.Bytes.
// Unlike after an expansion, a volume that is smaller than it was asked for is not
// acknowledged (CSI: its size holds at NodePublishVolume).
func (e *Engine) reach(ctx context.Context, item *safepath.Dir, path string, v engine.Volume) error {
	is, err := filesystem.Measure(path, v.FSType)
	switch {
	case errors.Is(err, filesystem.ErrUnknown), err == nil && is.Full(v.Bytes):
		return nil // a copy of what is damaged is a copy
	case err != nil:
		return err
	case is.MaxBytes > 0 && v.Bytes > is.MaxBytes:
		return fmt.Errorf("%w: the %s of its source, with blocks of %d bytes, grows to %d bytes at most", engine.ErrTooLarge, v.FSType, is.BlockBytes, is.MaxBytes)
	}
	err = e.visit(ctx, item, v, func(root *safepath.Dir, d Device) error {
		return filesystem.Grow(root.FD(), d.Path(), v.FSType, v.Bytes)
	})
	if errors.Is(err, filesystem.ErrOffline) && v.FSType == filesystem.Ext4 {
		err = filesystem.GrowOffline(ctx, path, v.Bytes)
	}
	if err == nil {
		if is, err = filesystem.Measure(path, v.FSType); err == nil && !is.Full(v.Bytes) {
			err = fmt.Errorf("it has grown to %d of %d bytes", is.Bytes, v.Bytes)
		}
	}
	if err != nil && ctx.Err() == nil && !errno.NoSpace(err) {
		err = fmt.Errorf("%w: the %s of its source does not grow to it: %w", engine.ErrTooLarge, v.FSType, err)
	}
	return err
}
