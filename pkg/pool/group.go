package pool

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/hostvol/hostvol/pkg/host/safepath"
)

// A group is a directory in snapshots/ that holds the items of its snapshots: they
// come and go with one rename, all of them or none.

// GroupBuilder builds the members of a group inside their directories, and
// completes their records.
type GroupBuilder func(ctx context.Context, items []*safepath.Dir, members []Record) ([]Record, error)

// BuildGroup makes a group of snapshots, as Build makes one. The records of the
// members hold what is expected of them.
func (p *Pool) BuildGroup(ctx context.Context, rec Record, members []Record, build GroupBuilder) (Record, error) {
	for _, member := range members {
		if _, err := p.Snapshot(member.ID); !errors.Is(err, ErrNotFound) {
			return Record{}, fmt.Errorf("%w: snapshot %s", ErrExists, member.ID)
		}
	}
	rec.Group = groupOf(members)
	return p.Build(ctx, rec, func(ctx context.Context, group *safepath.Dir, rec Record) (Record, error) {
		built, err := buildMembers(ctx, group, members, build)
		if err != nil {
			return rec, err
		}
		rec.Group, rec.Bytes = groupOf(built), 0
		for _, member := range built {
			rec.Bytes += member.Bytes
		}
		return rec, nil
	})
}

func groupOf(members []Record) *Group {
	g := &Group{Members: len(members), members: members}
	for _, m := range members {
		g.Held += m.Booked()
	}
	return g
}

func buildMembers(ctx context.Context, group *safepath.Dir, members []Record, build GroupBuilder) ([]Record, error) {
	var items []*safepath.Dir
	defer func() {
		for _, item := range items {
			_ = item.Close() // nothing was written through it
		}
	}()
	for _, m := range members {
		if err := group.Mkdir(m.ID, 0o700); err != nil {
			return nil, err
		}
		item, err := group.OpenDir(m.ID)
		if err != nil {
			return nil, err
		}
		items = append(items, item)
	}
	built, err := build(ctx, items, members)
	if err != nil {
		return nil, err
	}
	for i, m := range built {
		if err := WriteRecord(items[i], m); err != nil {
			return nil, err
		}
	}
	return built, nil
}

// readMembers reads the records of a group's members from its directory. A member
// that is missing or cannot be read makes the whole group unreadable.
func (p *Pool) readMembers(group *safepath.Dir, rec *Record) error {
	names, err := group.Names()
	if err == nil && len(names) != rec.Group.Members {
		err = fmt.Errorf("%w: the group has %d members, its record says %d", ErrRecord, len(names), rec.Group.Members)
	}
	g := *rec.Group
	g.members = nil
	for _, name := range names {
		member, merr := p.readMember(group, rec.ID, name)
		err = errors.Join(err, merr)
		g.members = append(g.members, member)
	}
	if err != nil {
		return err
	}
	rec.Group = &g
	return nil
}

// setMembersAside quarantines what is in a group on the shelf that cannot be read:
// its members are not gone.
func (p *Pool) setMembersAside(group *safepath.Dir, id string) {
	names, err := group.Names()
	if err != nil {
		return // the group itself is set aside
	}
	for _, name := range names {
		p.setAside(p.snapshots.key(name), fmt.Errorf("%w: it belongs to the group %s, which cannot be read", ErrRecord, id))
	}
}

func (p *Pool) readMember(group *safepath.Dir, id, name string) (Record, error) {
	item, err := group.OpenDir(name)
	if err != nil {
		return Record{}, err
	}
	defer item.Close() //nolint:errcheck // read only
	rec, err := p.readKnown(item, name)
	if err == nil && (rec.Snapshot == nil || rec.Snapshot.Group != id || !ValidID(name)) {
		err = fmt.Errorf("%w: %s is no member of the group %s", ErrRecord, name, id)
	}
	return rec, err
}

// GetGroup finds a group and the records of its members. The error is ErrNotFound
// or ErrQuarantine.
func (p *Pool) GetGroup(id string) (Record, []Record, error) {
	_, err := p.get(&p.snapshots, id) // for its doubts; the group itself is not among the items
	p.mu.Lock()
	defer p.mu.Unlock()
	if err != nil && !errors.Is(err, ErrNotFound) {
		return Record{}, nil, err
	}
	rec, ok := p.groups.Get(id)
	if !ok {
		return Record{}, nil, fmt.Errorf("%w: group %s", ErrNotFound, id)
	}
	return rec, rec.Group.members, nil
}

// Groups lists all groups by their ids.
func (p *Pool) Groups() []Record {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.groups.Values()
}

// DiscardGroup is Discard for a group, with all its members.
func (p *Pool) DiscardGroup(id string) error {
	if err := p.Failure(); err != nil {
		return err
	}
	rec, _, err := p.GetGroup(id)
	if err != nil {
		return err
	}
	now := time.Now()
	name := trashName(id, now)
	if err := p.snapshots.at.Rename(id, p.trashAt, name); err != nil {
		return err
	}
	p.step("delete.renamed")
	p.mu.Lock()
	p.groups.Delete(id)
	for _, member := range rec.Group.members {
		p.snapshots.items.Delete(member.ID)
	}
	p.throwAway(rec, name, now, false, rec.Booked())
	p.mu.Unlock()
	err = p.syncBoth(&p.snapshots, id)
	p.step("delete.durable")
	p.settle(name)
	return err
}

// shelveGroup puts a group that was restored back into the index; its space was
// never given away. p.mu is held.
func (p *Pool) shelveGroup(rec Record) {
	p.groups.Set(rec.ID, rec)
	for _, member := range rec.Group.members {
		p.snapshots.items.Set(member.ID, &item{rec: member, used: p.firstUse(member)})
	}
}
