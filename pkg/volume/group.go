package volume

import (
	"context"
	"errors"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/hostvol/hostvol/pkg/engine"
	"github.com/hostvol/hostvol/pkg/host/safepath"
	"github.com/hostvol/hostvol/pkg/pool"
)

// GroupRequest says which volumes are wanted in a group of snapshots.
type GroupRequest struct {
	// Name is the CO's: equal names are the same group.
	Name string
	// Sources are the handles of the volumes, each once, in one pool.
	Sources []string
	// Parameters are those of the class, as for a single snapshot.
	Parameters map[string]string
}

// Group is a group of snapshots that are all of one instant.
type Group struct {
	Handle, ID, Pool string
	Created          time.Time
	Snapshots        []Snapshot
}

func groupKey(id string) string { return "group " + id }

// SnapshotGroup makes a group of snapshots, or finds the one that an earlier, equal
// call has made. After nil it is durable. It fails with ErrState, and nothing is
// made, where the volumes have no instant in common.
func (s *Service) SnapshotGroup(ctx context.Context, r GroupRequest) (Group, error) {
	if r.Name == "" || len(r.Name) > maxName {
		return Group{}, invalid("a group of snapshots needs a name of at most %d bytes; this one has %d", maxName, len(r.Name))
	}
	if _, err := parseConsistency(r.Parameters); err != nil { // it is atomic in any case
		return Group{}, err
	}
	ids, err := s.groupSources(r.Sources)
	if err != nil {
		return Group{}, err
	}
	want := pool.Record{ID: idOf(r.Name), Created: time.Now().UTC()}
	if r.Name != want.ID {
		want.Name = r.Name
	}
	key, from := groupKey(want.ID), "volumes "+strings.Join(ids, ", ")
	names := []string{key, snapshotKey(want.ID)} // both lie in snapshots/
	for _, id := range ids {
		names = append(names, snapshotKey(memberID(want.ID, id)))
	}
	unlock, err := s.locks.try(names...)
	if err != nil {
		return Group{}, s.copies.join(key, from, err)
	}
	switch p, have, members, err := s.findGroup(want.ID); {
	case err == nil:
		unlock()
		return s.group(p, have, members), sameGroup(have, want, members, ids)
	case !errors.Is(err, ErrNotFound):
		unlock()
		return Group{}, err
	}
	if err = s.sureOf(key); err == nil {
		err = s.copies.missed(key, from)
	}
	if err != nil {
		unlock()
		return Group{}, err
	}
	return s.cutGroup(ctx, want, ids, from, unlock)
}

// groupSources are the ids of the sources, sorted.
func (s *Service) groupSources(handles []string) ([]string, error) {
	if len(handles) == 0 {
		return nil, invalid("a group of snapshots needs source volumes")
	}
	var ids []string
	for _, handle := range handles {
		id, ours := s.local(handle)
		if !ours {
			return nil, kind(ErrNotFound, "volume %s on node %s", handle, s.opts.NodeID)
		}
		ids = append(ids, id)
	}
	slices.Sort(ids)
	if len(slices.Compact(slices.Clone(ids))) < len(ids) {
		return nil, invalid("a volume is named twice in %v", ids)
	}
	return ids, nil
}

// memberID is the id of the snapshot of a volume in a group.
func memberID(group, volume string) string { return idOf(group + "." + volume) }

// sameGroup compares an existing group with the one that is asked for.
func sameGroup(have, want pool.Record, members []pool.Record, ids []string) error {
	if have.Name != want.Name {
		return kind(ErrExists, "group %s is of another name, %q", have.ID, have.Name)
	}
	of := make([]string, 0, len(members))
	for _, m := range members {
		of = append(of, m.Snapshot.Of)
	}
	slices.Sort(of)
	if !slices.Equal(of, ids) {
		return kind(ErrExists, "group %s is of the volumes %v, not of %v", have.ID, of, ids)
	}
	return nil
}

