package volume

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"

	"github.com/hostvol/hostvol/pkg/engine"
	"github.com/hostvol/hostvol/pkg/host/mount"
	"github.com/hostvol/hostvol/pkg/pool"
)

// Fault is a broken invariant.
type Fault struct {
	Pool    string `json:"pool"`
	Item    string `json:"item"`
	Reason  string `json:"reason"`
	Message string `json:"message"`
}

// The reasons of faults that only a running daemon, or the mount table, shows.
const (
	FaultIndex   = "IndexDiffersFromDisk"
	FaultAccount = "ReservationsDoNotAddUp"
	FaultDoubled = "MountedTwice"
	FaultGone    = "MountedButNotThere"
	// FaultQuarantined: taken out of service, the message says why.
	FaultQuarantined = "Quarantined"
)

// checkTries is how often a check that ran into changes is made again.
const checkTries = 5

// Check reads every pool from its disk, and compares it with what this service
// believes and with the mount table. It is exact on a quiet pool; faults that
// may be changes under way are looked at again.
func (s *Service) Check(ctx context.Context) ([]Fault, error) {
	faults := []Fault{}
	closed := s.pools.missing()
	for _, cfg := range s.opts.Pools {
		if why := closed[cfg.Name]; why != nil {
			faults = append(faults, Fault{Pool: cfg.Name, Reason: PoolMissing, Message: why.Error()})
			continue
		}
		found, err := s.checkPool(ctx, cfg)
		if err != nil {
			return nil, fmt.Errorf("check pool %s: %w", cfg.Name, err)
		}
		faults = append(faults, found...)
	}
	return faults, nil
}

func (s *Service) checkPool(ctx context.Context, cfg pool.Config) ([]Fault, error) {
	p := s.pools.byName(cfg.Name)
	var last []Fault
	for range checkTries {
		content, err := pool.Check(ctx, cfg, p.Engines())
		if err != nil {
			return nil, err
		}
		table, err := mount.Table()
		if err != nil {
			return nil, err
		}
		found := faultsOf(cfg.Name, content)
		found = append(found, compareIndex(p, content)...)
		found = append(found, quarantineFaults(p)...)
		found = append(found, s.checkMounts(p, table, content)...)
		if len(found) == 0 || slices.Equal(found, last) {
			return found, nil
		}
		last = found
	}
	return last, nil
}

func faultsOf(name string, c pool.Content) []Fault {
	var out []Fault
	for _, f := range c.Faults {
		out = append(out, Fault{Pool: name, Item: f.Item, Reason: f.Reason, Message: f.Message})
	}
	return out
}

// quarantineFaults tell what the daemon has taken out of service for a reason
// that one pool's disk does not show.
func quarantineFaults(p *pool.Pool) []Fault {
	var out []Fault
	q := p.Quarantined()
	for _, item := range slices.Sorted(maps.Keys(q)) {
		if !errors.Is(q[item], pool.ErrRecord) { // told by the disk
			out = append(out, Fault{Pool: p.Name(), Item: item, Reason: FaultQuarantined, Message: q[item].Error()})
		}
	}
	return out
}

