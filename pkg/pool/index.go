package pool

import "github.com/hostvol/hostvol/pkg/host/safepath"

// Get finds a volume. The error is ErrNotFound or ErrQuarantine.
func (p *Pool) Get(id string) (Record, error) {
	return p.get(&p.volumes, id)
}

// After lists at most n volumes (all for 0) whose ids sort after the given one.
func (p *Pool) After(id string, n int) []Record {
	return p.Select(id, n, func(Record) bool { return true })
}

// Select is After for those volumes only that are wanted. The function is called
// with the pool locked.
func (p *Pool) Select(id string, n int, wanted func(Record) bool) []Record {
	return p.choose(&p.volumes, id, n, wanted)
}

// Len is the number of volumes.
func (p *Pool) Len() int { return p.count(&p.volumes) }

// OpenItem opens the directory of a volume.
func (p *Pool) OpenItem(id string) (*safepath.Dir, error) {
	return p.volumes.at.OpenDir(id)
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
func (p *Pool) Quarantine(id string, why error) { p.quarantineItem(&p.volumes, id, why) }

// Aside is the part of what is reserved that belongs to quarantined items.
func (p *Pool) Aside() int64 {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.aside
}
