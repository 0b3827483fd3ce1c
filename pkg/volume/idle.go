package volume

import (
	"context"
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
