// Package clone copies the content of one directory into another, sharing blocks
// where the filesystem can (FICLONE) and keeping holes where it cannot.
//
// The copy is what "cp -a" makes, for trees whose content somebody else chose and
// may still change: links are never followed, mounts never entered, depth does
// not matter. It must not know pools or volumes. It needs root and /proc.
package clone

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"github.com/hostvol/hostvol/pkg/host/rmtree/dirstack"
)

// ErrNoReflink: the filesystem, or the pair of filesystems, cannot share blocks,
// and Always was asked for.
var ErrNoReflink = errors.New("filesystem cannot share blocks between files")

// ErrMoved: a directory of the original was moved while the walk was below it.
var ErrMoved = dirstack.ErrMoved

// Reflink says whether the copies share blocks with their originals.
type Reflink int

const (
	Auto   Reflink = iota // share where possible, else copy
	Always                // share, or fail with ErrNoReflink
	Never                 // copy every block
)

// Options of Tree.
type Options struct {
	Reflink Reflink
	Workers int // files copied at a time; 0 is one for each CPU, at most 8
	// Sync makes the copy durable before Tree returns, by one syncfs at the end:
	// fsync of every file costs a journal commit each. It writes out what others
	// have dirty on the same filesystem too.
	Sync bool
	// Progress, if set, is called twice a second and never concurrently.
	Progress func(Stats)
}

// Stats count what has been copied.
type Stats struct {
	Files     int64 // entries that are not directories; each name of a hard-linked file
	Dirs      int64 // without the root
	Bytes     int64 // sizes of regular files, holes included, hard-linked ones once
	Reflinked int64 // regular files that share their blocks with the original
	Allocated int64 // blocks of the original's regular files in bytes, hard-linked ones once
}

const (
	maxWorkers       = 8
	progressInterval = 500 * time.Millisecond
)

// Tree copies what is in the directory src into the empty directory dst, and the
// metadata of src itself: owners, modes, times in nanoseconds, extended
// attributes (ACLs and file capabilities among them; not trusted.hostvol), hard
// links within the tree (where a birth time or a generation tells files apart),
// holes, symbolic links as they are, fifos, sockets and devices. Preallocated
// blocks, chattr flags and project ids are not copied; new files get the project
// that dst passes on.
//
// Something mounted in src is left out; a directory stands for it. Files that
// vanish meanwhile are left out. A file that another one replaces by a rename is
// there; what is moved or renamed may be missing or there twice. A file that is
// written meanwhile is copied in some state between; with reflinks each file by
// itself is copied as of one moment.
// A directory that is moved while the walk is deep below it is an ErrMoved.
//
// On error, or when ctx ends, part of the copy is left in dst for the caller to
// remove; the Stats count it. The error Is fs.ErrExist when dst is not empty,
// fs.ErrInvalid when it lies within src.
func Tree(ctx context.Context, src, dst int, o Options) (Stats, error) {
	c, err := newCloner(src, dst, o)
	if err != nil {
		return Stats{}, fmt.Errorf("clone tree: %w", err)
	}
	defer c.close()
	ctx, fail := context.WithCancelCause(ctx)
	defer fail(nil)
	stop := c.reportProgress(fail)
	err = c.run(ctx, fail)
	stop()
	if err == nil && o.Sync {
		err = unix.Syncfs(dst)
	}
	if err != nil {
		return c.stats(), fmt.Errorf("clone tree: %w", err)
	}
	return c.stats(), nil
}

// cloner is one call of Tree. The stacks belong to the goroutine that walks.
type cloner struct {
	options  Options
	src, dst *dirstack.Stack
	dstRoot  int
	dstDev   uint64
	dstIno   uint64
	jobs     chan job
	pending  sync.WaitGroup // jobs
	links    links

	files, dirs, bytes, reflinked, allocated atomic.Int64

	noReflink, noCopyRange atomic.Bool // found out by trying
}

func newCloner(src, dst int, o Options) (*cloner, error) {
	if o.Workers <= 0 {
		o.Workers = min(runtime.GOMAXPROCS(0), maxWorkers)
	}
	c := &cloner{options: o, dstRoot: dst, jobs: make(chan job, 2*o.Workers)}
	c.links.known = map[inode]*link{}
	c.noReflink.Store(o.Reflink == Never)
	c.noCopyRange.Store(o.Reflink == Never) // the kernel shares blocks there too
	var err error
	if c.src, err = dirstack.New(src); err != nil {
		return nil, err
	}
	if c.dst, err = dirstack.New(dst); err != nil {
		c.src.Close()
		return nil, err
	}
	if _, ok, err := c.dst.Next(); ok || err != nil {
		c.close()
		if err == nil {
			err = fmt.Errorf("the copy's directory is not empty: %w", fs.ErrExist)
		}
		return nil, err
	}
	c.dstDev, c.dstIno = c.dst.ID()
	// Or everything made in dst would inherit it and have an ACL of its own.
	err = unix.Fremovexattr(c.dst.FD(), defaultACL)
	if err != nil && !errors.Is(err, unix.ENODATA) && !errors.Is(err, unix.EOPNOTSUPP) {
		c.close()
		return nil, fmt.Errorf("remove default ACL: %w", err)
	}
	return c, nil
}

func (c *cloner) close() {
	c.src.Close()
	c.dst.Close()
}

// run walks and copies until all is done or one goroutine has failed.
func (c *cloner) run(ctx context.Context, fail func(error)) error {
	var workers sync.WaitGroup
	for range c.options.Workers {
		workers.Go(func() { c.work(ctx, fail) })
	}
	if err := guard(func() error { return c.walk(ctx) }); err != nil {
		fail(err)
	}
	c.pending.Wait()
	close(c.jobs)
	workers.Wait()
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return nil
}

func (c *cloner) stats() Stats {
	return Stats{Files: c.files.Load(), Dirs: c.dirs.Load(), Bytes: c.bytes.Load(), Reflinked: c.reflinked.Load(), Allocated: c.allocated.Load()}
}

// reportProgress returns the function that ends it.
func (c *cloner) reportProgress(fail func(error)) (stop func()) {
	if c.options.Progress == nil {
		return func() {}
	}
	var reporter sync.WaitGroup
	end := make(chan struct{})
	reporter.Go(func() {
		if err := guard(func() error { return c.report(end) }); err != nil {
			fail(err)
		}
	})
	return func() {
		close(end)
		reporter.Wait()
	}
}

func (c *cloner) report(end <-chan struct{}) error {
	tick := time.NewTicker(progressInterval)
	defer tick.Stop()
	for {
		select {
		case <-end:
			return nil
		case <-tick.C:
			c.options.Progress(c.stats())
		}
	}
}
