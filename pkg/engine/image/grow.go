package image

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strconv"

	"github.com/hostvol/hostvol/pkg/engine"
	"github.com/hostvol/hostvol/pkg/host/filesystem"
	"github.com/hostvol/hostvol/pkg/host/imagefile"
	"github.com/hostvol/hostvol/pkg/host/loop"
	"github.com/hostvol/hostvol/pkg/host/safepath"
)

// Apply implements engine.Engine: the file grows first, then its devices, then the
// filesystem, while all are in use. A filesystem that is mounted nowhere grows
// when it is mounted next.
func (e *Engine) Apply(_ context.Context, item *safepath.Dir, v engine.Volume) error {
	image, err := item.Open(file, os.O_RDWR, 0)
	if err != nil {
		return err
	}
	defer image.Close() //nolint:errcheck // synced below
	if err := enlarge(item, image, v); err != nil {
		return err
	}
	id, found, err := e.devices.attached(image)
	if err != nil {
		return err
	}
	defer closeAll(found)
	defer e.devices.change(id)()
	for _, device := range found {
		if err := e.growDevice(image, device, v); err != nil {
			return err
		}
	}
	return nil
}

// enlarge makes a shorter file as large as the volume, durably.
func enlarge(item *safepath.Dir, image *os.File, v engine.Volume) error {
	info, err := image.Stat()
	if err != nil || info.Size() >= v.Bytes {
		return err
	}
	if v.Thick {
		err = imagefile.Allocate(image, v.Bytes) // first: it fails where there is no room
	} else {
		err = imagefile.Resize(image, v.Bytes)
	}
	if err := errors.Join(err, image.Sync()); err != nil {
		return err
	}
	return noteSize(item, v.Bytes)
}

// sizeNote is the attribute of an item that tells the size which its image has
// reached, durably. A shorter image has lost its end; one that is as long, and
// shorter than the volume, was to grow and could not yet.
const sizeNote = "trusted.hostvol.size"

func noteSize(item *safepath.Dir, bytes int64) error {
	return item.SetAttribute(sizeNote, strconv.AppendInt(nil, bytes, 10))
}

func notedSize(item *safepath.Dir) (int64, error) {
	text, err := item.Attribute(sizeNote, len("-9223372036854775808"))
	if err != nil {
		return 0, err
	}
	return strconv.ParseInt(string(text), 10, 64)
}

func (e *Engine) growDevice(image *os.File, device held, v engine.Volume) error {
	if err := loop.Resize(image, device.Device); err != nil {
		return err
	}
	if v.Block || device.ReadOnly {
		return nil
	}
	src, err := e.shown(image, device, v)
	if err != nil || src == nil {
		return err
	}
	defer src.Close() //nolint:errcheck // nothing was written through it
	err = grow(src, device.Path(), v)
	if errors.Is(err, filesystem.ErrOffline) {
		err = fmt.Errorf("%w: %w", engine.ErrLater, err)
	}
	return err
}
