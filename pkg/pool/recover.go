package pool

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"strings"

	"github.com/hostvol/hostvol/pkg/engine"
	"github.com/hostvol/hostvol/pkg/host/errno"
	"github.com/hostvol/hostvol/pkg/host/safepath"
)

// recover opens the engines, indexes what is there, applies every limit, and
// removes what was never acknowledged. It is called once, before anything else
// can happen in the pool.
func (p *Pool) recover(ctx context.Context) error {
	engines, err := p.opts.Engines(ctx, Place{Root: p.root, Staging: p.staging, Filesystem: p.fs, EnableQuota: p.cfg.EnableQuota, ReadOnly: p.readOnly})
	if err != nil {
		return err
	}
	for _, e := range engines {
		p.engines[e.Name()] = e
	}
	// Staging comes last: what is removed there must not take along an id of
	// something that is still to be found.
	for _, scan := range []func(context.Context) error{p.recoverVolumes, p.recoverSnapshots, p.recoverTrash, p.recoverStaging} {
		if err := scan(ctx); err != nil {
			return err
		}
	}
	return nil
}

func (p *Pool) recoverVolumes(ctx context.Context) error { return p.recoverShelf(ctx, &p.volumes) }

func (p *Pool) recoverSnapshots(ctx context.Context) error {
	return p.recoverShelf(ctx, &p.snapshots)
}

func (p *Pool) recoverShelf(ctx context.Context, s *shelf) error {
	names, err := s.at.Names()
	if err != nil {
		return err
	}
	for _, name := range names {
		if !ValidID(name) {
			p.setAside(s.dir+"/"+name, fmt.Errorf("%w: its name is not an id", ErrRecord))
			continue
		}
		if err := p.recoverItem(ctx, s, name); err != nil {
			p.setAside(s.key(name), err)
		}
	}
	return ctx.Err()
}

func (p *Pool) recoverItem(ctx context.Context, s *shelf, id string) error {
	item, err := s.at.OpenDir(id)
	if err != nil {
		return err
	}
	defer item.Close() //nolint:errcheck // read only
	rec, err := p.readKnown(item, id)
	if err != nil {
		return err
	}
	if p.shelfOf(rec) != s {
		return fmt.Errorf("%w: it is not of a %s", ErrRecord, s.one)
	}
	if rec.Group != nil {
		if err := p.readMembers(item, &rec); err != nil {
			p.setMembersAside(item, rec.ID)
			return err
		}
	}
	p.mu.Lock()
	p.index(rec)
	p.mu.Unlock()
	if !p.readOnly && s == &p.volumes {
		p.apply(ctx, item, rec)
	}
	return nil
}

// apply sets the limit of a volume. If it cannot, the volume is served all the
// same, and health finds what is wrong.
func (p *Pool) apply(ctx context.Context, item *safepath.Dir, rec Record) {
	if err := p.engines[rec.Engine].Apply(ctx, item, rec.Volume); err != nil {
		p.log("Could not apply the size limit", "volumeID", rec.ID, "err", err)
	}
}

// applyLimit is apply for a volume that is not open.
func (p *Pool) applyLimit(rec Record) {
	item, err := p.OpenItem(rec.ID)
	if err != nil {
		p.log("Could not apply the size limit", "volumeID", rec.ID, "err", err)
		return
	}
	defer item.Close() //nolint:errcheck // nothing was written through it
	p.apply(context.Background(), item, rec)
}

// readKnown reads the record of an item and tells its engine. What belongs to
// an item without a readable record, every engine is told of.
func (p *Pool) readKnown(item *safepath.Dir, id string) (Record, error) {
	rec, err := ReadRecord(item, id)
	if err == nil && p.engines[rec.Engine] == nil {
		err = fmt.Errorf("%w: made by the engine %q, which this program lacks", ErrRecord, rec.Engine)
	}
	if err != nil {
		for _, e := range p.engines {
			e.Known(item, engine.Volume{})
		}
		return Record{}, err
	}
	p.engines[rec.Engine].Known(item, rec.Volume)
	return rec, nil
}

func (p *Pool) recoverTrash(context.Context) error {
	names, err := p.trashAt.Names()
	if err != nil {
		return err
	}
	for _, name := range names {
		if err := p.recoverTrashEntry(name); err != nil {
			p.setAside(trashDir+"/"+name, err)
		}
	}
	return nil
}

