// Package safepath works inside directories with paths that somebody else may
// have chosen. A Dir is an open directory; every path given to it is resolved
// beneath it, and a symbolic link anywhere on the way is an error. So a link
// that is planted inside a pool, or a target that a pod can change, leads
// nowhere. The package knows nothing of pools or volumes.
package safepath

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"

	"golang.org/x/sys/unix"
)

// Dir is an open directory. It is safe for concurrent use; Close ends it.
type Dir struct {
	fd   int
	name string
}

// OpenRoot opens a directory that the administrator named: an absolute path,
// in which links are followed.
func OpenRoot(path string) (*Dir, error) {
	if !filepath.IsAbs(path) {
		return nil, fmt.Errorf("open %q: %w: the path must be absolute", path, fs.ErrInvalid)
	}
	fd, err := unix.Open(path, unix.O_DIRECTORY|unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, &fs.PathError{Op: "open", Path: path, Err: err}
	}
	return FromFD(fd, path), nil
}

// FromFD takes over an open directory; name is for messages.
func FromFD(fd int, name string) *Dir { return &Dir{fd: fd, name: name} }

// FD is the directory's descriptor, valid until Close.
func (d *Dir) FD() int { return d.fd }

// Name is the path by which the directory was opened, for messages.
func (d *Dir) Name() string { return d.name }

// Close releases the directory. A nil Dir is closed already.
func (d *Dir) Close() error {
	if d == nil {
		return nil
	}
	return unix.Close(d.fd)
}

// Open opens rel, a path beneath the directory.
func (d *Dir) Open(rel string, flags int, perm os.FileMode) (*os.File, error) {
	fd, err := d.openat(rel, flags, perm)
	if err != nil {
		return nil, err
	}
	return os.NewFile(uintptr(fd), filepath.Join(d.name, rel)), nil
}

// OpenDir opens the directory rel beneath d. "." opens d once more.
func (d *Dir) OpenDir(rel string) (*Dir, error) {
	fd, err := d.openat(rel, unix.O_DIRECTORY|unix.O_RDONLY, 0)
	if err != nil {
		return nil, err
	}
	return FromFD(fd, filepath.Join(d.name, rel)), nil
}

// noOpenat2 is set once the kernel has answered that it lacks the call (it came
// with Linux 5.6) or a seccomp filter hides it.
var noOpenat2 atomic.Bool

func (d *Dir) openat(rel string, flags int, perm os.FileMode) (int, error) {
	if !noOpenat2.Load() {
		how := unix.OpenHow{
			Flags:   uint64(flags | unix.O_CLOEXEC), //nolint:gosec // flags are small and positive
			Resolve: unix.RESOLVE_BENEATH | unix.RESOLVE_NO_SYMLINKS | unix.RESOLVE_NO_MAGICLINKS,
		}
		if flags&unix.O_CREAT != 0 {
			how.Mode = uint64(perm.Perm())
		}
		for {
			fd, err := unix.Openat2(d.fd, rel, &how)
			switch {
			case err == nil:
				return fd, nil
			case errors.Is(err, unix.EINTR), errors.Is(err, unix.EAGAIN): // EAGAIN: something was renamed meanwhile
				continue
			case errors.Is(err, unix.ENOSYS), errors.Is(err, unix.EPERM) && !d.hasOpenat2():
				noOpenat2.Store(true)
			default:
				return -1, &fs.PathError{Op: "open", Path: filepath.Join(d.name, rel), Err: err}
			}
			break
		}
	}
	fd, err := d.walk(rel, flags, perm)
	if err != nil {
		return -1, &fs.PathError{Op: "open", Path: filepath.Join(d.name, rel), Err: err}
	}
	return fd, nil
}

// hasOpenat2 tells a seccomp filter's EPERM, which every call gets, from the
// file's own.
func (d *Dir) hasOpenat2() bool {
	fd, err := unix.Openat2(d.fd, ".", &unix.OpenHow{Flags: unix.O_PATH | unix.O_CLOEXEC})
	if err != nil {
		return false
	}
	_ = unix.Close(fd)
	return true
}

// walk does by hand what openat2 does: one component at a time, none of them a
// link, none of them "..".
func (d *Dir) walk(rel string, flags int, perm os.FileMode) (int, error) {
	if filepath.IsAbs(rel) {
		return -1, unix.EXDEV
	}
	at, parts := d.fd, strings.Split(rel, "/")
	for i, part := range parts {
		if part == ".." {
			return -1, unix.EXDEV
		}
		mode := unix.O_PATH | unix.O_DIRECTORY
		if i == len(parts)-1 {
			mode = flags
		}
		fd, err := unix.Openat(at, part, mode|unix.O_NOFOLLOW|unix.O_CLOEXEC, uint32(perm.Perm()))
		if at != d.fd {
			_ = unix.Close(at)
		}
		if err != nil {
			return -1, err
		}
		at = fd
	}
	return at, nil
}

// Component checks that name is one component of a path: not empty, no slash,
// not "." and not "..".
func Component(name string) error {
	if name == "" || name == "." || name == ".." || strings.ContainsAny(name, "/\x00") {
		return fmt.Errorf("%w: %q is not a file name", fs.ErrInvalid, name)
	}
	return nil
}
