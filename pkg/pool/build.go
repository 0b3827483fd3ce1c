package pool

import (
	"context"
	"errors"
	"fmt"
	"io/fs"

	"github.com/hostvol/hostvol/pkg/engine"
	"github.com/hostvol/hostvol/pkg/host/safepath"
)

// Build makes the volume rec.ID. The function builds it inside the empty item
// directory it gets, and returns what the engine has to know of it; its Bytes
// must be those of rec.
//
// After nil, the volume is whole, durable and in the index. After an error that
// is not ErrFailed, nothing of it is left. After ErrFailed it may be there or
// not, and the pool takes no more writes.
func (p *Pool) Build(ctx context.Context, rec Record, build func(ctx context.Context, item *safepath.Dir) (engine.Volume, error)) (Record, error) {
	if err := p.Failure(); err != nil {
		return Record{}, err
	}
	if err := p.reserve(rec.Bytes); err != nil {
		return Record{}, err
	}
	rec, err := p.stage(ctx, rec, build)
	if err == nil {
		p.step("create.staged")
		err = p.staging.Rename(rec.ID, p.volumesAt, rec.ID)
	}
	if err != nil {
		p.unreserve(rec.Bytes)
		if errors.Is(err, fs.ErrExist) {
			err = fmt.Errorf("%w: %w", ErrExists, err)
		}
		return Record{}, errors.Join(err, p.sweep(ctx, rec))
	}
	p.step("create.renamed")
	if err := p.durable(rec.ID, p.syncVolumes.wait); err != nil {
		return Record{}, err // the reservation stays
	}
	p.step("create.durable")
	p.mu.Lock()
	defer p.mu.Unlock()
	p.ledger.remove(rec.Bytes, 0)
	p.index(rec)
	return rec, nil
}

// stage builds the item in staging/.
func (p *Pool) stage(ctx context.Context, rec Record, build func(context.Context, *safepath.Dir) (engine.Volume, error)) (Record, error) {
	err := p.staging.Mkdir(rec.ID, 0o700)
	if errors.Is(err, fs.ErrExist) { // an earlier sweep failed half-way
		if err = p.sweep(ctx, rec); err == nil {
			err = p.staging.Mkdir(rec.ID, 0o700)
		}
	}
	if err != nil {
		return rec, err
	}
	item, err := p.staging.OpenDir(rec.ID)
	if err != nil {
		return rec, err
	}
	defer item.Close() //nolint:errcheck // nothing was written through it
	p.step("create.begun")
	if rec.Volume, err = build(ctx, item); err != nil {
		return rec, err
	}
	p.step("create.built")
	return rec, WriteRecord(item, rec)
}

// sweep removes an item from staging/, where nothing was ever acknowledged,
// unless somebody's directory that was being adopted lies in it. It ends its
// work even when ctx is done.
func (p *Pool) sweep(ctx context.Context, rec Record) error {
	held, adopted, err := p.adoptedIn(rec.ID)
	if err != nil {
		return err
	}
	if adopted {
		return fmt.Errorf("%w: %s/%s holds a directory that was being adopted from %s; restart the daemon, which ends the adoption", ErrQuarantine, stagingDir, rec.ID, held.Origin)
	}
	e := p.engines[rec.Engine]
	if e == nil {
		return nil
	}
	return e.Destroy(context.WithoutCancel(ctx), p.staging, rec.ID, rec.Volume, nil)
}

// index adds a volume; p.mu is held.
func (p *Pool) index(rec Record) {
	it := &item{rec: rec, used: p.firstUse(rec)}
	p.volumes.Set(rec.ID, it)
	p.ledger.add(rec.Bytes, it.used)
}

// firstUse is what the ledger assumes of a volume that was not measured yet.
func (p *Pool) firstUse(rec Record) int64 {
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
	if rec.Bytes != old.Bytes {
		if err := p.rewrite(item, old, rec); err != nil {
			return Record{}, err
		}
	}
	p.step("expand.durable")
	e := p.engines[rec.Engine]
	if err := e.Apply(ctx, item, rec.Volume); err != nil {
		return Record{}, err
	}
	p.step("expand.applied")
	return rec, nil
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
		sync = p.syncVolumes.wait
	}
	if err := p.sync(sync); err != nil { // the volume is safe with either size
		return err
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.ledger.remove(growth, 0)
	if it, ok := p.volumes.Get(rec.ID); ok {
		p.ledger.remove(it.rec.Bytes, it.used)
		it.rec = rec
		p.ledger.add(rec.Bytes, it.used)
	}
	return nil
}
