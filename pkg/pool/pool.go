package pool

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"sync"

	"github.com/tidwall/btree"

	"github.com/hostvol/hostvol/pkg/engine"
	"github.com/hostvol/hostvol/pkg/host/btrfs"
	"github.com/hostvol/hostvol/pkg/host/errno"
	"github.com/hostvol/hostvol/pkg/host/mount"
	"github.com/hostvol/hostvol/pkg/host/safepath"
)

// Why a pool does not do what it is asked.
var (
	ErrExists     = errors.New("an item of that name exists")
	ErrNotFound   = errors.New("no such item")
	ErrReadOnly   = errors.New("the pool takes no writes")
	ErrFailed     = errors.New("the pool failed to make data durable and takes no writes until the daemon is restarted")
	ErrQuarantine = errors.New("the item is quarantined")
	ErrPurging    = errors.New("its purge has begun")
)

// Options are what a pool is given besides its configuration.
type Options struct {
	// Engines opens the engines on the pool. They may use the pool's staging
	// directory for trials.
	Engines func(ctx context.Context, place Place) ([]engine.Engine, error)
	// RunDir is where mounts are attached that the kernel wants attached.
	RunDir string
	// Promised tells what the other open pools on the same filesystem may still
	// write, in bytes; nil for nothing.
	Promised func(p *Pool) int64
	// Step is called with the name of each durable step; nil in production.
	Step func(name string)
	// Log receives what recovery did and found, one sentence each.
	Log func(message string, keysAndValues ...any)
}

// Place is what an engine gets to see of a pool when it is opened.
type Place struct {
	Root, Staging *safepath.Dir
	Filesystem    string
	EnableQuota   bool
	ReadOnly      bool
}

// Pool is an open pool. All methods are safe for concurrent use; the caller
// sees to it that no two calls change the same item at once.
type Pool struct {
	cfg       Config
	identity  Identity
	opts      Options
	fs        string
	device    string
	readOnly  bool
	dedicated bool

	root, staging, volumesAt, trashAt *safepath.Dir

	lock    *os.File
	release func() error
	engines map[string]engine.Engine
	// On btrfs both are one commit of the whole filesystem: the log of a
	// directory does not carry subvolumes or limits.
	syncVolumes, syncTrash *groupSync

	mu         sync.Mutex
	volumes    btree.Map[string, *item]
	trash      btree.Map[string, *TrashEntry]
	quarantine map[string]error
	ledger     ledger
	aside      int64
	failed     error
	// doubtful are the ids whose last change may or may not be durable, since
	// its sync failed: nobody may be told that they exist, or that they do not.
	doubtful map[string]error
}

// item is a volume in the index.
type item struct {
	rec  Record
	used int64
}

