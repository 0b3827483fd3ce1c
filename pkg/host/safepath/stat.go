package safepath

import (
	"errors"
	"fmt"
	"io/fs"

	"golang.org/x/sys/unix"
)

// Identity names an inode of this boot: equal identities are the same file.
// On btrfs each subvolume has a device number of its own.
type Identity struct{ Dev, Ino uint64 }

// Mode of the directory itself, as for Chmod.
func (d *Dir) Mode() (uint32, error) {
	var st unix.Stat_t
	if err := unix.Fstat(d.fd, &st); err != nil {
		return 0, d.self("stat", err)
	}
	return st.Mode & 0o7777, nil
}

// Identity of the directory itself.
func (d *Dir) Identity() (Identity, error) {
	var st unix.Stat_t
	if err := unix.Fstat(d.fd, &st); err != nil {
		return Identity{}, d.self("stat", err)
	}
	return Identity{Dev: st.Dev, Ino: st.Ino}, nil
}

// Info is what Lstat tells of an entry.
type Info struct {
	Regular bool // a regular file
	Bytes   int64
}

// Lstat looks at an entry without opening it: to open a FIFO can take for ever.
func (d *Dir) Lstat(name string) (Info, error) {
	var st unix.Stat_t
	err := d.entry("stat", name, func() error { return unix.Fstatat(d.fd, name, &st, unix.AT_SYMLINK_NOFOLLOW) })
	return Info{Regular: st.Mode&unix.S_IFMT == unix.S_IFREG, Bytes: st.Size}, err
}

// Exists tells whether the directory has an entry of that name, of any kind.
func (d *Dir) Exists(name string) (bool, error) {
	_, err := d.Lstat(name)
	if err == nil {
		return true, nil
	}
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	return false, err
}

// Space is the state of a filesystem, in bytes and inodes. On some
// filesystems (btrfs) inodes are not counted: Inodes is 0.
type Space struct {
	Bytes, BytesFree, BytesAvailable int64
	Inodes, InodesFree               int64
	ReadOnly                         bool
}

// Space reads the filesystem of the directory. Inside a project quota the
// kernel answers for the project.
func (d *Dir) Space() (Space, error) {
	var st unix.Statfs_t
	if err := unix.Fstatfs(d.fd, &st); err != nil {
		return Space{}, d.self("statfs", err)
	}
	unit := st.Frsize
	if unit == 0 {
		unit = st.Bsize
	}
	return Space{
		Bytes: int64(st.Blocks) * unit, BytesFree: int64(st.Bfree) * unit, BytesAvailable: int64(st.Bavail) * unit, //nolint:gosec // sizes fit
		Inodes: int64(st.Files), InodesFree: int64(st.Ffree), //nolint:gosec // counts fit
		ReadOnly: st.Flags&unix.ST_RDONLY != 0,
	}, nil
}

// Filesystem names the type of the directory's filesystem as mount(8) does,
// or its magic number in hexadecimal.
func (d *Dir) Filesystem() (string, error) {
	var st unix.Statfs_t
	if err := unix.Fstatfs(d.fd, &st); err != nil {
		return "", d.self("statfs", err)
	}
	switch st.Type {
	case unix.EXT4_SUPER_MAGIC:
		return "ext4", nil
	case unix.XFS_SUPER_MAGIC:
		return "xfs", nil
	case unix.BTRFS_SUPER_MAGIC:
		return "btrfs", nil
	case unix.TMPFS_MAGIC:
		return "tmpfs", nil
	case unix.OVERLAYFS_SUPER_MAGIC:
		return "overlay", nil
	case unix.NFS_SUPER_MAGIC:
		return "nfs", nil
	}
	return fmt.Sprintf("%#x", st.Type), nil
}
