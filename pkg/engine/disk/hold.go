package disk

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/hostvol/hostvol/pkg/engine"
	"github.com/hostvol/hostvol/pkg/host/filesystem"
	"github.com/hostvol/hostvol/pkg/host/freeze"
	"github.com/hostvol/hostvol/pkg/host/safepath"
)

// Hold implements engine.Engine.
func (e *Engine) Hold(ctx context.Context, sources []engine.Source) (engine.Held, error) {
	h := &hold{e: e}
	for _, src := range sources {
		if err := h.take(src); err != nil {
			return engine.Held{}, errors.Join(err, h.release())
		}
	}
	if h.live && len(sources) > 1 {
		err := fmt.Errorf("%w: a raw block volume is in use; unpublish it first", engine.ErrNotAtomic)
		return engine.Held{}, errors.Join(err, h.release())
	}
	until, err := h.freeze(ctx)
	if err != nil {
		return engine.Held{}, errors.Join(err, h.release())
	}
	return engine.Held{Live: h.live, Until: until, Release: h.release}, nil
}

// hold is one Hold, taken apart by release.
type hold struct {
	e      *Engine
	live   bool
	ends   []func() error
	mounts []*frozenMount
	frozen *freeze.Frozen
}

// frozenMount is a mounted filesystem that is to be frozen.
type frozenMount struct {
	vol  *volume
	item *safepath.Dir // opened once more: a late freeze outlives the call
	root *os.File
	// noted: the item has the note.
	noted bool
	// late: the freeze waits for a write.
	late bool
}

// take looks how a volume is used now, and what that needs.
func (h *hold) take(src engine.Source) error {
	vol, err := h.e.of(src.Item)
	if err != nil {
		return err
	}
	// A change can take as long as fsck does.
	if !vol.change.TryLock() {
		return fmt.Errorf("%w: it is being attached or detached; try again", engine.ErrBusy)
	}
	defer vol.change.Unlock()
	if vol.isLate() {
		return fmt.Errorf("%w: an earlier freeze of it still waits for a write that one of its users does not end; end that process, or delete its pod", engine.ErrBusy)
	}
	if vol.kept == nil {
		if err := h.learn(src, vol); err != nil {
			return err
		}
	}
	if src.Volume.Block {
		if err := h.flush(src, vol); err != nil {
			return err
		}
	} else if vol.kept == nil {
		if err := h.revive(src, vol); err != nil {
			return err
		}
	}
	if vol.kept != nil {
		return h.takeMounted(src, vol)
	}
	end := vol.hold()
	h.ends = append(h.ends, func() error { end(); return nil })
	return nil
}

// learn finds all devices of what has no kept mount. What a foreign one may write is
// in the way of a copy.
func (h *hold) learn(src engine.Source, vol *volume) error {
	all, err := h.e.learn(src.Item, vol)
	if err != nil {
		return err
	}
	for _, d := range all {
		if !d.Ours && !d.ReadOnly {
			return refuseForeign(all)
		}
	}
	return nil
}

// revive keeps a mount of a filesystem that lives on in another mount namespace only,
// until the hold ends.
func (h *hold) revive(src engine.Source, vol *volume) error {
	for _, d := range vol.devices { // one that is leaving goes on to leave
		busy, err := h.e.backing.Busy(src.Item, d)
		if errors.Is(err, ErrGone) || err == nil && !busy {
			continue
		}
		if err == nil {
			err = h.e.join(vol, src.Volume, d)
		}
		if err != nil {
			return err
		}
		h.ends = append(h.ends, func() error {
			vol.change.Lock()
			defer vol.change.Unlock()
			if vol.claimed {
				return nil
			}
			return vol.drop()
		})
		return nil
	}
	return nil
}

// flush writes out what the users of a raw block volume have written, and has it
// counted as live where a device can write to it.
func (h *hold) flush(src engine.Source, vol *volume) error {
	for _, d := range vol.devices {
		if d.ReadOnly {
			continue
		}
		f, err := h.e.backing.Open(src.Item, d)
		if errors.Is(err, ErrGone) {
			continue
		}
		if err != nil {
			return err
		}
		h.live = true
		if err := errors.Join(f.Sync(), f.Close()); err != nil {
			return err
		}
	}
	return nil
}

