package pool

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"

	"github.com/hostvol/hostvol/pkg/engine"
	"github.com/hostvol/hostvol/pkg/host/safepath"
)

// Adopt makes the volume rec.ID of the directory src, which lies outside the
// pool. It moves the directory in, so whoever has it open keeps it; with convert
// it may be copied instead, see engine.Engine. rec.Origin must be set.
//
// Nothing is ever lost: after an error the directory is where it was, or the
// error says where it is.
func (p *Pool) Adopt(ctx context.Context, rec Record, src engine.Entry, spec engine.Spec, convert bool) (Record, error) {
	if err := p.Failure(); err != nil {
		return Record{}, err
	}
	if _, err := p.Get(rec.ID); !errors.Is(err, ErrNotFound) {
		return Record{}, errors.Join(fmt.Errorf("%w: volume %s", ErrExists, rec.ID), err)
	}
	if err := p.reserve(rec.Bytes); err != nil {
		return Record{}, err
	}
	rec, moved, err := p.takeOver(ctx, rec, src, spec, convert)
	if err != nil {
		p.unreserve(rec.Bytes)
		if moved {
			return Record{}, fmt.Errorf("%w (the directory is now %s/%s of pool %s; the daemon ends the adoption when it starts)", err, stagingDir, rec.ID, p.cfg.Name)
		}
		return Record{}, errors.Join(err, p.sweep(ctx, rec))
	}
	p.step("adopt.renamed")
	if err := p.durable(rec.ID, src.Parent.Sync, p.volumes.sync.wait); err != nil {
		return Record{}, err
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.ledger.remove(rec.Bytes, 0)
	p.index(rec)
	return rec, nil
}

// takeOver builds the item in staging/ and renames it to volumes/. moved tells
// that the directory itself lies in the item by now.
func (p *Pool) takeOver(ctx context.Context, rec Record, src engine.Entry, spec engine.Spec, convert bool) (_ Record, moved bool, err error) {
	if err := p.staging.Mkdir(rec.ID, 0o700); err != nil {
		return rec, false, err
	}
	item, err := p.visible(rec.ID)
	if err != nil {
		return rec, false, err
	}
	defer item.Close() //nolint:errcheck // synced where it matters
	// The record is durable before the directory comes in: what lies in staging
	// with such a record is not swept away after a crash.
	moving := func(v engine.Volume) error {
		rec.Volume = v
		if err := WriteRecord(item, rec); err != nil {
			return err
		}
		err := p.durable(rec.ID, item.Sync, p.staging.Sync)
		p.step("adopt.recorded")
		moved = err == nil
		return err
	}
	volume, err := p.engines[rec.Engine].Import(ctx, item, src, spec, convert, moving)
	if err != nil {
		names, nerr := item.Names()
		return rec, moved && (nerr != nil || len(names) > 0), errors.Join(err, nerr)
	}
	p.step("adopt.moved")
	rec.Volume = volume
	if err := WriteRecord(item, rec); err != nil {
		return rec, moved, err
	}
	return rec, moved, p.arrive(rec)
}

// Release undoes an adoption: the content goes to dst, and the volume is gone.
// The item passes through staging/, where a crash leaves it whole.
func (p *Pool) Release(ctx context.Context, id string, dst engine.Entry) error {
	if err := p.Failure(); err != nil {
		return err
	}
	rec, err := p.Get(id)
	if err != nil {
		return err
	}
	if taken, err := dst.Parent.Exists(dst.Name); err != nil {
		return err
	} else if taken {
		return fmt.Errorf("%w: %s/%s; move it away, or delete the volume if that is the original of a converted copy", ErrExists, dst.Parent.Name(), dst.Name)
	}
	if err := p.volumes.at.Rename(id, p.staging, id); err != nil {
		return err
	}
	p.step("release.staged")
	if err := p.export(ctx, rec, dst); err != nil {
		back := p.staging.Rename(id, p.volumes.at, id)
		return errors.Join(err, back)
	}
	p.step("release.moved")
	if err := p.durable(id, dst.Parent.Sync, p.volumes.sync.wait); err != nil {
		return err
	}
	p.mu.Lock()
	if it, ok := p.volumes.items.Delete(id); ok {
		p.ledger.remove(it.rec.Bytes, it.used)
	}
	p.mu.Unlock()
	return p.sweep(ctx, rec)
}

func (p *Pool) export(ctx context.Context, rec Record, dst engine.Entry) error {
	item, err := p.visible(rec.ID)
	if err != nil {
		return err
	}
	defer item.Close() //nolint:errcheck // nothing was written through it
	return p.engines[rec.Engine].Export(ctx, item, rec.Volume, dst)
}

// visible opens an item in staging/ by the pool's path, and not through the
// pool's own mount: a rename works within one mount only, and what is adopted
// lies outside the pool.
func (p *Pool) visible(id string) (*safepath.Dir, error) {
	mine, err := p.staging.OpenDir(id)
	if err != nil {
		return nil, err
	}
	defer mine.Close() //nolint:errcheck // read only
	root, err := safepath.OpenRoot(p.cfg.Path)
	if err != nil {
		return nil, err
	}
	defer root.Close() //nolint:errcheck // read only
	item, err := root.OpenDir(filepath.Join(stagingDir, id))
	if err != nil {
		return nil, err
	}
	want, werr := mine.Identity()
	have, herr := item.Identity()
	if err := errors.Join(werr, herr); err != nil || want != have {
		return nil, errors.Join(fmt.Errorf("%w: %s does not show the pool any more", ErrNotPool, p.cfg.Path), err, item.Close())
	}
	return item, nil
}
