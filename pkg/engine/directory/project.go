package directory

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/hostvol/hostvol/pkg/engine"
	"github.com/hostvol/hostvol/pkg/host/errno"
	"github.com/hostvol/hostvol/pkg/host/quota"
	"github.com/hostvol/hostvol/pkg/host/rmtree"
	"github.com/hostvol/hostvol/pkg/host/safepath"
)

// projects limits each directory by the quota of a project of its own (XFS,
// ext4). New files inherit the project from their directory.
type projects struct {
	fs    string
	quota *quota.Project
	ids   *ids
}

func openProjects(o Options) (method, error) {
	q, err := quota.Open(o.Root.FD())
	if errors.Is(err, quota.ErrUnsupported) {
		return plain{reason: err.Error()}, nil
	}
	if err != nil {
		return nil, err
	}
	root, err := o.Root.Identity()
	if err != nil {
		return nil, errors.Join(err, q.Close())
	}
	p := &projects{fs: o.Filesystem, quota: q, ids: o.Projects.of(root.Dev)}
	if o.ReadOnly {
		return p, nil
	}
	if err := p.prove(o.Staging); err != nil && !errno.NoSpace(err) { // on a full disk the kernel's word is taken
		return plain{reason: fmt.Sprintf("a trial of a project limit failed: %v", err)}, q.Close()
	}
	return p, nil
}

func (p *projects) prove(staging *safepath.Dir) error {
	id, err := p.ids.take(p.quota.InUse)
	if err != nil {
		return err
	}
	defer p.ids.free(id)
	sweep := func() error { return rmtree.Remove(context.Background(), staging.FD(), trial, rmtree.Options{}) }
	if err := sweep(); err != nil { // left by a crash
		return err
	}
	if err := staging.Mkdir(trial, 0o700); err != nil {
		return err
	}
	dir, err := staging.OpenDir(trial)
	if err != nil {
		return err
	}
	err = p.quota.Prove(dir.FD(), id)
	return errors.Join(err, dir.Close(), sweep())
}

func (p *projects) close() error { return p.quota.Close() }

func (p *projects) enforcement() engine.Enforcement {
	return engine.Enforcement{Method: p.fs + "-project"}
}

func (p *projects) make(item *safepath.Dir, bytes int64, on bool) (engine.Volume, error) {
	v := engine.Volume{Bytes: bytes, Enforced: on}
	if err := item.Mkdir(data, 0o777); err != nil || !on {
		return v, err
	}
	dir, err := item.OpenDir(data)
	if err != nil {
		return v, err
	}
	defer dir.Close() //nolint:errcheck // durable with the item
	if v.Project, err = p.ids.take(p.quota.InUse); err != nil {
		return v, err
	}
	// The limit first: no file is ever in the project without one.
	if err := p.quota.SetLimit(v.Project, bytes); err != nil {
		return v, err
	}
	return v, quota.SetProject(dir.FD(), v.Project, true)
}

// convert puts every file of src into a project, and then takes src over. After
// an error src is in no project.
func (p *projects) convert(ctx context.Context, item *safepath.Dir, src engine.Entry, bytes int64, moving func(engine.Volume) error) (engine.Volume, error) {
	v := engine.Volume{Bytes: bytes, Enforced: true}
	dir, err := src.Parent.OpenDir(src.Name)
	if err != nil {
		return v, err
	}
	defer dir.Close() //nolint:errcheck // durable with the item
	if v.Project, err = p.ids.take(p.quota.InUse); err != nil {
		return v, err
	}
	err = quota.SetTree(ctx, dir.FD(), v.Project)
	if err == nil {
		err = p.quota.SetLimit(v.Project, bytes)
	}
	if err == nil {
		err = moving(v)
	}
	if err == nil {
		err = move(src, engine.Entry{Parent: item, Name: data})
	}
	if err != nil {
		return v, errors.Join(err, p.lift(context.WithoutCancel(ctx), dir, v))
	}
	return v, nil
}

func (p *projects) atomic() bool { return false }

