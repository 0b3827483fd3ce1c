package volume

import (
	"context"
	"errors"
	"strings"
	"time"

	"github.com/hostvol/hostvol/pkg/pool"
)

// TrashEntry is a deleted volume or snapshot that can be restored until it is
// purged.
type TrashEntry struct {
	// Name tells entries apart: the id, an at sign, and the time of deletion in
	// nanoseconds since 1970.
	Name, ID, Pool string
	// Kind is volume, snapshot or group.
	Kind            string
	Bytes           int64
	Deleted, Expiry time.Time
	// ByHand tells that only `hostvol trash purge` removes it, and there is no
	// Expiry: it was adopted.
	ByHand bool
	// Purging tells that its purge has begun; Problem why it does not end.
	Purging bool
	Problem string
}

// Trash lists what was deleted and not yet purged.
func (s *Service) Trash() []TrashEntry {
	var out []TrashEntry
	for _, p := range s.pools.all() {
		for _, e := range p.Trash() {
			t := TrashEntry{
				Name: e.Name, ID: e.Record.ID, Pool: p.Name(), Kind: kindOf(e.Record), Bytes: e.Record.Booked(),
				Deleted: e.Deleted, Expiry: e.Deleted.Add(s.opts.Retention), Purging: e.Begun,
			}
			switch {
			case e.Record.Ephemeral != nil:
				t.Expiry = e.Deleted // it is not kept
			case e.Record.Origin != "":
				t.ByHand, t.Expiry = true, time.Time{}
			}
			if e.Err != nil {
				t.Problem = e.Err.Error()
			}
			out = append(out, t)
		}
	}
	return out
}

// kindOf tells what a record is of.
func kindOf(rec pool.Record) string {
	switch {
	case rec.Snapshot != nil:
		return "snapshot"
	case rec.Group != nil:
		return "group"
	}
	return "volume"
}

// inTrash finds the entry by its name, or by its id if there is one only.
func (s *Service) inTrash(name string) (*pool.Pool, pool.TrashEntry, error) {
	var at *pool.Pool
	var found []pool.TrashEntry
	for _, p := range s.pools.all() {
		for _, e := range p.Trash() {
			if e.Name == name || e.Record.ID == name {
				at, found = p, append(found, e)
			}
		}
	}
	switch len(found) {
	case 0:
		return nil, pool.TrashEntry{}, kind(ErrNotFound, "trash entry %s; `hostvol trash list` shows what there is", name)
	case 1:
		return at, found[0], nil
	}
	var names []string
	for _, e := range found {
		names = append(names, e.Name)
	}
	return nil, pool.TrashEntry{}, invalid("%s is in the trash more than once; name one of %s", name, strings.Join(names, ", "))
}

// Restored is what Restore has brought back.
type Restored struct {
	// Kind is volume, snapshot or group.
	Kind, ID, Handle, Pool string
}

// Restore brings a deleted volume or snapshot back under its id. name is that of
// the trash entry, or the id where that is clear. It fails with ErrExists when
// there is one of that id again, and with ErrState when the purge has begun.
func (s *Service) Restore(ctx context.Context, name string) (Restored, error) {
	p, e, err := s.inTrash(name)
	if err != nil {
		return Restored{}, err
	}
	id, find := e.Record.ID, s.find
	switch {
	case e.Record.Snapshot != nil:
		find = s.findSnapshot
	case e.Record.Group != nil:
		find = func(id string) (*pool.Pool, pool.Record, error) {
			p, rec, _, err := s.findGroup(id)
			return p, rec, err
		}
	}
	key := kindOf(e.Record) + " " + id
	keys := []string{key}
	if e.Record.Group != nil {
		keys = append(keys, snapshotKey(id))
		for _, member := range e.Record.Members() {
			keys = append(keys, snapshotKey(member.ID))
		}
	}
	unlock, err := s.locks.try(keys...)
	if err != nil {
		return Restored{}, err
	}
	defer unlock()
	if other, _, err := find(id); !errors.Is(err, ErrNotFound) {
		return Restored{}, kind(ErrExists, "%s is in pool %s; delete it first", key, other.Name())
	}
	if err := s.sureOf(key); err != nil {
		return Restored{}, err
	}
	rec, err := p.Restore(e.Name)
	if err != nil {
		return Restored{}, classify(err)
	}
	logger(ctx).V(2).Info("Restored from the trash", "what", key, "pool", p.Name())
	return Restored{Kind: kindOf(rec), ID: id, Handle: s.handle(id), Pool: p.Name()}, nil
}

// Purge removes one trash entry for good, now; "" removes all of them. It
// returns when they are gone, or when ctx is done; what is left then is
// continued in the background.
func (s *Service) Purge(ctx context.Context, name string) (int, error) {
	if name != "" {
		p, e, err := s.inTrash(name)
		if err != nil {
			return 0, err
		}
		return 1, s.purge(ctx, p, e)
	}
	n := 0
	var errs []error
	for _, p := range s.pools.all() {
		for _, e := range p.Trash() {
			switch err := s.purge(ctx, p, e); {
			case err == nil:
				n++
			case !errors.Is(err, pool.ErrNotFound) && !errors.Is(err, pool.ErrPurging): // the background is at it
				errs = append(errs, err)
			}
		}
	}
	return n, errors.Join(errs...)
}

func (s *Service) purge(ctx context.Context, p *pool.Pool, e pool.TrashEntry) error {
	k := s.keepers[p.Name()]
	err := p.Purge(ctx, e.Name, k.limiter)
	if err != nil {
		k.poke() // what was begun is continued
	}
	return classify(err)
}

// purgeExpired purges what is old enough, and tells how long to wait for the
// next. What was adopted is somebody's directory from before, and is purged by
// hand only.
func (k *keeper) purgeExpired(ctx context.Context, p *pool.Pool) time.Duration {
	wait := time.Hour
	if p.Failure() != nil {
		return wait
	}
	for _, e := range p.Trash() {
		if e.Record.Origin != "" && !e.Begun {
			continue
		}
		if left := time.Until(e.Deleted.Add(k.s.opts.Retention)); left > 0 && !e.Begun {
			wait = min(wait, left)
			continue
		}
		err := p.Purge(ctx, e.Name, k.limiter)
		switch {
		case ctx.Err() != nil:
			return wait
		case err == nil:
			logger(ctx).V(2).Info("Purged", "what", kindOf(e.Record)+" "+e.Record.ID, "pool", p.Name())
		case errors.Is(err, pool.ErrPurging), errors.Is(err, pool.ErrBusy): // another call is at it
			wait = min(wait, retryInterval)
		case !errors.Is(err, pool.ErrNotFound):
			wait = min(wait, retryInterval)
			if e.Err == nil || !strings.HasSuffix(err.Error(), e.Err.Error()) { // say it once
				logger(ctx).Error(err, "Could not purge; trying again", "pool", p.Name(), "entry", e.Name)
			}
		}
	}
	return wait
}
