package pool

import (
	"errors"
	"fmt"
	"io/fs"

	"github.com/tidwall/btree"

	"github.com/hostvol/hostvol/pkg/host/safepath"
)

// shelf is one of the two directories that hold finished items, and its index:
// volumes/ and snapshots/. An id may be on both.
type shelf struct {
	// dir is its name in the pool, one what an item is called.
	dir, one string
	at       *safepath.Dir
	// sync makes what was renamed into or out of it durable.
	sync *groupSync
	// items are guarded by the pool's mu.
	items btree.Map[string, *item]
}

// shelfOf tells where the item of a record belongs.
func (p *Pool) shelfOf(rec Record) *shelf {
	if rec.Snapshot != nil || rec.Group != nil {
		return &p.snapshots
	}
	return &p.volumes
}

// key names an item in the quarantine and among the doubtful: a volume by its
// id, a snapshot by its path.
func (s *shelf) key(id string) string {
	if s.dir == VolumesDir {
		return id
	}
	return s.dir + "/" + id
}

// staged is the name in staging/ of an item that is being built: for a volume
// its id, for a snapshot one that no volume can have.
func (r Record) staged() string {
	if r.Snapshot != nil || r.Group != nil {
		return r.ID + stagedSnapshot
	}
	return r.ID
}

const stagedSnapshot = "@snapshot"

// get finds an item. The error is ErrNotFound or ErrQuarantine, or that of the
// sync which has left its existence in doubt.
func (p *Pool) get(s *shelf, id string) (Record, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if why, ok := p.doubtful[s.key(id)]; ok {
		return Record{}, fmt.Errorf("%s %s: %w", s.one, id, why)
	}
	if why, ok := p.quarantine[s.key(id)]; ok {
		return Record{}, fmt.Errorf("%w: %s %s in pool %s: %w", ErrQuarantine, s.one, id, p.cfg.Name, why)
	}
	it, ok := s.items.Get(id)
	if !ok {
		return Record{}, fmt.Errorf("%w: %s %s", ErrNotFound, s.one, id)
	}
	return it.rec, nil
}

// choose lists at most n wanted items (all for 0) whose ids sort after the given
// one.
func (p *Pool) choose(s *shelf, after string, n int, wanted func(Record) bool) []Record {
	p.mu.Lock()
	defer p.mu.Unlock()
	room := s.items.Len()
	if n > 0 {
		room = min(room, n)
	}
	out := make([]Record, 0, room)
	s.items.Ascend(after, func(id string, it *item) bool {
		if _, doubtful := p.doubtful[s.key(id)]; id != after && !doubtful && wanted(it.rec) {
			out = append(out, it.rec)
		}
		return n == 0 || len(out) < n
	})
	return out
}

func (p *Pool) count(s *shelf) int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return s.items.Len()
}

// arrive renames a staged item to its shelf.
func (p *Pool) arrive(rec Record) error {
	err := p.staging.Rename(rec.staged(), p.shelfOf(rec).at, rec.ID)
	if errors.Is(err, fs.ErrExist) {
		err = fmt.Errorf("%w: %w", ErrExists, err)
	}
	return err
}

// Snapshot finds a snapshot, as Get finds a volume.
func (p *Pool) Snapshot(id string) (Record, error) { return p.get(&p.snapshots, id) }

// Snapshots is Select for snapshots.
func (p *Pool) Snapshots(after string, n int, wanted func(Record) bool) []Record {
	return p.choose(&p.snapshots, after, n, wanted)
}

// SnapshotCount is the number of snapshots.
func (p *Pool) SnapshotCount() int { return p.count(&p.snapshots) }

// OpenSnapshot opens the directory of a snapshot.
func (p *Pool) OpenSnapshot(id string) (*safepath.Dir, error) {
	if rec, err := p.Snapshot(id); err == nil && rec.Snapshot.Group != "" {
		return p.snapshots.at.OpenDir(rec.Snapshot.Group + "/" + id)
	}
	return p.snapshots.at.OpenDir(id)
}

// QuarantineSnapshot takes a snapshot out of service without touching it.
func (p *Pool) QuarantineSnapshot(id string, why error) { p.quarantineItem(&p.snapshots, id, why) }

func (p *Pool) quarantineItem(s *shelf, id string, why error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.quarantine[s.key(id)] = why
	if it, ok := s.items.Delete(id); ok {
		p.ledger.remove(it.rec.Booked(), it.used)
		p.ledger.add(it.rec.Booked(), unknown)
		p.aside += it.rec.Booked()
	}
}
