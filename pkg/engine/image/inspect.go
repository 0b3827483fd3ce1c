package image

import (
	"context"
	"errors"
	"fmt"
	"os"

	"github.com/hostvol/hostvol/pkg/engine"
	"github.com/hostvol/hostvol/pkg/host/errno"
	"github.com/hostvol/hostvol/pkg/host/filesystem"
	"github.com/hostvol/hostvol/pkg/host/imagefile"
	"github.com/hostvol/hostvol/pkg/host/mount"
	"github.com/hostvol/hostvol/pkg/host/safepath"
)

// Usage implements engine.Engine: the blocks of the image, which a filesystem in
// it may use or not.
func (e *Engine) Usage(_ context.Context, item *safepath.Dir, v engine.Volume) (engine.Usage, error) {
	image, err := item.Open(file, os.O_RDONLY, 0)
	if err != nil {
		return engine.Usage{}, err
	}
	defer image.Close() //nolint:errcheck // read only
	used, err := imagefile.Allocated(image)
	if err != nil {
		return engine.Usage{}, err
	}
	var shared int64
	if isShared(item) {
		shared = used // at most
	}
	return engine.Usage{
		BytesShared: shared,
		BytesTotal:  v.Bytes, BytesUsed: used, BytesAvailable: max(0, v.Bytes-used),
		InodesTotal: -1, InodesUsed: -1, InodesAvailable: -1, Own: true,
	}, nil
}

// Inspect implements engine.Engine.
func (e *Engine) Inspect(_ context.Context, item *safepath.Dir, v engine.Volume, _ bool) ([]engine.Problem, error) {
	image, err := item.Open(file, os.O_RDONLY, 0)
	if errors.Is(err, os.ErrNotExist) {
		return []engine.Problem{{
			Reason: engine.DataMissing, Lost: true,
			Message: "the volume's image is gone; restore it from a snapshot or a backup",
		}}, nil
	}
	if err != nil {
		return nil, err
	}
	defer image.Close() //nolint:errcheck // read only
	info, err := image.Stat()
	if err != nil {
		return nil, err
	}
	had, err := sizeOf(item)
	if err != nil {
		return nil, err
	}
	if info.Size() < had {
		return []engine.Problem{{
			Reason: engine.ImageShort, Lost: true,
			Message: fmt.Sprintf("the volume's image has %d bytes, it had %d; restore it from a snapshot or a backup", info.Size(), had),
		}}, nil
	}
	var problems []engine.Problem
	if info.Size() < v.Bytes {
		problems = append(problems, engine.Problem{
			Reason:  engine.GrowthPending,
			Message: fmt.Sprintf("the volume's image has %d bytes and is to grow to %d; make room in the pool, then ask for the size again or publish the volume anew", info.Size(), v.Bytes),
		})
	}
	id, found, err := e.devices.attached(image)
	if err != nil {
		return problems, err
	}
	defer closeAll(found)
	e.mu.Lock()
	if why := e.stuck[id]; why != nil {
		problems = append(problems, engine.Problem{Reason: engine.Frozen, Unusable: true, Message: fmt.Sprintf("the volume's filesystem was left frozen and could not be thawed: %v", why)})
	}
	e.mu.Unlock()
	end, err := e.devices.glance(id)
	if err != nil {
		return problems, nil //nolint:nilerr // the next round looks again
	}
	defer end()
	for _, device := range found {
		found, err := e.inspectMounted(image, device, v)
		if err != nil {
			return problems, err
		}
		problems = append(problems, found...)
	}
	return problems, nil
}

// sizeOf is the least size that an image must have. Snapshots have no note.
func sizeOf(item *safepath.Dir) (int64, error) {
	had, err := notedSize(item)
	if errno.NoAttribute(err) {
		return 0, nil
	}
	return had, err
}

// inspectMounted finds a filesystem that the kernel has stopped writing to.
func (e *Engine) inspectMounted(image *os.File, device held, v engine.Volume) ([]engine.Problem, error) {
	if v.Block || device.ReadOnly {
		return nil, nil
	}
	src, err := e.shown(image, device, v)
	if err != nil || src == nil {
		return nil, err
	}
	defer src.Close() //nolint:errcheck // read only
	flags, err := src.Effective(mount.Flags{})
	if err != nil {
		return nil, err
	}
	// Since kernel 6.15 an ext4 with errors takes no writes, and does not show it.
	faults, err := filesystem.Faults(device.Path(), v.FSType)
	if err != nil || !flags.ReadOnly && faults == 0 {
		return nil, err
	}
	return []engine.Problem{{
		Reason: engine.FilesystemReadOnly, Unusable: true,
		Message: fmt.Sprintf("the volume's %s has an error, and takes no writes any more; see the kernel's log for %s, then delete the pod so that it is checked and published again", v.FSType, device.Name()),
	}}, nil
}
