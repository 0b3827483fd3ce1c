package directory

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"sync"

	"github.com/hostvol/hostvol/pkg/engine"
	"github.com/hostvol/hostvol/pkg/host/btrfs"
	"github.com/hostvol/hostvol/pkg/host/clone"
	"github.com/hostvol/hostvol/pkg/host/errno"
	"github.com/hostvol/hostvol/pkg/host/safepath"
)

// ErrNoQuota means that the pool cannot enforce a size.
var ErrNoQuota = errors.New("the pool cannot enforce sizes")

// subvolumes makes each directory as a btrfs subvolume, limited by the qgroup
// that the kernel makes with it.
type subvolumes struct {
	root *safepath.Dir
	// off is why there are no limits, "" when there are.
	off string

	mu sync.Mutex
	// stale are the ids of removed subvolumes whose qgroups the kernel still
	// holds; they are tried again at the next removal.
	stale []uint64
}

// notSubvolume is what becomes of a volume that was restored file by file.
const notSubvolume = "its data directory is not a subvolume; it was probably restored file by file. See \"Restore\" in docs/operations.md"

// trial is a name in staging/ that no volume can have.
const trial = ".trial"

func openSubvolumes(o Options) (method, error) {
	s := &subvolumes{root: o.Root}
	mode, err := btrfs.QuotaMode(o.Root.FD())
	if err == nil && mode == btrfs.Off && o.EnableQuota && !o.ReadOnly {
		if err = btrfs.EnableQuota(o.Root.FD()); err == nil {
			mode, err = btrfs.QuotaMode(o.Root.FD())
		}
	}
	if err != nil {
		return nil, err
	}
	switch mode {
	case btrfs.Off:
		s.off = "quotas are off on this btrfs; switch them on with `btrfs quota enable`, or set enableQuota: true for the pool"
	case btrfs.Simple:
		s.off = "this btrfs has simple quotas, which do not bind a volume that shares extents; use full qgroups (`btrfs quota enable` without --simple)"
	default:
		if !o.ReadOnly {
			s.off = prove(o.Staging)
		}
	}
	return s, nil
}

// prove tries a limit; the answer is why it does not bind, or "". On a full disk
// nothing can be tried, and the kernel's word is taken.
func prove(staging *safepath.Dir) string {
	err := btrfs.DeleteSubvolume(staging.FD(), trial) // left by a crash
	if err == nil || errors.Is(err, fs.ErrNotExist) {
		err = btrfs.Prove(staging.FD(), trial)
	}
	if err != nil && !errno.NoSpace(err) {
		return fmt.Sprintf("a trial of a qgroup limit failed: %v", err)
	}
	return ""
}

func (s *subvolumes) enforcement() engine.Enforcement {
	if s.off != "" {
		return engine.Enforcement{Reason: s.off}
	}
	return engine.Enforcement{Method: "btrfs-qgroup"}
}

func (s *subvolumes) make(item *safepath.Dir, bytes int64, on bool) (engine.Volume, error) {
	v := engine.Volume{Bytes: bytes, Enforced: on}
	if err := btrfs.CreateSubvolume(item.FD(), data); err != nil {
		return v, err
	}
	if !on {
		return v, nil
	}
	dir, err := item.OpenDir(data)
	if err != nil {
		return v, err
	}
	defer dir.Close() //nolint:errcheck // durable with the item
	return v, btrfs.SetLimit(dir.FD(), bytes)
}

func (s *subvolumes) atomic() bool { return true }

// snapshot works for a subvolume of the same filesystem. A volume whose data is
// a plain directory (adopted, or restored file by file) has to be copied.
func (s *subvolumes) snapshot(item, from *safepath.Dir, readOnly bool) (bool, error) {
	is, err := btrfs.IsSubvolume(from.FD())
	if err != nil || !is {
		return false, err
	}
	if err := nested(from); err != nil {
		return false, err
	}
	err = btrfs.Snapshot(from.FD(), item.FD(), data, readOnly)
	if errno.CrossDevice(err) {
		return false, nil
	}
	// Again: one that was made meanwhile would be missing, too.
	if err == nil {
		err = nested(from)
	}
	if err != nil || readOnly || s.off != "" {
		return true, err
	}
	dir, err := item.OpenDir(data)
	if err != nil {
		return true, err
	}
	defer dir.Close()                        //nolint:errcheck // durable with the item
	return true, btrfs.SetLimit(dir.FD(), 0) // the kernel has passed on the source's
}

