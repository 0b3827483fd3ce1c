package image

import (
	"context"
	"errors"
	"fmt"
	"os"

	"github.com/hostvol/hostvol/pkg/engine"
	"github.com/hostvol/hostvol/pkg/host/clone"
	"github.com/hostvol/hostvol/pkg/host/errno"
	"github.com/hostvol/hostvol/pkg/host/filesystem"
	"github.com/hostvol/hostvol/pkg/host/imagefile"
	"github.com/hostvol/hostvol/pkg/host/safepath"
)

// How a snapshot was made, in records.
const (
	methodReflink = "reflink"
	methodCopy    = "copy"
)

// Atomic implements engine.Engine: while a volume is held, every copy of it is of
// one instant.
func (e *Engine) Atomic() bool { return true }

// Snapshot implements engine.Engine.
func (e *Engine) Snapshot(ctx context.Context, item *safepath.Dir, from engine.Source, _ engine.Consistency) (engine.Cut, error) {
	image, err := item.Open(file, os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o400)
	if err != nil {
		return engine.Cut{}, err
	}
	defer image.Close() //nolint:errcheck // synced below
	imagefile.InPlace(image)
	shared, err := e.copy(ctx, image, from, clone.Auto)
	if err != nil {
		return engine.Cut{}, err
	}
	if err := image.Sync(); err != nil {
		return engine.Cut{}, err
	}
	cut := engine.Cut{Method: methodCopy, Consistency: engine.Atomic}
	if shared {
		cut.Method = methodReflink
	}
	cut.Held, err = imagefile.Allocated(image)
	return cut, err
}

// fill makes the image of a volume that starts with content. A thick one shares
// nothing: what it overwrites would need new space.
func (e *Engine) fill(ctx context.Context, item *safepath.Dir, image *os.File, v engine.Volume, from engine.Source) error {
	how := clone.Auto
	if v.Thick {
		how = clone.Never
	}
	shared, err := e.copy(ctx, image, from, how)
	if err == nil && shared {
		err = markShared(item)
	}
	if err != nil {
		return err
	}
	info, err := image.Stat()
	if err != nil {
		return err
	}
	if info.Size() > v.Bytes { // the source has grown since the call
		return fmt.Errorf("%w: its source has %d bytes by now", errno.ErrNoSpace, info.Size())
	}
	if err := imagefile.Resize(image, v.Bytes); err != nil {
		return err
	}
	return filesystem.NewIdentity(ctx, imagefile.Path(image), v.FSType)
}

// sharedNote is the attribute of an item whose image has shared blocks with
// another: what overwrites them takes new space. It is not taken back, since to
// tell whether any are still shared takes a look at all of them.
const sharedNote = "trusted.hostvol.shared"

func markShared(item *safepath.Dir) error {
	if isShared(item) {
		return nil
	}
	return item.SetAttribute(sharedNote, []byte("1"))
}

func isShared(item *safepath.Dir) bool {
	_, err := item.Attribute(sharedNote, len("1"))
	return err == nil
}

// copy copies the image of a source, when its turn has come, and tells whether the
// two share blocks.
func (e *Engine) copy(ctx context.Context, image *os.File, from engine.Source, how clone.Reflink) (shared bool, err error) {
	src, err := from.Item.Open(file, os.O_RDONLY, 0)
	if err != nil {
		return false, err
	}
	defer src.Close() //nolint:errcheck // read only
	if from.Live {
		if how == clone.Never { // a device that is written to has to be shared first
			return false, fmt.Errorf("%w (allocation: thick copies every block); unpublish it, or make the volume from a snapshot", engine.ErrLive)
		}
		how = clone.Always
	}
	if how != clone.Always {
		select {
		case e.copies <- struct{}{}:
			defer func() { <-e.copies }()
		case <-ctx.Done():
			return false, context.Cause(ctx)
		}
	}
	// What is held for the source is let go the sooner the less the disk has to do.
	early := from.Taken == nil
	shared, err = clone.File(ctx, src, image, clone.Options{Reflink: how, Sync: early, Progress: func(s clone.Stats) {
		if from.Progress != nil {
			from.Progress(engine.Progress{Files: s.Files, Bytes: s.Bytes})
		}
	}})
	if err == nil && from.Taken != nil {
		err = from.Taken()
	}
	if err == nil && shared {
		err = markShared(from.Item)
	}
	if errors.Is(err, clone.ErrNoReflink) {
		err = fmt.Errorf("%w; unpublish it first, or use a pool on XFS or btrfs: %w", engine.ErrLive, err)
	}
	return shared, err
}
