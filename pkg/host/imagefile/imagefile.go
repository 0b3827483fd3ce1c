// Package imagefile shapes files that hold the content of a disk. It knows
// nothing of volumes or loop devices.
package imagefile

import (
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"

	"github.com/hostvol/hostvol/pkg/host/safepath"
)

const noCOWFlag = 0x00800000 // FS_NOCOW_FL, chattr +C

// InPlace has btrfs overwrite an empty file's blocks in place, as a disk does:
// otherwise each small write moves a block, and direct I/O under changing pages
// gives checksum errors. Snapshots work all the same. Other filesystems do that
// anyway, or do not know of it.
func InPlace(f *os.File) {
	var fs unix.Statfs_t
	if unix.Fstatfs(int(f.Fd()), &fs) != nil || fs.Type != unix.BTRFS_SUPER_MAGIC {
		return
	}
	if flags, err := unix.IoctlGetUint32(int(f.Fd()), unix.FS_IOC_GETFLAGS); err == nil {
		_ = unix.IoctlSetPointerInt(int(f.Fd()), unix.FS_IOC_SETFLAGS, int(flags|noCOWFlag))
	}
}

// Resize sets the size in bytes of a file that is not larger; what is added is a
// hole.
func Resize(f *os.File, bytes int64) error {
	info, err := f.Stat()
	if err != nil {
		return err
	}
	if info.Size() > bytes {
		return fmt.Errorf("%s has %d bytes, more than %d; it is never cut", f.Name(), info.Size(), bytes)
	}
	return f.Truncate(bytes)
}

// Allocate gives a file of that size all its blocks, without changing content.
func Allocate(f *os.File, bytes int64) error { return fallocate(f, 0, bytes) }

// Reserve gives a file all the blocks that it needs at a size in bytes, and leaves
// its size as it is: after an error it has not grown.
func Reserve(f *os.File, bytes int64) error { return fallocate(f, unix.FALLOC_FL_KEEP_SIZE, bytes) }

func fallocate(f *os.File, mode uint32, bytes int64) error {
	for {
		err := unix.Fallocate(int(f.Fd()), mode, 0, bytes)
		switch {
		case errors.Is(err, unix.EINTR):
			continue
		case errors.Is(err, unix.EOPNOTSUPP):
			return fmt.Errorf("allocate %s: %w: the pool's filesystem cannot allocate beforehand; use allocation: thin", f.Name(), err)
		case err != nil:
			return fmt.Errorf("allocate %d bytes for %s: %w", bytes, f.Name(), err)
		}
		return nil
	}
}

// Release gives back the blocks that a file has behind its end.
func Release(f *os.File) error {
	info, err := f.Stat()
	if err != nil {
		return err
	}
	size := info.Size()
	_ = unix.Fallocate(int(f.Fd()), unix.FALLOC_FL_KEEP_SIZE|unix.FALLOC_FL_PUNCH_HOLE, size, 1<<50) // where it works
	return f.Truncate(size)
}

// Allocated is what a file takes of its filesystem, in bytes; what it shares with
// others is counted in each.
func Allocated(f *os.File) (int64, error) {
	var st unix.Stat_t
	if err := unix.Fstat(int(f.Fd()), &st); err != nil {
		return 0, fmt.Errorf("stat %s: %w", f.Name(), err)
	}
	return st.Blocks * sectorBytes, nil
}

// Path names an open file for a program: nobody can put another in its place.
func Path(f *os.File) string { return fmt.Sprintf("/proc/%d/fd/%d", os.Getpid(), f.Fd()) }

// Identity tells a file from all others that exist at the same time.
func Identity(f *os.File) (safepath.Identity, error) {
	var st unix.Stat_t
	if err := unix.Fstat(int(f.Fd()), &st); err != nil {
		return safepath.Identity{}, fmt.Errorf("stat %s: %w", f.Name(), err)
	}
	return safepath.Identity{Dev: st.Dev, Ino: st.Ino}, nil
}

// sectorBytes is the unit of st_blocks.
const sectorBytes = 512
