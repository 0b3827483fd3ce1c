package pool

import (
	"context"
	"errors"
	"fmt"
	"io/fs"

	"github.com/hostvol/hostvol/pkg/engine"
	"github.com/hostvol/hostvol/pkg/host/btrfs"
	"github.com/hostvol/hostvol/pkg/host/errno"
	"github.com/hostvol/hostvol/pkg/host/mount"
	"github.com/hostvol/hostvol/pkg/host/safepath"
)

// Open opens a pool and recovers what a crash may have left. After it returns,
// all that the index holds is durable. The error says what to do where the
// directory is no pool, is another one, or is in use.
func Open(ctx context.Context, cfg Config, opts Options) (*Pool, error) {
	p := &Pool{
		cfg: cfg, opts: opts, quarantine: map[string]error{}, doubtful: map[string]error{}, engines: map[string]engine.Engine{},
		volumes: shelf{dir: VolumesDir, one: "volume"}, snapshots: shelf{dir: snapshotsDir, one: "snapshot"},
	}
	if err := p.open(ctx); err != nil {
		return nil, errors.Join(fmt.Errorf("open pool %s at %s: %w", cfg.Name, cfg.Path, err), p.Close())
	}
	return p, nil
}

func (p *Pool) open(ctx context.Context) error {
	if p.cfg.Create {
		if err := makeDirectory(p.cfg); err != nil {
			return err
		}
	}
	table, err := mount.Table()
	if err != nil {
		return err
	}
	if p.root, p.release, err = p.opts.Room.Own(p.cfg.Path); err != nil {
		return err
	}
	if err := p.locate(table); err != nil {
		return err
	}
	if err := p.identify(); err != nil {
		return err
	}
	markCovered(table, p.cfg.Path, p.identity.UUID)
	if err := p.openDirs(); err != nil {
		return err
	}
	// What is indexed from here on may sit in the page cache only.
	if err := p.root.SyncFS(); err != nil {
		return err
	}
	return p.recover(ctx)
}

// locate finds out whether the filesystem is the pool's own. A mount point does
// not suffice: in a container every directory of the node is one. It must show
// the whole of a filesystem, or of a btrfs subvolume.
func (p *Pool) locate(table []mount.Entry) error {
	var err error
	if p.fs, err = p.root.Filesystem(); err != nil {
		return err
	}
	at, _ := mount.At(table, p.cfg.Path)
	whole := at.Root == "/"
	if p.fs == "btrfs" && !whole {
		if whole, err = btrfs.IsSubvolume(p.root.FD()); err != nil {
			return err
		}
	}
	p.device = at.Device
	p.dedicated = whole && at.Point == p.cfg.Path && p.cfg.Path != "/"
	if p.cfg.RequireMount && !p.dedicated {
		return fmt.Errorf("%w of a filesystem: requireMount is set; mount the pool's disk there", ErrNoMount)
	}
	return nil
}

// identify checks that the directory is the configured pool, or makes it one.
// The lock comes first, so that no two daemons make it one.
func (p *Pool) identify() error {
	space, err := p.root.Space()
	if err != nil {
		return err
	}
	p.readOnly = space.ReadOnly
	known, err := p.root.Exists(identityFile)
	if err != nil {
		return err
	}
	if !known && !p.cfg.Create {
		return fmt.Errorf("%w: there is no %s; is its disk mounted? To make a new pool of an empty directory, set create: true", ErrNotPool, identityFile)
	}
	if !known && p.cfg.UUID != "" {
		return fmt.Errorf("%w: there is no %s, and the configuration pins the UUID %s; is its disk mounted?", ErrNotPool, identityFile, p.cfg.UUID)
	}
	if !known {
		if err := qualifies(p.root, p.cfg); err != nil {
			return err
		}
	}
	if known || !p.readOnly {
		p.lock, err = p.root.Lock(lockFile)
		switch {
		case errors.Is(err, safepath.ErrLocked):
			return fmt.Errorf("%w: another hostvol daemon serves this pool", err)
		case p.readOnly && errors.Is(err, fs.ErrNotExist): // nor can anybody else write to it
		case err != nil:
			return err
		}
	}
	if known {
		p.identity, err = readIdentity(p.root, p.cfg)
		return err
	}
	if err := p.probeAttribute(p.root, false); err != nil {
		return err
	}
	p.identity, err = createIdentity(p.root, p.cfg)
	return err
}

func (p *Pool) openDirs() error {
	for name, dir := range map[string]**safepath.Dir{stagingDir: &p.staging, VolumesDir: &p.volumes.at, snapshotsDir: &p.snapshots.at, trashDir: &p.trashAt} {
		var err error
		if *dir, err = p.root.OpenDir(name); err != nil {
			return fmt.Errorf("%w: the pool is damaged, restore the directory from a backup", err)
		}
	}
	if p.fs == "btrfs" {
		commit := &groupSync{do: func() error { return btrfs.Commit(p.root.FD()) }}
		p.volumes.sync, p.snapshots.sync, p.syncTrash = commit, commit, commit
	} else {
		p.volumes.sync, p.snapshots.sync = &groupSync{do: p.volumes.at.Sync}, &groupSync{do: p.snapshots.at.Sync}
		p.syncTrash = &groupSync{do: p.trashAt.Sync}
	}
	return p.probeAttribute(p.staging, true)
}

// probeAttribute refuses a filesystem that cannot hold a record of full size. A
// pool that was made has passed that; if its disk is full now, it is served.
func (p *Pool) probeAttribute(dir *safepath.Dir, known bool) error {
	if p.readOnly {
		return nil
	}
	const name = Attribute + ".probe"
	err := dir.SetAttribute(name, make([]byte, recordLimit))
	switch {
	case err == nil:
		return dir.RemoveAttribute(name)
	case errno.ReadOnly(err): // an ext4 that was aborted does not show it otherwise
		p.readOnly = true
		return nil
	case known && errno.NoSpace(err) && p.full(): // ext4 says so, too, of an attribute beyond its block
		return nil
	}
	return fmt.Errorf("the filesystem (%s) cannot hold a %d-byte trusted attribute, which carries a volume's record (ext4 needs blocks of 4 KiB; NFS and FUSE have no trusted attributes): %w", p.fs, recordLimit, err)
}

// fullBytes of free space are too few to tell whether an attribute would fit;
// btrfs needs that much for its metadata.
const fullBytes = 64 << 20

func (p *Pool) full() bool {
	s, err := p.root.Space()
	return err == nil && (s.BytesFree < fullBytes || s.Inodes > 0 && s.InodesFree == 0)
}

// Close lets the pool go. Mounts of its volumes stay.
func (p *Pool) Close() error {
	var errs []error
	for _, e := range p.engines {
		errs = append(errs, e.Close())
	}
	errs = append(errs, p.staging.Close(), p.volumes.at.Close(), p.snapshots.at.Close(), p.trashAt.Close(), p.root.Close())
	if p.lock != nil {
		errs = append(errs, p.lock.Close())
	}
	if p.release != nil {
		errs = append(errs, p.release())
	}
	return errors.Join(errs...)
}
