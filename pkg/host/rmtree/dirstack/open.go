package dirstack

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"strconv"

	"golang.org/x/sys/unix"
)

const (
	dirFlags = unix.O_RDONLY | unix.O_DIRECTORY | unix.O_NOFOLLOW | unix.O_CLOEXEC | unix.O_NOATIME

	resolve = unix.RESOLVE_BENEATH | unix.RESOLVE_NO_SYMLINKS | unix.RESOLVE_NO_MAGICLINKS | unix.RESOLVE_NO_XDEV
)

// OpenDir opens the directory called name of dir for reading. Errors as Stack.Enter.
func OpenDir(dir int, name string) (int, error) { return open(dir, name, dirFlags) }

// OpenPath opens the entry called name of dir, of whatever type, as an O_PATH
// descriptor, which has no effect on it: the way to look before Reopen. The
// error Is ErrMountPoint or fs.ErrNotExist.
func OpenPath(dir int, name string) (int, error) {
	return open(dir, name, unix.O_PATH|unix.O_NOFOLLOW|unix.O_CLOEXEC)
}

// Reopen opens the file of an OpenPath descriptor for real, whether or not it
// still has a name.
func Reopen(pathFD, flags int) (int, error) {
	return unix.Open(descriptors+strconv.Itoa(pathFD), flags|unix.O_CLOEXEC, 0)
}

const descriptors = "/proc/self/fd/"

// needProc keeps a missing /proc from looking like files that have vanished.
func needProc() error {
	if err := unix.Access(descriptors, unix.X_OK); err != nil {
		return fmt.Errorf("/proc is not mounted: %w", unix.ENOSYS)
	}
	return nil
}

func open(dir int, name string, flags int) (int, error) {
	for {
		fd, err := unix.Openat2(dir, name, &unix.OpenHow{Flags: uint64(flags), Resolve: resolve})
		switch {
		case err == nil:
			return fd, nil
		case errors.Is(err, unix.EINTR), errors.Is(err, unix.EAGAIN): // a rename elsewhere in the system
		case errors.Is(err, unix.EXDEV):
			return -1, ErrMountPoint
		case errors.Is(err, unix.ENOSYS):
			return openPlain(dir, name, flags)
		default:
			return -1, err
		}
	}
}

// openPlain is for kernels and seccomp filters without openat2.
func openPlain(dir int, name string, flags int) (int, error) {
	fd, err := unix.Openat(dir, name, flags, 0)
	if err != nil {
		return -1, err
	}
	here, err := mountID(dir)
	var there string
	if err == nil {
		there, err = mountID(fd)
	}
	if err == nil && here != there {
		err = ErrMountPoint
	}
	if err != nil {
		_ = unix.Close(fd)
		return -1, err
	}
	return fd, nil
}

func mountID(fd int) (string, error) {
	b, err := os.ReadFile("/proc/self/fdinfo/" + strconv.Itoa(fd))
	if err != nil {
		return "", fmt.Errorf("read mount id: %w", err)
	}
	for line := range bytes.Lines(b) {
		if id, ok := bytes.CutPrefix(line, []byte("mnt_id:")); ok {
			return string(bytes.TrimSpace(id)), nil
		}
	}
	return "", errors.New("read mount id: not in fdinfo")
}
