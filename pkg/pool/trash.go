package pool

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"time"

	"golang.org/x/time/rate"
)

// TrashEntry is a deleted volume or snapshot that is not yet purged.
type TrashEntry struct {
	// Name in trash/, which tells entries of the same id apart.
	Name    string
	Record  Record
	Deleted time.Time
	// Begun tells that its purge has begun: it cannot be restored.
	Begun bool
	// Err is why the last purge did not end.
	Err error

	used int64
	busy bool
}

// Purging tells that it is being purged now: it may be off the disk already, while
// its quota is still being removed.
func (e TrashEntry) Purging() bool { return e.busy }

// Discard moves a volume to the trash: two renames' worth of work, whatever it
// holds. After nil it is durably gone from volumes/.
func (p *Pool) Discard(id string) error { return p.discard(&p.volumes, id, false) }

// DiscardSnapshot is Discard for a snapshot.
func (p *Pool) DiscardSnapshot(id string) error { return p.discard(&p.snapshots, id, false) }

// Remove is Discard of a volume that nobody shall restore: its purge has begun
// with the rename. The caller sees to it that it goes on.
func (p *Pool) Remove(id string) error { return p.discard(&p.volumes, id, true) }

func (p *Pool) discard(s *shelf, id string, begun bool) error {
	if err := p.Failure(); err != nil {
		return err
	}
	if _, err := p.get(s, id); err != nil {
		return err
	}
	now := time.Now()
	name := trashName(id, now)
	entry := name
	if begun {
		entry += purging
	}
	if err := s.at.Rename(id, p.trashAt, entry); err != nil {
		return err
	}
	p.step("delete.renamed")
	// Gone from the index before it is durable: a crash may bring it back, and
	// a repeated delete is then a new one.
	p.mu.Lock()
	if it, ok := s.items.Delete(id); ok {
		p.throwAway(it.rec, name, now, begun, it.used)
	}
	p.mu.Unlock()
	err := p.syncBoth(s, id)
	p.step("delete.durable")
	p.settle(name)
	return err
}

// throwAway books an item as trash; p.mu is held.
func (p *Pool) throwAway(rec Record, name string, at time.Time, begun bool, used int64) {
	p.trash.Set(name, &TrashEntry{Name: name, Record: rec, Deleted: at, Begun: begun, used: used, busy: true})
	p.ledger.trash += rec.Booked()
}

// syncBoth makes a rename between a shelf and trash/ durable. The target comes
// first, though one journal commit carries both halves.
func (p *Pool) syncBoth(s *shelf, id string) error {
	if s.sync == p.syncTrash {
		return p.durable(s.key(id), p.syncTrash.wait)
	}
	return p.durable(s.key(id), p.syncTrash.wait, s.sync.wait)
}

// claim takes a trash entry for one change; settle ends it.
func (p *Pool) claim(name string) (*TrashEntry, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	e, ok := p.trash.Get(name)
	switch {
	case !ok:
		return nil, fmt.Errorf("%w: trash entry %s in pool %s", ErrNotFound, name, p.cfg.Name)
	case e.busy && e.Begun:
		return nil, fmt.Errorf("trash entry %s: %w", name, ErrPurging)
	case e.busy:
		return nil, fmt.Errorf("trash entry %s: %w", name, ErrBusy)
	}
	e.busy = true
	return e, nil
}

// ErrBusy means that another call works on the entry.
var ErrBusy = errors.New("another operation on it is under way")

func (p *Pool) settle(name string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if e, ok := p.trash.Get(name); ok {
		e.busy = false
	}
}

// Restore moves a trash entry back to its shelf, durably. It fails with
// ErrExists when there is such an item of that id, and with ErrPurging when the
// purge has begun. Its space was never given away.
func (p *Pool) Restore(name string) (Record, error) {
	if err := p.Failure(); err != nil {
		return Record{}, err
	}
	e, err := p.claim(name)
	if err != nil {
		return Record{}, err
	}
	defer p.settle(name)
	id, s := e.Record.ID, p.shelfOf(e.Record)
	if e.Begun {
		return Record{}, fmt.Errorf("trash entry %s: %w", name, ErrPurging)
	}
	if err := p.vacant(e.Record, name); err != nil {
		return Record{}, err
	}
	if err := p.trashAt.Rename(name, s.at, id); errors.Is(err, fs.ErrExist) {
		return Record{}, fmt.Errorf("%w: %w", ErrExists, err)
	} else if err != nil {
		return Record{}, err
	}
	p.step("restore.renamed")
	if err := p.syncBoth(s, id); err != nil {
		return Record{}, err
	}
	p.step("restore.durable")
	if s == &p.volumes {
		p.applyLimit(e.Record) // start-up sets those of volumes only
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.trash.Delete(name)
	p.ledger.trash -= e.Record.Booked()
	if e.Record.Group != nil {
		p.shelveGroup(e.Record)
	} else {
		s.items.Set(id, &item{rec: e.Record, used: e.used})
	}
	return e.Record, nil
}

// vacant fails with ErrExists when there is an item of the id, or of one of a
// group's members.
func (p *Pool) vacant(rec Record, name string) error {
	s := p.shelfOf(rec)
	ids := []string{rec.ID}
	if rec.Group != nil {
		for _, member := range rec.Group.members {
			ids = append(ids, member.ID)
		}
	}
	for _, id := range ids {
		if _, err := p.get(s, id); !errors.Is(err, ErrNotFound) {
			return fmt.Errorf("%w: %s %s; delete it first, or keep the trash entry %s and copy from it", ErrExists, s.one, id, name)
		}
	}
	return nil
}

// Purge removes a trash entry for good, as fast as the limiter lets it. The
// first thing it does is to mark the entry, so that after a crash nobody
// restores half a volume. A purge that was cut short is continued by the next.
func (p *Pool) Purge(ctx context.Context, name string, limiter *rate.Limiter) error {
	if err := p.Failure(); err != nil {
		return err
	}
	e, err := p.claim(name)
	if err != nil {
		return err
	}
	err = p.purge(ctx, e, limiter)
	p.mu.Lock()
	defer p.mu.Unlock()
	e.busy, e.Err = false, err
	if err != nil {
		return fmt.Errorf("purge %s of pool %s: %w", name, p.cfg.Name, err)
	}
	p.trash.Delete(name)
	p.ledger.trash -= e.Record.Booked()
	p.ledger.remove(e.Record.Booked(), e.used)
	return nil
}

func (p *Pool) purge(ctx context.Context, e *TrashEntry, limiter *rate.Limiter) error {
	marked := e.Name + purging
	if !e.Begun {
		if err := p.trashAt.Rename(e.Name, p.trashAt, marked); err != nil {
			return err
		}
		p.mu.Lock()
		e.Begun = true
		p.mu.Unlock()
	}
	p.step("purge.marked")
	eng := p.engines[e.Record.Engine]
	if eng == nil {
		return fmt.Errorf("%w: made by the engine %q, which this program lacks", ErrQuarantine, e.Record.Engine)
	}
	if err := eng.Destroy(ctx, p.trashAt, marked, e.Record.Volume, limiter); err != nil {
		return err
	}
	p.step("purge.removed")
	return nil
}

// Trash lists the trash entries in the order of their names.
func (p *Pool) Trash() []TrashEntry {
	p.mu.Lock()
	defer p.mu.Unlock()
	out := make([]TrashEntry, 0, p.trash.Len())
	p.trash.Scan(func(_ string, e *TrashEntry) bool {
		out = append(out, *e)
		return true
	})
	return out
}
