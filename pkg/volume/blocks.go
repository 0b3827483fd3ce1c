package volume

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"os"
	"time"

	"github.com/hostvol/hostvol/pkg/engine"
	"github.com/hostvol/hostvol/pkg/host/extents"
	"github.com/hostvol/hostvol/pkg/pool"
)

// UseBlocks takes ranges of a snapshot of so many bytes: ascending, none touching
// the next, none beyond the end. An error comes last. It returns when ctx is done,
// and takes its time no longer than the snapshot may be kept from being deleted.
type UseBlocks func(ctx context.Context, bytes int64, ranges iter.Seq2[extents.Range, error]) error

// AllocatedBlocks tells which ranges of a snapshot, from an offset on, may hold
// something else than zeros; see extents.Allocated. Until use returns, a delete of
// the snapshot is ErrBusy. One that is no disk is ErrState, an offset outside of it
// ErrOutOfRange; a stop of the service is ErrUnavailable.
func (s *Service) AllocatedBlocks(ctx context.Context, handle string, from int64, use UseBlocks) error {
	d, err := s.openDisk(handle)
	if err != nil {
		return err
	}
	defer d.close()
	return s.reading(ctx, d, from, use, func(ctx context.Context) iter.Seq2[extents.Range, error] {
		return extents.Allocated(ctx, d.file, from)
	})
}

// ChangedBlocks tells, as AllocatedBlocks does, in which ranges the snapshot target
// may differ from base, an older one of the same volume; see extents.Delta. Two that
// are not such a pair are ErrInvalid.
func (s *Service) ChangedBlocks(ctx context.Context, base, target string, from int64, use UseBlocks) error {
	of, err := s.openDisk(base)
	if err != nil {
		return err
	}
	defer of.close()
	to, err := s.openDisk(target)
	if err != nil {
		return err
	}
	defer to.close()
	if err := successive(of, to); err != nil {
		return err
	}
	return s.reading(ctx, to, from, use, func(ctx context.Context) iter.Seq2[extents.Range, error] {
		return extents.Delta(ctx, of.file, to.file, from)
	})
}

// disk is a pinned snapshot, open for reading.
type disk struct {
	origin
	file *os.File
}

func (d disk) close() {
	_ = d.file.Close() // read only
	d.unpin()
}

func (s *Service) openDisk(handle string) (disk, error) {
	id, ours := s.local(handle)
	if !ours {
		return disk{}, kind(ErrNotFound, "snapshot %s on node %s", handle, s.opts.NodeID)
	}
	o, err := s.pinned(pool.From{Snapshot: id})
	if err != nil {
		return disk{}, err
	}
	d := disk{origin: o}
	if d.file, err = o.blocks(); err != nil {
		o.unpin()
		return disk{}, err
	}
	return d, nil
}

// blocks opens the content as a disk.
func (o origin) blocks() (*os.File, error) {
	item, err := o.open()
	if err != nil {
		return nil, err
	}
	defer item.Close() //nolint:errcheck // read only
	f, err := o.pool.Engine(o.rec.Engine).Blocks(item, o.rec.Volume)
	switch {
	case errors.Is(err, engine.ErrForm):
		return nil, kind(ErrState, "snapshot %s is of a directory, which has no blocks: back up its files; block volumes, and those of the class parameter engine: image, have blocks", o.rec.ID)
	case err != nil:
		return nil, classify(fmt.Errorf("open snapshot %s: %w", o.rec.ID, err))
	}
	return f, nil
}

// successive checks that a volume went from the one to the other.
func successive(base, target disk) error {
	b, t := base.rec, target.rec
	switch {
	case b.Snapshot.Of != t.Snapshot.Of:
		return invalid("snapshot %s is of volume %s, and %s of volume %s: two of one volume are needed", b.ID, b.Snapshot.Of, t.ID, t.Snapshot.Of)
	case !b.Created.Before(t.Created):
		return invalid("the base %s, of %s, is not older than the target %s, of %s: exchange them, or make a full backup",
			b.ID, b.Created.Format(time.RFC3339Nano), t.ID, t.Created.Format(time.RFC3339Nano))
	}
	old, err := base.file.Stat()
	if err != nil {
		return err
	}
	info, err := target.file.Stat()
	if err != nil {
		return err
	}
	if info.Size() < old.Size() { // an image never shrinks
		return invalid("snapshot %s is smaller than %s: they are of two volumes that have had the name %s; make a full backup", t.ID, b.ID, t.Snapshot.Of)
	}
	return nil
}

// reading gives the ranges to their user, until the service stops.
func (s *Service) reading(ctx context.Context, d disk, from int64, use UseBlocks, ranges func(context.Context) iter.Seq2[extents.Range, error]) error {
	size := d.rec.Bytes
	if from < 0 || from > size {
		return kind(ErrOutOfRange, "offset %d of snapshot %s, which has %d bytes", from, d.rec.ID, size)
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	go func() {
		select {
		case <-s.stopping:
			cancel(errStopping)
		case <-ctx.Done():
		}
	}()
	err := use(ctx, size, within(size, ranges(ctx)))
	if err != nil && errors.Is(context.Cause(ctx), errStopping) {
		return kind(ErrUnavailable, "%w; continue behind the last range", errStopping)
	}
	return classify(err)
}

// within cuts what lies beyond the end.
func within(end int64, ranges iter.Seq2[extents.Range, error]) iter.Seq2[extents.Range, error] {
	return func(yield func(extents.Range, error) bool) {
		for r, err := range ranges {
			if err == nil && r.Offset >= end {
				return
			}
			r.Length = min(r.Length, end-r.Offset)
			if !yield(r, err) {
				return
			}
		}
	}
}
