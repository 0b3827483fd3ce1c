package lvm

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"strings"

	"k8s.io/klog/v2"

	"github.com/hostvol/hostvol/pkg/flex"
	"github.com/hostvol/hostvol/pkg/host/errno"
	"github.com/hostvol/hostvol/pkg/host/filesystem"
	"github.com/hostvol/hostvol/pkg/host/lvm"
	"github.com/hostvol/hostvol/pkg/host/mount"
)

// Mount implements flex.Backend.
func (b Backend) Mount(ctx context.Context, target *flex.Target, o flex.Options) error {
	return b.show(ctx, target, "", o)
}

// MountDevice implements flex.Attacher. Each pod gets a mount of its own of what is
// mounted here, read-only or not, so this one can be written to.
func (b Backend) MountDevice(ctx context.Context, target *flex.Target, device string, o flex.Options) error {
	return b.show(ctx, target, device, o)
}

// show mounts a volume's filesystem on the target. Calls for the same volume wait for
// each other: what the first one finds, makes or formats, the next one sees.
func (b Backend) show(ctx context.Context, target *flex.Target, path string, o flex.Options) error {
	r, err := b.read(o)
	if err != nil {
		return err
	}
	flags, err := mount.ParseFlags(strings.Split(r.options, ","))
	if err != nil {
		return err
	}
	flags.ReadOnly = flags.ReadOnly || r.readOnly
	lock, err := flex.TakeLock(ctx, "logical volume "+r.group+"/"+r.volume)
	if err != nil {
		return err
	}
	defer lock.Release()
	v, err := b.ready(ctx, r)
	if err != nil {
		return err
	}
	if path != "" && path != v.Path {
		return fmt.Errorf("device %q is not that of logical volume %s/%s, %s", path, v.Group, v.Name, v.Path)
	}
	device, err := v.Device()
	if err != nil {
		return err
	}
	defer device.Close() //nolint:errcheck // read only
	layers, err := target.Layers()
	if err != nil {
		return err
	}
	if len(layers) > 0 {
		return same(target, layers[len(layers)-1], device, v, flags)
	}
	if err := target.Prepare(); err != nil {
		return err
	}
	kind, err := usable(ctx, device, v, r.fstype, flags.ReadOnly)
	if err != nil {
		return err
	}
	return put(target, v, kind, flags)
}

// put mounts a sound filesystem.
func put(target *flex.Target, v lvm.Volume, kind string, flags mount.Flags) error {
	// Read-only by its mount: another pod's may be writable, and there is one
	// filesystem for all.
	src, err := mount.Filesystem(kind, v.Path, false, nil)
	if flags.ReadOnly && (errno.ReadOnly(err) || errors.Is(err, fs.ErrPermission)) { // the volume itself is
		src, err = mount.Filesystem(kind, v.Path, true, nil)
	}
	if err != nil {
		return err
	}
	defer src.Close() //nolint:errcheck // what was mounted stays
	if shown, err := src.Effective(flags); err != nil {
		return err
	} else if shown.ReadOnly && !flags.ReadOnly {
		return fmt.Errorf("the filesystem of %s/%s is mounted read-only elsewhere, or has errors; it cannot be written to", v.Group, v.Name)
	}
	return target.Put(src, flags)
}

// same checks that what is mounted is what is asked.
func same(target *flex.Target, e mount.Entry, device *os.File, v lvm.Volume, flags mount.Flags) error {
	switch {
	case !lvm.On(device, e):
		return fmt.Errorf("something else is mounted at %s (%s, %s), not %s/%s; it stays as it is", target.Path, e.Type, e.Source, v.Group, v.Name)
	case e.ReadOnly != flags.ReadOnly:
		return fmt.Errorf("%s/%s is mounted at %s already, with read-only %t where %t is asked; unmount it first", v.Group, v.Name, target.Path, e.ReadOnly, flags.ReadOnly)
	}
	return nil
}

// usable sees to it that there is a sound filesystem on the device, and tells which.
// v is what LVM said before the device was opened. To read, nothing is written.
func usable(ctx context.Context, device *os.File, v lvm.Volume, fstype string, readOnly bool) (kind string, err error) {
	kind, err = filesystem.Kind(ctx, v.Path)
	wanted := fstype
	if wanted == "" {
		wanted = filesystem.Ext4
	}
	switch {
	case err != nil:
		return "", err
	case v.Blank() && !v.Making() && kind != "":
		return "", fmt.Errorf("%s/%s was made by this driver and never used, and %s is on it: left from a volume that is gone, or somebody's; remove it with lvremove, or keep what is on it with lvchange --deltag hostvol.blank", v.Group, v.Name, kind)
	case kind == "" || v.Making(): // what was begun and not ended is begun anew
		return wanted, format(ctx, device, v, wanted, readOnly)
	case !slices.Contains(filesystem.Kinds(), kind):
		return "", fmt.Errorf("on %s/%s is %s, which cannot be mounted here; it is left as it is", v.Group, v.Name, kind)
	case fstype != "" && fstype != kind:
		return "", fmt.Errorf("on %s/%s is %s, not %s; it is left as it is", v.Group, v.Name, kind, fstype)
	case readOnly || v.Open: // fsck writes, and is not for what is in use
		return kind, nil
	}
	return kind, filesystem.Check(ctx, v.Path, kind)
}

// format makes a filesystem on a volume on which none is known: either we have made
// the volume, and what lies on its blocks was somebody's who has given them back, or
// it is proven blank and nobody has it open. It goes on when the call's time is over,
// since what is half made could be taken for somebody's data.
func format(ctx context.Context, device *os.File, v lvm.Volume, kind string, readOnly bool) (err error) {
	switch {
	case readOnly:
		return fmt.Errorf("there is no filesystem on %s/%s, and none is made for a mount that is read-only", v.Group, v.Name)
	case v.Open:
		return fmt.Errorf("there is no filesystem on %s/%s, and some process has its device open; none is made", v.Group, v.Name)
	}
	klog.FromContext(ctx).V(2).Info("Making a filesystem", "device", v.Path, "kind", kind)
	if v.Blank() {
		if err := v.Make(ctx); err != nil {
			return err
		}
		err = filesystem.FormatOver(context.WithoutCancel(ctx), v.Path, device, kind)
	} else {
		err = filesystem.FormatDisk(ctx, device, kind)
	}
	if err == nil {
		err = device.Sync()
	}
	if err != nil || !v.Blank() {
		return err
	}
	return v.Used(ctx)
}
