package volume

import (
	"context"
	"errors"
	"strings"
	"sync"

	"github.com/hostvol/hostvol/pkg/host/safepath"
	"github.com/hostvol/hostvol/pkg/pool"
)

// What a volume is attached by, such as a loop device, is there from its staging
// or its first publication on, whichever comes first, until it is neither staged
// nor published. What is staged is not kept beyond the process: after a restart
// the publications alone count, and the next one attaches the volume again.

// staged are the volumes that the CO has staged.
type staged struct {
	mu  sync.Mutex
	ids map[string]bool
}

func (s *staged) set(id string, on bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.ids == nil {
		s.ids = map[string]bool{}
	}
	if on {
		s.ids[id] = true
	} else {
		delete(s.ids, id)
	}
}

func (s *staged) has(id string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.ids[id]
}

// idle detaches a volume that is neither staged nor published. The caller holds
// its lock. Of a volume that cannot be found nothing can be attached that the
// next start would not find.
func (s *Service) idle(ctx context.Context, id string) error {
	if s.staged.has(id) || len(s.published.of(id)) > 0 && s.publishedAt(id) != "" {
		return nil
	}
	p, rec, err := s.find(id)
	if err != nil {
		return nil //nolint:nilerr // as above
	}
	return s.detach(ctx, p, rec)
}

// letGo detaches volumes that are attached and neither staged nor published: a target
// was unmounted by hand, or what used the volume in another mount namespace has ended.
func (k *keeper) letGo(ctx context.Context, p *pool.Pool) {
	for _, rec := range p.Select("", 0, func(r pool.Record) bool { return r.Block || r.FSType != "" }) {
		if ctx.Err() != nil {
			return
		}
		if k.s.staged.has(rec.ID) || k.s.publishedAt(rec.ID) != "" || k.s.attachment(ctx, p, rec) == "" {
			continue
		}
		unlock, err := k.s.locks.try(volumeKey(rec.ID))
		if err != nil {
			continue // the next round looks again
		}
		err = k.s.idle(ctx, rec.ID)
		unlock()
		if err != nil {
			k.s.told("Could not detach a volume that nothing uses; the next round tries again", p, rec.ID, err)
		}
	}
}

// attachment says by what a volume is attached, "" for nothing.
func (s *Service) attachment(ctx context.Context, p *pool.Pool, rec pool.Record) (by string) {
	_ = withItem(p, rec.ID, func(item *safepath.Dir) error {
		e := p.Engine(rec.Engine)
		names, err := e.Devices(ctx, item, rec.Volume)
		if err != nil || len(names) == 0 {
			return err
		}
		by = strings.Join(names, ", ")
		if rec.FSType == "" {
			return nil
		}
		sources, err := e.Attached(ctx, item, rec.Volume)
		if len(sources) > 0 {
			by += " (kept mount)"
		}
		for _, src := range sources {
			err = errors.Join(err, src.Close())
		}
		return err
	})
	return by
}

// Attachment says by what a volume is attached, such as "loop7" or "loop7 (kept
// mount)"; "" for nothing. It is for people.
func (s *Service) Attachment(ctx context.Context, handle string) string {
	p, rec, err := s.lookup(handle)
	if err != nil || !rec.Block && rec.FSType == "" {
		return ""
	}
	return s.attachment(ctx, p, rec)
}

func (s *Service) detach(ctx context.Context, p *pool.Pool, rec pool.Record) error {
	return withItem(p, rec.ID, func(item *safepath.Dir) error {
		return p.Engine(rec.Engine).Detach(ctx, item, rec.Volume)
	})
}

func withItem(p *pool.Pool, id string, use func(*safepath.Dir) error) error {
	item, err := p.OpenItem(id)
	if err != nil {
		return err
	}
	defer item.Close() //nolint:errcheck // read only
	return use(item)
}
