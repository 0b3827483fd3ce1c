package volume

import (
	"context"
	"errors"

	"github.com/hostvol/hostvol/pkg/pool"
)

// Expand grows a volume to the required size, at once and with its users
// running. A volume that is large enough stays as it is; its limit is set again
// all the same, in case an earlier call got no further than the record. A size that
// does not fit is ErrOutOfRange, and nothing is reserved for it.
func (s *Service) Expand(ctx context.Context, handle string, size Range) (Volume, error) {
	p, rec, err := s.lookupOwned(handle)
	if err != nil {
		return Volume{}, err
	}
	if err := size.check(); err != nil {
		return Volume{}, err
	}
	unlock, err := s.locks.try("volume " + rec.ID)
	if err != nil {
		return Volume{}, err
	}
	defer unlock()
	if rec, err = p.Get(rec.ID); err != nil { // it may be gone by now
		return Volume{}, classify(err)
	}
	if size.Limit > 0 && rec.Bytes > size.Limit {
		return Volume{}, kind(ErrOutOfRange, "volume %s has %d bytes, more than the limit of %d; a volume never shrinks", rec.ID, rec.Bytes, size.Limit)
	}
	if size.Required > rec.Bytes {
		if size.Required, err = p.Engine(rec.Engine).Size(size.Required, rec.Form); err != nil {
			return Volume{}, classify(err)
		}
		if size.Limit > 0 && size.Required > size.Limit {
			return Volume{}, kind(ErrOutOfRange, "the limit of %d bytes is below the next size that volume %s can have, %d bytes", size.Limit, rec.ID, size.Required)
		}
	}
	before := rec.Bytes
	rec, err = p.Update(ctx, rec.ID, func(r pool.Record) pool.Record {
		r.Bytes = max(r.Bytes, size.Required)
		return r
	})
	if errors.Is(err, pool.ErrNoSpace) {
		// Not RESOURCE_EXHAUSTED: external-resizer would go on asking for this size, and
		// the claim's smaller request would never come.
		return Volume{}, kind(ErrOutOfRange, "%w", err)
	}
	if err != nil {
		return Volume{}, classify(err)
	}
	logger(ctx).V(2).Info("Expanded volume", "volumeID", rec.ID, "pool", p.Name(), "bytes", rec.Bytes, "before", before)
	return s.volume(p, rec), nil
}