func (p *projects) snapshot(*safepath.Dir, *safepath.Dir, bool) (bool, error) { return false, nil }

func (p *projects) seal(*safepath.Dir, bool) (int64, error) { return -1, nil }

func (p *projects) limit(*safepath.Dir, int64) error { return nil }

// fits has nothing to do: what a copy writes, or shares, is counted as it goes.
func (p *projects) fits(*safepath.Dir, int64, bool) error { return nil }

func (p *projects) apply(_ *safepath.Dir, v engine.Volume) error {
	return p.quota.SetLimit(v.Project, v.Bytes)
}

func (p *projects) lift(ctx context.Context, dir *safepath.Dir, _ engine.Volume) error {
	return quota.SetTree(ctx, dir.FD(), 0)
}

func (p *projects) relimit(ctx context.Context, dir *safepath.Dir, v engine.Volume) error {
	return quota.SetTree(ctx, dir.FD(), v.Project)
}

func (p *projects) usage(dir *safepath.Dir, v engine.Volume) (engine.Usage, error) {
	u, err := p.quota.Read(v.Project)
	if err != nil {
		return engine.Usage{}, err
	}
	space, err := dir.Space()
	if err != nil {
		return engine.Usage{}, err
	}
	return engine.Usage{
		BytesTotal: v.Bytes, BytesUsed: u.Bytes, BytesAvailable: max(0, min(v.Bytes-u.Bytes, space.BytesAvailable)),
		InodesTotal: u.Inodes + space.InodesFree, InodesUsed: u.Inodes, InodesAvailable: space.InodesFree,
		Own: true,
	}, nil
}

// shown is how many strays a message names.
const shown = 3

func (p *projects) inspect(ctx context.Context, dir *safepath.Dir, v engine.Volume, deep bool) ([]engine.Problem, error) {
	if on, err := p.quota.Enforced(); err != nil {
		return nil, err
	} else if !on {
		return []engine.Problem{quotaOff("project quotas were switched off on this filesystem; mount it with prjquota")}, nil
	}
	var found []engine.Problem
	if u, err := p.quota.Read(v.Project); err != nil {
		return nil, err
	} else if u.LimitBytes < v.Bytes || u.LimitBytes >= v.Bytes+4096 { // limits are whole blocks
		found = append(found, limitMissing(u.LimitBytes, v.Bytes))
	}
	strays, err := p.strays(ctx, dir, v, deep)
	if len(strays) > 0 {
		found = append(found, engine.Problem{
			Reason:  engine.OutsideProject,
			Message: fmt.Sprintf("files were taken out of the volume's project (%s); what they hold is not counted against its size. Use an image volume for tenants that do this", strings.Join(strays, ", ")),
		})
	}
	return found, err
}

func (p *projects) strays(ctx context.Context, dir *safepath.Dir, v engine.Volume, deep bool) ([]string, error) {
	if deep {
		return quota.Outside(ctx, dir.FD(), v.Project, shown)
	}
	id, inherit, err := quota.ProjectOf(dir.FD())
	if err != nil || id == v.Project && inherit {
		return nil, err
	}
	return []string{"."}, nil
}

// known keeps the ids of everything that exists from being given away, of
// items whose record cannot be read, too.
func (p *projects) known(item *safepath.Dir, v engine.Volume) {
	p.ids.mark(v.Project)
	p.ids.mark(p.owned(item).Project)
}

func (p *projects) owned(item *safepath.Dir) engine.Volume {
	dir, err := item.OpenDir(data)
	if err != nil {
		return engine.Volume{}
	}
	defer dir.Close() //nolint:errcheck // read only
	id, _, err := quota.ProjectOf(dir.FD())
	if err != nil {
		return engine.Volume{}
	}
	return engine.Volume{Project: id}
}

func (p *projects) forget(v engine.Volume, _ []uint64) error {
	return p.release(v.Project)
}

func (p *projects) release(id uint32) error {
	if id < firstProject {
		return nil
	}
	if err := p.quota.SetLimit(id, 0); err != nil {
		return err
	}
	p.ids.free(id)
	return nil
}
