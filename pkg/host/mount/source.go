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

// Source is what can be mounted on a target: a directory, a device node, or a
// filesystem that is mounted nowhere yet. Close ends it; what was mounted from
// it stays.
type Source struct {
	name string
	fd   int
	// dir owns fd when the source is a directory.
	dir *safepath.Dir
	// fresh tells that fd is a mount of its own, which the first Mount moves.
	fresh bool
	// kept means that fd is a mount that stays; each Mount moves a clone of it.
	kept bool
	node bool
}

// OfDir makes a source of an open directory, and takes it over.
func OfDir(d *safepath.Dir) *Source { return &Source{name: d.Name(), fd: d.FD(), dir: d} }

// OfNode makes a source of a device node, which is that of the open device.
func OfNode(path string, device *os.File) (*Source, error) {
	fd, err := unix.Open(path, unix.O_PATH|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, &fs.PathError{Op: "open", Path: path, Err: err}
	}
	var at, is unix.Stat_t
	err = errors.Join(unix.Fstatat(fd, "", &at, unix.AT_EMPTY_PATH), unix.Fstat(int(device.Fd()), &is))
	if err == nil && (at.Mode&unix.S_IFMT != unix.S_IFBLK || at.Rdev != is.Rdev) {
		err = errors.New("it is not the node of the device any more")
	}
	if err != nil {
		return nil, errors.Join(&fs.PathError{Op: "open", Path: path, Err: err}, unix.Close(fd))
	}
	return &Source{name: path, fd: fd, node: true}, nil
}

// Name is the path of a directory or a device, for messages.
func (s *Source) Name() string { return s.name }

// Node tells a device node: its target is a file, all others are directories.
func (s *Source) Node() bool { return s.node }

// FD is the source's descriptor, valid until Close; O_PATH but of a directory.
func (s *Source) FD() int { return s.fd }

// Identity is what Look tells of a target on which the source is mounted.
func (s *Source) Identity() (safepath.Identity, error) {
	var st unix.Stat_t
	if err := unix.Fstatat(s.fd, "", &st, unix.AT_EMPTY_PATH); err != nil {
		return safepath.Identity{}, &fs.PathError{Op: "stat", Path: s.name, Err: err}
	}
	return safepath.Identity{Dev: st.Dev, Ino: st.Ino}, nil
}

// Effective is what a Mount with these flags will show: the flags of the
// source's own mount and filesystem, and the asked ones.
func (s *Source) Effective(asked Flags) (Flags, error) {
	var st unix.Statfs_t
	if err := unix.Fstatfs(s.fd, &st); err != nil {
		return Flags{}, fmt.Errorf("statfs %s: %w", s.name, err)
	}
	base := ofStatfs(st.Flags)
	if s.node { // the filesystem that holds the node may forbid what the node is for
		base = Flags{ReadOnly: base.ReadOnly, NoSUID: base.NoSUID, NoExec: base.NoExec, NoAtime: base.NoAtime, NoDirAtime: base.NoDirAtime}
	}
	return base.with(asked), nil
}

// Mount makes the source appear at the existing entry name of parent, with the
// given flags in addition to those of its own mount. It is all or nothing: on an
// error nothing is mounted. A fresh filesystem can be mounted once.
func (s *Source) Mount(parent *safepath.Dir, name string, flags Flags) error {
	err := safepath.Component(name)
	switch {
	case err != nil:
	case s.fresh:
		err = move(s.fd, parent, name, flags)
	case s.kept:
		err = bindKept(s.fd, parent, name, flags)
	case s.dir != nil:
		err = bind(s.dir, parent, name, flags)
	default:
		err = bindNode(s.fd, parent, name, flags)
	}
	if err != nil {
		return &fs.PathError{Op: "mount", Path: filepath.Join(parent.Name(), name), Err: err}
	}
	return nil
}

// OpenRoot opens the root directory of what is no device node.
func (s *Source) OpenRoot() (*safepath.Dir, error) {
	fd, err := unix.Openat(s.fd, ".", unix.O_DIRECTORY|unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, &fs.PathError{Op: "open", Path: s.name, Err: err}
	}
	return safepath.FromFD(fd, s.name), nil
}

// Close ends the source. A nil Source is closed already.
func (s *Source) Close() error {
	switch {
	case s == nil:
		return nil
	case s.dir != nil:
		return s.dir.Close()
	}
	return unix.Close(s.fd)
}

// move sets the flags of a detached mount, and attaches it.
func move(tree int, parent *safepath.Dir, name string, flags Flags) error {
	if attr := flags.attr(); attr != nil {
		if err := unix.MountSetattr(tree, "", unix.AT_EMPTY_PATH, attr); err != nil {
			return fmt.Errorf("set %s: %w", flags, err)
		}
	}
	// Without MOVE_MOUNT_T_SYMLINKS the last component is not followed.
	return unix.MoveMount(tree, "", parent.FD(), name, unix.MOVE_MOUNT_F_EMPTY_PATH)
}

// bindKept clones a mount that stays, and moves the clone. Nothing that is mounted
// inside the target later reaches the one that stays.
func bindKept(fd int, parent *safepath.Dir, name string, flags Flags) error {
	tree, err := clone(fd)
	if err != nil {
		return err
	}
	defer unix.Close(tree) //nolint:errcheck // moved or given up by then
	return move(tree, parent, name, flags)
}

// bindNode binds a device node, whose mount must let devices be opened.
func bindNode(fd int, parent *safepath.Dir, name string, flags Flags) error {
	tree, err := unix.OpenTree(fd, "", unix.OPEN_TREE_CLONE|unix.OPEN_TREE_CLOEXEC|unix.AT_EMPTY_PATH)
	if err != nil {
		return fmt.Errorf("clone the mount of the device: %w", err)
	}
	defer unix.Close(tree) //nolint:errcheck // moved or given up by then
	if err := unix.MountSetattr(tree, "", unix.AT_EMPTY_PATH, &unix.MountAttr{Attr_clr: unix.MOUNT_ATTR_NODEV}); err != nil {
		return fmt.Errorf("allow devices: %w", err)
	}
	return move(tree, parent, name, flags)
}
