package volume

import (
	"context"
	"errors"

	"github.com/hostvol/hostvol/pkg/engine"
	"github.com/hostvol/hostvol/pkg/host/mount"
	"github.com/hostvol/hostvol/pkg/host/safepath"
	"github.com/hostvol/hostvol/pkg/pool"
)

// Usage is what a volume takes; see engine.Usage.
type Usage = engine.Usage

// Stats tells what a volume that is mounted at the path uses, in constant time:
// of its own where its size is enforced, else of the filesystem. ErrNotFound
// means that the volume is not there, or not at that path. A handle that no pool
// knows is a static volume's if one is mounted at the path.
func (s *Service) Stats(ctx context.Context, handle, path string) (Usage, error) {
	p, rec, err := s.lookup(handle)
	known := err == nil
	if err != nil && !s.isStaticTarget(path) {
		return Usage{}, err
	}
	t, terr := s.target(path)
	if terr != nil {
		return Usage{}, kind(ErrNotFound, "volume %s at %s: %w", handle, path, terr)
	}
	defer t.close()
	state, lerr := mount.Look(t.parent, t.name)
	if lerr != nil {
		return Usage{}, lerr
	}
	if !state.Mounted {
		return Usage{}, kind(ErrNotFound, "volume %s is not mounted at %s", handle, path)
	}
	if !known {
		return s.staticUsage(t)
	}
	if is, err := s.shows(ctx, p, rec, state); err != nil {
		return Usage{}, err
	} else if !is {
		return Usage{}, kind(ErrNotFound, "what is mounted at %s is not volume %s", path, handle)
	}
	if rec.FSType != "" { // the filesystem is the volume's own, and counts inodes, too
		u, err := s.staticUsage(t)
		u.Own = true
		return u, err
	}
	return usage(ctx, p, rec)
}

// shows tells whether what is mounted is the volume.
func (s *Service) shows(ctx context.Context, p *pool.Pool, rec pool.Record, mounted mount.State) (is bool, err error) {
	err = withItem(p, rec.ID, func(item *safepath.Dir) error {
		sources, err := p.Engine(rec.Engine).Attached(ctx, item, rec.Volume)
		for _, src := range sources {
			id, ierr := src.Identity()
			is = is || ierr == nil && id == mounted.Identity
			err = errors.Join(err, ierr, src.Close())
		}
		return err
	})
	return is, err
}

func (s *Service) staticUsage(t target) (Usage, error) {
	dir, err := t.parent.OpenDir(t.name)
	if err != nil {
		return Usage{}, err
	}
	defer dir.Close() //nolint:errcheck // read only
	space, err := dir.Space()
	if err != nil {
		return Usage{}, err
	}
	return engine.FilesystemUsage(space), nil
}
