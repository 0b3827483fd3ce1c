// Package mount mounts directories, device nodes and filesystems on targets and
// takes them off again, with the kernel's newer mount calls: a mount gets all
// its attributes while it is still detached, so that nobody ever sees a
// read-only volume writable. Where the kernel lacks these calls, directories are
// bound with mount(2). Nothing here parses the mount table but Table, which is
// for start-up.
//
// Sources: open_tree(2), mount_setattr(2), move_mount(2), umount2(2), statx(2).
package mount

import (
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"strconv"

	"golang.org/x/sys/unix"

	"github.com/hostvol/hostvol/pkg/host/safepath"
)

// bind clones the mount of a directory, and puts the clone on the target.
func bind(src, parent *safepath.Dir, name string, flags Flags) error {
	tree, err := unix.OpenTree(src.FD(), "", unix.OPEN_TREE_CLONE|unix.OPEN_TREE_CLOEXEC|unix.AT_EMPTY_PATH)
	if lacks(err) {
		return bindOld(src, parent, name, flags)
	}
	if err != nil {
		return fmt.Errorf("clone the mount of %s: %w", src.Name(), err)
	}
	defer unix.Close(tree) //nolint:errcheck // moved or given up by then
	if err := move(tree, parent, name, flags); lacks(err) {
		return bindOld(src, parent, name, flags)
	} else if err != nil {
		return err
	}
	return nil
}

// bindOld is Bind for kernels before 5.2 (open_tree) and 5.12 (mount_setattr).
// Between its two calls the mount has no flags yet; nobody has been told of
// the target by then.
func bindOld(src, parent *safepath.Dir, name string, flags Flags) error {
	target := inside(parent, name)
	if err := unix.Mount(procFD(src.FD()), target, "", unix.MS_BIND, ""); err != nil {
		return err
	}
	if flags == (Flags{}) {
		return nil
	}
	base, err := ofDir(src)
	if err == nil {
		err = unix.Mount("", target, "", unix.MS_REMOUNT|unix.MS_BIND|base.with(flags).ms(), "")
	}
	if err != nil {
		return errors.Join(fmt.Errorf("set %s: %w", flags, err), unix.Unmount(target, unix.UMOUNT_NOFOLLOW))
	}
	return nil
}

// UnmountTop takes the topmost mount off the entry name of parent, and tells
// whether there was one. An entry that is not a mount point or does not exist
// is no error. A mount that is in use is: it is errno.Busy, and stays. Symbolic
// links are not followed.
func UnmountTop(parent *safepath.Dir, name string) (was bool, err error) {
	return unmountTop(parent, name, unix.UMOUNT_NOFOLLOW)
}

// ForceTop is UnmountTop for a filesystem whose server does not answer: what waits
// for the server fails, and what was not written to it is lost. One that is in use
// stays all the same.
func ForceTop(parent *safepath.Dir, name string) (was bool, err error) {
	return unmountTop(parent, name, unix.UMOUNT_NOFOLLOW|unix.MNT_FORCE)
}

func unmountTop(parent *safepath.Dir, name string, flags int) (was bool, err error) {
	if err := safepath.Component(name); err != nil {
		return false, err
	}
	switch err := unix.Unmount(inside(parent, name), flags); {
	case err == nil:
		return true, nil
	case errors.Is(err, unix.EINVAL), errors.Is(err, unix.ENOENT): // not a mount point, or not there
		return false, nil
	default:
		return false, &fs.PathError{Op: "unmount", Path: filepath.Join(parent.Name(), name), Err: err}
	}
}

// Unmount takes every mount off the entry, however many lie on one another, and
// returns how many there were; else it is as UnmountTop.
func Unmount(parent *safepath.Dir, name string) (layers int, err error) {
	for {
		was, err := UnmountTop(parent, name)
		if err != nil || !was {
			return layers, err
		}
		layers++
	}
}

func lacks(err error) bool {
	return errors.Is(err, unix.ENOSYS) || errors.Is(err, unix.EOPNOTSUPP)
}

func procFD(fd int) string { return "/proc/self/fd/" + strconv.Itoa(fd) }

// inside names an entry for calls that take a path only: the open parent is
// reached through /proc, so that no part of the way can have changed.
func inside(parent *safepath.Dir, name string) string { return procFD(parent.FD()) + "/" + name }
