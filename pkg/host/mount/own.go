package mount

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
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
// Linux before 6.15 clones only mounts that are attached somewhere. There the
// mount is attached at the directory attachAt, which is made; release takes it
// off. Where even open_tree is missing, the directory is opened as it is.
func Own(path, attachAt string) (dir *safepath.Dir, release func() error, err error) {
	plain, err := safepath.OpenRoot(path)
	if err != nil {
		return nil, nil, err
	}
	tree, err := unix.OpenTree(plain.FD(), "", unix.OPEN_TREE_CLONE|unix.OPEN_TREE_CLOEXEC|unix.AT_EMPTY_PATH)
	if lacks(err) {
		return plain, func() error { return nil }, nil
	}
	defer plain.Close() //nolint:errcheck // read only
	if err != nil {
		return nil, nil, &fs.PathError{Op: "clone mount", Path: path, Err: err}
	}
	// The kernel dissolves a detached mount when this descriptor is closed.
	release = func() error { return unix.Close(tree) }
	defer func() {
		if err != nil {
			err = errors.Join(err, release())
		}
	}()
	if err := makePrivate(tree); err != nil {
		return nil, nil, &fs.PathError{Op: "make private", Path: path, Err: err}
	}
	if dir, err = reopen(tree, path); err != nil {
		return nil, nil, err
	}
	if clonable(dir) {
		return dir, release, nil
	}
	if err := attach(tree, attachAt); err != nil {
		return nil, nil, errors.Join(fmt.Errorf("open a mount of its own for %s: %w", path, err), dir.Close())
	}
	release = func() error {
		return errors.Join(unix.Unmount(attachAt, unix.UMOUNT_NOFOLLOW|unix.MNT_DETACH), unix.Close(tree))
	}
	return dir, release, nil
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

func clonable(dir *safepath.Dir) bool {
	fd, err := unix.OpenTree(dir.FD(), "", unix.OPEN_TREE_CLONE|unix.OPEN_TREE_CLOEXEC|unix.AT_EMPTY_PATH)
	if err != nil {
		return false
	}
	_ = unix.Close(fd)
	return true
}

// attach puts the tree at the directory at, and cuts it off from the peers it
// got there.
func attach(tree int, at string) error {
	if err := os.MkdirAll(at, 0o700); err != nil {
		return err
	}
	parent, err := safepath.OpenRoot(filepath.Dir(at))
	if err != nil {
		return err
	}
	defer parent.Close()                                          //nolint:errcheck // read only
	if _, err := Unmount(parent, filepath.Base(at)); err != nil { // left by a daemon that was killed
		return err
	}
	if err := unix.MoveMount(tree, "", parent.FD(), filepath.Base(at), unix.MOVE_MOUNT_F_EMPTY_PATH); err != nil {
		return &fs.PathError{Op: "attach", Path: at, Err: err}
	}
	return makePrivate(tree)
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