func nested(dir *safepath.Dir) error {
	children, err := btrfs.Children(dir.FD())
	if err == nil && len(children) > 0 {
		err = fmt.Errorf("%w (%d; `btrfs subvolume list -o` shows them); delete them, or copy what they hold into directories", engine.ErrNested, len(children))
	}
	return err
}

func (s *subvolumes) seal(dir *safepath.Dir, copied bool) (int64, error) {
	if copied {
		return -1, btrfs.SetReadOnly(dir.FD(), true)
	}
	if s.off != "" {
		return -1, nil
	}
	u, err := btrfs.ReadUsage(dir.FD()) // as of the commit that ended the snapshot
	if err != nil {
		return -1, nil //nolint:nilerr // quotas were switched off
	}
	return u.Referenced, nil
}

func (s *subvolumes) limit(dir *safepath.Dir, bytes int64) error {
	return btrfs.SetLimit(dir.FD(), bytes)
}

// fits is needed after a copy, too: its limit does not stop shared blocks.
func (s *subvolumes) fits(dir *safepath.Dir, bytes int64, copied bool) error {
	if copied {
		return fits(dir, bytes)
	}
	return fitsCommitted(dir, bytes)
}

// convert copies, sharing the data: a directory cannot become a subvolume.
func (s *subvolumes) convert(ctx context.Context, item *safepath.Dir, src engine.Entry, bytes int64, _ func(engine.Volume) error) (engine.Volume, error) {
	if s.off != "" {
		return engine.Volume{}, fmt.Errorf("%w: %s", ErrNoQuota, s.off)
	}
	v, err := s.make(item, bytes, true)
	if err != nil {
		return v, err
	}
	from, err := src.Parent.OpenDir(src.Name)
	if err != nil {
		return v, err
	}
	defer from.Close() //nolint:errcheck // read only
	to, err := item.OpenDir(data)
	if err != nil {
		return v, err
	}
	defer to.Close() //nolint:errcheck // synced by the copy
	_, err = clone.Tree(ctx, from.FD(), to.FD(), clone.Options{Reflink: clone.Auto, Sync: true})
	if err == nil {
		err = fits(to, bytes)
	}
	if errno.NoSpace(err) {
		err = fmt.Errorf("the directory holds more than the size that was given: %w", err)
	}
	return v, err
}

// fits compares what a subvolume holds with its size: blocks that are shared,
// and not written, pass the limit.
func fits(dir *safepath.Dir, bytes int64) error {
	if err := btrfs.Commit(dir.FD()); err != nil { // usage is told as of the last commit
		return err
	}
	return fitsCommitted(dir, bytes)
}

func fitsCommitted(dir *safepath.Dir, bytes int64) error {
	u, err := btrfs.ReadUsage(dir.FD())
	if err == nil && u.Referenced > bytes {
		err = fmt.Errorf("%w: %d bytes", errno.ErrNoSpace, u.Referenced)
	}
	return err
}

func (s *subvolumes) apply(dir *safepath.Dir, v engine.Volume) error {
	if s.off != "" {
		return fmt.Errorf("%w: %s", ErrNoQuota, s.off)
	}
	if err := isSubvolume(dir); err != nil {
		return err
	}
	u, err := btrfs.ReadUsage(dir.FD())
	if err == nil && u.Limit == v.Bytes { // spares a transaction for each volume at start-up
		return nil
	}
	return btrfs.SetLimit(dir.FD(), v.Bytes)
}

