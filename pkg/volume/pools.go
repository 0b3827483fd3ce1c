package volume

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/hostvol/hostvol/pkg/pool"
)

var errNotTried = errors.New("not opened yet")

// pools are the configured pools: open, or closed for a reason.
type pools struct {
	mu         sync.RWMutex
	configured []pool.Config
	open       map[string]*pool.Pool
	order      []*pool.Pool // the open ones, as configured
	closed     map[string]error
	trying     map[string]bool
}

// all lists the open pools in the order of the configuration.
func (ps *pools) all() []*pool.Pool {
	ps.mu.RLock()
	defer ps.mu.RUnlock()
	return ps.order
}

func (ps *pools) byName(name string) *pool.Pool {
	ps.mu.RLock()
	defer ps.mu.RUnlock()
	return ps.open[name]
}

// missing tells why pools are not open; nil when all are.
func (ps *pools) missing() map[string]error {
	ps.mu.RLock()
	defer ps.mu.RUnlock()
	if len(ps.closed) == 0 {
		return nil
	}
	out := make(map[string]error, len(ps.closed))
	for name, why := range ps.closed {
		out[name] = why
	}
	return out
}

// promised is what the other pools on p's filesystem may still write.
func (ps *pools) promised(p *pool.Pool) int64 {
	var bytes int64
	for _, other := range ps.all() {
		if other != p && other.SharesFilesystem(p) {
			bytes += other.Promised()
		}
	}
	return bytes
}

// begin takes a closed pool for one try to open it.
func (ps *pools) begin(name string) bool {
	ps.mu.Lock()
	defer ps.mu.Unlock()
	if _, closed := ps.closed[name]; !closed || ps.trying[name] {
		return false
	}
	ps.trying[name] = true
	return true
}

// end ends a try, and gives the reason why the pool was closed before.
func (ps *pools) end(name string, p *pool.Pool, why error) (before error) {
	ps.mu.Lock()
	defer ps.mu.Unlock()
	delete(ps.trying, name)
	before = ps.closed[name]
	if why != nil {
		ps.closed[name] = why
		return before
	}
	delete(ps.closed, name)
	ps.quarantineTwins(p)
	ps.open[name] = p
	var order []*pool.Pool
	for _, cfg := range ps.configured {
		if p := ps.open[cfg.Name]; p != nil {
			order = append(order, p)
		}
	}
	ps.order = order
	return before
}

// quarantineTwins takes ids out of service that exist in two pools: nobody can
// tell which is meant.
func (ps *pools) quarantineTwins(p *pool.Pool) {
	for _, other := range ps.order {
		for _, rec := range p.After("", 0) {
			if _, err := other.Get(rec.ID); errors.Is(err, pool.ErrNotFound) {
				continue
			}
			why := twins(p, other)
			p.Quarantine(rec.ID, why)
			other.Quarantine(rec.ID, why)
		}
		for _, rec := range p.Snapshots("", 0, func(pool.Record) bool { return true }) {
			if _, err := other.Snapshot(rec.ID); errors.Is(err, pool.ErrNotFound) {
				continue
			}
			why := twins(p, other)
			p.QuarantineSnapshot(rec.ID, why)
			other.QuarantineSnapshot(rec.ID, why)
		}
	}
}

func twins(a, b *pool.Pool) error {
	return fmt.Errorf("it exists in the pools %s and %s; move one of the directories out of its pool while the daemon is stopped", a.Name(), b.Name())
}

// startWait is how long a start waits for a pool to open. A disk that does not
// answer must not keep the others from being served; it is waited for in the
// background.
const startWait = 20 * time.Second

// openPools opens all pools at once.
func (s *Service) openPools(ctx context.Context) {
	done := make(chan struct{})
	go func() {
		var all sync.WaitGroup
		for _, k := range s.keepers {
			all.Go(func() { k.open(ctx) })
		}
		all.Wait()
		close(done)
	}()
	select {
	case <-done:
	case <-time.After(startWait):
		logger(ctx).Error(nil, "A pool's disk does not answer; going on without it", "pools", s.pools.missing())
	}
}

// open tries to open the keeper's pool, unless it is open or another try is
// under way.
func (k *keeper) open(ctx context.Context) {
	if !k.s.pools.begin(k.cfg.Name) {
		return
	}
	p, err := k.s.openPool(ctx, k.cfg)
	before := k.s.pools.end(k.cfg.Name, p, err)
	if err != nil {
		if before.Error() != err.Error() { // say it once
			logger(ctx).Error(err, "Could not open the pool; trying again", "pool", k.cfg.Name, "interval", retryInterval)
		}
		return
	}
	logger(ctx).Info("Opened pool", "pool", p.Name(), "path", p.Path(), "uuid", p.UUID(), "filesystem", p.Filesystem(), "volumes", p.Len(), "trash", len(p.Trash()))
	k.poke()
}

func (s *Service) openPool(ctx context.Context, cfg pool.Config) (*pool.Pool, error) {
	p, err := pool.Open(ctx, cfg, pool.Options{
		Engines: s.opts.Engines, Room: s.opts.Room, Step: s.opts.Step, Promised: s.pools.promised,
		Log: func(message string, kv ...any) { logger(ctx).Info(message, kv...) },
	})
	if err != nil {
		return nil, err
	}
	if err := s.findPublished(p); err != nil {
		return nil, errors.Join(err, p.Close())
	}
	return p, nil
}

// find finds the volume of the id. A quarantined one is an ErrState.
func (s *Service) find(id string) (*pool.Pool, pool.Record, error) {
	for _, p := range s.pools.all() {
		rec, err := p.Get(id)
		if !errors.Is(err, pool.ErrNotFound) {
			return p, rec, classify(err)
		}
	}
	return nil, pool.Record{}, kind(ErrNotFound, "volume %s", id)
}

// lookup finds the volume of a handle. It is ErrNotFound only when no pool that
// is not open can have it.
func (s *Service) lookup(handle string) (*pool.Pool, pool.Record, error) {
	id, ours := s.local(handle)
	if !ours {
		return nil, pool.Record{}, kind(ErrNotFound, "volume %s on node %s", handle, s.opts.NodeID)
	}
	p, rec, err := s.find(id)
	if errors.Is(err, ErrNotFound) {
		if unsure := s.sure(id); unsure != nil {
			err = unsure
		}
	}
	return p, rec, err
}

// lookupOwned is lookup for calls of the CO's controller, to which a pod's
// ephemeral volume is ErrNotFound.
func (s *Service) lookupOwned(handle string) (*pool.Pool, pool.Record, error) {
	p, rec, err := s.lookup(handle)
	if err == nil && !owned(rec) {
		err = kind(ErrNotFound, "%w", notTheCOs(rec))
	}
	return p, rec, err
}

// sure fails with ErrUnavailable while a configured pool is not open: an id
// that is not found may exist in it.
func (s *Service) sure(id string) error { return s.sureOf(volumeKey(id)) }

// sureOf is sure for the key of a volume or snapshot.
func (s *Service) sureOf(key string) error {
	closed := s.pools.missing()
	if closed == nil {
		return nil
	}
	var names []string
	for name := range closed {
		names = append(names, name)
	}
	slices.Sort(names)
	return kind(ErrUnavailable, "%s may be in a pool that is not open (%s): %w", key, strings.Join(names, ", "), closed[names[0]])
}