func (p *Pool) recoverTrashEntry(name string) error {
	id, deleted, begun, err := parseTrashName(name)
	if err != nil {
		return err
	}
	item, err := p.trashAt.OpenDir(name)
	if err != nil {
		return err
	}
	defer item.Close() //nolint:errcheck // read only
	rec, err := p.readKnown(item, id)
	if err != nil {
		return err
	}
	if rec.Group != nil && !begun { // of one whose purge has begun, members may be gone
		if err := p.readMembers(item, &rec); err != nil {
			return err
		}
	}
	plain := trashName(id, deleted)
	p.mu.Lock()
	defer p.mu.Unlock()
	e := &TrashEntry{Name: plain, Record: rec, Deleted: deleted, Begun: begun, used: p.firstUse(rec)}
	p.trash.Set(plain, e)
	p.ledger.add(rec.Booked(), e.used)
	p.ledger.trash += rec.Booked()
	return nil
}

// recoverStaging removes what was being built, except a directory that was
// being adopted and has arrived: that is somebody's data, and its record is
// complete, so the adoption is brought to its end.
func (p *Pool) recoverStaging(ctx context.Context) error {
	if p.readOnly {
		return nil
	}
	names, err := p.staging.Names()
	if err != nil {
		return err
	}
	for _, name := range names {
		adopted, err := p.finishAdoption(ctx, name)
		if err == nil && !adopted {
			err = p.destroyUnknown(ctx, name)
			p.log("Removed what was never acknowledged", "name", name)
		}
		if err != nil {
			p.setAside(stagingDir+"/"+name, err)
		}
	}
	return nil
}

// destroyUnknown removes from staging/ what any of the engines may have begun:
// first each lets go of what it has attached, then it goes.
func (p *Pool) destroyUnknown(ctx context.Context, name string) error {
	var errs []error
	if item, err := p.staging.OpenDir(name); err == nil {
		for _, e := range p.engines {
			errs = append(errs, e.Detach(ctx, item, engine.Volume{}))
		}
		errs = append(errs, item.Close())
	}
	for _, e := range p.engines {
		errs = append(errs, e.Destroy(ctx, p.staging, name, engine.Volume{}, nil))
	}
	return errors.Join(errs...)
}

// adoptedIn tells whether an item in staging/ holds a directory that was being
// adopted, and its record. In doubt it is an error: what cannot be read is not
// removed. Before a directory comes in, the record is durable, so an item
// without one holds nothing of the kind.
func (p *Pool) adoptedIn(name string) (rec Record, adopted bool, err error) {
	item, err := p.staging.OpenDir(name)
	if errors.Is(err, fs.ErrNotExist) || errno.Link(err) {
		return Record{}, false, nil
	}
	if err != nil {
		return Record{}, false, err
	}
	defer item.Close() //nolint:errcheck // read only
	rec, err = ReadRecord(item, strings.TrimSuffix(name, stagedSnapshot))
	if errno.NoAttribute(err) {
		return Record{}, false, nil
	}
	if err != nil || rec.Origin == "" {
		return rec, false, err
	}
	names, err := item.Names()
	return rec, len(names) > 0, err
}

// finishAdoption brings an adoption to its end whose directory has come in.
func (p *Pool) finishAdoption(ctx context.Context, name string) (adopted bool, err error) {
	rec, adopted, err := p.adoptedIn(name)
	if err != nil || !adopted {
		return false, err
	}
	if err := p.staging.Rename(name, p.volumes.at, name); errors.Is(err, fs.ErrExist) {
		return true, fmt.Errorf("%w: a directory that was being adopted from %s waits in %s/%s", ErrExists, rec.Origin, stagingDir, name)
	} else if err != nil {
		return true, err
	}
	if err := p.durable(name, p.volumes.sync.wait); err != nil {
		return true, err
	}
	p.log("Finished an adoption", "volumeID", name, "origin", rec.Origin)
	return true, p.recoverItem(ctx, &p.volumes, name)
}

// setAside quarantines something that is not understood, by id or by path.
func (p *Pool) setAside(what string, why error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.quarantine[what] = why
	p.log("Quarantined what cannot be understood; it is left as it is", "item", what, "err", why)
}
