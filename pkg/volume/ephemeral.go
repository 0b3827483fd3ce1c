package volume

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"time"

	"github.com/hostvol/hostvol/pkg/host/errno"
	"github.com/hostvol/hostvol/pkg/host/mount"
	"github.com/hostvol/hostvol/pkg/pool"
)

// An ephemeral volume lives and dies with a pod, in whose spec it is written
// (CSI inline volume). The kubelet alone knows of it: it publishes it, which
// makes it, and unpublishes it, which removes it for good. The CO's controller
// never hears of it. What the kubelet forgets, the sweep removes.

// ephemeral is what an inline volume asks for, understood.
type ephemeral struct {
	id     string
	of     pool.Ephemeral
	bytes  int64
	params parameters
	access Access
}

// publishEphemeral mounts an ephemeral volume, which it makes unless it is there.
// If it has made it and cannot mount it, it removes it again: after a final error
// the kubelet does not unpublish. The caller holds the locks.
func (s *Service) publishEphemeral(ctx context.Context, r PublishRequest, flags mount.Flags, e ephemeral) error {
	p, rec, made, err := s.ensureEphemeral(ctx, e)
	if err != nil {
		return err
	}
	err = s.mountEphemeral(ctx, p, rec, r, flags)
	if err != nil && made {
		err = errors.Join(err, s.removeEphemeral(ctx, p, rec))
	}
	return err
}

// ensureEphemeral finds the volume, or makes it.
func (s *Service) ensureEphemeral(ctx context.Context, e ephemeral) (p *pool.Pool, rec pool.Record, made bool, err error) {
	want := pool.Record{
		ID: e.id, Ephemeral: &e.of,
		Enforce: e.params.enforce, Parameters: e.params.record(), Created: time.Now().UTC(),
	}
	if err := s.shape(&want, e.params, e.access, Range{Required: e.bytes}); err != nil {
		return nil, pool.Record{}, false, err
	}
	p, rec, err = s.find(e.id)
	switch {
	case err == nil:
		return p, rec, false, sameEphemeral(rec, want)
	case !errors.Is(err, ErrNotFound):
		return nil, pool.Record{}, false, err
	}
	p, rec, err = s.build(ctx, want, e.params)
	return p, rec, err == nil, err
}

// sameEphemeral compares an existing volume with the one a call would make now.
func sameEphemeral(have, want pool.Record) error {
	switch {
	case have.Ephemeral == nil:
		return kind(ErrExists, "volume %s exists and is no ephemeral volume", have.ID)
	case *have.Ephemeral != *want.Ephemeral:
		return kind(ErrExists, "ephemeral volume %s is that of pod %s at %s", have.ID, have.Ephemeral.Pod, have.Ephemeral.Target)
	case have.Born != want.Born:
		return kind(ErrExists, "ephemeral volume %s was made with %d bytes, not %d", have.ID, have.Born, want.Born)
	case !maps.Equal(have.Parameters, want.Parameters):
		return kind(ErrExists, "ephemeral volume %s was made with the attributes %v, not %v", have.ID, have.Parameters, want.Parameters)
	}
	return nil
}

func (s *Service) mountEphemeral(ctx context.Context, p *pool.Pool, rec pool.Record, r PublishRequest, flags mount.Flags) error {
	src, err := attach(ctx, p, rec, r, flags)
	if err != nil {
		return err
	}
	if err := errors.Join(s.mount(ctx, src, r, flags), src.Close()); err != nil {
		return errors.Join(err, s.idle(context.WithoutCancel(ctx), rec.ID))
	}
	return nil
}

// endEphemeral removes the volume that was unpublished at the target, if that is
// where the kubelet had an ephemeral one. The caller holds the lock of the id.
//
// One in a pool that is not open or takes no writes is left to the sweep: a
// broken disk must not keep a pod from ending.
func (s *Service) endEphemeral(ctx context.Context, id, target string) error {
	p, rec, err := s.find(id)
	if err != nil || rec.Ephemeral == nil || rec.Ephemeral.Target != target {
		return nil //nolint:nilerr // of what cannot be found nothing can be removed
	}
	err = s.removeEphemeral(ctx, p, rec)
	if takesNoWrites(err) {
		logger(ctx).Info("Ephemeral volume was not removed; that is tried again once the pool takes writes and its pod is gone", "volumeID", id, "pool", p.Name(), "err", err)
		return nil
	}
	return err
}

func takesNoWrites(err error) bool {
	return errors.Is(err, pool.ErrReadOnly) || errors.Is(err, pool.ErrFailed) || errno.ReadOnly(err) || errno.NoDisk(err)
}

// removeEphemeral removes an ephemeral volume for good. It is ErrInUse while the
// volume is mounted anywhere. The caller holds the lock of its id.
func (s *Service) removeEphemeral(ctx context.Context, p *pool.Pool, rec pool.Record) error {
	if at := s.publishedAt(rec.ID); at != "" {
		return kind(ErrInUse, "ephemeral volume %s is still mounted at %s; unmount that", rec.ID, at)
	}
	if err := s.detach(ctx, p, rec); err != nil {
		return classify(err)
	}
	if err := p.Remove(rec.ID); err != nil {
		return classify(err)
	}
	s.keepers[p.Name()].poke()
	logger(ctx).V(2).Info("Removed ephemeral volume", "volumeID", rec.ID, "pool", p.Name(), "pod", rec.Ephemeral.Pod)
	return nil
}

// owned tells the CO's volumes from the ephemeral ones.
func owned(rec pool.Record) bool { return rec.Ephemeral == nil }

// Owned fails with ErrNotFound for a pod's ephemeral volume, of which the CO's
// controller knows nothing. It does not tell whether there is another of that id.
func (s *Service) Owned(handle string) error {
	if _, rec, err := s.lookup(handle); err == nil && !owned(rec) {
		return kind(ErrNotFound, "%w", notTheCOs(rec))
	}
	return nil
}

func notTheCOs(rec pool.Record) error {
	return fmt.Errorf("%s is the ephemeral volume of pod %s, and belongs to the kubelet", rec.ID, rec.Ephemeral.Pod)
}
