package clone

import (
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/hostvol/hostvol/pkg/host/rmtree/dirstack"
)

// directory is a pair of directories, original and copy. The copy gets its
// metadata when all its entries are made: when the walk has left it and no job
// is pending, whichever comes last.
type directory struct {
	parent  *directory
	name    string
	stat    unix.Stat_t // of the original, before it was read
	entered time.Time   // when that was

	names []string // collected by the walk for the next job
	last  string   // name that the walk has read
	read  bool     // to the end; late is what is left to do
	late  []dirstack.Entry

	mu       sync.Mutex
	src, dst int // open while users > 0
	users    int // pending jobs, and the walk while it hands out jobs
	held     bool
	left     bool
}

func (c *cloner) newDirectory(parent *directory, name string) (*directory, error) {
	d := &directory{parent: parent, name: name, src: -1, dst: -1, entered: time.Now()}
	if err := unix.Fstat(c.src.FD(), &d.stat); err != nil {
		return nil, fmt.Errorf("stat directory %s: %w", d.path(""), err)
	}
	return d, nil
}

// path of an entry, or of the directory when name is "", from the root.
func (d *directory) path(name string) string {
	var names []string
	for at := d; at.parent != nil; at = at.parent {
		names = append(names, at.name)
	}
	var b strings.Builder
	for i := range names {
		b.WriteString(names[len(names)-1-i])
		b.WriteByte('/')
	}
	if b.Len() == 0 && name == "" {
		return "."
	}
	if name == "" {
		return strings.TrimSuffix(b.String(), "/")
	}
	return b.String() + name
}

// hold opens the pair for the jobs to come; src and dst are the walk's, which
// closes them when it likes.
func (d *directory) hold(src, dst int) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.held {
		return nil
	}
	if d.users == 0 {
		var err error
		if d.src, err = unix.FcntlInt(uintptr(src), unix.F_DUPFD_CLOEXEC, 0); err != nil {
			return err
		}
		if d.dst, err = unix.FcntlInt(uintptr(dst), unix.F_DUPFD_CLOEXEC, 0); err != nil {
			_ = unix.Close(d.src)
			return err
		}
	}
	d.users++
	d.held = true
	return nil
}

// acquire is for a job; the walk holds the pair then.
func (d *directory) acquire() {
	d.mu.Lock()
	d.users++
	d.mu.Unlock()
}

// release ends a job. The last one gives the copy its metadata, unless b is nil.
func (d *directory) release(b *buffers) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.users--
	if d.users > 0 {
		return nil
	}
	var err error
	if d.left && b != nil {
		err = d.finish(b, d.src, d.dst)
	}
	return errors.Join(err, unix.Close(d.src), unix.Close(d.dst))
}

// letGo ends the hold of the walk.
func (d *directory) letGo() error {
	if !d.held {
		return nil
	}
	d.held = false
	return d.release(nil)
}

// leave is called by the walk after the last entry.
func (d *directory) leave(src, dst int) error {
	if err := d.letGo(); err != nil {
		return err
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.left = true
	if d.users > 0 {
		return nil
	}
	return d.finish(new(buffers), src, dst)
}

// abandon closes what the walk holds here after an error; the pairs above are
// held by jobs only.
func (d *directory) abandon() { _ = d.letGo() }

func (d *directory) finish(b *buffers, src, dst int) error {
	if err := b.copyInode(src, dst, &d.stat); err != nil {
		return fmt.Errorf("set metadata of directory %s: %w", d.path(""), err)
	}
	return nil
}