// compareIndex compares the daemon's memory with the disk.
func compareIndex(p *pool.Pool, c pool.Content) []Fault {
	var out []Fault
	bad := func(item, reason, format string, args ...any) {
		out = append(out, Fault{Pool: p.Name(), Item: item, Reason: reason, Message: fmt.Sprintf(format, args...)})
	}
	sizes := p.Aside()
	for _, rec := range p.After("", 0) {
		sizes += rec.Booked()
		if on, ok := c.Volumes[rec.ID]; !ok {
			bad(rec.ID, FaultIndex, "the daemon knows the volume, the disk does not")
		} else if on.Volume != rec.Volume {
			bad(rec.ID, FaultIndex, "the daemon knows %+v, the disk has %+v", rec.Volume, on.Volume)
		}
	}
	for id := range c.Volumes {
		if _, err := p.Get(id); errors.Is(err, pool.ErrNotFound) {
			bad(id, FaultIndex, "the disk has the volume, the daemon does not know it")
		}
	}
	for _, rec := range p.Snapshots("", 0, func(pool.Record) bool { return true }) {
		sizes += rec.Booked()
		if on, ok := c.Snapshots[rec.ID]; !ok {
			bad(snapshotKey(rec.ID), FaultIndex, "the daemon knows the snapshot, the disk does not")
		} else if *on.Snapshot != *rec.Snapshot {
			bad(snapshotKey(rec.ID), FaultIndex, "the daemon knows %+v, the disk has %+v", *rec.Snapshot, *on.Snapshot)
		}
	}
	for id := range c.Snapshots {
		if _, err := p.Snapshot(id); errors.Is(err, pool.ErrNotFound) {
			bad(snapshotKey(id), FaultIndex, "the disk has the snapshot, the daemon does not know it")
		}
	}
	for _, rec := range p.Groups() {
		if _, ok := c.Groups[rec.ID]; !ok {
			bad(groupKey(rec.ID), FaultIndex, "the daemon knows the group, the disk does not")
		}
	}
	for id := range c.Groups {
		if _, _, err := p.GetGroup(id); errors.Is(err, pool.ErrNotFound) {
			bad(groupKey(id), FaultIndex, "the disk has the group, the daemon does not know it")
		}
	}
	known := map[string]bool{}
	for _, e := range p.Trash() {
		sizes += e.Record.Booked()
		known[e.Name] = true
		if _, ok := c.Trash[e.Name]; !ok && !e.Purging() {
			bad(e.Name, FaultIndex, "the daemon knows the trash entry, the disk does not")
		}
	}
	for name := range c.Trash {
		if !known[name] {
			bad(name, FaultIndex, "the disk has the trash entry, the daemon does not know it")
		}
	}
	if space, err := p.Space(); err != nil {
		bad("", PoolMissing, "%v", err)
	} else if failed := errors.Is(p.Failure(), pool.ErrFailed); space.Reserved != sizes && !failed { // a failed pool keeps reservations
		bad("", FaultAccount, "%d bytes are reserved; the volumes, the snapshots and the trash add up to %d", space.Reserved, sizes)
	}
	return out
}

// checkMounts looks for a target with two layers, and for one whose volume is
// gone.
func (s *Service) checkMounts(p *pool.Pool, table []mount.Entry, c pool.Content) []Fault {
	var out []Fault
	layers := map[poolMount]int{}
	for _, m := range s.mountsOf(table, p.Path(), s.attachedDevices(p)) {
		if layers[m]++; layers[m] == 2 {
			out = append(out, Fault{Pool: p.Name(), Item: m.id, Reason: FaultDoubled, Message: fmt.Sprintf("it is mounted more than once at %s", m.target)})
		}
		if _, ok := c.Volumes[m.id]; !ok && layers[m] == 1 {
			out = append(out, Fault{Pool: p.Name(), Item: m.id, Reason: FaultGone, Message: fmt.Sprintf("something is mounted at %s that is no volume of the pool any more", m.target)})
		}
	}
	return out
}

// CheckOffline checks a pool whose daemon is not running. What is in staging is
// no fault: the next start removes it.
func CheckOffline(ctx context.Context, cfg pool.Config, engines map[string]engine.Engine) ([]Fault, error) {
	content, err := pool.Check(ctx, cfg, engines)
	if err != nil {
		return nil, fmt.Errorf("check pool %s: %w", cfg.Name, err)
	}
	return faultsOf(cfg.Name, content), nil
}

// Used is what a volume uses in bytes, -1 where nobody counts.
func (s *Service) Used(ctx context.Context, handle string) int64 {
	p, rec, err := s.lookup(handle)
	if err != nil || !rec.Enforced {
		return -1
	}
	u, err := usage(ctx, p, rec)
	if err != nil || !u.Own {
		return -1
	}
	return u.BytesUsed
}
