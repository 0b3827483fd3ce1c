package volume

import (
	"context"
	"errors"
	"math"
	"strings"
	"sync/atomic"
	"time"

	"golang.org/x/time/rate"

	"github.com/hostvol/hostvol/pkg/pool"
)

// TrashEntry is a deleted volume that can be restored until it is purged.
type TrashEntry struct {
	// Name tells entries apart: the id, an at sign, and the time of deletion in
	// nanoseconds since 1970.
	Name, ID, Pool  string
	Bytes           int64
	Deleted, Expiry time.Time
	// Purging tells that its purge has begun; Problem why it does not end.
	Purging bool
	Problem string
}

// Trash lists what was deleted and not yet purged.
func (s *Service) Trash() []TrashEntry {
	var out []TrashEntry
	for _, p := range s.pools.all() {
		for _, e := range p.Trash() {
			t := TrashEntry{
				Name: e.Name, ID: e.Record.ID, Pool: p.Name(), Bytes: e.Record.Bytes,
				Deleted: e.Deleted, Expiry: e.Deleted.Add(s.opts.Retention), Purging: e.Begun,
			}
			if e.Err != nil {
				t.Problem = e.Err.Error()
			}
			out = append(out, t)
		}
	}
	return out
}

// inTrash finds the entry by its name, or by the volume's id if there is one
// only.
func (s *Service) inTrash(name string) (*pool.Pool, pool.TrashEntry, error) {
	var at *pool.Pool
	var found []pool.TrashEntry
	for _, p := range s.pools.all() {
		for _, e := range p.Trash() {
			if e.Name == name || e.Record.ID == name {
				at, found = p, append(found, e)
			}
		}
	}
	switch len(found) {
	case 0:
		return nil, pool.TrashEntry{}, kind(ErrNotFound, "trash entry %s; `hostvol trash list` shows what there is", name)
	case 1:
		return at, found[0], nil
	}
	var names []string
	for _, e := range found {
		names = append(names, e.Name)
	}
	return nil, pool.TrashEntry{}, invalid("volume %s is in the trash more than once; name one of %s", name, strings.Join(names, ", "))
}

// Restore brings a deleted volume back under its id. name is that of the trash
// entry, or the volume's id where that is clear. It fails with ErrExists when
// there is a volume of that id again, and with ErrState when the purge has
// begun.
func (s *Service) Restore(ctx context.Context, name string) (Volume, error) {
	p, e, err := s.inTrash(name)
	if err != nil {
		return Volume{}, err
	}
	unlock, err := s.locks.try("volume " + e.Record.ID)
	if err != nil {
		return Volume{}, err
	}
	defer unlock()
	if other, _, err := s.find(e.Record.ID); !errors.Is(err, ErrNotFound) {
		return Volume{}, kind(ErrExists, "volume %s is in pool %s; delete it first", e.Record.ID, other.Name())
	}
	if err := s.sure(e.Record.ID); err != nil {
		return Volume{}, err
	}
	rec, err := p.Restore(e.Name)
	if err != nil {
		return Volume{}, classify(err)
	}
	logger(ctx).V(2).Info("Restored volume from the trash", "volumeID", rec.ID, "pool", p.Name())
	return s.volume(p, rec), nil
}

// Purge removes one trash entry for good, now; "" removes all of them. It
// returns when they are gone, or when ctx is done; what is left then is
// continued in the background.
func (s *Service) Purge(ctx context.Context, name string) (int, error) {
	if name != "" {
		p, e, err := s.inTrash(name)
		if err != nil {
			return 0, err
		}
		return 1, classify(p.Purge(ctx, e.Name, s.purger.limiter))
	}
	n := 0
	var errs []error
	for _, p := range s.pools.all() {
		for _, e := range p.Trash() {
			if err := p.Purge(ctx, e.Name, s.purger.limiter); err != nil && !errors.Is(err, pool.ErrNotFound) {
				errs = append(errs, classify(err))
				continue
			}
			n++
		}
	}
	return n, errors.Join(errs...)
}

// purger removes expired trash in the background.
type purger struct {
	limiter *rate.Limiter
	wake    chan struct{}
	// next is when it will look again, in nanoseconds since 1970.
	next atomic.Int64
}

// poke has it look now.
func (p *purger) poke() { p.pokeFor(time.Now()) }

// pokeFor has it look unless it will do so anyway by the time.
func (p *purger) pokeFor(at time.Time) {
	if at.UnixNano() >= p.next.Load() {
		return
	}
	select {
	case p.wake <- struct{}{}:
	default:
	}
}

func (s *Service) runPurge(ctx context.Context) {
	for {
		s.purger.next.Store(math.MaxInt64) // whoever deletes from now on wakes it
		wait := s.purgeExpired(ctx)
		s.purger.next.Store(time.Now().Add(wait).UnixNano())
		timer := time.NewTimer(wait)
		select {
		case <-ctx.Done():
			timer.Stop()
			return
		case <-s.purger.wake:
			timer.Stop()
		case <-timer.C:
		}
	}
}

// purgeExpired purges what is old enough, and tells how long to wait for the
// next.
func (s *Service) purgeExpired(ctx context.Context) time.Duration {
	wait := time.Hour
	for _, p := range s.pools.all() {
		if p.Failure() != nil {
			continue
		}
		for _, e := range p.Trash() {
			if left := time.Until(e.Deleted.Add(s.opts.Retention)); left > 0 && !e.Begun {
				wait = min(wait, left)
				continue
			}
			err := p.Purge(ctx, e.Name, s.purger.limiter)
			switch {
			case ctx.Err() != nil:
				return wait
			case errors.Is(err, pool.ErrNotFound):
			case err != nil:
				wait = min(wait, retryInterval)
				if e.Err == nil || e.Err.Error() != errors.Unwrap(err).Error() {
					logger(ctx).Error(err, "Could not purge; trying again", "pool", p.Name(), "entry", e.Name)
				}
			default:
				logger(ctx).V(2).Info("Purged volume", "volumeID", e.Record.ID, "pool", p.Name())
			}
		}
	}
	return wait
}
