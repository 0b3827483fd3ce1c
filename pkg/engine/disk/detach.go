package disk

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/hostvol/hostvol/pkg/engine"
	"github.com/hostvol/hostvol/pkg/host/safepath"
)

// Detach implements engine.Engine. It waits until the filesystem is gone. One that
// lives on elsewhere, such as in the mount namespace of a pod that is still ending,
// keeps its device; the device goes with it, or the next publication takes it back.
func (e *Engine) Detach(ctx context.Context, item *safepath.Dir, _ engine.Volume) error {
	vol, err := e.of(item)
	if err != nil {
		return err
	}
	vol.change.Lock()
	defer vol.change.Unlock()
	if vol.unsure {
		if _, err := e.learn(item, vol); err != nil {
			return err
		}
	}
	return e.takeOff(ctx, item, vol)
}

// learn asks the kernel for all devices of the disk. Those that the backing has
// attached, in whatever process, are known from then on.
func (e *Engine) learn(item *safepath.Dir, vol *volume) (all []Device, err error) {
	if all, err = e.backing.Find(item); err != nil {
		return nil, err
	}
	ours := slices.DeleteFunc(slices.Clone(all), func(d Device) bool { return !d.Ours })
	vol.set(func(vol *volume) { vol.devices, vol.unsure = ours, false })
	return all, nil
}

// takeOff makes the volume detached; the caller holds change.
func (e *Engine) takeOff(ctx context.Context, item *safepath.Dir, vol *volume) error {
	mounted := vol.kept != nil
	err := vol.drop()
	vol.set(func(vol *volume) { vol.claimed, vol.pending = false, nil })
	var errs []error
	for _, d := range slices.Clone(vol.devices) {
		if mounted && !vol.isFrozen() {
			errs = append(errs, e.idle(ctx, item, d))
		}
		errs = append(errs, e.detachOne(item, vol, d))
	}
	return errors.Join(append(errs, err)...)
}

func (vol *volume) isFrozen() bool {
	vol.mu.Lock()
	defer vol.mu.Unlock()
	return vol.frozen
}

// detachOne takes one device off. Until it is, it stays known.
func (e *Engine) detachOne(item *safepath.Dir, vol *volume, d Device) error {
	leaving, err := e.backing.Detach(item, d)
	if err == nil && !leaving {
		vol.set(func(vol *volume) {
			vol.devices = slices.DeleteFunc(vol.devices, func(one Device) bool { return one.Name == d.Name })
		})
	}
	return err
}

const (
	idlePatience = 2 * time.Second
	idlePause    = 2 * time.Millisecond
)

// idle waits for an unmount to end, for a while. A child that was forked meanwhile
// has the mount open until it executes its program.
func (e *Engine) idle(ctx context.Context, item *safepath.Dir, d Device) error {
	for end := time.Now().Add(idlePatience); ; {
		busy, err := e.backing.Busy(item, d)
		if errors.Is(err, ErrGone) {
			return nil
		}
		if err != nil || !busy || time.Now().After(end) {
			return err
		}
		select {
		case <-ctx.Done():
			return nil // it goes when its last user does
		case <-time.After(idlePause):
		}
	}
}
