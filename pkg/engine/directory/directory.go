// Package directory is the engine that makes a volume as a directory, which the
// kernel keeps within its size where the pool's filesystem can: by a qgroup on
// a btrfs subvolume, or by a project quota on XFS and ext4. Elsewhere the
// directory is plain and its size is not enforced, and it says so.
//
// Directory quotas stop accidents, not attackers. Who owns a file in the host's
// user namespace can take it out of its project, and on btrfs any user can make
// a nested subvolume, which has no limit. Inspect finds both.
package directory

import (
	"context"
	"errors"
	"fmt"
	"io/fs"

	"golang.org/x/time/rate"

	"github.com/hostvol/hostvol/pkg/engine"
	"github.com/hostvol/hostvol/pkg/host/errno"
	"github.com/hostvol/hostvol/pkg/host/rmtree"
	"github.com/hostvol/hostvol/pkg/host/safepath"
)

// Name is the engine's name in records.
const Name = "directory"

// data is what the pod sees, inside the item.
const data = "data"

// Engine makes directory volumes in one pool.
type Engine struct {
	method method
	// copies has room for those that go on at the same time; the others wait.
	copies chan struct{}
}

// maxCopies is how many volumes and snapshots are copied file by file at a time
// in one pool. Each has several files under way.
const maxCopies = 4

// method is how the directories of a pool are made and limited. Its calls get
// the item, or the open data directory of a volume.
type method interface {
	enforcement() engine.Enforcement
	// make makes an empty data directory of root's, limited when on is set. Its
	// mode is 0777 less the umask, or narrower.
	make(item *safepath.Dir, bytes int64, on bool) (engine.Volume, error)
	// convert makes data of the directory src, limited.
	convert(ctx context.Context, item *safepath.Dir, src engine.Entry, bytes int64, moving func(engine.Volume) error) (engine.Volume, error)
	// atomic tells whether snapshot works for directories that make has made.
	atomic() bool
	// snapshot makes data of what the directory from holds at one instant; false
	// where that cannot be. Nothing limits it.
	snapshot(item, from *safepath.Dir, readOnly bool) (bool, error)
	// seal ends the making of a snapshot, copied or not, so that nobody writes to
	// it. It tells what dir holds in bytes, -1 where nobody counts.
	seal(dir *safepath.Dir, copied bool) (held int64, err error)
	// limit limits a directory that was filled by a snapshot, and holds content.
	limit(dir *safepath.Dir, bytes int64) error
	// fits fails with an error that is errno.NoSpace when a directory that was
	// filled, copied or not, holds more than that.
	fits(dir *safepath.Dir, bytes int64, copied bool) error
	// apply sets the limit of an enforced volume.
	apply(dir *safepath.Dir, v engine.Volume) error
	// lift lets the directory of an enforced volume go unlimited, relimit undoes
	// that. What belongs to the volume is released later, by forget.
	lift(ctx context.Context, dir *safepath.Dir, v engine.Volume) error
	relimit(ctx context.Context, dir *safepath.Dir, v engine.Volume) error
	usage(dir *safepath.Dir, v engine.Volume) (engine.Usage, error)
	inspect(ctx context.Context, dir *safepath.Dir, v engine.Volume, deep bool) ([]engine.Problem, error)
	known(item *safepath.Dir, v engine.Volume)
	// forget releases what belonged to a removed volume; subvolumes are the ids
	// of those that went with it.
	forget(v engine.Volume, subvolumes []uint64) error
	close() error
	// owned finds out what belongs to the item when the record does not tell.
	owned(item *safepath.Dir) engine.Volume
}

// Options are what Open has to know of the pool.
type Options struct {
	// Root is the pool's directory, Staging one in which trials may be made.
	Root, Staging *safepath.Dir
	// Filesystem is the type of the pool's filesystem.
	Filesystem string
	// EnableQuota allows to switch on quotas for the whole filesystem.
	EnableQuota bool
	// ReadOnly tells that no trial can be made.
	ReadOnly bool
	// Projects gives out project ids.
	Projects *Projects
}

// Open finds out, by trying, how the pool can limit a directory.
func Open(o Options) (*Engine, error) {
	m, err := openMethod(o)
	if err != nil {
		return nil, fmt.Errorf("open engine %s: %w", Name, err)
	}
	return &Engine{method: m, copies: make(chan struct{}, maxCopies)}, nil
}

func openMethod(o Options) (method, error) {
	switch o.Filesystem {
	case "btrfs":
		return openSubvolumes(o)
	case "xfs", "ext4":
		return openProjects(o)
	}
	return plain{reason: fmt.Sprintf("%s has neither qgroups nor project quotas; use btrfs, or XFS or ext4 mounted with prjquota", o.Filesystem)}, nil
}

// Name implements engine.Engine.
func (e *Engine) Name() string { return Name }

// Enforcement implements engine.Engine.
func (e *Engine) Enforcement() engine.Enforcement { return e.method.enforcement() }

