package volume

import (
	"context"
	"path/filepath"

	"github.com/hostvol/hostvol/pkg/host/mount"
	"github.com/hostvol/hostvol/pkg/host/safepath"
	"github.com/hostvol/hostvol/pkg/pool"
)

// sweep removes the ephemeral volumes of a pool that nobody will unpublish: that
// are mounted nowhere, and whose pod's directory is gone. The kubelet removes
// that only after it has unmounted all of the pod's volumes. In doubt a volume
// stays.
func (k *keeper) sweep(ctx context.Context, p *pool.Pool) {
	if p.Failure() != nil {
		return
	}
	for _, rec := range p.Select("", 0, func(r pool.Record) bool { return !owned(r) }) {
		if ctx.Err() != nil {
			return
		}
		gone, err := k.s.podGone(*rec.Ephemeral)
		if err == nil && gone {
			err = k.s.sweepVolume(ctx, p, rec)
		}
		if err != nil {
			logger(ctx).V(4).Info("Left an ephemeral volume alone", "volumeID", rec.ID, "pool", p.Name(), "err", err)
		}
	}
}

// sweepVolume removes one whose pod was found gone, unless a call is at it.
func (s *Service) sweepVolume(ctx context.Context, p *pool.Pool, rec pool.Record) error {
	unlock, err := s.locks.try("volume " + rec.ID)
	if err != nil {
		return err
	}
	defer unlock()
	// It may have been removed and made again since it was listed.
	if rec, err = p.Get(rec.ID); err != nil || owned(rec) {
		return err
	}
	if err := s.unused(p, rec.ID); err != nil {
		return err
	}
	if gone, err := s.podGone(*rec.Ephemeral); err != nil || !gone {
		return err
	}
	logger(ctx).Info("Removing the ephemeral volume of a pod that is gone", "volumeID", rec.ID, "pool", p.Name(), "pod", rec.Ephemeral.Pod)
	return s.removeEphemeral(ctx, p, rec)
}

// podGone tells whether the pod's directory does not exist. It fails when that
// cannot be told.
func (s *Service) podGone(of pool.Ephemeral) (bool, error) {
	if err := s.checkPod(of); err != nil { // no uid, or of a kubelet with another directory
		return false, err
	}
	if err := s.kubeletInPlace(); err != nil {
		return false, err
	}
	pods, err := s.kubelet.OpenDir(podsDir)
	if err != nil {
		return false, err
	}
	defer pods.Close() //nolint:errcheck // read only
	if there, err := pods.Exists(of.Pod); there || err != nil {
		return false, err
	}
	// A disk that is not mounted looks like this. Where hostvol runs in a pod,
	// there is at least that one.
	names, err := pods.Names()
	if err == nil && len(names) == 0 {
		err = kind(ErrUnavailable, "%s is empty, which tells nothing", pods.Name())
	}
	return err == nil, err
}

// kubeletInPlace checks that the kubelet's directory was not mounted over since
// the daemon has opened it.
func (s *Service) kubeletInPlace() error {
	now, err := safepath.OpenRoot(s.opts.KubeletDir)
	if err != nil {
		return err
	}
	defer now.Close() //nolint:errcheck // read only
	there, err := now.Identity()
	if err != nil {
		return err
	}
	mine, err := s.kubelet.Identity()
	if err == nil && mine != there {
		err = kind(ErrUnavailable, "%s shows another directory than when the daemon was started", s.opts.KubeletDir)
	}
	return err
}

// unused fails when a volume, or a part of it, is mounted, wherever that is.
func (s *Service) unused(p *pool.Pool, id string) error {
	there, err := p.AtItsPath()
	if err != nil {
		return err
	}
	table, err := mount.Table()
	if err != nil {
		return err
	}
	device, inside, ok := inFilesystem(table, p.Path())
	if !ok || !there { // its mounts could not be told
		return kind(ErrUnavailable, "%s does not show pool %s", p.Path(), p.Name())
	}
	item, devices := filepath.Join(inside, pool.VolumesDir, id), s.attachedDevices(p)
	for _, e := range table {
		if of, _ := ofDevice(e, devices); of == id {
			return kind(ErrInUse, "it is mounted at %s", e.Point)
		}
		if e.Device == device && (e.Root == item || mount.Below(e.Root, item)) {
			return kind(ErrInUse, "it is mounted at %s", e.Point)
		}
	}
	return nil
}
