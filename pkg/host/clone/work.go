package clone

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"runtime/debug"
	"time"

	"golang.org/x/sys/unix"

	"github.com/hostvol/hostvol/pkg/host/rmtree/dirstack"
)

// job is some entries of one directory that are not directories. Workers take
// them by many, as they would wait for each other to create in one directory.
type job struct {
	dir   *directory
	names []string
}

const (
	jobNames = 256

	leaseWait = time.Minute // longer than the kernel's 45 s
	leasePoll = 10 * time.Millisecond
)

// entry is one of a job, and the rest of the job after it.
type entry struct {
	dir  *directory
	name string
	rest *[]string
}

// work does jobs until there are no more. After a failure it only lets them go.
func (c *cloner) work(ctx context.Context, fail func(error)) {
	b := new(buffers)
	for j := range c.jobs {
		err := guard(func() error { return c.doJob(ctx, b, j) })
		err = errors.Join(err, guard(func() error { return j.dir.release(b) }))
		if err != nil {
			fail(err)
		}
		c.pending.Done()
	}
}

// guard makes a panic the error of the copy: in a goroutine of its own it would
// end the process.
func guard(f func() error) (err error) {
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("%w: %v\n%s", errPanic, r, debug.Stack())
		}
	}()
	return f()
}

var errPanic = errors.New("defect in the copy: panic")

func (c *cloner) doJob(ctx context.Context, b *buffers, j job) error {
	for len(j.names) > 0 {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		e := entry{dir: j.dir, name: j.names[0], rest: &j.names}
		j.names = j.names[1:]
		if err := c.do(ctx, b, e); err != nil {
			return err
		}
	}
	return nil
}

// share gives the rest of a job to another worker, if one has time, before this
// one copies a large file.
func (c *cloner) share(e entry) {
	if len(*e.rest) == 0 {
		return
	}
	e.dir.acquire()
	c.pending.Add(1)
	select {
	case c.jobs <- job{dir: e.dir, names: *e.rest}:
		*e.rest = nil
	default:
		c.pending.Done()
		_ = e.dir.release(nil) // not the last: this job is another user
	}
}

func (c *cloner) do(ctx context.Context, b *buffers, e entry) error {
	// Opening a device or a fifo could do something: look first.
	path, err := dirstack.OpenPath(e.dir.src, e.name)
	if err == nil {
		err = c.copyEntry(ctx, b, e, path)
		_ = unix.Close(path)
	}
	switch {
	case err == nil:
		c.files.Add(1)
		return nil
	case errors.Is(err, errGone), errors.Is(err, errTwice), errors.Is(err, fs.ErrNotExist), errors.Is(err, dirstack.ErrMountPoint):
		return nil
	}
	return fmt.Errorf("copy %s: %w", e.dir.path(e.name), err)
}

var (
	// errGone: what was listed is not there any more.
	errGone = errors.New("gone")
	// errTwice: the copy has that name. What is replaced while a directory is read
	// may be listed twice.
	errTwice = errors.New("listed twice")
)

func (c *cloner) copyEntry(ctx context.Context, b *buffers, e entry, path int) error {
	var st unix.Stat_t
	if err := unix.Fstat(path, &st); err != nil {
		return err
	}
	switch st.Mode & unix.S_IFMT {
	case unix.S_IFDIR:
		return errGone // a directory took its place
	case unix.S_IFREG:
		return c.copyFile(ctx, b, e, path, &st)
	}
	if st.Nlink < 2 {
		return c.copySpecial(b, e, path, &st)
	}
	link, done, err := c.link(ctx, e, path, &st)
	if done {
		return err
	}
	err = c.copySpecial(b, e, path, &st)
	c.links.made(link, err)
	return err
}

func (c *cloner) copyFile(ctx context.Context, b *buffers, e entry, path int, st *unix.Stat_t) (err error) {
	src, err := openOriginal(ctx, path)
	if err != nil {
		return err
	}
	defer func() { _ = unix.Close(src) }()
	link, done, err := c.link(ctx, e, src, st)
	if done {
		return err
	}
	dst, err := create(e.dir.dst, e.name, st.Mode)
	c.links.made(link, err)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, unix.Close(dst)) }()
	if err := c.copyContent(ctx, b, e, src, dst, st); err != nil {
		return err
	}
	c.allocated.Add(st.Blocks * 512)
	return b.copyInode(src, dst, st)
}

// openOriginal waits for who has a lease on the file, fcntl(2): the first try has
// asked for its end. The kernel takes it away after /proc/sys/fs/lease-break-time.
func openOriginal(ctx context.Context, path int) (int, error) {
	for end := time.Now().Add(leaseWait); ; {
		fd, err := dirstack.Reopen(path, unix.O_RDONLY|unix.O_NONBLOCK|unix.O_NOATIME)
		if !errors.Is(err, unix.EAGAIN) || time.Now().After(end) {
			return fd, err
		}
		select {
		case <-ctx.Done():
			return -1, context.Cause(ctx)
		case <-time.After(leasePoll):
		}
	}
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

// ofCopy keeps an error about the copy from looking like one about the original,
// and knows the name that the copy has already: it was empty.
func ofCopy(err error) error {
	if errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("the copy's directory was removed: %w", unix.ESTALE)
	}
	if errors.Is(err, fs.ErrExist) {
		return errTwice
	}
	return err
}