// Open opens a pool and recovers what a crash may have left. After it returns,
// all that the index holds is durable. The error says what to do where the
// directory is no pool, is another one, or is in use.
func Open(ctx context.Context, cfg Config, opts Options) (*Pool, error) {
	p := &Pool{cfg: cfg, opts: opts, quarantine: map[string]error{}, doubtful: map[string]error{}, engines: map[string]engine.Engine{}}
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
	if p.root, p.release, err = mount.Own(p.cfg.Path, filepath.Join(p.opts.RunDir, "pool-"+p.cfg.Name)); err != nil {
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
	for name, dir := range map[string]**safepath.Dir{stagingDir: &p.staging, VolumesDir: &p.volumesAt, trashDir: &p.trashAt} {
		var err error
		if *dir, err = p.root.OpenDir(name); err != nil {
			return fmt.Errorf("%w: the pool is damaged, restore the directory from a backup", err)
		}
	}
	if p.fs == "btrfs" {
		commit := &groupSync{do: func() error { return btrfs.Commit(p.root.FD()) }}
		p.syncVolumes, p.syncTrash = commit, commit
	} else {
		p.syncVolumes, p.syncTrash = &groupSync{do: p.volumesAt.Sync}, &groupSync{do: p.trashAt.Sync}
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
	case known && errno.NoSpace(err):
		return nil
	}
	return fmt.Errorf("the filesystem (%s) cannot hold a %d-byte trusted attribute, which carries a volume's record (ext4 needs blocks of 4 KiB; NFS and FUSE have no trusted attributes): %w", p.fs, recordLimit, err)
}

// Close lets the pool go. Mounts of its volumes stay.
func (p *Pool) Close() error {
	var errs []error
	for _, e := range p.engines {
		errs = append(errs, e.Close())
	}
	errs = append(errs, p.staging.Close(), p.volumesAt.Close(), p.trashAt.Close(), p.root.Close())
	if p.lock != nil {
		errs = append(errs, p.lock.Close())
	}
	if p.release != nil {
		errs = append(errs, p.release())
	}
	return errors.Join(errs...)
}

// Name is the configured name.
func (p *Pool) Name() string { return p.cfg.Name }

// Path is the configured path.
func (p *Pool) Path() string { return p.cfg.Path }

// UUID is the pool's own, for as long as it exists.
func (p *Pool) UUID() string { return p.identity.UUID }

// Filesystem is the type of the pool's filesystem.
func (p *Pool) Filesystem() string { return p.fs }

// Engine finds an engine by name; nil when this program lacks it.
func (p *Pool) Engine(name string) engine.Engine { return p.engines[name] }

// Failure is why the pool takes no writes, nil when it does.
func (p *Pool) Failure() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	switch {
	case p.failed != nil:
		return p.failed
	case p.readOnly:
		return fmt.Errorf("%w: the filesystem of pool %s is read-only, by its mount or after an error; check the disk, mount it anew and restart the daemon", ErrReadOnly, p.cfg.Name)
	}
	return nil
}

// durable makes a change of the item id durable by the given syncs. After an
// error the pool takes no more writes, and nothing more is told of the id: the
// change may come back at the next start, or not. That holds, too, when the
// sync succeeds after another has failed meanwhile.
func (p *Pool) durable(id string, syncs ...func() error) error {
	var err error
	for _, sync := range syncs {
		if err = sync(); err != nil {
			break
		}
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	switch {
	case err != nil:
		p.failed = fmt.Errorf("%w (pool %s): %w", ErrFailed, p.cfg.Name, err)
	case p.failed == nil:
		return nil
	}
	p.doubtful[id] = p.failed
	return p.failed
}

func (p *Pool) step(name string) {
	if p.opts.Step != nil {
		p.opts.Step(name)
	}
}

func (p *Pool) log(message string, keysAndValues ...any) {
	if p.opts.Log != nil {
		p.opts.Log(message, append([]any{"pool", p.cfg.Name}, keysAndValues...)...)
	}
}

// ReadOnlyNow asks the filesystem whether it takes writes.
func (p *Pool) ReadOnlyNow() (bool, error) {
	space, err := p.root.Space()
	return space.ReadOnly, err
}

// TryWrite finds out whether the filesystem takes writes by making one, since
// one that was shut down after an error need not look read-only. If it does
// not, the pool takes none either until it is opened again.
func (p *Pool) TryWrite() {
	if p.Failure() != nil {
		return
	}
	err := p.staging.SetAttribute(Attribute+".probe", []byte("x"))
	if errno.ReadOnly(err) || errno.NoDisk(err) {
		p.mu.Lock()
		defer p.mu.Unlock()
		p.readOnly = true
	}
}

// AtItsPath tells whether the configured path still shows this pool.
func (p *Pool) AtItsPath() (bool, error) {
	d, err := safepath.OpenRoot(p.cfg.Path)
	if err != nil {
		return false, err
	}
	defer d.Close() //nolint:errcheck // read only
	there, err := d.Identity()
	if err != nil {
		return false, err
	}
	mine, err := p.root.Identity()
	return there == mine, err
}

// Engines are the pool's engines by name.
func (p *Pool) Engines() map[string]engine.Engine { return p.engines }
