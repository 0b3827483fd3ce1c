package clone

import (
	"strconv"

	"golang.org/x/sys/unix"
)

// copySpecial makes a symbolic link, fifo, socket or device like the one of path,
// an O_PATH descriptor.
func (c *cloner) copySpecial(b *buffers, j job, path int, st *unix.Stat_t) error {
	dst := j.dir.dst
	var err error
	if st.Mode&unix.S_IFMT == unix.S_IFLNK {
		err = b.copyLink(path, dst, j.name)
	} else {
		err = ofCopy(unix.Mknodat(dst, j.name, st.Mode&(unix.S_IFMT|0o777), int(st.Rdev)))
	}
	if err != nil {
		return err
	}
	if err := unix.Fchownat(dst, j.name, int(st.Uid), int(st.Gid), unix.AT_SYMLINK_NOFOLLOW); err != nil {
		return ofCopy(err)
	}
	if st.Mode&unix.S_IFMT != unix.S_IFLNK {
		// The mode of a new name cannot be changed but by that name; the copy is ours alone.
		if err := unix.Fchmodat(dst, j.name, st.Mode&0o7777, 0); err != nil {
			return ofCopy(err)
		}
	}
	from := pathAttributes("/proc/self/fd/" + strconv.Itoa(j.dir.src) + "/" + j.name)
	to := pathAttributes("/proc/self/fd/" + strconv.Itoa(dst) + "/" + j.name)
	if err := b.copyAttributes(from, to); err != nil {
		return err
	}
	times := []unix.Timespec{st.Atim, st.Mtim}
	return ofCopy(unix.UtimesNanoAt(dst, j.name, times, unix.AT_SYMLINK_NOFOLLOW))
}

func (b *buffers) copyLink(path, dst int, name string) error {
	buf := b.value(unix.PathMax)
	n, err := unix.Readlinkat(path, "", buf)
	if err != nil {
		return err
	}
	return ofCopy(unix.Symlinkat(string(buf[:n]), dst, name))
}
