// Package extents tells what of a file is allocated, and where two files may
// differ, as ranges in order and with constant memory. It asks the filesystem
// (FIEMAP, SEEK_DATA) and reads only what that does not settle.
//
// Callers give it open regular files that nobody writes meanwhile, as snapshots
// are: of a file that is written, each part is told as of some moment of the call.
// It must not know volumes or CSI.
//
// Sources: Documentation/filesystems/fiemap.rst, lseek(2).
package extents

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"iter"
	"os"
)

// Range is a part of a file, in bytes; Length is above 0.
type Range struct{ Offset, Length int64 }

func (r Range) end() int64 { return r.Offset + r.Length }

// Allocated yields the ranges of f, from the offset from on, that may hold
// something else than zeros: ascending, none touching the next, none beyond the end
// of the file. Holes and what is preallocated but was never written are left out;
// zeros that were written may be in. Where the filesystem tells nothing, it is all.
//
// Dirty data is written out first. An error, that of ctx too, is yielded last, with
// an empty range; fs.ErrInvalid is a negative offset or not a regular file.
func Allocated(ctx context.Context, f *os.File, from int64) iter.Seq2[Range, error] {
	return generate(from, func(o *output) error {
		size, err := sizeOf(f)
		if err != nil {
			return fmt.Errorf("list what is allocated: %w", err)
		}
		if err := allocated(ctx, newLayout(f, size), from, size, o); err != nil {
			return fmt.Errorf("list what is allocated in %s: %w", f.Name(), err)
		}
		return nil
	})
}

// Delta yields the ranges, from the offset from on, in which target may differ
// from base, as Allocated yields its own. No difference is ever missed; whether
// there is more depends on how the files came to be:
//   - If they share at least one block (reflinks, snapshots of XFS and btrfs), what
//     is shared is the same, and what has blocks of its own, or a hole on one side
//     only, is yielded without being read.
//   - What extents do not settle (compression, inline data) and files that share
//     nothing or lie on different filesystems are read and compared; those ranges
//     are blocks of 4 KiB that do differ. Holes in both are not read.
//
// Where target is larger, what Allocated tells of the rest is yielded; nothing is
// beyond the end of target. A call with a larger from yields the same, cut.
func Delta(ctx context.Context, base, target *os.File, from int64) iter.Seq2[Range, error] {
	return generate(from, func(o *output) error {
		c, err := newComparison(base, target, o)
		if err == nil {
			err = c.run(ctx, from)
		}
		if err != nil {
			return fmt.Errorf("compare %s with %s: %w", target.Name(), base.Name(), err)
		}
		return nil
	})
}

func sizeOf(f *os.File) (int64, error) {
	st, err := f.Stat()
	if err != nil {
		return 0, err
	}
	if !st.Mode().IsRegular() {
		return 0, fmt.Errorf("%s is not a regular file: %w", f.Name(), fs.ErrInvalid)
	}
	return st.Size(), nil
}

// allocated adds what is not zero in [from, end).
func allocated(ctx context.Context, l layout, from, end int64, o *output) error {
	for at := from; at < end; {
		s, err := l.at(ctx, at)
		if err != nil {
			return err
		}
		until := min(s.end, end)
		if s.kind != zeros {
			if err := o.add(at, until); err != nil {
				return err
			}
		}
		at = until
	}
	return nil
}

// errStop: the caller of the iterator wants no more.
var errStop = errors.New("stop")

// output joins ranges that touch, and cuts what lies before from.
type output struct {
	yield   func(Range, error) bool
	from    int64
	pending Range
}

func generate(from int64, produce func(*output) error) iter.Seq2[Range, error] {
	return func(yield func(Range, error) bool) {
		if from < 0 {
			yield(Range{}, fmt.Errorf("negative offset %d: %w", from, fs.ErrInvalid))
			return
		}
		o := &output{yield: yield, from: from}
		err := produce(o)
		if err == nil {
			err = o.flush()
		}
		if err != nil && !errors.Is(err, errStop) {
			yield(Range{}, err)
		}
	}
}

// add takes [start, end), which does not lie before what was added already.
func (o *output) add(start, end int64) error {
	start = max(start, o.from)
	if start >= end {
		return nil
	}
	if o.pending.Length > 0 && start <= o.pending.end() {
		o.pending.Length = max(o.pending.end(), end) - o.pending.Offset
		return nil
	}
	err := o.flush()
	o.pending = Range{start, end - start}
	return err
}

func (o *output) flush() error {
	if o.pending.Length > 0 && !o.yield(o.pending, nil) {
		return errStop
	}
	o.pending = Range{}
	return nil
}
