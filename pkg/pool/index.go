package pool

import (
	"fmt"

	"github.com/hostvol/hostvol/pkg/host/safepath"
)

// Get finds a volume. The error is ErrNotFound or ErrQuarantine.
func (p *Pool) Get(id string) (Record, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if why, ok := p.doubtful[id]; ok {
		return Record{}, fmt.Errorf("volume %s: %w", id, why)
	}
	if why, ok := p.quarantine[id]; ok {
		return Record{}, fmt.Errorf("%w: volume %s in pool %s: %w", ErrQuarantine, id, p.cfg.Name, why)
	}
	it, ok := p.volumes.Get(id)
	if !ok {
		return Record{}, fmt.Errorf("%w: volume %s", ErrNotFound, id)
	}
	return it.rec, nil
}

// After lists at most n volumes (all for 0) whose ids sort after the given one.
func (p *Pool) After(id string, n int) []Record {
	return p.Select(id, n, func(Record) bool { return true })
}

// Select is After for those volumes only that are wanted. The function is called
// with the pool locked.
func (p *Pool) Select(id string, n int, wanted func(Record) bool) []Record {
	p.mu.Lock()
	defer p.mu.Unlock()
	room := p.volumes.Len()
	if n > 0 {
		room = min(room, n)
	}
	out := make([]Record, 0, room)
	p.volumes.Ascend(id, func(key string, it *item) bool {
		if _, doubtful := p.doubtful[key]; key != id && !doubtful && wanted(it.rec) {
			out = append(out, it.rec)
		}
		return n == 0 || len(out) < n
	})
	return out
}

// Len is the number of volumes.
func (p *Pool) Len() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.volumes.Len()
}

// OpenItem opens the directory of a volume.
func (p *Pool) OpenItem(id string) (*safepath.Dir, error) {
	return p.volumesAt.OpenDir(id)
}

// Quarantined lists what is in the pool and cannot be understood: by id for
// volumes, by path below the pool for the rest. It is never touched.
func (p *Pool) Quarantined() map[string]error {
	p.mu.Lock()
	defer p.mu.Unlock()
	out := make(map[string]error, len(p.quarantine))
	for k, v := range p.quarantine {
		out[k] = v
	}
	return out
}

// Quarantine takes a volume out of service without touching it.
func (p *Pool) Quarantine(id string, why error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.quarantine[id] = why
	if it, ok := p.volumes.Delete(id); ok {
		p.ledger.remove(it.rec.Bytes, it.used)
		p.ledger.add(it.rec.Bytes, unknown)
		p.aside += it.rec.Bytes
	}
}

// Aside is the part of what is reserved that belongs to quarantined volumes.
func (p *Pool) Aside() int64 {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.aside
}
