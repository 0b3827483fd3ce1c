package volume

import (
	"context"
	"errors"
	"io/fs"
	"path/filepath"
	"strings"

	"github.com/hostvol/hostvol/pkg/host/errno"
	"github.com/hostvol/hostvol/pkg/host/mount"
	"github.com/hostvol/hostvol/pkg/host/safepath"
)

// target is a path that the CO has given, below the kubelet's directory, with
// its parent open. The parent was reached without following any link.
type target struct {
	path   string
	parent *safepath.Dir
	name   string
}

func (t target) close() { _ = t.parent.Close() }

// checkTarget checks the form of a path from a request.
func (s *Service) checkTarget(path string) error {
	switch {
	case path == "":
		return invalid("a target path is required")
	case !filepath.IsAbs(path) || filepath.Clean(path) != path || strings.ContainsRune(path, 0):
		return invalid("target %q is not an absolute, clean path", path)
	case !mount.Below(path, s.opts.KubeletDir):
		return invalid("target %q is not below the kubelet's directory %s; if the kubelet has another --root-dir, set kubeletDir", path, s.opts.KubeletDir)
	}
	return nil
}

// checkNew checks a path at which something is to be made: not inside a volume,
// where the pod could see, change and hide it.
func (s *Service) checkNew(path string) error {
	if err := s.checkTarget(path); err != nil {
		return err
	}
	return s.outsideVolumes(path)
}

// outsideVolumes fails for a path inside a volume that is published now.
func (s *Service) outsideVolumes(path string) error {
	for {
		above := s.published.above(path, s.opts.KubeletDir)
		if above == "" {
			return nil
		}
		if s.mounted(above) {
			return invalid("target %q lies inside the volume that is published at %s", path, above)
		}
		s.published.forget(above)
	}
}

// target opens the parent of a path. It fails with ErrInvalid for a path that
// is not to be touched, and with fs.ErrNotExist when the parent is not there.
func (s *Service) target(path string) (target, error) {
	if err := s.checkTarget(path); err != nil {
		return target{}, err
	}
	rel, err := filepath.Rel(s.opts.KubeletDir, filepath.Dir(path))
	if err != nil {
		return target{}, invalid("target %q: %w", path, err)
	}
	parent, err := s.kubelet.OpenDir(rel)
	if errno.Link(err) {
		return target{}, invalid("target %q: a part of the path is a symbolic link or no directory: %w", path, err)
	}
	if err != nil {
		return target{}, err
	}
	return target{path: path, parent: parent, name: filepath.Base(path)}, nil
}

func notExist(err error) bool { return errors.Is(err, fs.ErrNotExist) }

// CheckPath checks that a path from a request is there, and that, if anything is
// mounted there, it is the volume. A volume that is only staged is not mounted.
func (s *Service) CheckPath(ctx context.Context, handle, path string) error {
	p, rec, err := s.lookupOwned(handle)
	if err != nil {
		return err
	}
	t, err := s.target(path)
	if notExist(err) {
		return kind(ErrNotFound, "%w", err)
	}
	if err != nil {
		return err
	}
	defer t.close()
	state, err := mount.Look(t.parent, t.name)
	if err == nil && !state.Exists {
		err = kind(ErrNotFound, "%s does not exist", path)
	}
	if err != nil || !state.Mounted {
		return err
	}
	is, err := s.shows(ctx, p, rec, state)
	if err == nil && !is {
		err = kind(ErrNotFound, "what is mounted at %s is not volume %s", path, handle)
	}
	return err
}
