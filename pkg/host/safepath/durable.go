package safepath

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// Sync makes the directory's entries and attributes durable, and on a
// journalling filesystem everything that was done before them.
func (d *Dir) Sync() error {
	return d.self("fsync", unix.Fsync(d.fd))
}

// SyncFS makes the whole filesystem of the directory durable.
func (d *Dir) SyncFS() error {
	return d.self("syncfs", unix.Syncfs(d.fd))
}

// SetAttribute sets an extended attribute of the directory itself, atomically.
func (d *Dir) SetAttribute(name string, value []byte) error {
	return d.self("setxattr", unix.Fsetxattr(d.fd, name, value, 0))
}

// Attribute reads an extended attribute of at most limit bytes; a longer one
// is an error.
func (d *Dir) Attribute(name string, limit int) ([]byte, error) {
	value := make([]byte, limit)
	n, err := unix.Fgetxattr(d.fd, name, value)
	if err != nil {
		return nil, d.self("getxattr", err)
	}
	return value[:n], nil
}

// WriteFile writes a small file durably: a temporary one, fsync, rename over
// name, fsync of the directory.
func (d *Dir) WriteFile(name string, data []byte, perm os.FileMode) error {
	temp := name + ".new"
	f, err := d.Open(temp, unix.O_WRONLY|unix.O_CREAT|unix.O_TRUNC, perm)
	if err != nil {
		return err
	}
	_, err = f.Write(data)
	if err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err != nil {
		return fmt.Errorf("write %s: %w", name, err)
	}
	if err := d.Replace(temp, name); err != nil {
		return err
	}
	return d.Sync()
}

// ReadFile reads a file of at most limit bytes.
func (d *Dir) ReadFile(name string, limit int64) ([]byte, error) {
	f, err := d.Open(name, unix.O_RDONLY, 0)
	if err != nil {
		return nil, err
	}
	data, err := io.ReadAll(io.LimitReader(f, limit+1))
	if err = errors.Join(err, f.Close()); err != nil {
		return nil, err
	}
	if int64(len(data)) > limit {
		return nil, fmt.Errorf("read %s: more than %d bytes", name, limit)
	}
	return data, nil
}

// ErrLocked means that another process holds the lock.
var ErrLocked = errors.New("locked by another process")

// Lock takes an exclusive flock on the file name, which is made when it is not
// there and the filesystem takes writes. It is held until the file is closed
// or the process ends.
func (d *Dir) Lock(name string) (*os.File, error) {
	// Not open for writing: that would keep the filesystem from being remounted
	// read-only.
	f, err := d.Open(name, unix.O_RDONLY|unix.O_CREAT, 0o600)
	if errors.Is(err, unix.EROFS) {
		f, err = d.Open(name, unix.O_RDONLY, 0)
	}
	if err != nil {
		return nil, err
	}
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		_ = f.Close()
		if errors.Is(err, unix.EWOULDBLOCK) {
			err = ErrLocked
		}
		return nil, fmt.Errorf("lock %s: %w", f.Name(), err)
	}
	return f, nil
}

// lockPause is the time between two tries to get a lock.
const lockPause = 20 * time.Millisecond

// HoldName takes an exclusive flock on the file name of the directory, see HoldFile.
// The file is made when it is not there. Who holds it may unlink it: another one
// that waits for it takes the next file of that name.
func (d *Dir) HoldName(ctx context.Context, name string) (*os.File, error) {
	for {
		f, err := d.Open(name, unix.O_RDONLY|unix.O_CREAT, 0o600)
		if err != nil {
			return nil, err
		}
		if err := HoldFile(ctx, f); err != nil {
			return nil, errors.Join(err, f.Close())
		}
		var st unix.Stat_t
		if err := unix.Fstat(int(f.Fd()), &st); err != nil {
			return nil, errors.Join(err, f.Close())
		}
		if st.Nlink > 0 {
			return f, nil
		}
		if err := f.Close(); err != nil {
			return nil, err
		}
	}
}

// HoldFile takes an exclusive flock on a file, and waits for it until the context
// ends: then it is ErrLocked. It is held until the file, and every copy of it that
// a child has, is closed.
func HoldFile(ctx context.Context, f *os.File) error {
	for {
		err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB)
		switch {
		case err == nil:
			return nil
		case errors.Is(err, unix.EINTR):
			continue
		case !errors.Is(err, unix.EWOULDBLOCK):
			return fmt.Errorf("lock %s: %w", f.Name(), err)
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("lock %s: %w", f.Name(), ErrLocked)
		case <-time.After(lockPause):
		}
	}
}

// RemoveAttribute removes an extended attribute of the directory itself.
func (d *Dir) RemoveAttribute(name string) error {
	return d.self("removexattr", unix.Fremovexattr(d.fd, name))
}
