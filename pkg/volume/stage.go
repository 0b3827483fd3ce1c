package volume

import (
	"context"

	"github.com/hostvol/hostvol/pkg/host/mount"
)

// Stage checks that the volume can be used on this node. A directory needs
// nothing done before it is published, and nothing is mounted at the path.
func (s *Service) Stage(ctx context.Context, handle, path string, flags []string, attributes map[string]string) error {
	if _, err := mount.ParseFlags(flags); err != nil {
		return invalid("%w", err)
	}
	if err := s.checkNew(path); err != nil {
		return err
	}
	src, err := s.source(ctx, handle, attributes)
	if err != nil {
		return classify(err)
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
	return err
}
