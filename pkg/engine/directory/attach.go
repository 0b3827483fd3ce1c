package directory

import (
	"context"
	"fmt"
	"os"

	"github.com/hostvol/hostvol/pkg/engine"
	"github.com/hostvol/hostvol/pkg/host/mount"
	"github.com/hostvol/hostvol/pkg/host/safepath"
)

// Size implements engine.Engine.
func (e *Engine) Size(bytes int64, form engine.Form) (int64, error) {
	switch {
	case form.Block:
		return 0, fmt.Errorf("%w: a directory is no block device; use engine: image", engine.ErrForm)
	case form.FSType != "":
		return 0, fmt.Errorf("%w: a directory volume has the filesystem of its pool; leave out csi.storage.k8s.io/fstype, or use engine: image", engine.ErrForm)
	case form.Thick:
		return 0, fmt.Errorf("%w: a directory has no allocation of its own; leave it out, or use engine: image", engine.ErrForm)
	}
	return bytes, nil
}

// Attach implements engine.Engine: there is nothing to attach.
func (e *Engine) Attach(_ context.Context, item *safepath.Dir, _ engine.Volume, use engine.Use) (*mount.Source, error) {
	if len(use.Options) > 0 {
		return nil, fmt.Errorf("%w: a directory volume is a part of its pool's filesystem and takes none of its mount options: %v", engine.ErrForm, use.Options)
	}
	dir, err := item.OpenDir(data)
	if err != nil {
		return nil, err
	}
	return mount.OfDir(dir), nil
}

// Attached implements engine.Engine.
func (e *Engine) Attached(ctx context.Context, item *safepath.Dir, v engine.Volume) ([]*mount.Source, error) {
	src, err := e.Attach(ctx, item, v, engine.Use{})
	if err != nil {
		return nil, err
	}
	return []*mount.Source{src}, nil
}

// Devices implements engine.Engine.
func (e *Engine) Devices(context.Context, *safepath.Dir, engine.Volume) ([]string, error) {
	return nil, nil
}

// Blocks implements engine.Engine.
func (e *Engine) Blocks(*safepath.Dir, engine.Volume) (*os.File, error) {
	return nil, fmt.Errorf("%w: a directory is no disk", engine.ErrForm)
}

// Detach implements engine.Engine.
func (e *Engine) Detach(context.Context, *safepath.Dir, engine.Volume) error { return nil }

// Hold implements engine.Engine: several directories are never of one instant.
// Even of subvolumes each is snapshotted for itself.
func (e *Engine) Hold(_ context.Context, sources []engine.Source) (engine.Held, error) {
	if len(sources) > 1 {
		return engine.Held{}, fmt.Errorf("%w: directories have none in common; use engine: image", engine.ErrNotAtomic)
	}
	return engine.Held{Release: func() error { return nil }}, nil
}

// Grows implements engine.Engine: a limit can have any size.
func (e *Engine) Grows(context.Context, *safepath.Dir, engine.Volume, int64) error { return nil }
