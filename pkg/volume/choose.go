package volume

import (
	"fmt"
	"slices"
	"strings"

	"github.com/hostvol/hostvol/pkg/engine"
	"github.com/hostvol/hostvol/pkg/pool"
)

// directoryEngine makes the volumes for which a class asks nothing else.
const directoryEngine = "directory"

// candidates are the open pools in which a class's volumes can be made, and why
// the others are not among them.
func (s *Service) candidates(params parameters) (fit []*pool.Pool, why []string, err error) {
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
		e := p.Engine(directoryEngine)
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
func (s *Service) choose(params parameters, size int64) (*pool.Pool, engine.Engine, error) {
	fit, why, err := s.candidates(params)
	if err != nil {
		return nil, nil, err
	}
	if len(fit) == 0 {
		return nil, nil, s.elsewhere(ErrState, "no pool on node %s takes the volume: %s", s.opts.NodeID, strings.Join(why, "; "))
	}
	best, most := fit[0], int64(-1)
	for _, p := range fit {
		if len(fit) == 1 {
			break
		}
		space, err := p.Space()
		if err != nil { // a dead disk; the others are tried
			continue
		}
		if space.Available > most && size <= space.Limit {
			best, most = p, space.Available
		}
	}
	return best, best.Engine(directoryEngine), nil
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
