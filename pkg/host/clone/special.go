package clone

import (
	"strconv"

	"golang.org/x/sys/unix"
)

// copySpecial makes a symbolic link, fifo, socket or device like the one of path,
// an O_PATH descriptor.
func (c *cloner) copySpecial(b *buffers, e entry, path int, st *unix.Stat_t) error {
	dst := e.dir.dst
	var err error
	if st.Mode&unix.S_IFMT == unix.S_IFLNK {
		err = b.copyLink(path, dst, e.name)
	} else {
		err = ofCopy(unix.Mknodat(dst, e.name, st.Mode&(unix.S_IFMT|0o777), int(st.Rdev)))
	}
	if err != nil {
		return err
	}
	if err := unix.Fchownat(dst, e.name, int(st.Uid), int(st.Gid), unix.AT_SYMLINK_NOFOLLOW); err != nil {
		return ofCopy(err)
	}
	if st.Mode&unix.S_IFMT != unix.S_IFLNK {
		// The mode of a new name cannot be changed but by that name; the copy is ours alone.
		if err := unix.Fchmodat(dst, e.name, st.Mode&0o7777, 0); err != nil {
			return ofCopy(err)
		}
	}
	from := linkAttributes("/proc/self/fd/" + strconv.Itoa(path))
	to := nameAttributes("/proc/self/fd/" + strconv.Itoa(dst) + "/" + e.name)
	if err := b.copyAttributes(from, to); err != nil {
		return ofCopy(err)
	}
	times := []unix.Timespec{st.Atim, st.Mtim}
	return ofCopy(unix.UtimesNanoAt(dst, e.name, times, unix.AT_SYMLINK_NOFOLLOW))
}

func (b *buffers) copyLink(path, dst int, name string) error {
	buf := b.value(unix.PathMax)
	n, err := unix.Readlinkat(path, "", buf)
	if err != nil {
		return err
	}
	return ofCopy(unix.Symlinkat(string(buf[:n]), dst, name))
}
