package volume

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"

	"github.com/hostvol/hostvol/pkg/engine"
	"github.com/hostvol/hostvol/pkg/host/mount"
	"github.com/hostvol/hostvol/pkg/host/safepath"
	"github.com/hostvol/hostvol/pkg/pool"
)

// An inspection is a look of a person into a volume or snapshot with a filesystem of
// its own: it is mounted read-only below InspectDir, and not even a journal is
// replayed. No pod gets the volume meanwhile, and a snapshot is not deleted. It ends
// with EndInspection, or at the next start of the daemon.

// inspections are those of snapshots: what lets each be deleted again, by its path.
type inspections struct {
	mu    sync.Mutex
	unpin map[string]func()
}

// ofSnapshot ends the name of a snapshot's directory, which no volume can have.
const ofSnapshot = "@snapshot"

// Inspection names what a person looks into.
type Inspection struct {
	// Name is an id or a handle.
	Name string
	// Snapshot means that it is the id of a snapshot.
	Snapshot bool
}

// inspected is what an Inspection has found.
type inspected struct {
	p    *pool.Pool
	rec  pool.Record
	path string
	key  string
	open func() (*safepath.Dir, error)
}

func (s *Service) inspected(i Inspection) (in inspected, err error) {
	id, ours := s.local(i.Name)
	switch {
	case !ours:
		return in, kind(ErrNotFound, "%s on node %s", i.Name, s.opts.NodeID)
	case i.Snapshot:
		in.p, in.rec, err = s.findSnapshot(id)
		in.path, in.key = filepath.Join(s.opts.InspectDir, id+ofSnapshot), snapshotKey(id)
		in.open = func() (*safepath.Dir, error) { return in.p.OpenSnapshot(id) }
	default:
		in.p, in.rec, err = s.find(id)
		in.path, in.key = filepath.Join(s.opts.InspectDir, id), volumeKey(id)
		in.open = func() (*safepath.Dir, error) { return in.p.OpenItem(id) }
	}
	switch {
	case err != nil:
	case in.rec.Block:
		err = kind(ErrState, "%s is a raw block device; it has no filesystem of the driver's to mount", in.key)
	case in.rec.FSType == "":
		err = kind(ErrState, "%s is a directory of pool %s; look at it there, below %s", in.key, in.p.Name(), in.p.Path())
	case i.Snapshot && in.rec.FSType == "btrfs":
		err = kind(ErrState, "%s has the identity of its volume, and the kernel would take the two btrfs for one; make a volume of it, and look into that", in.key)
	}
	return in, err
}

// Inspect mounts what a person looks into, and returns where. A repeat returns the same.
// ErrInUse means that the volume is published or staged.
func (s *Service) Inspect(ctx context.Context, i Inspection) (path string, err error) {
	in, err := s.inspected(i)
	if err != nil {
		return "", err
	}
	unlock, err := s.locks.try(in.key, "target "+in.path)
	if err != nil {
		return "", err
	}
	defer unlock()
	if !i.Snapshot {
		if s.staged.has(in.rec.ID) {
			return "", kind(ErrInUse, "volume %s is staged for a pod; delete the pod first", in.rec.ID)
		}
		for target := range s.live(in.rec.ID) {
			if target != in.path {
				return "", kind(ErrInUse, "volume %s is published at %s; delete the pod first, or look there", in.rec.ID, target)
			}
		}
	}
	if err := os.MkdirAll(s.opts.InspectDir, 0o700); err != nil {
		return "", err
	}
	item, err := in.open()
	if err != nil {
		return "", err
	}
	defer item.Close() //nolint:errcheck // read only
	e := in.p.Engine(in.rec.Engine)
	src, err := e.Attach(ctx, item, in.rec.Volume, engine.Use{ReadOnly: true, Untouched: true})
	if err != nil {
		return "", classify(err)
	}
	if err := errors.Join(s.showTo(in, i, src), src.Close()); err != nil {
		return "", errors.Join(err, e.Detach(context.WithoutCancel(ctx), item, in.rec.Volume))
	}
	logger(ctx).Info("Mounted for a person to look into", "what", in.key, "path", in.path)
	return in.path, nil
}

