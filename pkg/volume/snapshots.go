package volume

import (
	"context"
	"errors"
	"slices"
	"strings"
	"time"

	"github.com/hostvol/hostvol/pkg/pool"
)

// findSnapshot finds the snapshot of the id. A quarantined one is an ErrState.
func (s *Service) findSnapshot(id string) (*pool.Pool, pool.Record, error) {
	for _, p := range s.pools.all() {
		rec, err := p.Snapshot(id)
		if !errors.Is(err, pool.ErrNotFound) {
			return p, rec, classify(err)
		}
	}
	return nil, pool.Record{}, kind(ErrNotFound, "snapshot %s", id)
}

// GetSnapshot finds a snapshot. It is ErrNotFound only when no pool that is not
// open can have it.
func (s *Service) GetSnapshot(handle string) (Snapshot, error) {
	id, ours := s.local(handle)
	if !ours {
		return Snapshot{}, kind(ErrNotFound, "snapshot %s on node %s", handle, s.opts.NodeID)
	}
	p, rec, err := s.findSnapshot(id)
	if errors.Is(err, ErrNotFound) {
		if unsure := s.sureOf(snapshotKey(id)); unsure != nil {
			err = unsure
		}
	}
	if err != nil {
		return Snapshot{}, err
	}
	return s.snapshot(p, rec), nil
}

// SnapshotFilter chooses snapshots by handles; "" is any.
type SnapshotFilter struct {
	Snapshot, Source string
}

// ListSnapshots lists snapshots as List lists volumes. A filter that nothing
// meets is no error.
func (s *Service) ListSnapshots(f SnapshotFilter, token string, n int) (page []Snapshot, next string, err error) {
	after, err := decodeToken(token)
	if err != nil {
		return nil, "", err
	}
	if f.Snapshot != "" {
		return s.oneSnapshot(f, after)
	}
	of, ours := s.local(f.Source)
	if f.Source != "" && !ours {
		return nil, "", nil
	}
	ask := n
	if n > 0 {
		ask = n + 1 // one more tells whether there is a next page
	}
	for _, p := range s.pools.all() {
		for _, rec := range p.Snapshots(after, ask, func(r pool.Record) bool { return f.Source == "" || r.Snapshot.Of == of }) {
			page = append(page, s.snapshot(p, rec))
		}
	}
	slices.SortFunc(page, func(a, b Snapshot) int { return strings.Compare(a.ID, b.ID) })
	if n > 0 && len(page) > n {
		page = page[:n]
		next = encodeToken(page[n-1].ID)
	}
	return page, next, nil
}

func (s *Service) oneSnapshot(f SnapshotFilter, after string) ([]Snapshot, string, error) {
	one, err := s.GetSnapshot(f.Snapshot)
	if errors.Is(err, ErrNotFound) {
		return nil, "", nil
	}
	if err != nil {
		return nil, "", err
	}
	if f.Source != "" && s.key(f.Source) != one.SourceID || one.ID <= after {
		return nil, "", nil
	}
	return []Snapshot{one}, "", nil
}

// DeleteSnapshot moves a snapshot to the trash, as Delete does a volume. One that
// a volume is being made of is ErrBusy; those that were made need it no more.
func (s *Service) DeleteSnapshot(ctx context.Context, handle string) error {
	id, ours := s.local(handle)
	if !ours {
		return s.deleteForeign(handle)
	}
	unlock, err := s.locks.tryAway(snapshotKey(id))
	if err != nil {
		return s.copies.giveUp(snapshotKey(id), err)
	}
	defer unlock()
	p, rec, err := s.findSnapshot(id)
	if errors.Is(err, ErrNotFound) {
		return s.sureOf(snapshotKey(id))
	}
	if err != nil {
		return err
	}
	if group := rec.Snapshot.Group; group != "" {
		return invalid("snapshot %s is a part of the group %s and cannot be deleted alone; delete the group", id, s.handle(group))
	}
	if err := p.DiscardSnapshot(rec.ID); err != nil {
		return classify(err)
	}
	s.keepers[p.Name()].pokeFor(time.Now().Add(s.opts.Retention))
	logger(ctx).V(2).Info("Deleted snapshot", "snapshotID", id, "pool", p.Name(), "retention", s.opts.Retention)
	return nil
}
