package clone

import (
	"context"
	"errors"
	"fmt"
	"io/fs"

	"golang.org/x/sys/unix"

	"github.com/hostvol/hostvol/pkg/host/rmtree/dirstack"
)

// job is one entry that is not a directory.
type job struct {
	dir  *directory
	name string
}

// work does jobs until there are no more. After a failure it only lets them go.
func (c *cloner) work(ctx context.Context, fail func(error)) {
	b := new(buffers)
	for j := range c.jobs {
		if ctx.Err() != nil {
			_ = j.dir.release(nil)
			continue
		}
		err := c.do(ctx, b, j)
		if err = errors.Join(err, j.dir.release(b)); err != nil {
			fail(err)
		}
	}
}

func (c *cloner) do(ctx context.Context, b *buffers, j job) error {
	// Opening a device or a fifo could do something: look first.
	path, err := dirstack.OpenPath(j.dir.src, j.name)
	if err == nil {
		err = c.copyEntry(ctx, b, j, path)
		_ = unix.Close(path)
	}
	switch {
	case err == nil:
		c.files.Add(1)
		return nil
	case errors.Is(err, errGone), errors.Is(err, fs.ErrNotExist), errors.Is(err, dirstack.ErrMountPoint):
		return nil
	}
	return fmt.Errorf("copy %s: %w", j.dir.path(j.name), err)
}

// errGone: what was listed is not there any more.
var errGone = errors.New("gone")

func (c *cloner) copyEntry(ctx context.Context, b *buffers, j job, path int) error {
	var st unix.Stat_t
	if err := unix.Fstat(path, &st); err != nil {
		return err
	}
	switch st.Mode & unix.S_IFMT {
	case unix.S_IFDIR:
		return errGone // a directory took its place
	case unix.S_IFREG:
		return c.copyFile(ctx, b, j, path, &st)
	}
	if st.Nlink < 2 {
		return c.copySpecial(b, j, path, &st)
	}
	first, link := c.links.first(j, &st)
	if !first {
		return c.makeLink(ctx, j, link)
	}
	err := c.copySpecial(b, j, path, &st)
	link.made(err)
	return err
}

func (c *cloner) copyFile(ctx context.Context, b *buffers, j job, path int, st *unix.Stat_t) (err error) {
	src, err := dirstack.Reopen(path, unix.O_RDONLY|unix.O_NONBLOCK|unix.O_NOATIME)
	if err != nil {
		return err
	}
	defer func() { _ = unix.Close(src) }()
	made := func(error) {}
	if st.Nlink > 1 {
		first, link := c.links.first(j, st)
		if !first {
			return c.makeLink(ctx, j, link)
		}
		made = link.made
	}
	dst, err := create(j.dir.dst, j.name, st.Mode)
	made(err)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, unix.Close(dst)) }()
	if err := c.copyContent(ctx, b, src, dst, st); err != nil {
		return err
	}
	return b.copyInode(src, dst, st)
}

// create makes a file with the mode it will have, if the umask allows, which
// saves a chmod; the caller checks.
func create(dir int, name string, mode uint32) (int, error) {
	const flags = unix.O_WRONLY | unix.O_CREAT | unix.O_EXCL | unix.O_NOFOLLOW | unix.O_CLOEXEC
	fd, err := unix.Openat(dir, name, flags, mode&0o777)
	if err != nil {
		return -1, ofCopy(err)
	}
	return fd, nil
}

// ofCopy keeps an error about the copy from looking like one about the original.
func ofCopy(err error) error {
	if errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("the copy's directory was removed: %w", unix.ESTALE)
	}
	return err
}
