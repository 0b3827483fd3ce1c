package disk

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/hostvol/hostvol/pkg/engine"
	"github.com/hostvol/hostvol/pkg/host/errno"
	"github.com/hostvol/hostvol/pkg/host/filesystem"
	"github.com/hostvol/hostvol/pkg/host/imagefile"
	"github.com/hostvol/hostvol/pkg/host/mount"
	"github.com/hostvol/hostvol/pkg/host/safepath"
)

// Create implements engine.Engine. A raw block volume that is empty has no content to
// make durable; its size goes with the item's names: ext4 and XFS write their journal
// in order, btrfs commits a transaction whole. test/power cuts there.
func (e *Engine) Create(ctx context.Context, item *safepath.Dir, spec engine.Spec, from *engine.Source) (engine.Volume, error) {
	v := engine.Volume{Bytes: spec.Bytes, Enforced: true, Form: spec.Form}
	var f *os.File
	var err error
	if from != nil {
		f, err = e.copied(ctx, item, v, *from)
	} else if f, err = e.backing.Make(item, v); err == nil && v.FSType != "" {
		err = e.format(ctx, item, f, v, spec)
	}
	if err == nil {
		err = e.backing.Finish(item, f, v, from != nil || v.FSType != "")
	}
	if f != nil {
		err = errors.Join(err, f.Close())
	}
	return v, err
}

// copied makes a disk with the content of another. A thick one shares nothing: what
// it overwrites would need new space.
func (e *Engine) copied(ctx context.Context, item *safepath.Dir, v engine.Volume, from engine.Source) (*os.File, error) {
	f, _, err := e.backing.Copy(ctx, item, from, CopyOptions{Alone: v.Thick})
	if err != nil {
		return f, err
	}
	is, err := f.Seek(0, io.SeekEnd)
	if err == nil && is > v.Bytes { // the source has grown since the call
		err = fmt.Errorf("%w: its source has %d bytes by now", errno.ErrNoSpace, is)
	}
	if err == nil {
		err = filesystem.NewIdentity(ctx, imagefile.Path(f), v.FSType)
	}
	if err == nil {
		err = e.backing.Finish(item, f, v, false) // it gets its size, for the filesystem to grow to
	}
	if err == nil && v.FSType != "" {
		err = e.reach(ctx, item, imagefile.Path(f), v)
	}
	return f, err
}

// format makes the volume's filesystem, and its root's owner and mode.
func (e *Engine) format(ctx context.Context, item *safepath.Dir, f *os.File, v engine.Volume, spec engine.Spec) error {
	if err := filesystem.Format(ctx, f, v.FSType, spec.MkfsOptions); err != nil {
		if len(spec.MkfsOptions) > 0 && ctx.Err() == nil {
			err = fmt.Errorf("%w: mkfsOptions %v: %w", engine.ErrForm, spec.MkfsOptions, err)
		}
		return err
	}
	return e.visit(ctx, item, v, func(root *safepath.Dir, _ Device) error {
		if err := root.Chown(spec.UID, spec.GID); err != nil {
			return err
		}
		return root.Chmod(spec.Mode)
	})
}

// visit mounts the filesystem of a disk that is being made, for as long as use takes.
// What it leaves after an error is known to the engine, and a Detach takes it off.
func (e *Engine) visit(ctx context.Context, item *safepath.Dir, v engine.Volume, use func(root *safepath.Dir, d Device) error) error {
	vol, err := e.of(item)
	if err != nil {
		return err
	}
	vol.change.Lock()
	defer vol.change.Unlock()
	d, err := e.attachOne(ctx, item, v, vol, Write)
	if err != nil {
		return err
	}
	err = visited(d, v, use)
	// udev may look at it; nothing may be written after the disk was synced.
	err = errors.Join(err, e.idle(ctx, item, d), e.detachOne(item, vol, d))
	if err == nil && len(vol.devices) > 0 {
		err = e.idle(ctx, item, d)
	}
	return err
}

func visited(d Device, v engine.Volume, use func(root *safepath.Dir, d Device) error) error {
	src, err := mount.Filesystem(v.FSType, d.Path(), false, mountOptions(v, nil))
	if err != nil {
		return fmt.Errorf("the filesystem that was made cannot be mounted: %w", err)
	}
	root, err := src.OpenRoot()
	if err == nil {
		err = errors.Join(use(root, d), root.Close())
	}
	return errors.Join(err, src.Close())
}
