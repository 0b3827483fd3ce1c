package volume

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/hostvol/hostvol/pkg/engine"
	"github.com/hostvol/hostvol/pkg/host/safepath"
	"github.com/hostvol/hostvol/pkg/pool"
)

// SnapshotRequest says what snapshot is wanted.
type SnapshotRequest struct {
	// Name is the CO's: equal names are the same snapshot.
	Name string
	// Source is the handle of the volume.
	Source string
	// Parameters are those of the snapshot class.
	Parameters map[string]string
}

// Snapshot is what a caller gets to know of one.
type Snapshot struct {
	Handle, ID, Pool string
	// Source is the handle of its volume, which may be gone, SourceID its id.
	Source, SourceID string
	// Group is the handle of the group that it belongs to, "" for none.
	Group string
	// Bytes is the size of the volume at the end of it, and the least that one made
	// of the snapshot has; Held what the snapshot itself counts in the pool.
	Bytes, Held int64
	// It shows the volume between Created and Until, in that Consistency.
	Created, Until time.Time
	Consistency    string
	Method         string
}

// paramConsistency is the parameter of a snapshot class.
const paramConsistency = "snapshotConsistency"

func parseConsistency(given map[string]string) (engine.Consistency, error) {
	want := engine.BestEffort
	for key, value := range given {
		switch {
		case key == paramConsistency:
			want = engine.Consistency(value)
			if !slices.Contains(engine.Consistencies(), want) {
				return "", invalid("parameter %s: %q is none of %v", key, value, engine.Consistencies())
			}
		case !strings.HasPrefix(key, foreignPrefix):
			return "", invalid("unknown parameter %q; known is %s", key, paramConsistency)
		}
	}
	return want, nil
}

// Snapshot makes a snapshot of a volume, or finds the one that an earlier, equal
// call has made. After nil it is durable and can be used. It fails with ErrExists
// when there is a snapshot of that name which differs, and with ErrState when the
// volume does not allow one, or not of the asked consistency. A snapshot that
// takes long is a copy of the daemon's, see copies.
func (s *Service) Snapshot(ctx context.Context, r SnapshotRequest) (Snapshot, error) {
	if r.Name == "" || len(r.Name) > maxName {
		return Snapshot{}, invalid("a snapshot needs a name of at most %d bytes; this one has %d", maxName, len(r.Name))
	}
	consistency, err := parseConsistency(r.Parameters)
	if err != nil {
		return Snapshot{}, err
	}
	source, ours := s.local(r.Source)
	if !ours {
		return Snapshot{}, kind(ErrNotFound, "volume %s on node %s", r.Source, s.opts.NodeID)
	}
	want := pool.Record{ID: idOf(r.Name), Snapshot: &pool.Snapshot{Of: source, Consistency: consistency}}
	if r.Name != want.ID {
		want.Name = r.Name
	}
	key := snapshotKey(want.ID)
	unlock, err := s.locks.try(key)
	if err != nil {
		return Snapshot{}, s.copies.join(key, volumeKey(source), err)
	}
	switch p, have, err := s.findSnapshot(want.ID); {
	case err == nil:
		unlock()
		if err := sameSnapshot(have, want); err != nil {
			return Snapshot{}, err
		}
		return s.snapshot(p, have), nil
	case !errors.Is(err, ErrNotFound):
		unlock()
		return Snapshot{}, err
	}
	if err = s.sureOf(key); err == nil {
		err = s.copies.missed(key, volumeKey(source))
	}
	if err != nil {
		unlock()
		return Snapshot{}, err
	}
	return s.cut(ctx, want, unlock)
}

// sameSnapshot compares an existing snapshot with the one that is asked for.
func sameSnapshot(have, want pool.Record) error {
	switch {
	case have.Name != want.Name:
		return kind(ErrExists, "snapshot %s is of another name, %q", have.ID, have.Name)
	case have.Snapshot.Of != want.Snapshot.Of:
		return kind(ErrExists, "snapshot %s is of volume %s, not of %s", have.ID, have.Snapshot.Of, want.Snapshot.Of)
	case want.Snapshot.Consistency == engine.Atomic && have.Snapshot.Consistency != engine.Atomic:
		return kind(ErrExists, "snapshot %s was made with the consistency %s", have.ID, have.Snapshot.Consistency)
	}
	return nil
}

