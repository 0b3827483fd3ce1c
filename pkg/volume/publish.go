package volume

import (
	"context"
	"errors"
	"os"

	"github.com/hostvol/hostvol/pkg/engine"
	"github.com/hostvol/hostvol/pkg/host/errno"
	"github.com/hostvol/hostvol/pkg/host/mount"
	"github.com/hostvol/hostvol/pkg/pool"
)

// PublishRequest says what to mount where.
type PublishRequest struct {
	Handle string
	// Target is below the kubelet's directory; its parent must exist.
	Target string
	// ReadOnly is the access mode's or the request's.
	ReadOnly bool
	// Exclusive tells that the access mode allows one target only.
	Exclusive bool
	// Access is how the volume is to be used.
	Access Access
	// Context are the volume's attributes. They may make it an ephemeral one.
	Context map[string]string
	// StagingTarget is where the volume was staged; it is checked only.
	StagingTarget string
}

// Publish mounts a volume at the target. A repeat finds the mount and succeeds.
// An ephemeral volume is made first, see ephemeral.go.
// ErrExists means that something else is mounted there, or the volume in
// another way; ErrInUse that the access mode forbids a second target; ErrState
// that the target is something that cannot be mounted on.
func (s *Service) Publish(ctx context.Context, r PublishRequest) error {
	flags, _ := mount.Split(r.Access.Options)
	flags.ReadOnly = flags.ReadOnly || r.ReadOnly
	if err := s.checkNew(r.Target); err != nil {
		return err
	}
	if r.StagingTarget != "" {
		if err := s.checkTarget(r.StagingTarget); err != nil {
			return err
		}
	}
	pod, err := s.parseEphemeral(r)
	if err != nil {
		return err
	}
	unlock, err := s.locks.try("volume "+s.key(r.Handle), "target "+r.Target)
	if err != nil {
		return err
	}
	defer unlock()
	if pod != nil {
		return s.publishEphemeral(ctx, r, flags, *pod)
	}
	src, err := s.source(ctx, r, flags)
	if err != nil {
		return err
	}
	// Closed first: what is mounted in it alone would keep the device.
	if err := errors.Join(s.mount(ctx, src, r, flags), src.Close()); err != nil {
		return errors.Join(err, s.idle(context.WithoutCancel(ctx), s.key(r.Handle)))
	}
	if IsStatic(r.Context) {
		s.published.add(staticKey, r.Target, publication{})
	}
	return nil
}

// mount mounts what src shows at the target, for the volume r.Handle. The caller
// holds the locks of both.
func (s *Service) mount(ctx context.Context, src *mount.Source, r PublishRequest, flags mount.Flags) error {
	id := s.key(r.Handle)
	t, err := s.target(r.Target)
	if notExist(err) {
		return kind(ErrState, "the parent of target %s is not there: %w", r.Target, err)
	}
	if err != nil {
		return err
	}
	defer t.close()
	mounted, err := s.bind(src, t, flags, func() error { return s.alone(id, r) })
	if err != nil {
		return classify(err)
	}
	s.published.add(id, r.Target, publication{exclusive: r.Exclusive})
	if mounted {
		logger(ctx).V(2).Info("Published volume", "volumeID", id, "target", r.Target, "flags", flags)
	}
	return nil
}

// source opens what is to be mounted: a volume of the CO, or the directory of a
// static volume.
func (s *Service) source(ctx context.Context, r PublishRequest, flags mount.Flags) (*mount.Source, error) {
	if IsStatic(r.Context) {
		dir, err := s.static(r.Handle, r.Context)
		if err != nil {
			return nil, err
		}
		if err := unfit(pool.Record{ID: r.Handle}, r.Access); err != nil {
			return nil, errors.Join(err, dir.Close())
		}
		return mount.OfDir(dir), nil
	}
	p, rec, err := s.lookupOwned(r.Handle)
	if err != nil {
		return nil, err
	}
	return attach(ctx, p, rec, r, flags)
}

