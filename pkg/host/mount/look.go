package mount

import (
	"errors"
	"io/fs"
	"path/filepath"

	"golang.org/x/sys/unix"

	"github.com/hostvol/hostvol/pkg/host/safepath"
)

// State is what the kernel says of a target.
type State struct {
	// Exists is false when the entry is not there; then the rest is empty.
	Exists bool
	// Dir tells a directory; a target that is a symbolic link is none.
	Dir bool
	// Mounted tells whether the entry is the root of a mount.
	Mounted bool
	// Identity is that of the topmost mount's root, or of the entry itself.
	Identity safepath.Identity
	// Flags of the topmost mount; only when Mounted.
	Flags Flags
}

// Look reads the state of the entry name of parent. It reads no mount table.
func Look(parent *safepath.Dir, name string) (State, error) {
	err := safepath.Component(name)
	if err != nil {
		return State{}, err
	}
	var stx unix.Statx_t
	err = unix.Statx(parent.FD(), name, unix.AT_SYMLINK_NOFOLLOW|unix.AT_NO_AUTOMOUNT|unix.AT_STATX_DONT_SYNC, unix.STATX_TYPE|unix.STATX_INO, &stx)
	if errors.Is(err, unix.ENOENT) {
		return State{}, nil
	}
	path := filepath.Join(parent.Name(), name)
	if err != nil {
		return State{}, &fs.PathError{Op: "stat", Path: path, Err: err}
	}
	s := State{
		Exists:   true,
		Dir:      stx.Mode&unix.S_IFMT == unix.S_IFDIR,
		Identity: safepath.Identity{Dev: unix.Mkdev(stx.Dev_major, stx.Dev_minor), Ino: stx.Ino},
	}
	if stx.Attributes_mask&unix.STATX_ATTR_MOUNT_ROOT == 0 { // before Linux 5.8
		s.Mounted, err = mountedOld(parent, name)
	} else {
		s.Mounted = stx.Attributes&unix.STATX_ATTR_MOUNT_ROOT != 0
	}
	if err == nil && s.Mounted {
		var fd int
		fd, err = unix.Openat(parent.FD(), name, unix.O_PATH|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
		if err == nil {
			var st unix.Statfs_t
			err = errors.Join(unix.Fstatfs(fd, &st), unix.Close(fd))
			s.Flags = ofStatfs(st.Flags)
		}
	}
	if err != nil {
		return State{}, &fs.PathError{Op: "look at", Path: path, Err: err}
	}
	return s, nil
}

// mountedOld compares the mounts that the parent and the entry are reached
// through, as name_to_handle_at(2) tells them.
func mountedOld(parent *safepath.Dir, name string) (bool, error) {
	_, above, err := unix.NameToHandleAt(parent.FD(), "", unix.AT_EMPTY_PATH)
	if err != nil {
		return false, err
	}
	_, here, err := unix.NameToHandleAt(parent.FD(), name, 0)
	return here != above, err
}
