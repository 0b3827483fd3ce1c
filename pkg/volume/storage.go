package volume

import (
	"errors"
	"fmt"
	"maps"
	"slices"

	"github.com/hostvol/hostvol/pkg/pool"
)

// poolFindings are what is wrong with a pool so that all its volumes suffer.
func poolFindings(p *pool.Pool) []Finding {
	var found []Finding
	switch err := p.Failure(); {
	case errors.Is(err, pool.ErrReadOnly):
		found = append(found, Finding{Degraded, PoolReadOnly, err.Error()})
	case err != nil:
		found = append(found, Finding{Degraded, PoolFailed, err.Error() + "; check the disk, then restart the daemon"})
	default:
		if ro, err := p.ReadOnlyNow(); err != nil {
			found = append(found, Finding{Inaccessible, PoolMissing, fmt.Sprintf("pool %s cannot be read: %v", p.Name(), err)})
		} else if ro {
			found = append(found, Finding{Degraded, PoolReadOnly, fmt.Sprintf("the filesystem of pool %s has become read-only, probably after an error; see the kernel's log", p.Name())})
		}
	}
	return found
}

// PoolFinding is a finding about a pool.
type PoolFinding struct {
	Pool string
	Finding
}

// StorageHealth looks at every configured pool now.
func (s *Service) StorageHealth() []PoolFinding {
	var out []PoolFinding
	closed := s.pools.missing()
	for _, name := range slices.Sorted(maps.Keys(closed)) {
		out = append(out, PoolFinding{name, Finding{Inaccessible, PoolMissing, closed[name].Error()}})
	}
	for _, p := range s.pools.all() {
		for _, f := range slices.Concat(poolFindings(p), spaceFindings(p), placeFindings(p), contentFindings(p)) {
			out = append(out, PoolFinding{p.Name(), f})
		}
	}
	return out
}

// Shares of a pool's space from which on it counts as full, in percent.
const (
	nearlyFull = 85
	full       = 97
)

// spaceFindings tell of a filesystem that fills up.
func spaceFindings(p *pool.Pool) []Finding {
	space, err := p.Space()
	if err != nil || space.Total == 0 {
		return nil // told by poolFindings
	}
	used := 100 - space.Free*100/space.Total
	message := fmt.Sprintf("%d %% of the filesystem of pool %s is used; delete volumes, purge the trash, or grow the disk", used, p.Name())
	switch {
	case used >= full:
		return []Finding{{Degraded, PoolFull, message}}
	case used >= nearlyFull:
		return []Finding{{Degraded, PoolNearlyFull, message}}
	}
	return nil
}

// placeFindings tell of a pool that is not what its path shows any more: its
// disk was unmounted under the daemon, or another mounted over it.
func placeFindings(p *pool.Pool) []Finding {
	there, err := p.AtItsPath()
	if err == nil && there {
		return nil
	}
	return []Finding{{Degraded, PoolMoved, fmt.Sprintf("%s does not show pool %s any more (was its disk unmounted?); it is served until the daemon is restarted", p.Path(), p.Name())}}
}

// contentFindings tell of what is in a pool and is not understood or not
// removed.
func contentFindings(p *pool.Pool) []Finding {
	var found []Finding
	if q := p.Quarantined(); len(q) > 0 {
		names := slices.Sorted(maps.Keys(q))
		found = append(found, Finding{Degraded, RecordUnreadable, fmt.Sprintf("%d items of pool %s are quarantined, first %s: %v; run `hostvol check`", len(q), p.Name(), names[0], q[names[0]])})
	}
	for _, e := range p.Trash() {
		if e.Err != nil {
			return append(found, Finding{Degraded, PurgeStuck, fmt.Sprintf("trash entry %s of pool %s cannot be purged: %v", e.Name, p.Name(), e.Err)})
		}
	}
	return found
}
