package volume

import (
	"context"

	"github.com/hostvol/hostvol/pkg/engine"
	"github.com/hostvol/hostvol/pkg/host/mount"
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
	item, err := p.OpenItem(rec.ID)
	if err != nil {
		return Usage{}, err
	}
	defer item.Close() //nolint:errcheck // read only
	src, err := p.Engine(rec.Engine).Attach(ctx, item)
	if err != nil {
		return Usage{}, err
	}
	defer src.Close() //nolint:errcheck // read only
	if id, err := src.Identity(); err != nil {
		return Usage{}, err
	} else if id != state.Identity {
		return Usage{}, kind(ErrNotFound, "what is mounted at %s is not volume %s", path, handle)
	}
	return p.Engine(rec.Engine).Usage(ctx, item, rec.Volume)
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