// isSubvolume fails for a plain directory: there a limit, or a usage, would be
// that of the subvolume around it, which may be the whole pool.
func isSubvolume(dir *safepath.Dir) error {
	is, err := btrfs.IsSubvolume(dir.FD())
	if err == nil && !is {
		err = fmt.Errorf("%w: %s", ErrNoQuota, notSubvolume)
	}
	return err
}

func (s *subvolumes) lift(_ context.Context, dir *safepath.Dir, _ engine.Volume) error {
	if err := isSubvolume(dir); err != nil {
		return nil //nolint:nilerr // a plain directory has no limit
	}
	return btrfs.SetLimit(dir.FD(), 0)
}

func (s *subvolumes) relimit(_ context.Context, dir *safepath.Dir, v engine.Volume) error {
	return s.apply(dir, v)
}

func (s *subvolumes) usage(dir *safepath.Dir, v engine.Volume) (engine.Usage, error) {
	if isSubvolume(dir) != nil {
		return filesystemUsage(dir)
	}
	u, err := btrfs.ReadUsage(dir.FD())
	if err != nil { // quotas were switched off
		return filesystemUsage(dir)
	}
	space, err := dir.Space()
	if err != nil {
		return engine.Usage{}, err
	}
	return engine.Usage{
		BytesTotal: v.Bytes, BytesUsed: u.Referenced, BytesShared: max(0, u.Referenced-u.Exclusive),
		BytesAvailable: max(0, min(v.Bytes-u.Referenced, space.BytesAvailable)),
		InodesTotal:    -1, InodesUsed: -1, InodesAvailable: -1,
		Own: true,
	}, nil
}

func (s *subvolumes) inspect(_ context.Context, dir *safepath.Dir, v engine.Volume, _ bool) ([]engine.Problem, error) {
	quota, err := btrfs.QuotaStatus(dir.FD())
	if err != nil {
		return nil, err
	}
	if quota.Mode != btrfs.Qgroup {
		return []engine.Problem{quotaOff("quotas were switched off on this btrfs; run `btrfs quota enable` and restart the daemon")}, nil
	}
	if is, err := btrfs.IsSubvolume(dir.FD()); err != nil {
		return nil, err
	} else if !is {
		return []engine.Problem{quotaOff(notSubvolume)}, nil
	}
	var found []engine.Problem
	if quota.Inconsistent && !quota.Rescanning {
		found = append(found, engine.Problem{
			Reason:  engine.QuotaInconsistent,
			Message: "btrfs has marked its quotas inconsistent, and limits may not bind; run `btrfs quota rescan` on the pool's filesystem",
		})
	}
	if u, err := btrfs.ReadUsage(dir.FD()); err != nil {
		return nil, err
	} else if u.Limit != v.Bytes {
		found = append(found, limitMissing(u.Limit, v.Bytes))
	}
	children, err := btrfs.Children(dir.FD())
	if err != nil {
		return nil, err
	}
	if len(children) > 0 {
		found = append(found, engine.Problem{
			Reason:  engine.NestedSubvolume,
			Message: fmt.Sprintf("%d subvolumes were made inside the volume; what they hold is not counted against its size, and no snapshot can be taken", len(children)),
		})
	}
	return found, nil
}

func (s *subvolumes) known(*safepath.Dir, engine.Volume) {}

func (s *subvolumes) close() error { return nil }

func (s *subvolumes) owned(*safepath.Dir) engine.Volume { return engine.Volume{} }

// forget removes the qgroups of removed subvolumes. The kernel frees a
// subvolume some time after its removal, and until then holds its qgroup.
func (s *subvolumes) forget(_ engine.Volume, ids []uint64) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	var held []uint64
	for _, id := range append(s.stale, ids...) {
		if err := btrfs.RemoveQgroup(s.root.FD(), id); errors.Is(err, btrfs.ErrBusy) {
			held = append(held, id)
		} else if err != nil && !errors.Is(err, btrfs.ErrQuotaOff) {
			return err
		}
	}
	s.stale = held
	return nil
}
