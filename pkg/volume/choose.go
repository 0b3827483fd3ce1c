package volume

import (
	"fmt"
	"slices"
	"strings"

	"github.com/hostvol/hostvol/pkg/engine"
	"github.com/hostvol/hostvol/pkg/pool"
)

// candidates are the open pools in which the engine can make a class's volumes,
// and why the others are not among them.
func (s *Service) candidates(params parameters, by string) (fit []*pool.Pool, why []string, err error) {
	name := params.pool
	if name == "" {
		name = s.opts.DefaultPool
	}
	if name != "" && !slices.ContainsFunc(s.opts.Pools, func(c pool.Config) bool { return c.Name == name }) {
		return nil, nil, s.elsewhere(ErrInvalid, "there is no pool %q on node %s; there are %s", name, s.opts.NodeID, s.poolNames())
	}
	for _, p := range s.pools.all() {
		if name != "" && p.Name() != name {
			continue
		}
		e := p.Engine(by)
		if params.enforce == engine.Required && !e.Enforcement().On() {
			why = append(why, fmt.Sprintf("pool %s cannot enforce sizes: %s", p.Name(), e.Enforcement().Reason))
			continue
		}
		if err := p.Failure(); err != nil {
			why = append(why, err.Error())
			continue
		}
		fit = append(fit, p)
	}
	return fit, why, nil
}

// choose finds the pool for a new volume: the one asked for, or of those that
// qualify the one with the most space left. Whether it has enough, the pool
// tells when it reserves.
func (s *Service) choose(params parameters, by string, size int64) (*pool.Pool, engine.Engine, error) {
	fit, why, err := s.candidates(params, by)
	if err != nil {
		return nil, nil, err
	}
	if len(fit) == 0 {
		return nil, nil, s.elsewhere(ErrState, "no pool on node %s takes the volume: %s", s.opts.NodeID, strings.Join(why, "; "))
	}
	best := fit[0]
	if len(fit) > 1 {
		best = roomiest(fit, size)
	}
	return best, best.Engine(by), nil
}

// roomiest is the pool with the most space left of those that can ever have the
// size; or else of those whose disk answers; or else the first.
func roomiest(pools []*pool.Pool, size int64) *pool.Pool {
	var best *pool.Pool
	var room pool.Space
	for _, p := range pools {
		space, err := p.Space()
		if err != nil {
			continue
		}
		fits, fitted := size <= space.Limit, size <= room.Limit
		if best == nil || fits && !fitted || fits == fitted && space.Available > room.Available {
			best, room = p, space
		}
	}
	if best == nil {
		return pools[0]
	}
	return best
}

// elsewhere makes an error of the kind is, or in distributed mode, where
// another node may do what this one cannot, an ErrExhausted: on that, and on no
// other, the provisioner lets the scheduler choose again.
func (s *Service) elsewhere(is error, format string, args ...any) error {
	if s.opts.Distributed {
		is = ErrExhausted
	}
	return kind(is, format, args...)
}

func (s *Service) poolNames() string {
	var names []string
	for _, c := range s.opts.Pools {
		names = append(names, c.Name)
	}
	return strings.Join(names, ", ")
}
