package extents

import (
	"context"
	"fmt"
	"os"
	"runtime"
	"unsafe"

	"golang.org/x/sys/unix"
)

// linux/fiemap.h and linux/fs.h.
const (
	iocFiemap = 0xc020660b // FS_IOC_FIEMAP, _IOWR('f', 11, struct fiemap)

	flagSync = 1 // FIEMAP_FLAG_SYNC

	extentLast      = 0x1
	extentUnwritten = 0x800
	// extentOpaque: UNKNOWN, DELALLOC, ENCODED, DATA_ENCRYPTED, NOT_ALIGNED,
	// DATA_INLINE, DATA_TAIL: the address does not stand for the content. A
	// compressed extent of btrfs has one address, whatever part of it is mapped.
	extentOpaque = 0x2 | 0x4 | 0x8 | 0x80 | 0x100 | 0x200 | 0x400
	// extentKnown are those and LAST, UNWRITTEN, MERGED, SHARED.
	extentKnown = extentOpaque | extentLast | extentUnwritten | 0x1000 | 0x2000

	pageExtents = 512
)

type (
	fiemapExtent struct { // struct fiemap_extent
		logical, physical, length uint64
		_                         [2]uint64
		flags                     uint32
		_                         [3]uint32
	}
	fiemapPage struct { // struct fiemap
		start, length uint64
		flags, mapped uint32
		count, _      uint32
		extents       [pageExtents]fiemapExtent
	}
)

// fiemap is the layout of a file in pages of extents.
type fiemap struct {
	file *os.File
	size int64
	page fiemapPage
	next int   // extent of the page
	from int64 // what the page tells of the file
	to   int64
}

func newFiemap(f *os.File, size int64) *fiemap { return &fiemap{file: f, size: size} }

func (m *fiemap) at(ctx context.Context, offset int64) (stretch, error) {
	if offset < m.from || offset >= m.to {
		if err := m.load(ctx, offset); err != nil {
			return stretch{}, err
		}
	}
	if m.next > 0 && offset < m.page.extents[m.next-1].end() {
		m.next = 0 // back within the page
	}
	for ; m.next < int(m.page.mapped); m.next++ {
		e := &m.page.extents[m.next]
		start, end := int64(e.logical), e.end()
		switch {
		case offset >= end:
		case offset < start:
			return stretch{kind: zeros, end: min(start, m.to)}, nil
		default:
			s := stretch{kind: e.kind(), end: min(end, m.to)}
			if s.kind == plain {
				s.physical = e.physical + uint64(offset-start)
			}
			return s, nil
		}
	}
	return stretch{kind: zeros, end: m.to}, nil
}

func (e *fiemapExtent) end() int64 { return int64(e.logical + e.length) }

func (e *fiemapExtent) kind() kind {
	switch {
	case e.flags&^extentKnown != 0, e.flags&extentOpaque != 0:
		return opaque
	case e.flags&extentUnwritten != 0:
		return zeros
	}
	return plain
}

// load reads the page of extents from offset on.
func (m *fiemap) load(ctx context.Context, offset int64) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	m.page.start, m.page.length = uint64(offset), uint64(m.size-offset)
	m.page.flags, m.page.mapped, m.page.count = flagSync, 0, pageExtents
	m.from, m.to, m.next = 0, 0, 0
	err := control(m.file, func(fd int) error {
		_, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(fd), iocFiemap, uintptr(unsafe.Pointer(&m.page)))
		runtime.KeepAlive(m)
		if errno != 0 {
			return errno
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("map extents from %d: %w", offset, err)
	}
	m.from, m.to = offset, m.size
	if n := m.page.mapped; n == pageExtents && m.page.extents[n-1].flags&extentLast == 0 {
		m.to = min(m.page.extents[n-1].end(), m.size)
		if m.to <= offset {
			return fmt.Errorf("map extents from %d: the kernel's answer ends at %d", offset, m.to)
		}
	}
	return nil
}
