package extents

import (
	"bytes"
	"context"
	"errors"
	"io"
	"os"
)

const (
	blockBytes  = 4 << 10   // what differs is told in blocks of this size
	bufferBytes = 256 << 10 // a multiple of it
)

// reader compares by reading. Its buffers are made when they are needed.
type reader struct{ base, target []byte }

// compare adds the blocks of [at, end) that differ, cut at both.
func (r *reader) compare(ctx context.Context, base, target *os.File, at, end int64, o *output) error {
	if r.base == nil {
		r.base, r.target = make([]byte, bufferBytes), make([]byte, bufferBytes)
	}
	for at < end {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		until := min(end, (at/bufferBytes+1)*bufferBytes)
		a, b := r.base[:until-at], r.target[:until-at]
		if err := errors.Join(fill(base, a, at), fill(target, b, at)); err != nil {
			return err
		}
		if !bytes.Equal(a, b) {
			if err := addBlocks(a, b, at, o); err != nil {
				return err
			}
		}
		at = until
	}
	return nil
}

// addBlocks compares block by block what begins at an offset of the files.
func addBlocks(a, b []byte, at int64, o *output) error {
	for len(a) > 0 {
		n := min((at/blockBytes+1)*blockBytes-at, int64(len(a)))
		if !bytes.Equal(a[:n], b[:n]) {
			if err := o.add(at, at+n); err != nil {
				return err
			}
		}
		a, b, at = a[n:], b[n:], at+n
	}
	return nil
}

// fill reads; what a file lacks that was cut meanwhile are zeros.
func fill(f *os.File, b []byte, at int64) error {
	n, err := f.ReadAt(b, at)
	if errors.Is(err, io.EOF) {
		clear(b[n:])
		return nil
	}
	return err
}
