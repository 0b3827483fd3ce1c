package rmtree

import (
	"context"
	"errors"
	"io/fs"

	"golang.org/x/sys/unix"

	"github.com/hostvol/hostvol/pkg/host/rmtree/dirstack"
)

// stepBytes are freed at once; more in one go keeps a journal busy for long.
const stepBytes = 1 << 30

// file removes an entry that is not a directory.
func (r *remover) file(ctx context.Context, e dirstack.Entry) error {
	if e.Type == unix.DT_REG || e.Type == unix.DT_UNKNOWN {
		if err := r.shrink(ctx, e.Name); err != nil {
			return err
		}
	}
	if err := r.token(ctx, e.Name); err != nil {
		return err
	}
	return r.errorAt(e.Name, r.unlink(e.Name, 0))
}

// unlink removes a name of the current directory, clearing what protects it.
func (r *remover) unlink(name string, flags int) error {
	err := unix.Unlinkat(r.stack.FD(), name, flags)
	if errors.Is(err, unix.EPERM) || errors.Is(err, unix.EACCES) {
		p, cleared := r.unprotect(name)
		if cleared {
			err = unix.Unlinkat(r.stack.FD(), name, flags)
		}
		p.release()
	}
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil
	case errors.Is(err, unix.EBUSY):
		return ErrMountPoint // a mount that is not seen from here, on the same directory
	}
	return err
}

// shrink frees a huge file step by step, so that the unlink has little left to
// do. Whatever prevents that is no reason not to unlink.
func (r *remover) shrink(ctx context.Context, name string) error {
	var st unix.Stat_t
	err := unix.Fstatat(r.stack.FD(), name, &st, unix.AT_SYMLINK_NOFOLLOW)
	if err != nil || !huge(&st) {
		return nil
	}
	fd, err := r.openForTruncation(name)
	if err != nil {
		return nil
	}
	defer func() { _ = unix.Close(fd) }()
	if err := unix.Fstat(fd, &st); err != nil || !huge(&st) {
		return nil
	}
	for size, step := st.Size, int64(stepBytes); size > 0; {
		target := max(size-step, 0)
		if _, err := unix.Seek(fd, target, unix.SEEK_DATA); errors.Is(err, unix.ENXIO) {
			step = min(2*step, size) // nothing but a hole: go faster
		} else if step > stepBytes {
			step = stepBytes
			continue
		} else if err := r.token(ctx, name); err != nil {
			return err
		}
		if unix.Ftruncate(fd, target) != nil {
			return nil
		}
		size = target
	}
	return nil
}

// huge is false for a file with another name: that one keeps its content.
func huge(st *unix.Stat_t) bool {
	return st.Mode&unix.S_IFMT == unix.S_IFREG && st.Nlink == 1 && st.Blocks > stepBytes/512
}

func (r *remover) openForTruncation(name string) (int, error) {
	path, err := dirstack.OpenPath(r.stack.FD(), name)
	if err != nil {
		return -1, err
	}
	defer func() { _ = unix.Close(path) }()
	var st unix.Stat_t
	if err := unix.Fstat(path, &st); err != nil {
		return -1, err
	}
	if !huge(&st) {
		return -1, fs.ErrInvalid // no device or fifo is ever opened
	}
	fd, err := dirstack.Reopen(path, unix.O_WRONLY|unix.O_NONBLOCK)
	if errors.Is(err, unix.EPERM) {
		p, _ := r.unprotect(name)
		fd, err = dirstack.Reopen(path, unix.O_WRONLY|unix.O_NONBLOCK)
		p.release()
	}
	return fd, err
}