// attach makes ready what a publish of a volume mounts.
func attach(ctx context.Context, p *pool.Pool, rec pool.Record, r PublishRequest, flags mount.Flags) (*mount.Source, error) {
	if err := unfit(rec, r.Access); err != nil {
		return nil, err
	}
	item, err := p.OpenItem(rec.ID)
	if err != nil {
		return nil, err
	}
	defer item.Close() //nolint:errcheck // read only
	_, options := mount.Split(r.Access.Options)
	src, err := p.Engine(rec.Engine).Attach(ctx, item, rec.Volume, engine.Use{ReadOnly: flags.ReadOnly, Options: options})
	if notExist(err) || errno.Link(err) {
		return nil, kind(ErrState, "the data of volume %s is missing in pool %s, or is not what it was: %w", rec.ID, p.Name(), err)
	}
	return src, classify(err)
}

// alone checks the rule of the single writer against the other targets.
func (s *Service) alone(id string, r PublishRequest) error {
	exclusive := r.Exclusive
	for target, p := range s.published.of(id) {
		exclusive = exclusive || p.exclusive && target != r.Target
	}
	if !exclusive {
		return nil
	}
	for target, p := range s.live(id) {
		if target != r.Target && !p.part {
			return kind(ErrInUse, "volume %s is published at %s, and its access mode allows one target", id, target)
		}
	}
	return nil
}

// bind mounts src at the target, unless it is there already, and tells whether
// it did. A new mount must be allowed.
func (s *Service) bind(src *mount.Source, t target, flags mount.Flags, allowed func() error) (bool, error) {
	want, err := src.Effective(flags)
	if err != nil {
		return false, err
	}
	if want.ReadOnly && !flags.ReadOnly {
		return false, kind(ErrState, "the filesystem of %s is read-only; repair it, or publish the volume read-only", src.Name())
	}
	state, err := mount.Look(t.parent, t.name)
	if err != nil {
		return false, err
	}
	if state.Mounted {
		return false, s.same(src, t, state, want)
	}
	if err := allowed(); err != nil {
		return false, err
	}
	switch {
	case !state.Exists:
		err = makeTarget(t, src.Node())
	case src.Node():
		err = emptyFile(t)
	case !state.Dir:
		err = kind(ErrState, "target %s is not a directory; remove it", t.path)
	default:
		err = s.empty(t)
	}
	if err != nil {
		return false, err
	}
	s.step("publish.made")
	if err := src.Mount(t.parent, t.name, flags); err != nil {
		if !state.Exists { // undo what this call made
			err = errors.Join(err, removeTarget(t))
		}
		return false, err
	}
	s.step("publish.mounted")
	return true, nil
}

// same checks that what is mounted is what was asked.
func (s *Service) same(src *mount.Source, t target, state mount.State, want mount.Flags) error {
	id, err := src.Identity()
	if err != nil {
		return err
	}
	switch {
	case state.Identity != id:
		return kind(ErrExists, "something else is mounted at %s; unpublish it first", t.path)
	case state.Flags != want:
		return kind(ErrExists, "the volume is mounted at %s with %s, not with %s; unpublish it first", t.path, state.Flags, want)
	}
	return nil
}

// empty refuses to hide somebody's files under a mount.
func (s *Service) empty(t target) error {
	dir, err := t.parent.OpenDir(t.name)
	if err != nil {
		return err
	}
	defer dir.Close() //nolint:errcheck // read only
	if names, err := dir.Names(); err != nil {
		return err
	} else if len(names) > 0 {
		return kind(ErrState, "target %s is a directory with something in it (%s); move that away", t.path, names[0])
	}
	return nil
}

// makeTarget makes what a source is mounted on: a file for a device, a directory
// for all else. The parent is the CO's to make.
func makeTarget(t target, node bool) error {
	if !node {
		return t.parent.Mkdir(t.name, 0o750)
	}
	f, err := t.parent.Open(t.name, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o640)
	if err != nil {
		return err
	}
	return f.Close()
}

// emptyFile refuses to hide anything else than an empty file under a device.
func emptyFile(t target) error {
	info, err := t.parent.Lstat(t.name)
	if err == nil && (!info.Regular || info.Bytes > 0) {
		err = kind(ErrState, "target %s of a block device is not an empty file; remove it", t.path)
	}
	return err
}
