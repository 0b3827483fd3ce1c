package volume

import (
	"github.com/hostvol/hostvol/pkg/engine"
	"github.com/hostvol/hostvol/pkg/pool"
)

// PoolStatus is a configured pool as it is now.
type PoolStatus struct {
	Name, Path, UUID, Filesystem string
	// Problem is why the pool is not open, or takes no writes; "" is fine.
	Problem string
	Open    bool
	// Enforcement of sizes, and why there is none.
	Enforcement engine.Enforcement
	Space       pool.Space
	Volumes     int
	Snapshots   int
	// Trash is the number of entries.
	Trash       int
	Quarantined int
}

// Pools tells of every configured pool.
func (s *Service) Pools() []PoolStatus {
	closed := s.pools.missing()
	out := make([]PoolStatus, 0, len(s.opts.Pools))
	for _, cfg := range s.opts.Pools {
		st := PoolStatus{Name: cfg.Name, Path: cfg.Path}
		if why := closed[cfg.Name]; why != nil {
			st.Problem = why.Error()
		}
		if p := s.pools.byName(cfg.Name); p != nil {
			st = status(p)
		}
		out = append(out, st)
	}
	return out
}

func status(p *pool.Pool) PoolStatus {
	st := PoolStatus{
		Name: p.Name(), Path: p.Path(), UUID: p.UUID(), Filesystem: p.Filesystem(), Open: true,
		Enforcement: p.Engine(directoryEngine).Enforcement(),
		Volumes:     p.Len(), Snapshots: p.SnapshotCount(), Trash: len(p.Trash()), Quarantined: len(p.Quarantined()),
	}
	var err error
	if st.Space, err = p.Space(); err == nil {
		err = p.Failure()
	}
	if err != nil {
		st.Problem = err.Error()
	}
	return st
}

// NodeID is this node's name.
func (s *Service) NodeID() string { return s.opts.NodeID }

// Segments are where this node's volumes can be reached.
func (s *Service) Segments() map[string]string {
	return map[string]string{s.opts.TopologyKey: s.opts.NodeID}
}

// Distributed tells whether one service runs on each node.
func (s *Service) Distributed() bool { return s.opts.Distributed }