// cut makes the snapshot. It ends the lock on it, at the end of the work.
func (s *Service) cut(ctx context.Context, want pool.Record, unlock func()) (Snapshot, error) {
	source := pool.From{Volume: want.Snapshot.Of}
	src, err := s.pinned(source)
	if err != nil {
		unlock()
		return Snapshot{}, err
	}
	release := func() { src.unpin(); unlock() }
	p, e := src.pool, src.pool.Engine(src.rec.Engine)
	if want.Snapshot.Consistency == engine.Atomic && !e.Atomic() {
		release()
		return Snapshot{}, s.notAtomic(p, e.Name(), engine.ErrNotAtomic)
	}
	want.Engine, want.Enforce, want.Created = src.rec.Engine, engine.None, time.Now().UTC()
	want.Volume = engine.Volume{Bytes: src.rec.Bytes, Form: src.rec.Form}
	want.Snapshot.Held, want.Snapshot.Limited = s.expected(ctx, src), src.rec.Enforced
	var rec pool.Record
	j := &copying{key: snapshotKey(want.ID), from: keyOf(source), pool: p.Name()}
	err = s.copies.run(ctx, j, func(ctx context.Context) error {
		var err error
		rec, err = s.buildIn(ctx, p, want, func(ctx context.Context, item *safepath.Dir, rec pool.Record) (pool.Record, error) {
			err := src.with(ctx, j, func(ctx context.Context, from engine.Source) error {
				cut, err := e.Snapshot(ctx, item, from, rec.Snapshot.Consistency)
				if err == nil { // it may hold what the volume could only after it has grown
					rec.Bytes, err = src.size()
				}
				rec.Snapshot = recorded(rec, cut)
				return err
			})
			if errors.Is(err, engine.ErrNotAtomic) {
				err = s.notAtomic(p, e.Name(), err)
			}
			return rec, err
		})
		if err == nil { // much of the volume is shared now
			measure(ctx, p, src.rec)
		}
		return err
	}, release)
	if err != nil {
		return Snapshot{}, err
	}
	return s.snapshot(p, rec), nil
}

// expected is what a snapshot is reckoned to hold before it is made: what its
// volume uses, or where nobody counts that, no more than is used at all.
func (s *Service) expected(ctx context.Context, src origin) int64 {
	u, err := usage(ctx, src.pool, src.rec)
	if err != nil {
		return src.rec.Bytes
	}
	if u.Own {
		return u.BytesUsed
	}
	return min(src.rec.Bytes, u.BytesUsed)
}

func recorded(rec pool.Record, cut engine.Cut) *pool.Snapshot {
	out := &pool.Snapshot{Of: rec.Snapshot.Of, Group: rec.Snapshot.Group, Limited: rec.Snapshot.Limited, Consistency: cut.Consistency, Method: cut.Method, Until: time.Now().UTC(), Held: cut.Held}
	if cut.Held < 0 {
		out.Held = rec.Bytes
	}
	return out
}

// notAtomic refuses an atomic snapshot, and tells which pools can make one.
func (s *Service) notAtomic(p *pool.Pool, by string, why error) error {
	var can []string
	for _, other := range s.pools.all() {
		if other != p && other.Engine(by).Atomic() {
			can = append(can, other.Name())
		}
	}
	hint := "no pool of this node can"
	if len(can) > 0 {
		hint = fmt.Sprintf("volumes in these pools have it: %s", strings.Join(can, ", "))
	}
	return kind(ErrState, "%s: atomic is asked, and the volume in pool %s (%s) does not allow it: %w; %s", paramConsistency, p.Name(), p.Filesystem(), why, hint)
}

func (s *Service) snapshot(p *pool.Pool, rec pool.Record) Snapshot {
	group := ""
	if rec.Snapshot.Group != "" {
		group = s.handle(rec.Snapshot.Group)
	}
	return Snapshot{
		Group: group, Handle: s.handle(rec.ID), ID: rec.ID, Pool: p.Name(),
		Source: s.handle(rec.Snapshot.Of), SourceID: rec.Snapshot.Of,
		Bytes: rec.Bytes, Held: rec.Snapshot.Held, Created: rec.Created, Until: rec.Snapshot.Until,
		Consistency: string(rec.Snapshot.Consistency), Method: rec.Snapshot.Method,
	}
}