// showTo mounts a source for a person, who runs nothing that is in it.
func (s *Service) showTo(in inspected, i Inspection, src *mount.Source) error {
	t, err := s.target(in.path)
	if err != nil {
		return err
	}
	defer t.close()
	flags := mount.Flags{ReadOnly: true, NoSUID: true, NoDev: true, NoExec: true}
	mounted, err := s.bind(src, t, flags, func() error { return nil })
	if err != nil || !mounted {
		return classify(err)
	}
	if !i.Snapshot {
		s.published.add(in.rec.ID, in.path, publication{exclusive: true})
		return nil
	}
	unpin, err := s.locks.pin(in.key)
	if err != nil { // it is being made ready to go
		_, cerr := s.clear(t)
		return errors.Join(err, cerr)
	}
	s.inspections.mu.Lock()
	defer s.inspections.mu.Unlock()
	if s.inspections.unpin == nil {
		s.inspections.unpin = map[string]func(){}
	}
	s.inspections.unpin[in.path] = unpin
	return nil
}

// EndInspection ends a look. ErrInUse means that a process still has something open
// there. What is not inspected is no error.
func (s *Service) EndInspection(ctx context.Context, i Inspection) error {
	in, err := s.inspected(i)
	if err != nil {
		return err
	}
	unlock, err := s.locks.try(in.key, "target "+in.path)
	if err != nil {
		return err
	}
	defer unlock()
	layers, err := s.takeOff(in.path, s.clear)
	if err != nil {
		return err
	}
	s.published.forget(in.path)
	if !i.Snapshot {
		return classify(s.idle(ctx, in.rec.ID))
	}
	s.inspections.mu.Lock()
	unpin := s.inspections.unpin[in.path]
	delete(s.inspections.unpin, in.path)
	s.inspections.mu.Unlock()
	if unpin != nil {
		unpin()
	}
	if layers == 0 {
		return nil
	}
	return classify(in.detach(ctx))
}

func (in inspected) detach(ctx context.Context) error {
	item, err := in.open()
	if err != nil {
		return err
	}
	defer item.Close() //nolint:errcheck // read only
	return in.p.Engine(in.rec.Engine).Detach(ctx, item, in.rec.Volume)
}

// endInspections ends what an earlier daemon has mounted for a person, before pools
// are opened, and returns the ids of their snapshots. What a process has open stays.
func (s *Service) endInspections(ctx context.Context) (snapshots []string) {
	entries, err := os.ReadDir(s.opts.InspectDir)
	if errors.Is(err, fs.ErrNotExist) || s.opts.InspectDir == "" {
		return nil
	}
	for _, e := range entries {
		path := filepath.Join(s.opts.InspectDir, e.Name())
		if _, terr := s.takeOff(path, s.clear); terr != nil {
			err = errors.Join(err, terr)
		} else if id, ok := strings.CutSuffix(e.Name(), ofSnapshot); ok {
			snapshots = append(snapshots, id)
		}
	}
	if err != nil {
		logger(ctx).Error(err, "Could not end what was mounted for a person to look into", "dir", s.opts.InspectDir)
	}
	return snapshots
}

// detachInspected takes off the devices of snapshots that an earlier daemon has
// mounted for a person; those of volumes are found with all others.
func (s *Service) detachInspected(ctx context.Context, snapshots []string) {
	for _, id := range snapshots {
		in, err := s.inspected(Inspection{Name: id, Snapshot: true})
		if err == nil {
			err = in.detach(ctx)
		}
		if err != nil && !errors.Is(err, ErrNotFound) {
			logger(ctx).Error(err, "Could not detach a snapshot that was mounted for a person to look into", "snapshotID", id)
		}
	}
}
