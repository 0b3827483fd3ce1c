package directory

import (
	"context"
	"errors"
	"fmt"

	"github.com/hostvol/hostvol/pkg/engine"
	"github.com/hostvol/hostvol/pkg/host/clone"
	"github.com/hostvol/hostvol/pkg/host/safepath"
)

// How a snapshot was made, in records.
const (
	methodSnapshot = "btrfs-snapshot"
	methodReflink  = "reflink"
	methodCopy     = "copy"
)

// Atomic implements engine.Engine.
func (e *Engine) Atomic() bool { return e.method.atomic() }

// Snapshot implements engine.Engine.
func (e *Engine) Snapshot(ctx context.Context, item *safepath.Dir, from engine.Source, want engine.Consistency) (engine.Cut, error) {
	src, err := from.Item.OpenDir(data)
	if err != nil {
		return engine.Cut{}, err
	}
	defer src.Close() //nolint:errcheck // read only
	done, err := e.method.snapshot(item, src, true)
	if err != nil {
		return engine.Cut{}, err
	}
	cut := engine.Cut{Method: methodSnapshot, Consistency: engine.Atomic}
	if !done {
		if want == engine.Atomic {
			return engine.Cut{}, engine.ErrNotAtomic
		}
		if cut, err = e.walk(ctx, item, src, from); err != nil {
			return engine.Cut{}, err
		}
	}
	dir, err := item.OpenDir(data)
	if err != nil {
		return engine.Cut{}, err
	}
	defer dir.Close() //nolint:errcheck // nothing was written through it
	held, err := e.method.seal(dir, !done)
	if done {
		cut.Held = held
	}
	return cut, err
}

// walk makes a snapshot file by file.
func (e *Engine) walk(ctx context.Context, item, src *safepath.Dir, from engine.Source) (engine.Cut, error) {
	if _, err := e.method.make(item, 0, false); err != nil {
		return engine.Cut{}, fmt.Errorf("make directory: %w", err)
	}
	stats, err := e.copyTree(ctx, item, src, from)
	cut := engine.Cut{Method: methodCopy, Consistency: engine.BestEffort, Held: stats.Allocated}
	if stats.Reflinked > 0 {
		cut.Method = methodReflink
	}
	return cut, err
}

// fill makes a volume that starts with the content of from. Whether that fits
// into the volume shows at the end of a snapshot, and in the middle of a copy.
func (e *Engine) fill(ctx context.Context, item *safepath.Dir, from engine.Source, bytes int64, on bool) (engine.Volume, error) {
	src, err := from.Item.OpenDir(data)
	if err != nil {
		return engine.Volume{}, err
	}
	defer src.Close() //nolint:errcheck // read only
	done, err := e.method.snapshot(item, src, false)
	if err != nil {
		return engine.Volume{}, err
	}
	v := engine.Volume{Bytes: bytes, Enforced: on}
	if !done {
		if v, err = e.method.make(item, bytes, on); err != nil {
			return v, fmt.Errorf("make directory: %w", err)
		}
		if _, err := e.copyTree(ctx, item, src, from); err != nil {
			return v, err
		}
	}
	if !on {
		return v, nil
	}
	dir, err := item.OpenDir(data)
	if err != nil {
		return v, err
	}
	defer dir.Close() //nolint:errcheck // durable with the item
	if done {
		err = e.method.limit(dir, bytes)
	}
	if err != nil {
		return v, err
	}
	// The source may have grown since the call, and what it held with it.
	if within := from.Within(); within > 0 && within <= bytes {
		return v, nil
	}
	return v, e.method.fits(dir, bytes, !done)
}

// copyTree copies into the item's data directory, durably, when its turn has
// come.
func (e *Engine) copyTree(ctx context.Context, item, src *safepath.Dir, from engine.Source) (clone.Stats, error) {
	select {
	case e.copies <- struct{}{}:
		defer func() { <-e.copies }()
	case <-ctx.Done():
		return clone.Stats{}, ctx.Err()
	}
	to, err := item.OpenDir(data)
	if err != nil {
		return clone.Stats{}, err
	}
	defer to.Close() //nolint:errcheck // synced by the copy
	options := clone.Options{Reflink: clone.Auto, Sync: true}
	report := func(s clone.Stats) {
		if from.Progress != nil {
			from.Progress(engine.Progress{Files: s.Files + s.Dirs, Bytes: s.Bytes})
		}
	}
	options.Progress = report
	stats, err := clone.Tree(ctx, src.FD(), to.FD(), options)
	report(stats)
	if errors.Is(err, clone.ErrMoved) {
		err = fmt.Errorf("%w: %w", engine.ErrChanging, err)
	}
	return stats, err
}
