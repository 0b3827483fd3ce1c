package rmtree

import (
	"golang.org/x/sys/unix"

	"github.com/hostvol/hostvol/pkg/host/rmtree/dirstack"
)

// chattr +i and +a, ioctl_iflags(2).
const (
	immutableFlag  = 0x10
	appendOnlyFlag = 0x20
	protectFlags   = immutableFlag | appendOnlyFlag
)

// protection is a file whose flags were cleared to remove one of its names.
type protection struct {
	fd    int // -1: none
	flags uint32
}

// unprotect clears the immutable and append-only flags of the entry called name
// and of the current directory, if the latter is within the tree. It reports
// whether any was set. The caller releases the result after the removal.
func (r *remover) unprotect(name string) (protection, bool) {
	here := false
	if r.stack.Depth() > 0 {
		_, here = clearFlags(r.stack.FD())
	}
	none := protection{fd: -1}
	path, err := dirstack.OpenPath(r.stack.FD(), name)
	if err != nil {
		return none, here
	}
	defer func() { _ = unix.Close(path) }()
	var st unix.Stat_t
	if err := unix.Fstat(path, &st); err != nil {
		return none, here
	}
	if kind := st.Mode & unix.S_IFMT; kind != unix.S_IFREG && kind != unix.S_IFDIR {
		return none, here // others have no flags, and opening a device may do something
	}
	fd, err := dirstack.Reopen(path, unix.O_RDONLY|unix.O_NONBLOCK)
	if err != nil {
		return none, here
	}
	flags, cleared := clearFlags(fd)
	if !cleared || st.Mode&unix.S_IFMT == unix.S_IFDIR || st.Nlink == 1 {
		_ = unix.Close(fd)
		return none, here || cleared
	}
	return protection{fd: fd, flags: flags}, true
}

// release gives the flags back to a file that lives on under another name.
func (p protection) release() {
	if p.fd < 0 {
		return
	}
	_ = unix.IoctlSetPointerInt(p.fd, unix.FS_IOC_SETFLAGS, int(p.flags))
	_ = unix.Close(p.fd)
}

func clearFlags(fd int) (was uint32, cleared bool) {
	was, err := unix.IoctlGetUint32(fd, unix.FS_IOC_GETFLAGS)
	if err != nil || was&protectFlags == 0 {
		return was, false
	}
	err = unix.IoctlSetPointerInt(fd, unix.FS_IOC_SETFLAGS, int(was&^protectFlags))
	return was, err == nil
}
