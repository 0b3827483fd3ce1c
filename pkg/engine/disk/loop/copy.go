package loop

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/hostvol/hostvol/pkg/engine"
	"github.com/hostvol/hostvol/pkg/engine/disk"
	"github.com/hostvol/hostvol/pkg/host/clone"
	"github.com/hostvol/hostvol/pkg/host/errno"
	"github.com/hostvol/hostvol/pkg/host/imagefile"
	"github.com/hostvol/hostvol/pkg/host/safepath"
)

// sharedNote is the attribute of an item whose file has shared blocks with
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

// Copy implements disk.Backing.
func (b *Backing) Copy(ctx context.Context, item *safepath.Dir, from engine.Source, o disk.CopyOptions) (f *os.File, shared bool, err error) {
	mode := os.FileMode(0o600)
	if o.Snapshot {
		mode = 0o400
	}
	if f, err = create(item, mode); err != nil {
		return nil, false, err
	}
	how := clone.Auto
	if o.Alone {
		how = clone.Never
	}
	shared, err = b.copy(ctx, f, from, how)
	if err == nil && shared && !o.Snapshot {
		err = markShared(item)
	}
	return f, shared, err
}

// copy copies the file of a source, when its turn has come, and reports whether the
// two share blocks.
func (b *Backing) copy(ctx context.Context, f *os.File, from engine.Source, how clone.Reflink) (shared bool, err error) {
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
	// What is held for the source is let go the sooner the less the disk has to do.
	early := from.Taken == nil
	clones := func(how clone.Reflink) (bool, error) {
		return clone.File(ctx, src, f, clone.Options{Reflink: how, Sync: early, Progress: func(s clone.Stats) {
			if from.Progress != nil {
				from.Progress(engine.Progress{Files: s.Files, Bytes: s.Bytes})
			}
		}})
	}
	if how != clone.Never {
		shared, err = clones(clone.Always)
	}
	if how == clone.Never || how == clone.Auto && errors.Is(err, clone.ErrNoReflink) {
		end, terr := b.turn(ctx, from.Taken != nil)
		if terr != nil {
			return false, terr
		}
		defer end()
		shared, err = clones(how)
	}
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

// turn waits until a copy block by block may begin; not while something is held
// for it, which may be a frozen filesystem.
func (b *Backing) turn(ctx context.Context, held bool) (end func(), err error) {
	end = func() { <-b.copies }
	select {
	case b.copies <- struct{}{}:
		return end, nil
	default:
	}
	if held {
		return nil, fmt.Errorf("%w: %d copies go on in this pool; try again", engine.ErrBusy, maxCopies)
	}
	select {
	case b.copies <- struct{}{}:
		return end, nil
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
}

// probeBytes is how much of a disk CopyTime copies to tell how fast that goes.
const probeBytes = 32 << 20

// CopyTime implements disk.Backing: it copies a little, and reckons with the rest. A
// disk of no more than that is copied before it can be told.
func (b *Backing) CopyTime(ctx context.Context, item *safepath.Dir) (time.Duration, error) {
	src, err := b.Blocks(item)
	if err != nil {
		return 0, err
	}
	defer src.Close() //nolint:errcheck // read only
	all, err := imagefile.Allocated(src)
	if err != nil || all <= probeBytes {
		return 0, err
	}
	name := fmt.Sprintf(".probe-%d", time.Now().UnixNano()) // no volume can have it
	dst, err := scratch(b.opts.Staging, name)
	if errno.NoSpace(err) {
		return 0, nil // the copy finds out
	}
	if err != nil {
		return 0, err
	}
	defer drop(b.opts.Staging, dst, name)
	begin := time.Now()
	n, err := clone.Head(ctx, src, dst, probeBytes)
	if err == nil {
		err = dst.Sync()
	}
	if errno.NoSpace(err) || err == nil && n == 0 {
		return 0, nil
	}
	return time.Duration(float64(time.Since(begin)) * float64(all) / float64(n)), err
}
