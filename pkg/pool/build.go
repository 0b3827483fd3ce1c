package pool

import (
	"context"
	"errors"
	"fmt"
	"io/fs"

	"github.com/hostvol/hostvol/pkg/engine"
	"github.com/hostvol/hostvol/pkg/host/safepath"
)

// Builder builds an item inside its directory, and completes its record.
type Builder func(ctx context.Context, item *safepath.Dir, rec Record) (Record, error)

// Build makes the volume rec.ID, or the snapshot if rec is of one. The function
// builds it inside the empty item directory it gets, and returns the record with
// what is known then, also with an error; the size of a volume stays as it is.
//
// After nil, the item is whole, durable and in the index. After an error that
// is not ErrFailed, nothing of it is left, nor after a panic of the function.
// After ErrFailed it may be there or not, and the pool takes no more writes.
func (p *Pool) Build(ctx context.Context, rec Record, build Builder) (_ Record, err error) {
	if err := p.Failure(); err != nil {
		return Record{}, err
	}
	reserved := rec.Booked()
	if err := p.reserve(reserved); err != nil {
		return Record{}, err
	}
	arrived, left := false, rec
	left.Volume = engine.Volume{} // only a panic leaves it at that: the engine looks what belongs to it
	defer func() {
		if !arrived {
			p.unreserve(reserved)
			err = errors.Join(err, p.sweep(ctx, left))
		}
	}()
	rec, err = p.stage(ctx, rec, build)
	left = rec
	if err != nil {
		return Record{}, err
	}
	if more := rec.Booked() - reserved; more > 0 { // what a snapshot holds is known only now
		if err := p.reserve(more); err != nil {
			return Record{}, err
		}
		reserved += more
	}
	p.step("create.staged")
	if err := p.arrive(rec); err != nil {
		return Record{}, err
	}
	arrived = true
	p.step("create.renamed")
	s := p.shelfOf(rec)
	if err := p.durable(s.key(rec.ID), s.sync.wait); err != nil {
		return Record{}, err // the reservation stays
	}
	p.step("create.durable")
	p.mu.Lock()
	defer p.mu.Unlock()
	p.ledger.remove(reserved, 0)
	p.index(rec)
	return rec, nil
}

// stage builds the item in staging/.
func (p *Pool) stage(ctx context.Context, rec Record, build Builder) (Record, error) {
	name := rec.staged()
	err := p.staging.Mkdir(name, 0o700)
	if errors.Is(err, fs.ErrExist) { // an earlier sweep failed half-way
		if err = p.sweep(ctx, rec); err == nil {
			err = p.staging.Mkdir(name, 0o700)
		}
	}
	if err != nil {
		return rec, err
	}
	item, err := p.staging.OpenDir(name)
	if err != nil {
		return rec, err
	}
	defer item.Close() //nolint:errcheck // nothing was written through it
	p.step("create.begun")
	built, err := build(ctx, item, rec)
	if err != nil {
		rec.Volume = built.Volume // what belongs to it is released
		return rec, err
	}
	p.step("create.built")
	return built, WriteRecord(item, built)
}

// sweep removes an item from staging/, where nothing was ever acknowledged,
// unless somebody's directory that was being adopted lies in it. It ends its
// work even when ctx is done.
func (p *Pool) sweep(ctx context.Context, rec Record) error {
	held, adopted, err := p.adoptedIn(rec.staged())
	if err != nil {
		return err
	}
	if adopted {
		return fmt.Errorf("%w: %s/%s holds a directory that was being adopted from %s; restart the daemon, which ends the adoption", ErrQuarantine, stagingDir, rec.staged(), held.Origin)
	}
	e := p.engines[rec.Engine]
	if e == nil {
		return nil
	}
	return e.Destroy(context.WithoutCancel(ctx), p.staging, rec.staged(), rec.Volume, nil)
}

// index adds an item; p.mu is held.
func (p *Pool) index(rec Record) {
	if rec.Group != nil {
		p.groups.Set(rec.ID, rec)
		for _, member := range rec.Group.members {
			p.index(member)
		}
		return
	}
	it := &item{rec: rec, used: p.firstUse(rec)}
	p.shelfOf(rec).items.Set(rec.ID, it)
	p.ledger.add(rec.Booked(), it.used)
}

// firstUse is what the ledger assumes of an item that was not measured yet. A
// snapshot writes nothing any more.
func (p *Pool) firstUse(rec Record) int64 {
	if rec.Snapshot != nil || rec.Group != nil {
		return rec.Booked()
	}
	if rec.Enforced {
		return 0
	}
	return unknown
}

// Update replaces the record of a volume by change(old), durably, and then has
// the engine apply it. Growth is booked beforehand. A repeat applies again.
func (p *Pool) Update(ctx context.Context, id string, change func(Record) Record) (Record, error) {
	if err := p.Failure(); err != nil {
		return Record{}, err
	}
	old, err := p.Get(id)
	if err != nil {
		return Record{}, err
	}
	rec := change(old)
	item, err := p.OpenItem(id)
	if err != nil {
		return Record{}, err
	}
	defer item.Close() //nolint:errcheck // synced below
	e := p.engines[rec.Engine]
	if rec.Bytes != old.Bytes {
		if err := e.Grows(ctx, item, old.Volume, rec.Bytes); err != nil {
			return Record{}, err
		}
		if err := p.rewrite(item, old, rec); err != nil {
			return Record{}, err
		}
	}
	p.step("expand.durable")
	if err := e.Apply(ctx, item, rec.Volume); err != nil {
		if errors.Is(err, engine.ErrNotGrown) && rec.Bytes != old.Bytes {
			err = errors.Join(err, p.takeBack(item, rec, old))
		}
		return Record{}, err
	}
	p.step("expand.applied")
	return rec, nil
}

// takeBack makes the record durable again that an item had before a growth which
// came to nothing, and returns what was booked for it.
func (p *Pool) takeBack(item *safepath.Dir, rec, old Record) error {
	if err := WriteRecord(item, old); err != nil {
		return err
	}
	sync := item.Sync
	if p.fs == "btrfs" {
		sync = p.volumes.sync.wait
	}
	if err := p.sync(sync); err != nil {
		return err
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if it, ok := p.volumes.items.Get(rec.ID); ok {
		p.ledger.remove(it.rec.Bytes, it.used)
		it.rec = old
		p.ledger.add(old.Bytes, it.used)
	}
	return nil
}

// rewrite books the growth from old to rec and makes rec durable.
func (p *Pool) rewrite(item *safepath.Dir, old, rec Record) error {
	growth := rec.Bytes - old.Bytes
	if err := p.everFits(rec.Bytes); err != nil {
		return err
	}
	if err := p.reserve(growth); err != nil {
		return err
	}
	if err := WriteRecord(item, rec); err != nil {
		p.unreserve(growth)
		return err
	}
	p.step("expand.recorded")
	sync := item.Sync
	if p.fs == "btrfs" {
		sync = p.volumes.sync.wait
	}
	if err := p.sync(sync); err != nil { // the volume is safe with either size
		return err
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.ledger.remove(growth, 0)
	if it, ok := p.volumes.items.Get(rec.ID); ok {
		p.ledger.remove(it.rec.Bytes, it.used)
		it.rec = rec
		p.ledger.add(rec.Bytes, it.used)
	}
	return nil
}