// Create implements engine.Engine.
func (e *Engine) Create(ctx context.Context, item *safepath.Dir, spec engine.Spec, from *engine.Source) (engine.Volume, error) {
	on := e.method.enforcement().On() && spec.Enforce != engine.None
	if from != nil {
		return e.fill(ctx, item, *from, spec.Bytes, on)
	}
	v, err := e.method.make(item, spec.Bytes, on)
	if err != nil {
		return v, fmt.Errorf("make directory: %w", err)
	}
	dir, err := item.OpenDir(data)
	if err != nil {
		return v, err
	}
	defer dir.Close() //nolint:errcheck // durable with the item
	if spec.UID != 0 || spec.GID != 0 {
		if err := dir.Chown(spec.UID, spec.GID); err != nil {
			return v, err
		}
	}
	if mode, err := dir.Mode(); err != nil || mode == spec.Mode { // mostly so, see app.Run
		return v, err
	}
	return v, dir.Chmod(spec.Mode)
}

// Import implements engine.Engine. Without convert the directory is renamed and
// not limited.
func (e *Engine) Import(ctx context.Context, item *safepath.Dir, src engine.Entry, spec engine.Spec, convert bool, moving func(engine.Volume) error) (engine.Volume, error) {
	if convert {
		return e.method.convert(ctx, item, src, spec.Bytes, moving)
	}
	v := engine.Volume{Bytes: spec.Bytes}
	if err := moving(v); err != nil {
		return v, err
	}
	return v, move(src, engine.Entry{Parent: item, Name: data})
}

// Export implements engine.Engine.
func (e *Engine) Export(ctx context.Context, item *safepath.Dir, v engine.Volume, dst engine.Entry) error {
	from := engine.Entry{Parent: item, Name: data}
	if !v.Enforced {
		return move(from, dst)
	}
	dir, err := item.OpenDir(data)
	if err != nil {
		return err
	}
	defer dir.Close() //nolint:errcheck // durable with the rename
	if err := e.method.lift(ctx, dir, v); err != nil {
		return errors.Join(err, e.method.relimit(context.WithoutCancel(ctx), dir, v))
	}
	if err := move(from, dst); err != nil {
		return errors.Join(err, e.method.relimit(context.WithoutCancel(ctx), dir, v))
	}
	return nil
}

func move(from, to engine.Entry) error {
	err := from.Parent.Rename(from.Name, to.Parent, to.Name)
	if errno.CrossDevice(err) {
		return fmt.Errorf("%w: a directory can be moved within one filesystem only; copy it to the pool's filesystem first", err)
	}
	return err
}

// Apply implements engine.Engine.
func (e *Engine) Apply(_ context.Context, item *safepath.Dir, v engine.Volume) error {
	if !v.Enforced {
		return nil
	}
	dir, err := item.OpenDir(data)
	if err != nil {
		return err
	}
	defer dir.Close() //nolint:errcheck // nothing was written through it
	return e.method.apply(dir, v)
}

// Known implements engine.Engine.
func (e *Engine) Known(item *safepath.Dir, v engine.Volume) { e.method.known(item, v) }

// Usage implements engine.Engine. Where the size is not enforced, nobody counts
// what the volume uses, and the numbers are the filesystem's.
func (e *Engine) Usage(_ context.Context, item *safepath.Dir, v engine.Volume) (engine.Usage, error) {
	dir, err := item.OpenDir(data)
	if err != nil {
		return engine.Usage{}, err
	}
	defer dir.Close() //nolint:errcheck // read only
	if v.Enforced {
		return e.method.usage(dir, v)
	}
	return filesystemUsage(dir)
}

func filesystemUsage(dir *safepath.Dir) (engine.Usage, error) {
	s, err := dir.Space()
	if err != nil {
		return engine.Usage{}, err
	}
	return engine.FilesystemUsage(s), nil
}

// Inspect implements engine.Engine.
func (e *Engine) Inspect(ctx context.Context, item *safepath.Dir, v engine.Volume, deep bool) ([]engine.Problem, error) {
	dir, err := item.OpenDir(data)
	if errors.Is(err, fs.ErrNotExist) {
		return []engine.Problem{{
			Reason: engine.DataMissing, Lost: true,
			Message: "the volume's data directory is gone; restore it from a backup",
		}}, nil
	}
	if err != nil {
		return nil, err
	}
	defer dir.Close() //nolint:errcheck // read only
	if !v.Enforced {
		return nil, nil
	}
	return e.method.inspect(ctx, dir, v, deep)
}

// Destroy implements engine.Engine.
func (e *Engine) Destroy(ctx context.Context, parent *safepath.Dir, name string, v engine.Volume, limiter *rate.Limiter) error {
	item, err := parent.OpenDir(name)
	if errors.Is(err, fs.ErrNotExist) {
		return e.method.forget(v, nil)
	}
	if err == nil {
		// Only of what has no record: the owner of an unlimited volume could have
		// given it the project of another.
		if v == (engine.Volume{}) {
			v.Project = e.method.owned(item).Project
		}
		if err := item.Close(); err != nil {
			return err
		}
	}
	var subvolumes []uint64
	err = rmtree.Remove(ctx, parent.FD(), name, rmtree.Options{
		Limiter: limiter,
		Removed: func(id uint64) { subvolumes = append(subvolumes, id) },
	})
	if err != nil {
		return fmt.Errorf("remove %s: %w", name, err)
	}
	return e.method.forget(v, subvolumes)
}

// Close implements engine.Engine.
func (e *Engine) Close() error { return e.method.close() }
