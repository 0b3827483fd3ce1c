package volume

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"time"

	"github.com/hostvol/hostvol/pkg/host/errno"
	"github.com/hostvol/hostvol/pkg/host/mount"
)

// Unpublish unmounts whatever lies on the target, all layers, and removes the
// target. It needs no memory of the volume; a target that is not there is
// success. ErrInUse means that the mount is in use and still there. An ephemeral
// volume is removed then.
func (s *Service) Unpublish(ctx context.Context, handle, path string) error {
	id := s.key(handle)
	unlock, err := s.hold(id, path)
	if err != nil {
		return err
	}
	defer unlock()
	layers, err := s.takeOff(path, s.clear)
	if err != nil {
		return err
	}
	s.step("unpublish.cleared")
	s.published.forget(path)
	if layers > 0 {
		logger(ctx).V(2).Info("Unpublished volume", "volumeID", id, "target", path, "layers", layers)
	}
	if err := s.idle(ctx, id); err != nil {
		return classify(err)
	}
	return s.endEphemeral(ctx, id, path)
}

// hold checks the form of a target's path, and locks a volume and the target.
func (s *Service) hold(id, path string) (unlock func(), err error) {
	if err := s.checkTarget(path); err != nil {
		return nil, err
	}
	return s.locks.try("volume "+id, "target "+path)
}

// takeOff has layers taken off a target by the function. Where the target's
// parent is not there, nothing is mounted.
func (s *Service) takeOff(path string, by func(target) (layers int, err error)) (layers int, err error) {
	t, err := s.target(path)
	if notExist(err) {
		s.published.forget(path)
		return 0, nil
	}
	if err != nil {
		return 0, err
	}
	defer t.close()
	return by(t)
}

// clear unmounts and removes a target. That there is another layer is seen by
// the removal's being refused. Inside a volume only what is mounted is taken
// off: the directory below is the pod's.
func (s *Service) clear(t target) (layers int, err error) {
	if inside := s.outsideVolumes(t.path); inside != nil {
		layers, err = unmountAll(t)
		if layers == 0 && err == nil {
			err = inside
		}
		return layers, err
	}
	for {
		was, err := unmountTop(t)
		if err != nil {
			return layers, err
		}
		if was {
			layers++
			s.step("unpublish.unmounted")
		}
		if err := removeTarget(t); !was || !errno.Busy(err) {
			return layers, classify(err)
		}
	}
}

// unmountAll takes all layers off a target and leaves the target itself.
func unmountAll(t target) (layers int, err error) {
	for {
		was, err := unmountTop(t)
		if err != nil || !was {
			return layers, err
		}
		layers++
	}
}

// glance is how long a look at a target by this daemon itself may take: stats, a
// list, a round of health. Meanwhile the kernel calls the mount busy.
const glance = 30 * time.Millisecond

// unmountTop takes the topmost mount off a target. ErrInUse means that somebody
// uses it for longer than a glance.
func unmountTop(t target) (was bool, err error) {
	for wait := time.Millisecond; ; wait *= 2 {
		was, err = mount.UnmountTop(t.parent, t.name)
		if !errno.Busy(err) {
			return was, err
		}
		if wait > glance {
			return was, kind(ErrInUse, "%s is in use; a process still has a file or its working directory there: %w", t.path, err)
		}
		time.Sleep(wait)
	}
}

// removeTarget removes an empty directory or an empty file, and nothing else.
func removeTarget(t target) error {
	err := t.parent.Rmdir(t.name)
	switch {
	case err == nil || notExist(err):
		return nil
	case errno.NotEmpty(err) || errors.Is(err, fs.ErrExist):
		return kind(ErrState, "target %s is not empty and was left as it is; what is in it was not written to the volume", t.path)
	case errno.Link(err): // not a directory
		return removeFile(t)
	}
	return err
}

func removeFile(t target) error {
	info, err := t.parent.Lstat(t.name)
	if notExist(err) {
		return nil
	}
	if err != nil {
		return err
	}
	if !info.Regular || info.Bytes > 0 {
		return kind(ErrState, "target %s is not a directory, and not an empty file that this driver makes; it was left as it is", t.path)
	}
	if err := t.parent.Unlink(t.name); err != nil && !notExist(err) {
		return fmt.Errorf("remove target: %w", err)
	}
	return nil
}
