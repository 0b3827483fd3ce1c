package disk

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"slices"

	"github.com/hostvol/hostvol/pkg/engine"
	"github.com/hostvol/hostvol/pkg/host/filesystem"
	"github.com/hostvol/hostvol/pkg/host/safepath"
)

// Usage implements engine.Engine: the blocks of the disk, which a filesystem on it
// may use or not.
func (e *Engine) Usage(_ context.Context, item *safepath.Dir, v engine.Volume) (engine.Usage, error) {
	used, shared, err := e.backing.Used(item)
	if err != nil {
		return engine.Usage{}, err
	}
	return engine.Usage{
		BytesShared: shared,
		BytesTotal:  v.Bytes, BytesUsed: used, BytesAvailable: max(0, v.Bytes-used),
		InodesTotal: -1, InodesUsed: -1, InodesAvailable: -1, Own: true,
	}, nil
}

// Inspect implements engine.Engine. It looks only: it mounts nothing and waits for
// nothing.
func (e *Engine) Inspect(_ context.Context, item *safepath.Dir, v engine.Volume, _ bool) ([]engine.Problem, error) {
	is, had, err := e.backing.Size(item)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return []engine.Problem{{
			Reason: engine.DataMissing, Lost: true,
			Message: "the volume's disk is gone; restore it from a snapshot or a backup",
		}}, nil
	case err != nil:
		return nil, err
	case is < had:
		return []engine.Problem{{
			Reason: engine.ImageShort, Lost: true,
			Message: fmt.Sprintf("the volume's disk has %d bytes, it had %d; restore it from a snapshot or a backup", is, had),
		}}, nil
	}
	var problems []engine.Problem
	if is < v.Bytes {
		problems = append(problems, engine.Problem{
			Reason:  engine.GrowthPending,
			Message: fmt.Sprintf("the volume's disk has %d bytes and is to grow to %d; make room in the pool, then ask for the size again or publish the volume anew", is, v.Bytes),
		})
	}
	vol, err := e.of(item)
	if err != nil {
		return problems, err
	}
	foreign, err := e.foreign(item)
	if err != nil {
		return problems, err
	}
	problems = append(problems, foreign...)
	mounted, err := vol.inspect(v)
	return append(problems, mounted...), err
}

// foreign finds devices of the disk that the backing has not attached.
func (e *Engine) foreign(item *safepath.Dir) ([]engine.Problem, error) {
	all, err := e.backing.Seen(item)
	if err != nil {
		return nil, err
	}
	i := slices.IndexFunc(all, func(d Device) bool { return !d.Ours })
	if i < 0 {
		return nil, nil
	}
	d := all[i]
	return []engine.Problem{{
		Reason:  engine.ForeignDevice,
		Message: fmt.Sprintf("the volume's disk is attached to %s, and not by this driver (losetup, mount -o loop); writes by it and by a pod destroy each other's: unmount that, and take it off with losetup -d %s", d.Path(), d.Path()),
	}}, nil
}

// inspect finds what is wrong with the mounted filesystem.
func (vol *volume) inspect(v engine.Volume) ([]engine.Problem, error) {
	late := vol.isLate()
	vol.mu.Lock()
	defer vol.mu.Unlock()
	var problems []engine.Problem
	if vol.stuck != nil {
		problems = append(problems, engine.Problem{Reason: engine.Frozen, Unusable: true, Message: fmt.Sprintf("the volume's filesystem was left frozen and could not be thawed: %v", vol.stuck)})
	}
	if late {
		problems = append(problems, engine.Problem{Reason: engine.Frozen, Unusable: true, Message: "a snapshot waits for a write that one of the volume's users has begun and does not end, and all other writes to the volume wait with it; end that process, or delete its pod"})
	}
	if vol.kept == nil || vol.by.ReadOnly {
		return problems, nil
	}
	if vol.pending != nil && !errors.Is(vol.pending, filesystem.ErrOffline) {
		problems = append(problems, engine.Problem{
			Reason:  engine.GrowthPending,
			Message: fmt.Sprintf("the volume's %s has not grown to %d bytes: %v; make room in the pool, then ask for the size again or publish the volume anew", v.FSType, v.Bytes, vol.pending),
		})
	}
	d := vol.by
	condition, err := filesystem.ConditionOf(vol.kept.FD(), d.Path(), v.FSType)
	switch {
	case err != nil:
		return problems, err
	case condition == filesystem.Dead:
		problems = append(problems, engine.Problem{
			Reason: engine.FilesystemDead, Unusable: true,
			Message: fmt.Sprintf("the kernel has shut the volume's %s down; see the kernel's log for %s, then delete the pods that use it: the next publication checks it", v.FSType, d.Name),
		})
	case condition == filesystem.ReadOnly:
		problems = append(problems, engine.Problem{
			Reason: engine.FilesystemReadOnly, Unusable: true,
			Message: fmt.Sprintf("the volume's %s takes no writes any more, by a remount or after an error; see the kernel's log for %s, then delete the pods that use it: the next publication checks it", v.FSType, d.Name),
		})
	}
	return problems, nil
}
