package filesystem

import (
	"errors"

	"golang.org/x/sys/unix"
)

// Condition is what a mounted filesystem still does.
type Condition int

// The conditions, from good to bad.
const (
	// Sound: it takes reads and writes.
	Sound Condition = iota
	// ReadOnly: it takes no writes, by a remount or after an error.
	ReadOnly
	// Dead: the kernel has shut it down, and it takes nothing.
	Dead
)

// ConditionOf looks at a mounted filesystem in constant time, and changes nothing.
// root is an open directory of it, O_PATH suffices, or a mount. An XFS that is shut
// down answers no stat; ext4 counts its errors, and since kernel 6.15 shows them in
// no other way; btrfs and older ext4 become read-only.
func ConditionOf(root int, device, kind string) (Condition, error) {
	var st unix.Stat_t
	err := unix.Fstatat(root, "", &st, unix.AT_EMPTY_PATH)
	var fs unix.Statfs_t
	if err == nil {
		err = unix.Fstatfs(root, &fs)
	}
	switch {
	case errors.Is(err, unix.EIO), errors.Is(err, unix.ESHUTDOWN), errors.Is(err, unix.EUCLEAN):
		return Dead, nil
	case err != nil:
		return Dead, err
	case fs.Flags&unix.ST_RDONLY != 0:
		return ReadOnly, nil
	}
	faults, err := Faults(device, kind)
	if err == nil && faults > 0 {
		return ReadOnly, nil
	}
	return Sound, err
}
