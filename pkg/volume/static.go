package volume

import (
	"errors"
	"path/filepath"
	"strings"

	"github.com/hostvol/hostvol/pkg/host/errno"
	"github.com/hostvol/hostvol/pkg/host/mount"
	"github.com/hostvol/hostvol/pkg/host/safepath"
)

// attributePath is the attribute that names the directory of a static volume.
const attributePath = "path"

// static opens the directory of a static volume: below an allowed root, reached
// without following links. It is never taken for a volume of a pool, never
// limited and never deleted. An inline volume may not name one, since its
// attributes are the pod author's and not the administrator's.
func (s *Service) static(handle string, attributes map[string]string) (*safepath.Dir, error) {
	path := attributes[attributePath]
	if attributes[attributeEphemeral] == "true" {
		return nil, invalid("an inline volume cannot have the attribute %s; use a persistent volume", attributePath)
	}
	if id, ours := s.local(handle); ours {
		if _, _, err := s.find(id); err == nil || !errors.Is(err, ErrNotFound) {
			return nil, invalid("handle %s names a volume of a pool, which cannot have the attribute %s; give the static volume another handle", handle, attributePath)
		}
		if err := s.sure(id); err != nil {
			return nil, err
		}
	}
	if !filepath.IsAbs(path) || filepath.Clean(path) != path || strings.ContainsRune(path, 0) {
		return nil, invalid("attribute %s: %q is not an absolute, clean path", attributePath, path)
	}
	if err := s.outsidePools(path); err != nil {
		return nil, err
	}
	for _, root := range s.opts.StaticRoots {
		if !mount.Below(path, root) {
			continue
		}
		dir, err := openStatic(root, strings.TrimPrefix(path[len(root):], "/"))
		switch {
		case errno.Link(err):
			return nil, invalid("attribute %s: a part of %s below %s is a symbolic link or no directory: %w", attributePath, path, root, err)
		case notExist(err):
			return nil, kind(ErrNotFound, "attribute %s: %w", attributePath, err)
		}
		return dir, err
	}
	return nil, invalid("attribute %s: %s is not below any of staticRoots (%s) of node %s", attributePath, path, strings.Join(s.opts.StaticRoots, ", "), s.opts.NodeID)
}

func openStatic(root, rel string) (*safepath.Dir, error) {
	r, err := safepath.OpenRoot(root)
	if err != nil {
		return nil, err
	}
	defer r.Close() //nolint:errcheck // read only
	return r.OpenDir(rel)
}

// IsStatic tells whether the attributes are those of a static volume.
func IsStatic(attributes map[string]string) bool { return attributes[attributePath] != "" }

// StaticContext are the attributes of the static volume of a directory.
func StaticContext(path string) map[string]string { return map[string]string{attributePath: path} }

// CheckStatic checks that a static volume's directory can be used.
func (s *Service) CheckStatic(handle string, attributes map[string]string) error {
	dir, err := s.static(handle, attributes)
	if err != nil {
		return err
	}
	return dir.Close()
}

// outsidePools fails when the path and a pool contain one another, whatever
// links or bind mounts lead there: what lies in a pool is the pool's alone.
func (s *Service) outsidePools(path string) error {
	table, err := mount.Table()
	if err != nil {
		return err
	}
	device, inside, ok := inFilesystem(table, path)
	for _, cfg := range s.opts.Pools {
		pdev, pinside, pok := inFilesystem(table, cfg.Path)
		if ok && pok && device == pdev && (inside == pinside || mount.Below(inside, pinside) || mount.Below(pinside, inside)) {
			return invalid("%s and the pool %s at %s contain one another", path, cfg.Name, cfg.Path)
		}
	}
	return nil
}
