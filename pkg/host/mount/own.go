package mount

import (
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"

	"golang.org/x/sys/unix"

	"github.com/hostvol/hostvol/pkg/host/safepath"
)

// Own opens the directory path through a private mount of its own, which holds
// nothing but that directory's filesystem. Binds of what lies below cost the
// same however many mounts the machine has, because open_tree(2) walks the
// children of the mount it clones, and this one has none; and what others
// mount below path is not in the way.
//
// The room keeps the mount; release ends it. Where even open_tree is missing, the
// directory is opened as it is.
func (r *Room) Own(path string) (dir *safepath.Dir, release func() error, err error) {
	plain, err := safepath.OpenRoot(path)
	if err != nil {
		return nil, nil, err
	}
	tree, err := clone(plain.FD())
	if lacks(err) {
		return plain, func() error { return nil }, nil
	}
	if err = errors.Join(err, plain.Close()); err != nil {
		return nil, nil, &fs.PathError{Op: "clone mount", Path: path, Err: err}
	}
	kept, err := r.keep(tree, path)
	if err != nil {
		return nil, nil, fmt.Errorf("open a mount of its own for %s: %w", path, err)
	}
	if dir, err = reopen(tree, path); err != nil {
		return nil, nil, errors.Join(err, kept.Close())
	}
	return dir, kept.Close, nil
}

// makePrivate cuts the mount off from its peers: what is mounted on the
// original must not appear in ours, nor ours elsewhere.
func makePrivate(tree int) error {
	err := unix.MountSetattr(tree, "", unix.AT_EMPTY_PATH, &unix.MountAttr{Propagation: unix.MS_PRIVATE})
	if lacks(err) {
		return nil
	}
	return err
}

// reopen turns the O_PATH descriptor of open_tree into one that can be read.
func reopen(tree int, path string) (*safepath.Dir, error) {
	fd, err := unix.Openat(tree, ".", unix.O_DIRECTORY|unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, &fs.PathError{Op: "open", Path: path, Err: err}
	}
	return safepath.FromFD(fd, path), nil
}

// Covered opens the directory that the topmost mount on path hides. The caller
// closes it.
func Covered(path string) (*safepath.Dir, error) {
	tree, err := unix.OpenTree(unix.AT_FDCWD, filepath.Dir(path), unix.OPEN_TREE_CLONE|unix.OPEN_TREE_CLOEXEC)
	if err != nil {
		return nil, &fs.PathError{Op: "clone mount", Path: filepath.Dir(path), Err: err}
	}
	defer unix.Close(tree) //nolint:errcheck // only looked at
	fd, err := unix.Openat(tree, filepath.Base(path), unix.O_DIRECTORY|unix.O_RDONLY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, &fs.PathError{Op: "open", Path: path, Err: err}
	}
	return safepath.FromFD(fd, path), nil
}
