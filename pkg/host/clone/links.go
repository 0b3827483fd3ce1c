package clone

import (
	"context"
	"errors"
	"strings"
	"sync"

	"golang.org/x/sys/unix"
)

type inode struct{ dev, ino uint64 }

// links are the files of the original that have several names.
type links struct {
	mu    sync.Mutex
	known map[inode]*link
}

// link is the first name of such a file in the copy.
type link struct {
	dir  *directory
	name string
	done chan struct{} // closed when the name exists, or err is set
	err  error
}

// first tells whether e is the first name met of its file. If so the caller
// makes it and calls made.
func (l *links) first(e entry, st *unix.Stat_t) (bool, *link) {
	l.mu.Lock()
	defer l.mu.Unlock()
	key := inode{st.Dev, st.Ino}
	if k, ok := l.known[key]; ok {
		return false, k
	}
	k := &link{dir: e.dir, name: e.name, done: make(chan struct{})}
	l.known[key] = k
	return true, k
}

func (k *link) made(err error) {
	k.err = err
	close(k.done)
}

func (c *cloner) makeLink(ctx context.Context, e entry, to *link) error {
	select {
	case <-to.done:
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	if errors.Is(to.err, errGone) {
		return errGone
	}
	if to.err != nil {
		return nil // the first name's worker reports it
	}
	if to.dir == e.dir {
		return ofCopy(unix.Linkat(e.dir.dst, to.name, e.dir.dst, e.name, 0))
	}
	dir, err := c.openInCopy(to.dir.path(""))
	if err != nil {
		return ofCopy(err)
	}
	defer func() { _ = unix.Close(dir) }()
	return ofCopy(unix.Linkat(dir, to.name, e.dir.dst, e.name, 0))
}

// openInCopy opens a directory of the copy by its path, however long.
func (c *cloner) openInCopy(path string) (int, error) {
	const flags = unix.O_PATH | unix.O_DIRECTORY | unix.O_NOFOLLOW | unix.O_CLOEXEC
	at, err := unix.Openat(c.dstRoot, ".", flags, 0)
	for err == nil && path != "" {
		part := path
		if len(part) >= unix.PathMax {
			part = part[:strings.LastIndexByte(part[:unix.PathMax], '/')]
		}
		path = strings.TrimPrefix(path[len(part):], "/")
		var next int
		next, err = unix.Openat(at, part, flags, 0)
		_ = unix.Close(at)
		at = next
	}
	return at, err
}