// findGroup finds a group. A quarantined one is an ErrState.
func (s *Service) findGroup(id string) (*pool.Pool, pool.Record, []pool.Record, error) {
	for _, p := range s.pools.all() {
		rec, members, err := p.GetGroup(id)
		if !errors.Is(err, pool.ErrNotFound) {
			return p, rec, members, classify(err)
		}
	}
	return nil, pool.Record{}, nil, kind(ErrNotFound, "group %s", id)
}

// groupCut is the work of making a group.
type groupCut struct {
	s       *Service
	j       *copying
	p       *pool.Pool
	e       engine.Engine
	sources []origin
	members []pool.Record
}

// cutGroup makes the group. It ends the locks at the end of the work.
func (s *Service) cutGroup(ctx context.Context, want pool.Record, ids []string, from string, unlock func()) (Group, error) {
	g := groupCut{s: s}
	release := func() {
		for _, src := range g.sources {
			src.unpin()
		}
		unlock()
	}
	if err := g.find(ctx, want, ids); err != nil {
		release()
		return Group{}, err
	}
	want.Engine = g.e.Name()
	g.j = &copying{key: groupKey(want.ID), from: from, pool: g.p.Name()}
	var rec pool.Record
	err := s.copies.run(ctx, g.j, func(ctx context.Context) error {
		var err error
		rec, err = g.p.BuildGroup(ctx, want, g.members, g.build)
		if err != nil {
			return classify(err)
		}
		for _, src := range g.sources { // much of the volumes is shared now
			measure(ctx, g.p, src.rec)
		}
		logger(ctx).V(2).Info("Created group of snapshots", "groupID", rec.ID, "pool", g.p.Name(), "members", rec.Group.Members, "held", rec.Group.Held)
		return nil
	}, release)
	if err != nil {
		return Group{}, err
	}
	_, members, err := g.p.GetGroup(rec.ID)
	return s.group(g.p, rec, members), classify(err)
}

// find pins the sources, and checks that one pool and engine has them all.
func (g *groupCut) find(ctx context.Context, want pool.Record, ids []string) error {
	for _, id := range ids {
		src, err := g.s.pinned(pool.From{Volume: id})
		if err != nil {
			return err
		}
		g.sources = append(g.sources, src)
		if g.p == nil {
			g.p, g.e = src.pool, src.pool.Engine(src.rec.Engine)
		}
		if src.pool != g.p || src.rec.Engine != g.e.Name() {
			return kind(ErrState, "volume %s is in pool %s and made by engine %s, volume %s in pool %s by %s; a group is of volumes in one pool by one engine", ids[0], g.p.Name(), g.e.Name(), id, src.pool.Name(), src.rec.Engine)
		}
		g.members = append(g.members, pool.Record{
			ID: memberID(want.ID, id), Engine: src.rec.Engine, Enforce: engine.None, Created: want.Created,
			Volume: engine.Volume{Bytes: src.rec.Bytes, Form: src.rec.Form},
			Snapshot: &pool.Snapshot{
				Of: id, Consistency: engine.Atomic, Group: want.ID,
				Held: g.s.expected(ctx, src), Limited: src.rec.Enforced,
			},
		})
	}
	return nil
}

// build holds all sources, and has the engine cut all snapshots at once; they are
// held no longer than until the last has been taken.
func (g *groupCut) build(ctx context.Context, items []*safepath.Dir, members []pool.Record) ([]pool.Record, error) {
	var sources []engine.Source
	defer func() {
		for _, src := range sources {
			_ = src.Item.Close() // nothing was written through it
		}
	}()
	for _, o := range g.sources {
		item, err := o.open()
		if err != nil {
			return nil, err
		}
		sources = append(sources, engine.Source{Item: item, Volume: o.rec.Volume, Within: o.within, Progress: func(engine.Progress) {}})
	}
	held, err := g.e.Hold(ctx, sources)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	release := releaseOf(held, cancel)
	err = g.cutAll(ctx, items, members, sources, held.Live, release)
	if rerr := release(); rerr != nil && !errors.Is(err, rerr) {
		err = errors.Join(err, rerr)
	}
	return members, err
}

