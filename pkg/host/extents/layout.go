package extents

import (
	"context"
	"errors"
	"os"

	"golang.org/x/sys/unix"
)

type kind int

const (
	zeros  kind = iota // a hole, or preallocated
	plain              // at a physical address
	opaque             // only reading tells
)

// A stretch of a file, all of one kind.
type stretch struct {
	kind     kind
	physical uint64 // of the offset that was asked for, if plain
	end      int64  // in the file, exclusive
}

// A layout tells the stretch at an offset of a file below its size. Offsets that
// ascend are cheap, others start it anew.
type layout interface {
	at(ctx context.Context, offset int64) (stretch, error)
}

// newLayout asks the filesystem by FIEMAP, or by SEEK_DATA where it has not that.
func newLayout(f *os.File, size int64) layout {
	return &fallback{layout: newFiemap(f, size), next: &seeker{file: f, size: size}}
}

// fallback changes to the next layout when the first turns out to be unsupported.
type fallback struct {
	layout
	next layout
}

func (l *fallback) at(ctx context.Context, offset int64) (stretch, error) {
	s, err := l.layout.at(ctx, offset)
	if l.next == nil || !unsupported(err) {
		return s, err
	}
	l.layout, l.next = l.next, nil
	return l.layout.at(ctx, offset)
}

// unsupported is what filesystems say that lack FIEMAP, its sync flag (EBADR), or
// either for this file.
func unsupported(err error) bool {
	for _, e := range []unix.Errno{unix.EOPNOTSUPP, unix.ENOTTY, unix.EINVAL, unix.ENOSYS, unix.EBADR} {
		if errors.Is(err, e) {
			return true
		}
	}
	return false
}

// seeker knows holes and data by lseek(2).
type seeker struct {
	file *os.File
	size int64
	data Range // the last that was found; the hole before it began at or before hole
	hole int64
}

func (l *seeker) at(ctx context.Context, offset int64) (stretch, error) {
	if offset < l.hole || offset >= l.data.end() {
		if err := l.find(ctx, offset); err != nil {
			return stretch{}, err
		}
	}
	if offset < l.data.Offset {
		return stretch{kind: zeros, end: l.data.Offset}, nil
	}
	return stretch{kind: opaque, end: l.data.end()}, nil
}

// find is the next data from offset on, or nothing at the end of the file.
func (l *seeker) find(ctx context.Context, offset int64) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	data, hole := l.size, l.size
	err := control(l.file, func(fd int) (err error) {
		data, err = unix.Seek(fd, offset, unix.SEEK_DATA)
		if err == nil && data < l.size {
			hole, err = unix.Seek(fd, data, unix.SEEK_HOLE)
		}
		return err
	})
	switch {
	case errors.Is(err, unix.ENXIO): // no data from here on, or cut meanwhile
		data, hole = max(data, l.size), l.size
	case errors.Is(err, unix.EINVAL): // the filesystem does not know
		data, hole = offset, l.size
	case err != nil:
		return err
	}
	if hole <= data { // moved meanwhile
		hole = l.size
	}
	data, hole = min(data, l.size), min(hole, l.size)
	l.hole, l.data = offset, Range{data, hole - data}
	return nil
}

// control calls f with the descriptor of a file, which stays open meanwhile, and
// repeats a call that a signal interrupted.
func control(file *os.File, f func(fd int) error) error {
	raw, err := file.SyscallConn()
	if err != nil {
		return err
	}
	var inner error
	err = raw.Control(func(fd uintptr) {
		for inner = f(int(fd)); errors.Is(inner, unix.EINTR); {
			inner = f(int(fd))
		}
	})
	return errors.Join(err, inner)
}
