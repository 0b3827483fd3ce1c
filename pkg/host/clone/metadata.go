package clone

import (
	"unsafe"

	"golang.org/x/sys/unix"
)

// buffers are one worker's.
type buffers struct {
	names, values, content []byte
}

// copyInode gives the copy dst, open, the metadata of an original: st is from
// before it was read. In this order: a change of owner clears set-id bits and
// file capabilities, and everything changes the times.
func (b *buffers) copyInode(src, dst int, st *unix.Stat_t) error {
	var now unix.Stat_t
	if err := unix.Fstat(dst, &now); err != nil {
		return err
	}
	if now.Uid != st.Uid || now.Gid != st.Gid {
		if err := unix.Fchown(dst, int(st.Uid), int(st.Gid)); err != nil {
			return err
		}
	}
	if now.Mode&0o7777 != st.Mode&0o7777 {
		if err := unix.Fchmod(dst, st.Mode&0o7777); err != nil {
			return err
		}
	}
	if err := b.copyAttributes(fdAttributes(src), fdAttributes(dst)); err != nil {
		return err
	}
	return setTimes(dst, st)
}

// setTimes is futimens(3): utimensat without a path.
func setTimes(fd int, st *unix.Stat_t) error {
	times := [2]unix.Timespec{st.Atim, st.Mtim}
	_, _, errno := unix.Syscall6(unix.SYS_UTIMENSAT, uintptr(fd), 0, uintptr(unsafe.Pointer(&times)), 0, 0, 0)
	if errno != 0 {
		return errno
	}
	return nil
}
