package volume

import (
	"context"

	"github.com/hostvol/hostvol/pkg/host/mount"
)

// Stage makes the volume ready for use on this node: a device is attached, the
// filesystem on it checked, and grown if the volume has grown. A directory needs
// nothing done. Nothing is mounted at r.StagingTarget, the target is not looked at.
func (s *Service) Stage(ctx context.Context, r PublishRequest) error {
	flags, _ := mount.Split(r.Access.Options)
	flags.ReadOnly = flags.ReadOnly || r.ReadOnly
	if err := s.checkNew(r.StagingTarget); err != nil {
		return err
	}
	id := s.key(r.Handle)
	unlock, err := s.locks.try(volumeKey(id))
	if err != nil {
		return err
	}
	defer unlock()
	src, err := s.source(ctx, r, flags)
	if err != nil {
		return classify(err)
	}
	if !IsStatic(r.Context) {
		s.staged.set(id, true)
	}
	return src.Close()
}

// Unstage takes whatever is mounted off the path. The directory is the CO's and
// stays.
func (s *Service) Unstage(ctx context.Context, handle, path string) error {
	id := s.key(handle)
	unlock, err := s.hold(id, path)
	if err != nil {
		return err
	}
	defer unlock()
	layers, err := s.takeOff(path, func(t target) (int, error) {
		layers, err := unmountAll(t)
		if err == nil && layers == 0 {
			err = s.outsideVolumes(path)
		}
		return layers, err
	})
	if layers > 0 {
		logger(ctx).V(2).Info("Unmounted what lay on the staging target", "volumeID", id, "target", path, "layers", layers)
	}
	if err != nil {
		return err
	}
	s.staged.set(id, false)
	return classify(s.idle(ctx, id))
}
