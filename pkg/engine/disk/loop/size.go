package loop

import (
	"errors"
	"fmt"
	"math"
	"os"
	"strconv"

	"github.com/hostvol/hostvol/pkg/engine"
	"github.com/hostvol/hostvol/pkg/host/errno"
	"github.com/hostvol/hostvol/pkg/host/imagefile"
	"github.com/hostvol/hostvol/pkg/host/safepath"
)

// sizeNote is the attribute of an item with the size that its file has
// reached, durably. A shorter file has lost its end; one that is as long, and
// shorter than the volume, was to grow and could not yet. Snapshots have none.
const sizeNote = "trusted.hostvol.size"

func noteSize(item *safepath.Dir, bytes int64) error {
	return item.SetAttribute(sizeNote, strconv.AppendInt(nil, bytes, 10))
}

// Size implements disk.Backing.
func (b *Backing) Size(item *safepath.Dir) (is, had int64, err error) {
	info, err := item.Lstat(file)
	if err != nil {
		return 0, 0, err
	}
	if !info.Regular {
		return 0, 0, fmt.Errorf("%w: %s/%s is no file", engine.ErrUnusable, item.Name(), file)
	}
	text, err := item.Attribute(sizeNote, len("-9223372036854775808"))
	if errno.NoAttribute(err) {
		return info.Bytes, 0, nil
	}
	if err == nil {
		had, err = strconv.ParseInt(string(text), 10, 64)
	}
	return info.Bytes, had, err
}

// Room implements disk.Backing.
func (b *Backing) Room(item *safepath.Dir, v engine.Volume) (int64, error) {
	if v.Thick {
		return math.MaxInt64, nil
	}
	space, err := item.Space()
	return space.BytesAvailable, err
}

// Extend implements disk.Backing.
func (b *Backing) Extend(item *safepath.Dir, v engine.Volume) error {
	f, err := item.Open(file, os.O_RDWR, 0)
	if err != nil {
		return err
	}
	defer f.Close() //nolint:errcheck // synced below
	info, err := f.Stat()
	if err != nil || info.Size() >= v.Bytes {
		return err
	}
	if v.Thick {
		err = imagefile.Reserve(f, v.Bytes) // first: it fails where there is no room
	}
	if err == nil {
		err = imagefile.Resize(f, v.Bytes)
	}
	if errno.TooLarge(err) {
		err = fmt.Errorf("%w: the pool's filesystem has no files of %d bytes: %w", engine.ErrTooLarge, v.Bytes, err)
	}
	if err != nil {
		return errors.Join(err, imagefile.Release(f))
	}
	if err := f.Sync(); err != nil {
		return err
	}
	return noteSize(item, v.Bytes)
}
