package extents

import (
	"context"
	"os"
)

// comparison is one call of Delta.
type comparison struct {
	base, target         *os.File
	baseSize, targetSize int64
	of, to               layout // of base and target
	// addresses: physical addresses of both are of one space.
	addresses bool
	// related: both share blocks, so that other addresses mean that it was written.
	related bool
	out     *output
	reader  reader
}

func newComparison(base, target *os.File, o *output) (*comparison, error) {
	c := &comparison{base: base, target: target, out: o}
	var err error
	if c.baseSize, err = sizeOf(base); err != nil {
		return nil, err
	}
	if c.targetSize, err = sizeOf(target); err != nil {
		return nil, err
	}
	c.of, c.to = newLayout(base, c.baseSize), newLayout(target, c.targetSize)
	c.addresses, err = sameSpace(base, target)
	return c, err
}

func (c *comparison) run(ctx context.Context, from int64) error {
	common := min(c.baseSize, c.targetSize)
	from = from &^ (blockBytes - 1) // so that the same blocks are read for every from
	if c.addresses && from < common {
		err := c.walk(ctx, 0, common, func(_, _ int64, base, target stretch) error {
			if samePlace(base, target) {
				c.related = true
				return errStop
			}
			return nil
		})
		if err != nil && !c.related {
			return err
		}
	}
	err := c.walk(ctx, from, common, func(at, end int64, base, target stretch) error {
		switch {
		case base.kind == zeros && target.kind == zeros:
			return nil
		case c.addresses && samePlace(base, target):
			return nil
		case c.related && base.kind != opaque && target.kind != opaque:
			return c.out.add(at, end)
		}
		return c.reader.compare(ctx, c.base, c.target, at, end, c.out)
	})
	if err != nil {
		return err
	}
	return allocated(ctx, c.to, max(from, common), c.targetSize, c.out)
}

func samePlace(base, target stretch) bool {
	return base.kind == plain && target.kind == plain && base.physical == target.physical
}

// walk calls f for the stretches [at, end) in which neither file changes its kind.
func (c *comparison) walk(ctx context.Context, from, to int64, f func(at, end int64, base, target stretch) error) error {
	for at := from; at < to; {
		base, err := c.of.at(ctx, at)
		if err != nil {
			return err
		}
		target, err := c.to.at(ctx, at)
		if err != nil {
			return err
		}
		end := min(base.end, target.end, to)
		if err := f(at, end, base, target); err != nil {
			return err
		}
		at = end
	}
	return nil
}
