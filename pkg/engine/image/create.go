package image

import (
	"context"
	"errors"
	"fmt"
	"os"

	"github.com/hostvol/hostvol/pkg/engine"
	"github.com/hostvol/hostvol/pkg/host/filesystem"
	"github.com/hostvol/hostvol/pkg/host/imagefile"
	"github.com/hostvol/hostvol/pkg/host/loop"
	"github.com/hostvol/hostvol/pkg/host/mount"
	"github.com/hostvol/hostvol/pkg/host/safepath"
)

// Create implements engine.Engine. The image of a raw block volume that is empty
// has no content to make durable; its size goes with the item's names: ext4 and XFS
// write their journal in order, btrfs commits a transaction whole. test/power cuts there.
func (e *Engine) Create(ctx context.Context, item *safepath.Dir, spec engine.Spec, from *engine.Source) (engine.Volume, error) {
	v := engine.Volume{Bytes: spec.Bytes, Enforced: true, Form: spec.Form}
	image, err := item.Open(file, os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return v, err
	}
	defer image.Close() //nolint:errcheck // synced where there is content
	imagefile.InPlace(image)
	switch {
	case from != nil:
		err = e.fill(ctx, item, image, v, *from)
	case v.FSType != "":
		err = e.format(ctx, image, v, spec)
	default:
		err = imagefile.Resize(image, v.Bytes)
	}
	if err == nil && v.Thick {
		err = imagefile.Allocate(image, v.Bytes)
	}
	if err == nil && (from != nil || v.FSType != "" || v.Thick) {
		err = image.Sync()
	}
	if err == nil {
		err = noteSize(item, v.Bytes)
	}
	return v, err
}

// format makes the volume's filesystem, and its root's owner and mode.
func (e *Engine) format(ctx context.Context, image *os.File, v engine.Volume, spec engine.Spec) error {
	if err := imagefile.Resize(image, v.Bytes); err != nil {
		return err
	}
	if err := filesystem.Format(ctx, image, v.FSType, spec.MkfsOptions); err != nil {
		if len(spec.MkfsOptions) > 0 && ctx.Err() == nil {
			err = fmt.Errorf("%w: mkfsOptions %v: %w", engine.ErrForm, spec.MkfsOptions, err)
		}
		return err
	}
	id, err := imagefile.Identity(image)
	if err != nil {
		return err
	}
	end, err := e.devices.begin(id)
	if err != nil {
		return err
	}
	defer end()
	device, err := loop.Attach(ctx, image, loop.Options{NoDiscard: v.Thick})
	if err != nil {
		return err
	}
	err = root(device, v, spec)
	lingering, derr := loop.Detach(image, device)
	if derr == nil && lingering { // udev looks at it; nothing may be written after the image was synced
		derr = idle(ctx, image, device)
		e.devices.add(id, device) // the first publication takes it back
	}
	return errors.Join(err, derr)
}

// root sets what a volume's root directory is to be, which no mkfs does for all.
func root(device loop.Device, v engine.Volume, spec engine.Spec) error {
	src, err := mount.Filesystem(v.FSType, device.Path(), false, mountOptions(v, nil))
	if err != nil {
		return fmt.Errorf("the filesystem that was made cannot be mounted: %w", err)
	}
	defer src.Close() //nolint:errcheck // the image is synced after the unmount
	dir, err := src.OpenRoot()
	if err != nil {
		return err
	}
	defer dir.Close() //nolint:errcheck // as above
	if err := dir.Chown(spec.UID, spec.GID); err != nil {
		return err
	}
	return dir.Chmod(spec.Mode)
}
