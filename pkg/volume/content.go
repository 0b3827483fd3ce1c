package volume

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/hostvol/hostvol/pkg/engine"
	"github.com/hostvol/hostvol/pkg/host/safepath"
	"github.com/hostvol/hostvol/pkg/pool"
)

// Content names what a new volume starts with: a snapshot or a volume, by its
// handle. The zero value is nothing.
type Content struct {
	Snapshot, Volume string
}

// none tells that a volume is to be empty.
func (c Content) none() bool { return c == Content{} }

// String implements fmt.Stringer.
func (c Content) String() string {
	if c.Snapshot != "" {
		return "snapshot " + c.Snapshot
	}
	return "volume " + c.Volume
}

// from takes the handle apart. A foreign handle is ErrExhausted in distributed
// mode: the node that has the source can make the volume.
func (s *Service) from(c Content) (pool.From, error) {
	handle := c.Snapshot + c.Volume
	id, ours := s.local(handle)
	switch {
	case c.none():
		return pool.From{}, nil
	case !ours && foreign(handle):
		return pool.From{}, s.elsewhere(ErrNotFound, "%s belongs to another node than %s; the pod must run there", c, s.opts.NodeID)
	case !ours:
		return pool.From{}, kind(ErrNotFound, "%s on node %s", c, s.opts.NodeID)
	case c.Snapshot != "":
		return pool.From{Snapshot: id}, nil
	}
	return pool.From{Volume: id}, nil
}

// content is what the CO is given for the source of a volume.
func (s *Service) content(f pool.From) Content {
	switch {
	case f.Snapshot != "":
		return Content{Snapshot: s.handle(f.Snapshot)}
	case f.Volume != "":
		return Content{Volume: s.handle(f.Volume)}
	}
	return Content{}
}

// keyOf is what locks and copies know a source by.
func keyOf(f pool.From) string {
	if f.Snapshot != "" {
		return snapshotKey(f.Snapshot)
	}
	return volumeKey(f.Volume)
}

// contentOf is keyOf for messages.
func contentOf(f pool.From) string {
	if f == (pool.From{}) {
		return "nothing"
	}
	return keyOf(f)
}

func volumeKey(id string) string   { return "volume " + id }
func snapshotKey(id string) string { return "snapshot " + id }

// origin is a source that is pinned and found. Its volume may grow all the same.
type origin struct {
	pool *pool.Pool
	// rec is the record as it was found.
	rec   pool.Record
	unpin func()
}

// pinned finds a source and keeps it from being deleted. It is ErrNotFound only
// when no pool that is not open can have it.
func (s *Service) pinned(f pool.From) (origin, error) {
	unpin, err := s.locks.pin(keyOf(f))
	if err != nil {
		return origin{}, err
	}
	o := origin{unpin: unpin}
	if f.Snapshot != "" {
		o.pool, o.rec, err = s.findSnapshot(f.Snapshot)
	} else {
		o.pool, o.rec, err = s.find(f.Volume)
	}
	if errors.Is(err, ErrNotFound) {
		if unsure := s.sureOf(keyOf(f)); unsure != nil {
			err = unsure
		}
	}
	if err == nil && !owned(o.rec) {
		err = kind(ErrNotFound, "%w", notTheCOs(o.rec))
	}
	if err != nil {
		unpin()
		return origin{}, err
	}
	return o, nil
}

// size is the source's by now: the record tells of a growth before the limit
// does, so that what was taken of a limited source until now is within it.
func (o origin) size() (int64, error) {
	if o.rec.Snapshot != nil {
		return o.rec.Bytes, nil
	}
	rec, err := o.pool.Get(o.rec.ID)
	return rec.Bytes, err
}

// limited tells whether a limit has kept the content within the size.
func (o origin) limited() bool {
	return o.rec.Enforced || o.rec.Snapshot != nil && o.rec.Snapshot.Limited
}

// within is the size within which a limit has kept the content until now, 0 for
// none. Where that cannot be told, what is made of it has to be measured.
func (o origin) within() int64 {
	if size, err := o.size(); err == nil && o.limited() {
		return size
	}
	return 0
}

// open opens the item of a source.
func (o origin) open() (*safepath.Dir, error) {
	if o.rec.Snapshot != nil {
		return o.pool.OpenSnapshot(o.rec.ID)
	}
	return o.pool.OpenItem(o.rec.ID)
}

// with opens the content of a source for a copy by the engine, and holds it until
// it has been taken.
func (o origin) with(ctx context.Context, j *copying, use func(context.Context, engine.Source) error) error {
	item, err := o.open()
	if err != nil {
		return err
	}
	defer item.Close() //nolint:errcheck // read only
	src := engine.Source{Item: item, Volume: o.rec.Volume, Within: o.within, Progress: j.progress}
	if o.rec.Snapshot != nil { // nobody writes to it
		return use(ctx, src)
	}
	held, err := o.pool.Engine(o.rec.Engine).Hold(ctx, []engine.Source{src})
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	release := releaseOf(held, cancel)
	src.Live, src.Taken = held.Live, release
	err = use(ctx, src)
	if rerr := release(); rerr != nil && !errors.Is(err, rerr) {
		err = errors.Join(err, rerr)
	}
	return err
}

// releaseOf releases what is held, once, and gives the same error from then on. If
// it ends by itself before, the copy is cancelled.
func releaseOf(held engine.Held, cancel context.CancelCauseFunc) func() error {
	stop := func() bool { return true }
	if !held.Until.IsZero() {
		stop = time.AfterFunc(time.Until(held.Until), func() { cancel(engine.ErrThawed) }).Stop
	}
	return sync.OnceValue(func() error {
		stop()
		return held.Release()
	})
}
