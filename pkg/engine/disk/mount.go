package disk

import (
	"context"
	"errors"
	"fmt"

	"github.com/hostvol/hostvol/pkg/engine"
	"github.com/hostvol/hostvol/pkg/host/errno"
	"github.com/hostvol/hostvol/pkg/host/filesystem"
	"github.com/hostvol/hostvol/pkg/host/mount"
	"github.com/hostvol/hostvol/pkg/host/safepath"
)

// bringUp mounts the filesystem of a volume that has no kept mount. One that is
// mounted nowhere is checked before, and grown where its disk has grown. One that
// lives on by the volume's device, in this mount namespace or another, is the same
// filesystem to the kernel: it is neither checked nor changed.
func (e *Engine) bringUp(ctx context.Context, item *safepath.Dir, v engine.Volume, vol *volume, use engine.Use) error {
	bytes, err := e.whole(item, v, use)
	if err != nil {
		return err
	}
	v.Bytes = bytes
	access := Write
	switch {
	case use.Untouched:
		access = Read
	case use.ReadOnly:
		access = WriteIfPossible
	}
	d, busy, err := e.choose(ctx, item, v, vol, access)
	switch {
	case err != nil:
		return err
	case busy && use.Untouched:
		return fmt.Errorf("%w: it is mounted in another mount namespace; end the processes that use it, then look into it", engine.ErrForeign)
	case busy:
		return e.join(vol, v, d)
	case use.Untouched:
		return e.keep(vol, v, d, append(mountOptions(v, nil), untouched(v)...), true)
	}
	if !d.ReadOnly {
		if err := filesystem.Check(ctx, d.Path(), v.FSType); err != nil {
			return fmt.Errorf("%w: %w", engine.ErrUnusable, err)
		}
	}
	options := mountOptions(v, use.Options)
	if err := e.keep(vol, v, d, options, false); err != nil || d.ReadOnly {
		return err
	}
	return e.growFresh(ctx, item, v, vol, options)
}

// whole refuses a disk that has lost its end, and returns its size. One that was to
// grow and could not, since its pool is full, is used as it is.
func (e *Engine) whole(item *safepath.Dir, v engine.Volume, use engine.Use) (bytes int64, err error) {
	is, had, err := e.backing.Size(item)
	switch {
	case err != nil:
		return 0, err
	case is < had:
		return 0, fmt.Errorf("%w: its disk has %d bytes, it had %d; restore it from a snapshot or a backup", engine.ErrUnusable, is, had)
	case is < v.Bytes && !use.Untouched && e.backing.Extend(item, v) == nil:
		return v.Bytes, nil
	}
	return is, nil
}

// choose finds the one device by which the volume is to be mounted, and reports
// whether its filesystem is mounted somewhere by it already. Afterwards no other
// device shows the disk, or it fails.
func (e *Engine) choose(ctx context.Context, item *safepath.Dir, v engine.Volume, vol *volume, a Access) (d Device, busy bool, err error) {
	if len(vol.devices) == 0 && !vol.unsure {
		if d, alone, err := e.attachAlone(ctx, item, v, vol, a); alone || err != nil {
			return d, false, err
		}
	}
	all, err := e.learn(item, vol)
	if err == nil {
		err = refuseForeign(all)
	}
	if err != nil {
		return Device{}, false, err
	}
	return e.takeOver(ctx, item, v, vol, a)
}

// attachAlone attaches a device, and reports whether no other shows the disk. If one
// does, it is taken off again.
func (e *Engine) attachAlone(ctx context.Context, item *safepath.Dir, v engine.Volume, vol *volume, a Access) (d Device, alone bool, err error) {
	if d, err = e.attachOne(ctx, item, v, vol, a); err != nil {
		return Device{}, false, err
	}
	all, err := e.backing.Find(item) // after it: whoever was faster is among them
	if err == nil && len(all) == 1 {
		return d, true, nil
	}
	return Device{}, false, errors.Join(err, e.detachOne(item, vol, d))
}

