package disk

import (
	"errors"
	"fmt"
	"slices"
	"sync"

	"github.com/hostvol/hostvol/pkg/engine"
	"github.com/hostvol/hostvol/pkg/host/mount"
	"github.com/hostvol/hostvol/pkg/host/safepath"
)

// volume is the one state of a volume on this machine.
type volume struct {
	// change is held by whoever changes the state, as long as a change takes, fsck
	// included. It is taken before mu.
	change sync.Mutex

	// mu guards the rest, and is held for a moment only: looks take nothing else.
	mu sync.Mutex
	// devices are those that the backing has attached, as they were seen last. A raw
	// block volume can have two, a mounted one has one.
	devices []Device
	// unsure: the devices could not be found at the start.
	unsure bool
	// kept is the engine's own mount while the volume is mounted, from the device by.
	kept *mount.Kept
	by   Device
	// untouched: it is mounted for a look that changes nothing.
	untouched bool
	// claimed: Attach has been called, and Detach not yet.
	claimed bool
	// held counts the copies that rely on it that the volume stays detached.
	held int
	// frozen: a copy holds the filesystem frozen.
	frozen bool
	// late is open while a freeze waits for a write of the volume's users.
	late <-chan struct{}
	// stuck is why the filesystem could not be thawed, pending why it could not grow.
	stuck, pending error
}

// of is the state of an item. The first time, the devices are those that an earlier
// process has left attached.
func (e *Engine) of(item *safepath.Dir) (*volume, error) {
	id, err := item.Identity()
	if err != nil {
		return nil, err
	}
	e.mu.Lock()
	vol := e.volumes[id]
	e.mu.Unlock()
	if vol != nil {
		return vol, nil
	}
	vol = new(volume)
	if vol.devices, err = e.backing.Seen(item); err != nil {
		vol.devices, vol.unsure = nil, true
	}
	vol.devices = slices.DeleteFunc(slices.Clone(vol.devices), func(d Device) bool { return !d.Ours })
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.volumes[id] == nil {
		e.volumes[id] = vol
	}
	return e.volumes[id], nil
}

// forget drops the state of an item that is about to be removed: its inode may
// become another's.
func (e *Engine) forget(item *safepath.Dir) error {
	id, err := item.Identity()
	if err != nil {
		return err
	}
	e.mu.Lock()
	vol := e.volumes[id]
	delete(e.volumes, id)
	e.mu.Unlock()
	return vol.drop()
}

// set changes the state; the caller holds change.
func (vol *volume) set(f func(*volume)) {
	vol.mu.Lock()
	defer vol.mu.Unlock()
	f(vol)
}

// drop lets the kept mount go.
func (vol *volume) drop() error {
	if vol == nil {
		return nil
	}
	vol.mu.Lock()
	kept := vol.kept
	vol.kept, vol.untouched = nil, false
	vol.mu.Unlock()
	return kept.Close()
}

// look gives the kept mount as a source, nil for none, and the devices.
func (vol *volume) look() (src *mount.Source, devices []Device, err error) {
	vol.mu.Lock()
	defer vol.mu.Unlock()
	if vol.kept != nil {
		src, err = vol.kept.Source()
	}
	return src, slices.Clone(vol.devices), err
}

// isLate reports whether a freeze still waits for a write.
func (vol *volume) isLate() bool {
	vol.mu.Lock()
	defer vol.mu.Unlock()
	select {
	case <-vol.late:
		vol.late = nil
	default:
	}
	return vol.late != nil
}

// hold notes that the volume, which is detached, stays so until end is called; the
// caller holds change.
func (vol *volume) hold() (end func()) {
	vol.set(func(vol *volume) { vol.held++ })
	return func() { vol.set(func(vol *volume) { vol.held-- }) }
}

// free fails while a copy relies on it that the volume stays detached.
func (vol *volume) free() error {
	vol.mu.Lock()
	defer vol.mu.Unlock()
	if vol.held > 0 {
		return fmt.Errorf("%w: its disk is being copied as it is; try again when that has ended", engine.ErrBusy)
	}
	return nil
}

// still keeps of the known devices those that show the disk, and takes back what is
// leaving; the caller holds change.
func (e *Engine) still(item *safepath.Dir, vol *volume) ([]Device, error) {
	var have []Device
	for _, d := range vol.devices {
		now, f, err := e.backing.Keep(item, d)
		switch {
		case errors.Is(err, ErrGone):
		case err != nil:
			return nil, err
		default:
			_ = f.Close() // opened for reading
			have = append(have, now)
		}
	}
	vol.set(func(vol *volume) { vol.devices = have })
	return slices.Clone(have), nil
}
