package volume

import (
	"context"
	"errors"
	"time"
)

// Delete moves a volume to the trash, in the same time whatever it holds. A
// volume that does not exist is deleted already, which can be told only while
// every configured pool is open. A published volume is ErrInUse, one that is
// being copied ErrBusy: a copy ends by itself, a wait here would only hide it.
// So is one that is being made by a copy, which is given up.
// Its snapshots stay. A pod's ephemeral volume is none that could be deleted
// here: for the CO it is not there, and it stays.
func (s *Service) Delete(ctx context.Context, handle string) error {
	id, ours := s.local(handle)
	if !ours {
		return s.deleteForeign(handle)
	}
	unlock, err := s.locks.tryAway(volumeKey(id))
	if err != nil {
		return s.copies.giveUp(volumeKey(id), err)
	}
	defer unlock()
	p, rec, err := s.find(id)
	if errors.Is(err, ErrNotFound) {
		return s.sure(id)
	}
	if err != nil || rec.Ephemeral != nil {
		return err
	}
	if target := s.publishedAt(rec.ID); target != "" {
		return kind(ErrInUse, "volume %s is published at %s; unpublish it first", id, target)
	}
	s.staged.set(id, false)
	if err := s.detach(ctx, p, rec); err != nil {
		return classify(err)
	}
	if err := p.Discard(rec.ID); err != nil {
		return classify(err)
	}
	s.keepers[p.Name()].pokeFor(time.Now().Add(s.opts.Retention))
	logger(ctx).V(2).Info("Deleted volume", "volumeID", id, "pool", p.Name(), "retention", s.opts.Retention)
	return nil
}

// deleteForeign answers for a handle that cannot name a volume of this node. A
// handle of our form with another node's tag names a volume that exists
// elsewhere, and must not be told to be gone. Any other was never ours.
func (s *Service) deleteForeign(handle string) error {
	if foreign(handle) {
		return kind(ErrNotFound, "volume %s belongs to another node than %s", handle, s.opts.NodeID)
	}
	return nil
}
