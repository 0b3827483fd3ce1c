package disk

import (
	"errors"
	"os"
	"slices"
	"strings"

	"github.com/hostvol/hostvol/pkg/engine"
	"github.com/hostvol/hostvol/pkg/host/freeze"
	"github.com/hostvol/hostvol/pkg/host/mount"
	"github.com/hostvol/hostvol/pkg/host/safepath"
)

// note is the attribute of an item whose filesystem is about to be frozen, so that
// the next daemon thaws it if this one and its guard end at once. It need not be
// durable: a boot thaws everything.
const note = "trusted.hostvol.frozen"

// Known implements engine.Engine: it keeps a mount of what an earlier daemon has
// published, and thaws what that one has left frozen.
func (e *Engine) Known(item *safepath.Dir, v engine.Volume) {
	vol, err := e.of(item)
	if err != nil {
		return // Inspect reports it
	}
	vol.change.Lock()
	defer vol.change.Unlock()
	err = e.rejoin(vol, v)
	if _, aerr := item.Attribute(note, len("1")); aerr != nil {
		return
	}
	if err == nil && vol.kept == nil && v.FSType != "" {
		err = e.thawElsewhere(item, vol, v)
	} else if err == nil && vol.kept != nil {
		err = thaw(vol.kept)
	}
	if err == nil {
		err = item.RemoveAttribute(note)
	}
	vol.set(func(vol *volume) { vol.stuck = err })
}

// rejoin keeps a clone of a live target of the volume.
func (e *Engine) rejoin(vol *volume, v engine.Volume) error {
	if v.FSType == "" || len(vol.devices) == 0 || vol.kept != nil {
		return nil
	}
	table, err := e.startTable()
	if err != nil {
		return err
	}
	for _, d := range vol.devices {
		joined, err := e.cloneLive(vol, v, d, table)
		if joined && err == nil {
			vol.set(func(vol *volume) { vol.claimed = true })
		}
		if joined || err != nil {
			return err
		}
	}
	return nil
}

// startTable has the whole filesystems of devices that are mounted in this mount
// namespace. It is read once for all volumes; Clone sees what has changed since.
func (e *Engine) startTable() ([]mount.Entry, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.table == nil {
		table, err := mount.Table()
		if err != nil {
			return nil, err
		}
		table = slices.DeleteFunc(table, func(m mount.Entry) bool { return m.Root != "/" || !strings.HasPrefix(m.Source, "/dev/") })
		table = slices.Clone(table)
		e.table = &table
	}
	return *e.table, nil
}

// thawElsewhere thaws a filesystem that is mounted in another mount namespace only.
func (e *Engine) thawElsewhere(item *safepath.Dir, vol *volume, v engine.Volume) error {
	for _, d := range vol.devices {
		busy, err := e.backing.Busy(item, d)
		if errors.Is(err, ErrGone) || err == nil && !busy {
			continue
		}
		if err == nil {
			err = e.keep(vol, v, d, mountOptions(v, nil), false)
		}
		if err != nil {
			return err
		}
		return errors.Join(thaw(vol.kept), vol.drop())
	}
	return nil
}

func thaw(kept *mount.Kept) error {
	root, err := kept.OpenRoot()
	if err != nil {
		return err
	}
	dir := os.NewFile(uintptr(root.FD()), root.Name())
	_, err = freeze.Thaw(dir)
	return errors.Join(err, dir.Close())
}
