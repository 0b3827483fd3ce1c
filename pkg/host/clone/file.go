package clone

import (
	"context"
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// File copies the content of the regular file src into the empty file dst, holes
// as holes, and tells whether the two share their blocks. With shared blocks dst
// is src as of one instant. What is copied is not durable yet: Sync in the options
// tells that the caller will sync dst, and has the disk begin with it meanwhile.
// Workers are without meaning.
func File(ctx context.Context, src, dst *os.File, o Options) (reflinked bool, err error) {
	ctx, fail := context.WithCancelCause(ctx)
	defer fail(nil)
	c := &cloner{options: o}
	c.files.Store(1)
	c.noCopyRange.Store(o.Reflink == Never) // the kernel shares blocks there too
	stop := c.reportProgress(fail)
	reflinked, err = c.fill(ctx, int(src.Fd()), int(dst.Fd()))
	stop()
	if err == nil && ctx.Err() != nil {
		err = context.Cause(ctx)
	}
	if err != nil {
		return false, fmt.Errorf("copy %s: %w", src.Name(), err)
	}
	if o.Progress != nil {
		o.Progress(c.stats())
	}
	return reflinked, nil
}

// Head copies the first data of src, so many bytes at most, into the empty file dst,
// as File does where blocks are not shared. It is for telling how fast that goes.
func Head(ctx context.Context, src, dst *os.File, bytes int64) (copied int64, err error) {
	info, err := src.Stat()
	if err != nil {
		return 0, err
	}
	c, b, w := new(cloner), new(buffers), early{dst: int(dst.Fd())}
	for at := int64(0); copied < bytes; {
		data, hole, err := nextData(int(src.Fd()), at, info.Size())
		if err != nil || data >= hole {
			return copied, err
		}
		end := min(hole, data+bytes-copied)
		if _, err := c.copyRange(ctx, b, int(src.Fd()), &w, data, end); err != nil {
			return copied, fmt.Errorf("copy %s: %w", src.Name(), err)
		}
		copied += end - data
		at = end
	}
	return copied, nil
}

func (c *cloner) fill(ctx context.Context, src, dst int) (reflinked bool, err error) {
	var st unix.Stat_t
	if err := unix.Fstat(src, &st); err != nil {
		return false, err
	}
	if c.options.Reflink != Never {
		if reflinked, err = c.reflink(src, dst); reflinked || err != nil {
			c.bytes.Store(st.Size)
			return reflinked, err
		}
	}
	return false, c.copySparse(ctx, &buffers{}, src, dst, &st)
}
