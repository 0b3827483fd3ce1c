package clone

import (
	"context"
	"errors"
	"fmt"
	"io/fs"

	"golang.org/x/sys/unix"

	"github.com/hostvol/hostvol/pkg/host/rmtree/dirstack"
)

// walk goes through the source, makes the directories and hands everything else
// to the workers.
func (c *cloner) walk(ctx context.Context) error {
	d, err := c.newDirectory(nil, "")
	if err != nil {
		return err
	}
	for d != nil {
		if err := ctx.Err(); err != nil {
			d.abandon()
			return context.Cause(ctx)
		}
		e, ok, err := c.next(ctx, d)
		switch {
		case err != nil:
			err = fmt.Errorf("read directory %s: %w", d.path(""), err)
		case !ok:
			d, err = c.leave(ctx, d)
		default:
			d, err = c.entry(ctx, d, e)
		}
		if err != nil {
			if d != nil {
				d.abandon()
			}
			return err
		}
	}
	return nil
}

// entry returns the directory that the walk stands in afterwards.
func (c *cloner) entry(ctx context.Context, d *directory, e dirstack.Entry) (*directory, error) {
	if e.Type == unix.DT_UNKNOWN {
		var st unix.Stat_t
		err := unix.Fstatat(c.src.FD(), e.Name, &st, unix.AT_SYMLINK_NOFOLLOW)
		if errors.Is(err, fs.ErrNotExist) {
			return d, nil
		}
		if err != nil {
			return d, fmt.Errorf("stat %s: %w", d.path(e.Name), err)
		}
		if st.Mode&unix.S_IFMT == unix.S_IFDIR {
			e.Type = unix.DT_DIR
		}
	}
	if e.Type == unix.DT_DIR {
		return c.enter(ctx, d, e.Name)
	}
	d.names = append(d.names, e.Name)
	if len(d.names) < jobNames {
		return d, nil
	}
	return d, c.dispatch(ctx, d)
}

// dispatch hands the names collected to the workers. The walk must stand in d.
func (c *cloner) dispatch(ctx context.Context, d *directory) error {
	if len(d.names) == 0 {
		return nil
	}
	if err := d.hold(c.src.FD(), c.dst.FD()); err != nil {
		return fmt.Errorf("copy %s: %w", d.path(d.names[0]), err)
	}
	d.acquire()
	c.pending.Add(1)
	j := job{dir: d, names: d.names}
	d.names = nil
	select {
	case c.jobs <- j:
		return nil
	case <-ctx.Done():
		c.pending.Done()
		return errors.Join(context.Cause(ctx), d.release(nil))
	}
}

func (c *cloner) enter(ctx context.Context, d *directory, name string) (*directory, error) {
	if err := c.dispatch(ctx, d); err != nil {
		return d, err
	}
	err := c.src.Enter(name)
	switch {
	case errors.Is(err, dirstack.ErrMountPoint):
		if err := c.mkdir(d, name, 0o755); !errors.Is(err, errTwice) {
			return d, err
		}
		return d, nil
	case errors.Is(err, fs.ErrNotExist), errors.Is(err, unix.ENOTDIR), errors.Is(err, unix.ELOOP):
		return d, nil // gone or replaced
	case err != nil:
		return d, fmt.Errorf("open directory %s: %w", d.path(name), err)
	}
	if dev, ino := c.src.ID(); dev == c.dstDev && ino == c.dstIno {
		return d, fmt.Errorf("%w: the copy lies within the original, at %s", fs.ErrInvalid, d.path(name))
	}
	if err := c.mkdir(d, name, 0o700); err != nil {
		if errors.Is(err, errTwice) {
			return d, c.src.Leave()
		}
		return d, err
	}
	if err := c.dst.Enter(name); err != nil {
		return d, fmt.Errorf("open new directory %s: %w", d.path(name), err)
	}
	// Directories above may be many: they stay open only for pending jobs.
	if err := d.letGo(); err != nil {
		return d, err
	}
	return c.newDirectory(d, name)
}

func (c *cloner) mkdir(d *directory, name string, mode uint32) error {
	if err := unix.Mkdirat(c.dst.FD(), name, mode); err != nil {
		return fmt.Errorf("make directory %s: %w", d.path(name), ofCopy(err))
	}
	c.dirs.Add(1)
	return nil
}

func (c *cloner) leave(ctx context.Context, d *directory) (*directory, error) {
	if err := c.dispatch(ctx, d); err != nil {
		return d, err
	}
	if err := d.leave(c.src.FD(), c.dst.FD()); err != nil {
		return nil, err
	}
	if d.parent == nil {
		return nil, nil
	}
	if err := errors.Join(c.src.Leave(), c.dst.Leave()); err != nil {
		return nil, fmt.Errorf("leave directory %s: %w", d.path(""), err)
	}
	return d.parent, nil
}
