package volume

import (
	"context"

	"github.com/hostvol/hostvol/pkg/engine"
	"github.com/hostvol/hostvol/pkg/host/safepath"
	"github.com/hostvol/hostvol/pkg/pool"
)

// fill makes the volume want with the content of a source, as a copy of the
// daemon's. It ends the lock on the volume, at the end of the copy.
func (s *Service) fill(ctx context.Context, want pool.Record, size Range, params parameters, unlock func()) (Volume, error) {
	undo := []func(){unlock}
	release := func() {
		for _, f := range undo {
			f()
		}
	}
	err := s.sure(want.ID)
	if err == nil {
		err = s.copies.missed(volumeKey(want.ID), keyOf(want.From))
	}
	if err != nil {
		release()
		return Volume{}, err
	}
	src, err := s.pinned(want.From)
	if err != nil {
		release()
		return Volume{}, err
	}
	undo = append(undo, src.unpin)
	p, e, err := s.chooseFor(src, params, size, &want)
	if err != nil {
		release()
		return Volume{}, err
	}
	var rec pool.Record
	j := &copying{key: volumeKey(want.ID), from: keyOf(want.From), pool: p.Name()}
	err = s.copies.run(ctx, j, func(ctx context.Context) error {
		var err error
		rec, err = s.buildIn(ctx, p, want, func(ctx context.Context, item *safepath.Dir, rec pool.Record) (pool.Record, error) {
			err := src.with(ctx, j, func(ctx context.Context, from engine.Source) error {
				var err error
				rec.Volume, err = e.Create(ctx, item, specOf(rec, params), &from)
				return err
			})
			return rec, err
		})
		return err
	}, release)
	if err != nil {
		return Volume{}, err
	}
	return s.volume(p, rec), nil
}

// chooseFor finds the pool for a volume with content: the one that the class
// names, else the source's. It completes the record.
func (s *Service) chooseFor(src origin, params parameters, size Range, want *pool.Record) (*pool.Pool, engine.Engine, error) {
	if size.Required == 0 {
		size.Required = src.rec.Bytes
	}
	switch bytes, err := size.bytes(); {
	case err != nil:
		return nil, nil, err
	case bytes < src.rec.Bytes:
		return nil, nil, kind(ErrOutOfRange, "%d bytes are less than the %d of %s; ask for as much at least", bytes, src.rec.Bytes, keyOf(want.From))
	default:
		want.Bytes, want.Born = bytes, bytes
	}
	if err := inherit(src, params, want); err != nil {
		return nil, nil, err
	}
	if err := s.fit(want, size); err != nil {
		return nil, nil, err
	}
	if params.pool == "" {
		params.pool = src.pool.Name()
	}
	p, e, err := s.choose(params, want.Engine, want.Bytes)
	if err != nil {
		return nil, nil, err
	}
	// Content of a volume that was not enforced can be more than its size.
	limited := e.Enforcement().On() && params.enforce != engine.None
	if held := src.rec.Booked(); src.rec.Snapshot != nil && !src.limited() && limited && held > want.Bytes {
		return nil, nil, kind(ErrOutOfRange, "%s holds %d bytes, more than the asked size of %d", keyOf(want.From), held, want.Bytes)
	}
	return p, e, nil
}

// inherit takes over from the source what the class leaves open: content stays
// in the form that it has.
func inherit(src origin, params parameters, want *pool.Record) error {
	if params.engine == "" && !want.Block {
		want.Engine = src.rec.Engine
	}
	if want.Engine != src.rec.Engine {
		return invalid("%s was made by engine %s and cannot become a volume of engine %s; name engine: %s in the class", keyOf(want.From), src.rec.Engine, want.Engine, src.rec.Engine)
	}
	if want.Block && !src.rec.Block || !want.Block && src.rec.Block {
		return invalid("%s and the volume that is asked differ in their mode: %s", keyOf(want.From), mismatch(src.rec, Access{Block: want.Block}))
	}
	if want.FSType != "" && want.FSType != src.rec.FSType {
		return invalid("%s: %s", keyOf(want.From), mismatch(src.rec, Access{FSType: want.FSType}))
	}
	want.FSType = src.rec.FSType
	return nil
}
