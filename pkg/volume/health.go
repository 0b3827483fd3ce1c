package volume

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/hostvol/hostvol/pkg/engine"
	"github.com/hostvol/hostvol/pkg/pool"
)

// Severity says what a finding means for who uses the volume or pool.
type Severity int

// The severities, as CSI has them.
const (
	Degraded     Severity = iota + 1 // it works, with something to mend
	Inaccessible                     // it cannot be reached
	DataLoss                         // data is gone
)

// Finding is something wrong.
type Finding struct {
	Severity Severity
	// Reason is a CamelCase word for machines.
	Reason string
	// Message tells a person what is wrong and what to do.
	Message string
}

// The reasons of findings besides those of engines.
const (
	PoolMissing      = "PoolMissing"
	PoolReadOnly     = "PoolReadOnly"
	PoolFailed       = "PoolFailed"
	PoolMoved        = "PoolNotAtItsPath"
	PoolNearlyFull   = "PoolNearlyFull"
	PoolFull         = "PoolFull"
	RecordUnreadable = "RecordUnreadable"
	NotMounted       = "NotMounted"
	PurgeStuck       = "PurgeStuck"
	InspectFailed    = "InspectFailed"
)

// Findings are those of one volume.
type Findings struct {
	Handle string
	All    []Finding
}

// healthCache holds what the last round through each pool has found.
type healthCache struct {
	mu sync.Mutex
	by map[string]map[string][]Finding // pool → volume id →
}

func (c *healthCache) replace(pool string, by map[string][]Finding) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.by == nil {
		c.by = map[string]map[string][]Finding{}
	}
	c.by[pool] = by
}

// of copies what was found in a pool.
func (c *healthCache) of(pool string) map[string][]Finding {
	c.mu.Lock()
	defer c.mu.Unlock()
	return maps.Clone(c.by[pool])
}

// FindingCounts tells how many volumes the last round found each reason on.
func (s *Service) FindingCounts() map[string]int {
	out := map[string]int{}
	for _, p := range s.pools.all() {
		for _, found := range s.health.of(p.Name()) {
			for _, f := range found {
				out[f.Reason]++
			}
		}
	}
	return out
}

// VolumeHealth looks at one volume now. path is a target at which it should be
// mounted, "" for none.
func (s *Service) VolumeHealth(ctx context.Context, handle, path string) ([]Finding, error) {
	p, rec, err := s.lookup(handle)
	if errors.Is(err, pool.ErrQuarantine) {
		return []Finding{{Inaccessible, RecordUnreadable, err.Error()}}, nil
	}
	if err != nil {
		if s.isStaticTarget(path) {
			return nil, nil // of a static volume nothing is known but its mount
		}
		return nil, err
	}
	found := append(poolFindings(p), s.inspect(ctx, p, rec, false)...)
	for _, f := range s.health.of(p.Name())[rec.ID] { // what only the walk finds
		if !slices.ContainsFunc(found, func(g Finding) bool { return g.Reason == f.Reason }) && deepReason(f.Reason) {
			found = append(found, f)
		}
	}
	if path != "" && !s.mounted(path) {
		found = append(found, Finding{Inaccessible, NotMounted, fmt.Sprintf("the volume is not mounted at %s; delete the pod so that it is published again", path)})
	}
	return found, nil
}

// deepReason tells findings that only a walk through the files makes.
func deepReason(reason string) bool { return reason == engine.OutsideProject }

// inspect has the engine look at a volume.
func (s *Service) inspect(ctx context.Context, p *pool.Pool, rec pool.Record, deep bool) []Finding {
	item, err := p.OpenItem(rec.ID)
	if err != nil {
		return []Finding{{Inaccessible, InspectFailed, err.Error()}}
	}
	defer item.Close() //nolint:errcheck // read only
	problems, err := p.Engine(rec.Engine).Inspect(ctx, item, rec.Volume, deep)
	if err != nil {
		return []Finding{{Degraded, InspectFailed, err.Error()}}
	}
	var found []Finding
	for _, pr := range problems {
		f := Finding{Degraded, pr.Reason, pr.Message}
		switch {
		case pr.Lost:
			f.Severity = DataLoss
		case pr.Unusable:
			f.Severity = Inaccessible
		}
		found = append(found, f)
	}
	return found
}

// inspectPool looks at every volume of a pool, and keeps what it finds for
// ListHealth.
// last is when the last round was made.
func (s *Service) inspectPool(ctx context.Context, p *pool.Pool, deep bool, last time.Time) {
	before := s.health.of(p.Name())
	by := map[string][]Finding{}
	for _, rec := range p.After("", 0) {
		if ctx.Err() != nil {
			return
		}
		found := s.inspect(ctx, p, rec, deep)
		if !deep { // what only the walk finds stays until the next one
			for _, f := range before[rec.ID] {
				if deepReason(f.Reason) && rec.Created.Before(last) { // not another volume of that id
					found = append(found, f)
				}
			}
		}
		if len(found) > 0 {
			by[rec.ID] = found
		}
	}
	s.health.replace(p.Name(), by)
}

// ListHealth lists volumes of the CO with findings in the order of their ids, paged as
// List is.
func (s *Service) ListHealth(token string, n int) (page []Findings, next string, err error) {
	after, err := decodeToken(token)
	if err != nil {
		return nil, "", err
	}
	by := map[string][]Finding{}
	for _, p := range s.pools.all() {
		for id, found := range s.health.of(p.Name()) {
			if rec, err := p.Get(id); !errors.Is(err, pool.ErrNotFound) && owned(rec) { // it may be gone since
				by[id] = found
			}
		}
		if found := poolFindings(p); len(found) > 0 {
			for _, rec := range p.Select("", 0, owned) {
				by[rec.ID] = append(slices.Clone(found), by[rec.ID]...)
			}
		}
		for id, why := range p.Quarantined() {
			if pool.ValidID(id) {
				by[id] = []Finding{{Inaccessible, RecordUnreadable, why.Error()}}
			}
		}
	}
	for _, id := range slices.Sorted(maps.Keys(by)) {
		if id <= after {
			continue
		}
		if n > 0 && len(page) == n {
			last, _ := s.local(page[n-1].Handle)
			return page, encodeToken(last), nil
		}
		page = append(page, Findings{Handle: s.handle(id), All: by[id]})
	}
	return page, "", nil
}
