package clone

import (
	"context"
	"errors"
	"strconv"
	"strings"
	"sync"

	"golang.org/x/sys/unix"
)

// FS_IOC_GETVERSION of linux/fs.h, _IOR('v', 1, long); the kernel writes an int.
const fsIocGetVersion = 2<<30 | strconv.IntSize/8<<16 | 'v'<<8 | 1

// inode tells a file from all others that there are during the walk. The number
// alone does not: once a file is deleted, another gets it.
type inode struct {
	dev, ino   uint64
	born       unix.StatxTimestamp
	generation uint32
}

// identify is for an open file or an O_PATH descriptor; false where nothing tells
// apart two uses of the inode number.
func identify(fd int, st *unix.Stat_t) (inode, bool) {
	key := inode{dev: st.Dev, ino: st.Ino}
	var stx unix.Statx_t
	err := unix.Statx(fd, "", unix.AT_EMPTY_PATH|unix.AT_STATX_DONT_SYNC, unix.STATX_BTIME, &stx)
	hasBorn := err == nil && stx.Mask&unix.STATX_BTIME != 0
	if hasBorn {
		key.born = unix.StatxTimestamp{Sec: stx.Btime.Sec, Nsec: stx.Btime.Nsec}
	}
	if st.Mode&unix.S_IFMT != unix.S_IFREG {
		return key, hasBorn // there is no ioctl without opening it
	}
	generation, err := unix.IoctlGetUint32(fd, fsIocGetVersion)
	if err == nil {
		key.generation = generation
	}
	return key, hasBorn || err == nil
}

// links are the files of the original that have several names, until all of them
// were met.
type links struct {
	mu    sync.Mutex
	known map[inode]*link
}

// link is the first name of such a file in the copy.
type link struct {
	key   inode
	dir   *directory
	name  string
	names uint64        // in the copy; guarded by links.mu
	of    uint64        // names of the original
	done  chan struct{} // closed when the name exists, or err is set
	err   error
}

// first tells whether e is the first name met of its file. If so the caller
// makes it and calls made.
func (l *links) first(e entry, key inode, names uint64) (bool, *link) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if k, ok := l.known[key]; ok {
		return false, k
	}
	k := &link{key: key, dir: e.dir, name: e.name, of: names, done: make(chan struct{})}
	l.known[key] = k
	return true, k
}

// made tells of the first name; k may be nil.
func (l *links) made(k *link, err error) {
	if k == nil {
		return
	}
	k.err = err
	l.count(k, err)
	close(k.done)
}

// count forgets a file when all its names are made, or the first cannot be.
func (l *links) count(k *link, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	k.names++
	if (err != nil || k.names >= k.of) && l.known[k.key] == k {
		delete(l.known, k.key)
	}
}

// link is done when e was made as another name of a file that is copied. Else the
// caller copies it, and calls made with the link, which may be nil.
func (c *cloner) link(ctx context.Context, e entry, fd int, st *unix.Stat_t) (k *link, done bool, err error) {
	if st.Nlink < 2 {
		return nil, false, nil
	}
	key, ok := identify(fd, st)
	if !ok {
		return nil, false, nil
	}
	for {
		first, k := c.links.first(e, key, st.Nlink)
		if first {
			return k, false, nil
		}
		err := c.makeLink(ctx, e, k)
		if err == nil {
			c.links.count(k, nil)
		}
		if !errors.Is(err, errNotMade) {
			return nil, true, err
		}
	}
}

// errNotMade: there is no first name to link to.
var errNotMade = errors.New("first name was not made")

func (c *cloner) makeLink(ctx context.Context, e entry, to *link) error {
	select {
	case <-to.done:
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	if to.err != nil {
		return errNotMade
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