// takeOver goes by the devices that an earlier attachment has left. More than one is
// the work of a process that was killed, or of one that a person has run.
func (e *Engine) takeOver(ctx context.Context, item *safepath.Dir, v engine.Volume, vol *volume, a Access) (d Device, busy bool, err error) {
	have, err := e.still(item, vol)
	if err != nil {
		return Device{}, false, err
	}
	var mounted []string
	for _, one := range have {
		is, err := e.backing.Busy(item, one)
		if err != nil && !errors.Is(err, ErrGone) {
			return Device{}, false, err
		}
		if is {
			mounted = append(mounted, one.Path())
			d = one
		}
	}
	if len(mounted) > 1 {
		return Device{}, false, fmt.Errorf("%w: its filesystem is mounted by %v at once, and may be damaged; unmount all, and run fsck on a copy", engine.ErrForeign, mounted)
	}
	for _, one := range have {
		if d.Name == "" && one.ReadOnly == (a == Read) {
			d = one
		}
	}
	for _, one := range have {
		if one.Name != d.Name {
			if err := e.detachOne(item, vol, one); err != nil {
				return Device{}, false, err
			}
		}
	}
	if d.Name != "" || len(vol.devices) > 0 { // what is leaving shows the disk still
		return d, len(mounted) > 0, e.onlyOne(vol, d)
	}
	d, alone, err := e.attachAlone(ctx, item, v, vol, a)
	if err == nil && !alone {
		err = fmt.Errorf("%w: its disk was attached by another process meanwhile; try again", engine.ErrBusy)
	}
	return d, false, err
}

// onlyOne fails while a second device shows the disk.
func (e *Engine) onlyOne(vol *volume, d Device) error {
	for _, one := range vol.devices {
		if one.Name != d.Name {
			return fmt.Errorf("%w: %s, which shows its disk, is open in another process; try again", engine.ErrBusy, one.Path())
		}
	}
	return nil
}

// join keeps a mount of a filesystem that is mounted by the device: a clone of one in
// this mount namespace, else one more mount of the same.
func (e *Engine) join(vol *volume, v engine.Volume, d Device) error {
	table, err := mount.Table()
	if err != nil {
		return err
	}
	if joined, err := e.cloneLive(vol, v, d, table); joined || err != nil {
		return err
	}
	return e.keep(vol, v, d, mountOptions(v, nil), false)
}

// cloneLive keeps a clone of a mount of the device's whole filesystem in this mount
// namespace, and reports whether there is one.
func (e *Engine) cloneLive(vol *volume, v engine.Volume, d Device, table []mount.Entry) (bool, error) {
	for _, m := range table {
		if m.Source != d.Path() || m.Root != "/" || m.Type != v.FSType {
			continue
		}
		src, err := mount.Clone(m)
		if err != nil {
			continue // covered by another mount, or gone
		}
		return true, e.room(vol, src, d, false)
	}
	return false, nil
}

// keep mounts the filesystem of a device.
func (e *Engine) keep(vol *volume, v engine.Volume, d Device, options []string, untouched bool) error {
	src, err := mount.Filesystem(v.FSType, d.Path(), d.ReadOnly, options)
	switch {
	case errors.Is(err, mount.ErrOption):
		return optionError(err)
	case errno.Busy(err): // a program has it, such as fsck, or it is mounted in another mode
		return fmt.Errorf("%w: %s is in use by another program: %w", engine.ErrBusy, d.Path(), err)
	case err != nil:
		return fmt.Errorf("%w: %w", engine.ErrUnusable, err)
	}
	return e.room(vol, src, d, untouched)
}

func (e *Engine) room(vol *volume, src *mount.Source, d Device, untouched bool) error {
	kept, err := e.opts.Room.Keep(src)
	if err != nil {
		return err
	}
	vol.set(func(vol *volume) {
		vol.kept, vol.by, vol.untouched = kept, d, untouched
		vol.devices = []Device{d}
	})
	return nil
}

// mountOptions are those of the volume's filesystem; the given ones come last, and
// win. A thin volume gives back the space of what is deleted; copies of an XFS
// share their UUID with it; an ext4 with errors is not written to any more.
func mountOptions(v engine.Volume, given []string) []string {
	var all []string
	if !v.Thick {
		all = append(all, "discard")
	}
	switch v.FSType {
	case filesystem.XFS:
		all = append(all, "nouuid")
	case filesystem.Ext4:
		all = append(all, "errors=remount-ro")
	}
	return append(all, given...)
}

// untouched are the options by which a filesystem replays no log.
func untouched(v engine.Volume) []string {
	switch v.FSType {
	case filesystem.XFS:
		return []string{"norecovery"}
	case filesystem.Ext4:
		return []string{"noload"}
	}
	return []string{"rescue=nologreplay"} // since Linux 5.9
}