func (g *groupCut) cutAll(ctx context.Context, items []*safepath.Dir, members []pool.Record, sources []engine.Source, live bool, release func() error) error {
	errs := make([]error, len(sources))
	var all, taken sync.WaitGroup
	taken.Add(len(sources))
	for i := range sources {
		once := sync.OnceFunc(taken.Done)
		src := sources[i]
		src.Live, src.Taken = live, func() error { once(); return nil }
		all.Go(func() {
			defer once()
			errs[i] = survive(ctx, func(ctx context.Context) error {
				cut, err := g.e.Snapshot(ctx, items[i], src, engine.Atomic)
				if err == nil {
					members[i].Bytes, err = g.sources[i].size()
				}
				members[i].Snapshot = recorded(members[i], cut)
				return err
			})
		})
	}
	taken.Wait()
	err := release()
	all.Wait()
	return errors.Join(append(errs, err)...)
}

func (s *Service) group(p *pool.Pool, rec pool.Record, members []pool.Record) Group {
	g := Group{Handle: s.handle(rec.ID), ID: rec.ID, Pool: p.Name(), Created: rec.Created}
	for _, m := range members {
		g.Snapshots = append(g.Snapshots, s.snapshot(p, m))
	}
	return g
}

// GetGroup finds a group. snapshots are the handles of its members as the caller
// knows them, nil for unknown; others are an ErrInvalid.
func (s *Service) GetGroup(handle string, snapshots []string) (Group, error) {
	id, ours := s.local(handle)
	if !ours {
		return Group{}, kind(ErrNotFound, "group %s on node %s", handle, s.opts.NodeID)
	}
	p, rec, members, err := s.findGroup(id)
	if errors.Is(err, ErrNotFound) {
		if unsure := s.sureOf(groupKey(id)); unsure != nil {
			err = unsure
		}
	}
	if err != nil {
		return Group{}, err
	}
	g := s.group(p, rec, members)
	return g, g.matches(snapshots)
}

func (g Group) matches(snapshots []string) error {
	if len(snapshots) == 0 {
		return nil
	}
	var have []string
	for _, s := range g.Snapshots {
		have = append(have, s.Handle)
	}
	slices.Sort(have)
	if given := slices.Sorted(slices.Values(snapshots)); !slices.Equal(given, have) {
		return invalid("group %s has the snapshots %v, not %v", g.ID, have, given)
	}
	return nil
}

// DeleteGroup moves a group with all its snapshots to the trash. While a volume is
// made of one of them it is ErrBusy. A group that does not exist is deleted already.
func (s *Service) DeleteGroup(ctx context.Context, handle string, snapshots []string) error {
	id, ours := s.local(handle)
	if !ours {
		return s.deleteForeign(handle)
	}
	g, err := s.GetGroup(handle, snapshots)
	if err != nil && !errors.Is(err, ErrNotFound) {
		return err
	}
	names := []string{groupKey(id)}
	for _, member := range g.Snapshots {
		names = append(names, snapshotKey(member.ID))
	}
	unlock, err := s.locks.tryAway(names...)
	if err != nil {
		return s.copies.giveUp(groupKey(id), err)
	}
	defer unlock()
	p, rec, _, err := s.findGroup(id)
	if errors.Is(err, ErrNotFound) {
		return s.sureOf(groupKey(id))
	}
	if err != nil {
		return err
	}
	if err := p.DiscardGroup(rec.ID); err != nil {
		return classify(err)
	}
	s.keepers[p.Name()].pokeFor(time.Now().Add(s.opts.Retention))
	logger(ctx).V(2).Info("Deleted group of snapshots", "groupID", id, "pool", p.Name(), "retention", s.opts.Retention)
	return nil
}
