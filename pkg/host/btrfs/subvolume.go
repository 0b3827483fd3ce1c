package btrfs

import (
	"errors"
	"fmt"
	"io/fs"
	"strings"

	"golang.org/x/sys/unix"
)

// Is reports whether fd is on a btrfs.
func Is(fd int) (bool, error) {
	var st unix.Statfs_t
	if err := unix.Fstatfs(fd, &st); err != nil {
		return false, fmt.Errorf("stat filesystem: %w", err)
	}
	return uint32(st.Type) == unix.BTRFS_SUPER_MAGIC, nil
}

// IsSubvolume reports whether fd is the root directory of a subvolume (the top
// level of the filesystem included). False without an error for any other file
// and any other filesystem.
func IsSubvolume(fd int) (bool, error) {
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return false, fmt.Errorf("stat directory: %w", err)
	}
	if st.Ino != firstFreeObjectID || st.Mode&unix.S_IFMT != unix.S_IFDIR {
		return false, nil
	}
	return Is(fd)
}

// CreateSubvolume makes an empty subvolume called name in the directory parent,
// owned by the caller, mode 0777 without the umask. It is durable after Commit.
// The error Is fs.ErrExist when the name is taken.
func CreateSubvolume(parent int, name string) error {
	if err := byName(parent, name, iocSubvolCreate); err != nil {
		return fmt.Errorf("create subvolume %s: %w", name, err)
	}
	return nil
}

// Snapshot makes the subvolume called name in the directory parent, with what
// the subvolume source, an open root directory, holds at one instant; written
// data of source that was not on the disk yet is written before. With quotas on,
// its qgroup starts with the numbers and the limit of source's, as of this call.
// It is durable after Commit.
//
// What is nested in source is an empty directory in the snapshot. The error Is
// fs.ErrExist when the name is taken, EXDEV when parent is on another filesystem,
// EINVAL when source is not the root of a subvolume.
func Snapshot(source, parent int, name string, readOnly bool) error {
	if err := oneName(name); err != nil {
		return fmt.Errorf("snapshot as %s: %w", name, err)
	}
	args := volArgsV2{fd: int64(source)}
	if readOnly {
		args.flags = subvolReadOnly
	}
	copy(args.name[:], name)
	if err := ioctl(parent, iocSnapCreateV2, &args); err != nil {
		return fmt.Errorf("snapshot as %s: %w", name, err)
	}
	return nil
}

// DeleteSubvolume removes the subvolume called name from the directory parent,
// read-only or not, in a time that does not depend on what it holds: the kernel
// frees the content in the background. It is durable after Commit.
//
// The error Is ENOTEMPTY while the subvolume holds other subvolumes, fs.ErrNotExist
// when there is no such name, ENOTDIR or EINVAL when it is not a subvolume, EPERM
// when it is the default subvolume, is being sent, or holds an active swap file.
//
// Mounts on directories inside the subvolume do not stop the kernel: it detaches
// them. Callers who care must look first.
func DeleteSubvolume(parent int, name string) error {
	err := byName(parent, name, iocSnapDestroy)
	if errors.Is(err, unix.EROFS) || errors.Is(err, unix.EACCES) || errors.Is(err, unix.EPERM) {
		if cleared := clearReadOnly(parent, name); cleared {
			err = byName(parent, name, iocSnapDestroy)
		}
	}
	if err != nil {
		return fmt.Errorf("delete subvolume %s: %w", name, err)
	}
	return nil
}

// SetReadOnly sets or clears the read-only flag of the subvolume whose root
// directory is fd. EINVAL when fd is not such a directory.
func SetReadOnly(fd int, on bool) error {
	var flags uint64
	if err := ioctl(fd, iocSubvolGetFlags, &flags); err != nil {
		return fmt.Errorf("get subvolume flags: %w", err)
	}
	want := flags &^ subvolReadOnly
	if on {
		want |= subvolReadOnly
	}
	if want == flags {
		return nil
	}
	if err := ioctl(fd, iocSubvolSetFlags, &want); err != nil {
		return fmt.Errorf("set subvolume flags: %w", err)
	}
	return nil
}

// ID returns the id of the subvolume that the directory fd belongs to.
func ID(fd int) (uint64, error) {
	id, err := treeID(fd)
	if err != nil {
		return 0, fmt.Errorf("get subvolume id: %w", err)
	}
	return id, nil
}

// Children returns the ids of the subvolumes directly nested in the subvolume
// that fd belongs to, in ascending order.
func Children(fd int) ([]uint64, error) {
	id, err := treeID(fd)
	if err != nil {
		return nil, fmt.Errorf("list nested subvolumes: %w", err)
	}
	var ids []uint64
	s := newSearch(rootTree, id, rootRefKey, 16<<10)
	err = s.each(fd, func(h searchHeader, _ []byte) { ids = append(ids, h.offset) })
	if err != nil {
		return nil, fmt.Errorf("list nested subvolumes: %w", err)
	}
	return ids, nil
}

func treeID(fd int) (uint64, error) {
	// Looking up the root directory of tree 0, "the one of fd", answers at once.
	args := inoLookupArgs{objectID: firstFreeObjectID}
	err := ioctl(fd, iocInoLookup, &args)
	return args.treeID, err
}

func byName(parent int, name string, request uintptr) error {
	if err := oneName(name); err != nil {
		return err
	}
	var args volArgs
	copy(args.name[:], name)
	return ioctl(parent, request, &args)
}

func oneName(name string) error {
	if name == "" || name == "." || name == ".." || strings.ContainsAny(name, "/\x00") {
		return fmt.Errorf("%w: not a single name", fs.ErrInvalid)
	}
	if len(name) > unix.NAME_MAX {
		return unix.ENAMETOOLONG
	}
	return nil
}

func clearReadOnly(parent int, name string) bool {
	fd, err := unix.Openat(parent, name, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if err != nil {
		return false
	}
	defer func() { _ = unix.Close(fd) }()
	var flags uint64
	if ioctl(fd, iocSubvolGetFlags, &flags) != nil || flags&subvolReadOnly == 0 {
		return false
	}
	return SetReadOnly(fd, false) == nil
}
