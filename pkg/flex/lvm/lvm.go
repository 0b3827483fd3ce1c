// Package lvm is the FlexVolume driver for logical volumes of this node: it finds or
// makes them, makes a filesystem on what is proven blank, mounts it, and lets both
// grow. It touches no volume group that the administrator has not named.
package lvm

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"k8s.io/klog/v2"

	"github.com/hostvol/hostvol/pkg/flex"
	"github.com/hostvol/hostvol/pkg/flex/settings"
	"github.com/hostvol/hostvol/pkg/host/filesystem"
	"github.com/hostvol/hostvol/pkg/host/lvm"
)

// Backend is the driver.
type Backend struct {
	settings settings.LVM
}

// New makes a driver that may do what the settings say.
func New(s settings.LVM) Backend { return Backend{s} }

// Capabilities implements flex.Backend.
func (b Backend) Capabilities() flex.Capabilities {
	return flex.Capabilities{Attach: b.settings.Attach, SELinuxRelabel: true, SupportsMetrics: true, FSGroup: true, RequiresFSResize: true}
}

// request is what the options ask for.
type request struct {
	group, volume string
	// bytes is 0 where no volume is to be made.
	bytes int64
	// fstype is "" for what is there, or the default on what is blank.
	fstype   string
	options  string
	readOnly bool
}

func (b Backend) read(o flex.Options) (request, error) {
	picked, err := o.Pick("volumeID", "volumegroup", "size", "mountOptions|opts")
	if err != nil {
		return request{}, err
	}
	r := request{volume: picked[0], group: picked[1], fstype: o.FSType, options: picked[3], readOnly: o.ReadOnly}
	if r.volume == "" || r.group == "" {
		return r, errors.New("the options volumeID and volumegroup are required")
	}
	if err := errors.Join(lvm.CheckName(r.group), lvm.CheckName(r.volume)); err != nil {
		return r, err
	}
	if !slices.Contains(b.settings.Groups, r.group) {
		return r, fmt.Errorf("volume group %s is none of those that pods may have (%s); install the driver with --lvm-groups to allow it", r.group, strings.Join(b.settings.Groups, ", "))
	}
	if r.fstype != "" && !slices.Contains(filesystem.Kinds(), r.fstype) {
		return r, fmt.Errorf("fsType %q is none of %s", r.fstype, strings.Join(filesystem.Kinds(), ", "))
	}
	if size := picked[2]; size != "" {
		r.bytes, err = flex.Size(size)
	}
	return r, err
}

// ready finds the volume, or makes it, and sees to its device.
func (b Backend) ready(ctx context.Context, r request) (lvm.Volume, error) {
	v, err := lvm.Find(ctx, r.group, r.volume)
	switch {
	case err == nil:
	case !errors.Is(err, lvm.ErrNotFound):
		return v, err
	case r.bytes == 0:
		return v, fmt.Errorf("%w; make it, or give a size", err)
	case r.readOnly:
		return v, fmt.Errorf("%w; a volume that is mounted read-only is not made", err)
	case !b.settings.Create:
		return v, fmt.Errorf("%w; make it, or install the driver with --lvm-create to let pods make volumes", err)
	default:
		if v, err = create(ctx, r); err != nil {
			return v, err
		}
	}
	if !v.Active {
		if err := v.Activate(ctx); err != nil {
			return v, err
		}
		return lvm.Find(ctx, r.group, r.volume)
	}
	return v, nil
}

func create(ctx context.Context, r request) (lvm.Volume, error) {
	cerr := lvm.Create(ctx, r.group, r.volume, r.bytes)
	v, err := lvm.Find(ctx, r.group, r.volume) // another call may have been faster
	if err != nil {
		return v, errors.Join(cerr, err)
	}
	klog.FromContext(ctx).V(2).Info("Made a logical volume", "group", r.group, "volume", r.volume, "bytes", v.Bytes)
	return v, nil
}

// Device implements flex.Attacher.
func (b Backend) Device(o flex.Options) (string, error) {
	r, err := b.read(o)
	return "/dev/" + r.group + "/" + r.volume, err
}

// Attach implements flex.Attacher.
func (b Backend) Attach(ctx context.Context, o flex.Options) (string, error) {
	r, err := b.read(o)
	if err != nil {
		return "", err
	}
	v, err := b.ready(ctx, r)
	return v.Path, err
}

// Expand implements flex.Expander.
func (b Backend) Expand(ctx context.Context, o flex.Options, path *flex.Target, bytes int64) error {
	r, err := b.read(o)
	if err != nil {
		return err
	}
	v, err := lvm.Find(ctx, r.group, r.volume)
	if err != nil {
		return err
	}
	if err := v.Extend(ctx, bytes); err != nil || path == nil {
		return err
	}
	if v, err = lvm.Find(ctx, r.group, r.volume); err != nil {
		return err
	}
	device, err := v.Device()
	if err != nil {
		return err
	}
	defer device.Close() //nolint:errcheck // read only
	layers, err := path.Layers()
	if err != nil {
		return err
	}
	if len(layers) == 0 || !lvm.On(device, layers[len(layers)-1]) {
		return fmt.Errorf("logical volume %s/%s is not mounted at %s", v.Group, v.Name, path.Path)
	}
	dir, err := path.Open()
	if err != nil {
		return err
	}
	defer dir.Close() //nolint:errcheck // read only
	return filesystem.Grow(dir.FD(), v.Path, layers[len(layers)-1].Type, v.Bytes)
}
