package volume

import (
	"context"
	"math"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/time/rate"

	"github.com/hostvol/hostvol/pkg/engine"
	"github.com/hostvol/hostvol/pkg/pool"
)

// keeper looks after one configured pool in the background. Each pool has its
// own, so that a disk that does not answer holds up no other.
type keeper struct {
	s    *Service
	cfg  pool.Config
	wake chan struct{}
	// limiter bounds the purge.
	limiter *rate.Limiter
	// next is when the purge looks again, in nanoseconds since 1970.
	next atomic.Int64
}

func newKeeper(s *Service, cfg pool.Config) *keeper {
	limit, burst := rate.Inf, 1
	if s.opts.PurgeRate > 0 {
		limit, burst = rate.Limit(s.opts.PurgeRate), max(1, s.opts.PurgeRate/10)
	}
	return &keeper{s: s, cfg: cfg, wake: make(chan struct{}, 1), limiter: rate.NewLimiter(limit, burst)}
}

// Run does what goes on in the background, until ctx is done: it purges the
// trash, measures volumes, looks for problems, removes ephemeral volumes whose
// pods are gone, and opens pools that were not there. At the end it gives up the
// copies under way, and ends what reads blocks; no more are begun.
func (s *Service) Run(ctx context.Context) {
	var all sync.WaitGroup
	for _, k := range s.keepers {
		all.Go(func() { k.rounds(ctx) })
		all.Go(func() { k.purges(ctx) })
	}
	all.Go(func() {
		<-ctx.Done()
		close(s.stopping)
		s.copies.stop()
	})
	all.Wait()
}

// retryInterval is the time between two tries to open a pool, between two
// measurements of what volumes use, and between two sweeps.
const retryInterval = 30 * time.Second

func (k *keeper) rounds(ctx context.Context) {
	tick := time.NewTicker(retryInterval)
	defer tick.Stop()
	var looked time.Time
	walked := time.Now() // not at once: a restart must not cost a walk through all files
	for {
		if p := k.s.pools.byName(k.cfg.Name); p == nil {
			k.open(ctx)
		} else {
			k.measure(ctx, p)
			k.sweep(ctx, p)
			k.letGo(ctx, p)
			if now := time.Now(); now.Sub(looked) >= k.s.opts.HealthInterval {
				deep := now.Sub(walked) >= k.s.opts.DeepInterval
				p.TryWrite()
				k.s.inspectPool(ctx, p, deep, looked)
				if looked = now; deep {
					walked = now
				}
			}
		}
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

// measure tells the pool what its enforced volumes use.
func (k *keeper) measure(ctx context.Context, p *pool.Pool) {
	for _, rec := range p.After("", 0) {
		if ctx.Err() != nil {
			return
		}
		measure(ctx, p, rec)
	}
}

// measure tells the pool what an enforced volume uses for itself: what it shares
// with a snapshot or clone takes new space when it is written.
func measure(ctx context.Context, p *pool.Pool, rec pool.Record) {
	if !rec.Enforced {
		return
	}
	u, err := usage(ctx, p, rec)
	if err == nil && u.Own {
		p.SetUsed(rec.ID, u.BytesUsed-u.BytesShared)
	}
}

func usage(ctx context.Context, p *pool.Pool, rec pool.Record) (engine.Usage, error) {
	item, err := p.OpenItem(rec.ID)
	if err != nil {
		return engine.Usage{}, err
	}
	defer item.Close() //nolint:errcheck // read only
	return p.Engine(rec.Engine).Usage(ctx, item, rec.Volume)
}

// poke has the purge look now.
func (k *keeper) poke() { k.pokeFor(time.Now()) }

// pokeFor has it look unless it will do so anyway by the time.
func (k *keeper) pokeFor(at time.Time) {
	if at.UnixNano() >= k.next.Load() {
		return
	}
	select {
	case k.wake <- struct{}{}:
	default:
	}
}

func (k *keeper) purges(ctx context.Context) {
	for {
		k.next.Store(math.MaxInt64) // whoever deletes from now on wakes it
		wait := time.Hour
		if p := k.s.pools.byName(k.cfg.Name); p != nil {
			wait = k.purgeExpired(ctx, p)
		}
		k.next.Store(time.Now().Add(wait).UnixNano())
		timer := time.NewTimer(wait)
		select {
		case <-ctx.Done():
			timer.Stop()
			return
		case <-k.wake:
			timer.Stop()
		case <-timer.C:
		}
	}
}
