package volume

import (
	"context"
	"errors"
	"path/filepath"
	"time"

	"github.com/hostvol/hostvol/pkg/engine"
	"github.com/hostvol/hostvol/pkg/host/mount"
	"github.com/hostvol/hostvol/pkg/host/safepath"
	"github.com/hostvol/hostvol/pkg/pool"
)

// AdoptRequest says which directory shall become a volume.
type AdoptRequest struct {
	// Pool it goes to, which must be on the same filesystem.
	Pool string
	// Name is the volume's id.
	Name string
	// Path of the directory, absolute.
	Path string
	// Bytes is the volume's size; 0 for DefaultBytes.
	Bytes int64
	// Convert makes its size enforced.
	Convert bool
	// DryRun only checks.
	DryRun bool
}

// Adopt puts a directory under management. Without Convert it is moved into the
// pool by one rename, and its size is not enforced. Release undoes it.
func (s *Service) Adopt(ctx context.Context, r AdoptRequest) (Volume, error) {
	if !pool.ValidID(r.Name) {
		return Volume{}, invalid("%q cannot be a volume's id: lower-case letters, digits, dots and dashes, beginning with a letter or digit, at most 119", r.Name)
	}
	size, err := Range{Required: r.Bytes}.bytes()
	if err != nil {
		return Volume{}, err
	}
	p := s.pools.byName(r.Pool)
	if p == nil {
		return Volume{}, kind(ErrNotFound, "pool %q is not open on this node; the pools are %s", r.Pool, s.poolNames())
	}
	unlock, err := s.locks.try("volume " + r.Name)
	if err != nil {
		return Volume{}, err
	}
	defer unlock()
	if _, _, err := s.find(r.Name); !errors.Is(err, ErrNotFound) {
		return Volume{}, kind(ErrExists, "volume %s; give another name", r.Name)
	}
	if err := s.sure(r.Name); err != nil {
		return Volume{}, err
	}
	src, err := s.adoptable(p, r.Path)
	if err != nil {
		return Volume{}, err
	}
	defer src.Parent.Close() //nolint:errcheck // synced by the pool
	e := p.Engine(directoryEngine)
	if r.Convert && !e.Enforcement().On() {
		return Volume{}, kind(ErrState, "pool %s cannot enforce sizes: %s", p.Name(), e.Enforcement().Reason)
	}
	rec := pool.Record{
		ID: r.Name, Engine: e.Name(), Volume: engine.Volume{Bytes: size}, Born: size,
		Enforce: engine.Preferred, Created: time.Now().UTC(), Origin: r.Path,
	}
	if r.DryRun {
		rec.Enforced = r.Convert
		return s.volume(p, rec), classify(p.Fits(size))
	}
	rec, err = p.Adopt(ctx, rec, src, engine.Spec{Bytes: size, Enforce: rec.Enforce}, r.Convert)
	if err != nil {
		return Volume{}, classify(err)
	}
	logger(ctx).Info("Adopted directory", "volumeID", rec.ID, "pool", p.Name(), "origin", r.Path, "enforced", rec.Enforced)
	return s.volume(p, rec), nil
}

// adoptable opens the parent of a directory that can be moved into the pool.
func (s *Service) adoptable(p *pool.Pool, path string) (engine.Entry, error) {
	if !filepath.IsAbs(path) || filepath.Clean(path) != path || path == "/" {
		return engine.Entry{}, invalid("%q is not an absolute, clean path of a directory", path)
	}
	// By its real path from here on: a link must not hide what it leads to.
	parentPath, err := filepath.EvalSymlinks(filepath.Dir(path))
	if err != nil {
		return engine.Entry{}, kind(ErrNotFound, "%w", err)
	}
	path = filepath.Join(parentPath, filepath.Base(path))
	if err := s.outsidePools(path); err != nil {
		return engine.Entry{}, err
	}
	parent, err := safepath.OpenRoot(parentPath)
	if err != nil {
		return engine.Entry{}, kind(ErrNotFound, "%w", err)
	}
	state, err := mount.Look(parent, filepath.Base(path))
	switch {
	case err != nil:
	case !state.Exists:
		err = kind(ErrNotFound, "%s does not exist", path)
	case !state.Dir:
		err = invalid("%s is not a directory (a link is none)", path)
	case state.Mounted:
		err = invalid("%s is a mount point, which cannot be moved; adopt the directory of the filesystem below it", path)
	default:
		err = s.sameFilesystem(p, path)
	}
	if err != nil {
		return engine.Entry{}, errors.Join(err, parent.Close())
	}
	return engine.Entry{Parent: parent, Name: filepath.Base(path)}, nil
}

func (s *Service) sameFilesystem(p *pool.Pool, path string) error {
	table, err := mount.Table()
	if err != nil {
		return err
	}
	from, _ := mount.At(table, path)
	to, _ := mount.At(table, p.Path())
	if from.Device != to.Device {
		return invalid("%s is not on the filesystem of pool %s (%s); copy it there first", path, p.Name(), p.Path())
	}
	for _, e := range table {
		if mount.Below(e.Point, path) {
			return invalid("something is mounted at %s, inside of the directory; unmount it first", e.Point)
		}
	}
	return nil
}

// Release undoes an adoption: the volume's directory goes back to where it was,
// and the volume is gone. A published volume is ErrInUse.
func (s *Service) Release(ctx context.Context, handle string) (origin string, err error) {
	p, rec, err := s.lookup(handle)
	if err != nil {
		return "", err
	}
	if rec.Origin == "" {
		return "", kind(ErrState, "volume %s was not adopted", rec.ID)
	}
	unlock, err := s.locks.tryAway("volume " + rec.ID)
	if err != nil {
		return "", err
	}
	defer unlock()
	if target := s.publishedAt(rec.ID); target != "" {
		return "", kind(ErrInUse, "volume %s is published at %s; unpublish it first", rec.ID, target)
	}
	parent, err := safepath.OpenRoot(filepath.Dir(rec.Origin))
	if err != nil {
		return "", kind(ErrNotFound, "the directory it came from: %w", err)
	}
	defer parent.Close() //nolint:errcheck // synced by the pool
	if err := p.Release(ctx, rec.ID, engine.Entry{Parent: parent, Name: filepath.Base(rec.Origin)}); err != nil {
		return "", classify(err)
	}
	logger(ctx).Info("Released adopted volume", "volumeID", rec.ID, "pool", p.Name(), "origin", rec.Origin)
	return rec.Origin, nil
}
