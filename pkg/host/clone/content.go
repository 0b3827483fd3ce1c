package clone

import (
	"context"
	"errors"
	"fmt"

	"golang.org/x/sys/unix"
)

const (
	chunkBytes  = 16 << 20  // between two looks at the context, and two early writebacks
	bufferBytes = 256 << 10 // of read and write
	earlyBytes  = 1 << 20   // writeback of the end of larger files starts at once
	largeBytes  = 8 << 20   // others go on with the directory meanwhile

	noCOWFlag = 0x00800000 // FS_NOCOW_FL, chattr +C
)

// copyContent fills the empty file dst.
func (c *cloner) copyContent(ctx context.Context, b *buffers, e entry, src, dst int, st *unix.Stat_t) error {
	if st.Size == 0 {
		return nil
	}
	if !c.noReflink.Load() {
		done, err := c.reflink(src, dst)
		if err != nil {
			return err
		}
		if done {
			c.reflinked.Add(1)
			c.bytes.Add(st.Size)
			return nil
		}
	}
	if st.Size >= largeBytes {
		c.share(e)
	}
	return c.copySparse(ctx, b, src, dst, st)
}

func (c *cloner) reflink(src, dst int) (bool, error) {
	err := ficlone(dst, src)
	if errors.Is(err, unix.EINVAL) && copyNoCOW(src, dst) {
		err = ficlone(dst, src)
	}
	switch {
	case err == nil:
		return true, nil
	case errors.Is(err, unix.EOPNOTSUPP), errors.Is(err, unix.ENOTTY), errors.Is(err, unix.ENOSYS), errors.Is(err, unix.EXDEV):
		if c.options.Reflink != Always {
			c.noReflink.Store(true) // so it is for every file
			return false, nil
		}
	case errors.Is(err, unix.EINVAL), errors.Is(err, unix.ETXTBSY), errors.Is(err, unix.EPERM):
		if c.options.Reflink != Always {
			return false, nil // so it is for this file, a swap file for instance
		}
	default:
		return false, fmt.Errorf("share blocks: %w", err)
	}
	return false, fmt.Errorf("%w: %w", ErrNoReflink, err)
}

func ficlone(dst, src int) error {
	for {
		err := unix.IoctlFileClone(dst, src)
		if !errors.Is(err, unix.EINTR) {
			return err
		}
	}
}

// copyNoCOW marks dst like src: btrfs does not share blocks between a file with
// checksums and one without. It reports whether anything changed.
func copyNoCOW(src, dst int) bool {
	from, err := unix.IoctlGetUint32(src, unix.FS_IOC_GETFLAGS)
	if err != nil || from&noCOWFlag == 0 {
		return false
	}
	to, err := unix.IoctlGetUint32(dst, unix.FS_IOC_GETFLAGS)
	if err != nil || to&noCOWFlag != 0 {
		return false
	}
	return unix.IoctlSetPointerInt(dst, unix.FS_IOC_SETFLAGS, int(to|noCOWFlag)) == nil
}

// copySparse copies the data and leaves holes out. A file that was truncated
// meanwhile is copied as far as it goes.
func (c *cloner) copySparse(ctx context.Context, b *buffers, src, dst int, st *unix.Stat_t) error {
	w := early{on: c.options.Sync, dst: dst}
	if st.Blocks*512 >= st.Size {
		_, err := c.copyRange(ctx, b, src, &w, 0, st.Size)
		w.write(st.Size, earlyBytes)
		return err
	}
	for at := int64(0); at < st.Size; {
		data, hole, err := nextData(src, at, st.Size)
		if err != nil {
			return fmt.Errorf("find holes: %w", err)
		}
		c.bytes.Add(data - at)
		eof, err := c.copyRange(ctx, b, src, &w, data, hole)
		if eof || err != nil {
			return err
		}
		at = hole
	}
	w.write(st.Size, earlyBytes)
	return unix.Ftruncate(dst, st.Size)
}

// early has the disk begin with what was copied, for a copy that is synced at its
// end. Otherwise the disk would wait while the source is read, and then the caller
// for the disk.
type early struct {
	on    bool
	dst   int
	begun int64 // up to there
}

// write begins with what is before at, if it is so much. What goes wrong is told by
// the sync.
func (e *early) write(at, least int64) {
	if e.on && at-e.begun >= least {
		_ = unix.SyncFileRange(e.dst, e.begun, at-e.begun, unix.SYNC_FILE_RANGE_WRITE)
		e.begun = at
	}
}

// nextData returns the next range of data from at on, empty at the end when only
// a hole follows; all the rest on a filesystem that does not tell.
func nextData(fd int, at, size int64) (data, hole int64, err error) {
	data, err = unix.Seek(fd, at, unix.SEEK_DATA)
	if err == nil && data < size {
		hole, err = unix.Seek(fd, data, unix.SEEK_HOLE)
		return data, min(hole, size), err
	}
	switch {
	case err == nil, errors.Is(err, unix.ENXIO):
		return size, size, nil
	case errors.Is(err, unix.EINVAL):
		return at, size, nil
	}
	return 0, 0, err
}

// copyRange copies [at, end) to the same place; eof when src ends before.
func (c *cloner) copyRange(ctx context.Context, b *buffers, src int, to *early, at, end int64) (eof bool, err error) {
	for at < end {
		if ctx.Err() != nil {
			return false, context.Cause(ctx)
		}
		n, err := c.copyChunk(b, src, to.dst, at, int(min(end-at, chunkBytes)))
		if err != nil {
			return false, err
		}
		if n == 0 {
			return true, nil
		}
		c.bytes.Add(int64(n))
		at += int64(n)
		to.write(at, chunkBytes)
	}
	return false, nil
}

func (c *cloner) copyChunk(b *buffers, src, dst int, at int64, length int) (int, error) {
	if !c.noCopyRange.Load() {
		from, to := at, at
		n, err := unix.CopyFileRange(src, &from, dst, &to, length, 0)
		switch {
		case err == nil && n > 0:
			return n, nil
		case err == nil, errors.Is(err, unix.EINTR): // a file of some filesystems is empty to this call only
		case errors.Is(err, unix.ENOSYS), errors.Is(err, unix.EXDEV), errors.Is(err, unix.EOPNOTSUPP):
			c.noCopyRange.Store(true)
		case errors.Is(err, unix.EINVAL), errors.Is(err, unix.EPERM), errors.Is(err, unix.ETXTBSY):
		default:
			return 0, fmt.Errorf("copy data: %w", err)
		}
	}
	return b.readWrite(src, dst, at, length)
}

func (b *buffers) readWrite(src, dst int, at int64, length int) (int, error) {
	if b.content == nil {
		b.content = make([]byte, bufferBytes)
	}
	n, err := unix.Pread(src, b.content[:min(length, bufferBytes)], at)
	if err != nil {
		return 0, fmt.Errorf("read: %w", err)
	}
	for done := 0; done < n; {
		w, err := unix.Pwrite(dst, b.content[done:n], at+int64(done))
		if err != nil {
			return 0, fmt.Errorf("write: %w", err)
		}
		done += w
	}
	return n, nil
}