// takeMounted claims a mounted filesystem for a freeze, which one hold can have.
func (h *hold) takeMounted(src engine.Source, vol *volume) error {
	d := vol.by
	condition, err := filesystem.ConditionOf(vol.kept.FD(), d.Path(), src.Volume.FSType)
	switch {
	case err != nil:
		return err
	case condition == filesystem.Dead:
		return fmt.Errorf("%w: the kernel has shut its %s down; delete the pods that use it, and publish it once, which checks it", engine.ErrUnusable, src.Volume.FSType)
	case vol.isFrozen():
		return fmt.Errorf("%w: another copy of it is being made; try again", engine.ErrBusy)
	}
	root, err := vol.kept.OpenRoot()
	if err != nil {
		return err
	}
	m := &frozenMount{vol: vol, root: os.NewFile(uintptr(root.FD()), root.Name())}
	h.mounts = append(h.mounts, m)
	vol.set(func(vol *volume) { vol.frozen = true })
	m.item, err = src.Item.OpenDir(".")
	return err
}

// hopeless is how many times longer than the limit a copy has to be estimated, for it
// not to be tried: an estimate is one.
const hopeless = 2

// freeze freezes what is mounted. Where copies share no blocks, it first estimates
// how long they take, so that no application is frozen again and again for nothing.
func (h *hold) freeze(ctx context.Context) (until time.Time, err error) {
	if len(h.mounts) == 0 {
		return time.Time{}, nil
	}
	limit := h.e.opts.FreezeLimit
	if !h.e.backing.Shares() {
		var all time.Duration
		for _, m := range h.mounts {
			one, err := h.e.backing.CopyTime(ctx, m.item)
			if err != nil {
				return time.Time{}, err
			}
			all += one
		}
		if all > hopeless*limit {
			return time.Time{}, fmt.Errorf("%w: a copy takes about %v here, and the limit is %v; nothing was frozen", engine.ErrThawed, all.Round(time.Millisecond), limit)
		}
	}
	var roots []*os.File
	for _, m := range h.mounts {
		if err := m.item.SetAttribute(note, []byte("1")); err != nil {
			return time.Time{}, err
		}
		m.noted = true
		roots = append(roots, m.root)
	}
	h.frozen, err = freeze.Freeze(roots, limit, h.e.opts.Guard)
	if err == nil {
		return h.frozen.Until, nil
	}
	h.late(err)
	switch {
	case errors.Is(err, freeze.ErrFrozen):
		err = fmt.Errorf("%w: %w", engine.ErrUnusable, err)
	case errors.Is(err, freeze.ErrEnded):
		err = fmt.Errorf("%w: %w", engine.ErrThawed, err)
	}
	return time.Time{}, err
}

// late notes filesystems whose freeze still waits for a write. Each stays claimed
// until the guard has thawed it.
func (h *hold) late(err error) {
	var stuck *freeze.StuckError
	if !errors.As(err, &stuck) {
		return
	}
	for _, i := range stuck.Stuck {
		m := h.mounts[i]
		m.late = true
		m.vol.set(func(vol *volume) { vol.late = stuck.Gone })
		go func() {
			<-stuck.Gone
			_ = m.end(true) // the note stays for the next start, at worst
		}()
	}
}

// end gives a filesystem back that is frozen no more.
func (m *frozenMount) end(thawed bool) error {
	var errs []error
	if m.noted && thawed { // else the next start tries again
		errs = append(errs, m.item.RemoveAttribute(note))
	}
	m.vol.set(func(vol *volume) { vol.frozen = false })
	return errors.Join(append(errs, m.root.Close(), m.item.Close())...)
}

func (h *hold) release() error {
	var errs []error
	thawed := true
	if h.frozen != nil {
		err := h.frozen.Thaw()
		if errors.Is(err, freeze.ErrEnded) {
			err = fmt.Errorf("%w: %w", engine.ErrThawed, err)
		} else {
			thawed = err == nil
		}
		errs = append(errs, err)
	}
	for _, m := range h.mounts {
		if !m.late {
			errs = append(errs, m.end(thawed))
		}
	}
	for _, end := range h.ends {
		errs = append(errs, end())
	}
	*h = hold{e: h.e}
	return errors.Join(errs...)
}
