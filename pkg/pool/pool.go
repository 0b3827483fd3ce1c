package pool

import (
	"context"
	"errors"
	"fmt"
	"os"
	"sync"

	"github.com/tidwall/btree"

	"github.com/hostvol/hostvol/pkg/engine"
	"github.com/hostvol/hostvol/pkg/host/errno"
	"github.com/hostvol/hostvol/pkg/host/mount"
	"github.com/hostvol/hostvol/pkg/host/safepath"
)

// Why a pool does not do what it is asked.
var (
	ErrExists     = errors.New("an item of that name exists")
	ErrNotFound   = errors.New("no such item")
	ErrReadOnly   = errors.New("the pool takes no writes")
	ErrFailed     = errors.New("the pool failed to write to its disk and takes no writes until the daemon is restarted")
	ErrQuarantine = errors.New("the item is quarantined")
	ErrPurging    = errors.New("its purge has begun")
)

// Options are what a pool is given besides its configuration.
type Options struct {
	// Engines opens the engines on the pool. They may use the pool's staging
	// directory for trials.
	Engines func(ctx context.Context, place Place) ([]engine.Engine, error)
	// Room keeps the pool's own mount.
	Room *mount.Room
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

	root, staging, trashAt *safepath.Dir
	volumes, snapshots     shelf

	lock    *os.File
	release func() error
	engines map[string]engine.Engine
	// On btrfs this and those of the shelves are one commit of the whole
	// filesystem: the log of a directory does not carry subvolumes or limits.
	syncTrash *groupSync

	mu         sync.Mutex
	groups     btree.Map[string, Record]
	trash      btree.Map[string, *TrashEntry]
	quarantine map[string]error
	ledger     ledger
	aside      int64
	failed     error
	// doubtful are the items, by their keys, whose last change may or may not be
	// durable, since its sync failed: a call that names one fails.
	doubtful map[string]error
}

// item is a volume or snapshot in the index.
type item struct {
	rec  Record
	used int64
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

// durable makes a change of the item key durable by the given syncs. After an
// error the pool takes no more writes, and calls that name the item fail: the
// change may come back at the next start, or not. That holds, too, when the
// sync succeeds after another has failed meanwhile.
func (p *Pool) durable(key string, syncs ...func() error) error {
	err := p.sync(syncs...)
	if err != nil {
		p.mu.Lock()
		defer p.mu.Unlock()
		p.doubtful[key] = err
	}
	return err
}

// sync is durable for a change that puts no existence in doubt.
func (p *Pool) sync(syncs ...func() error) error {
	var err error
	for _, sync := range syncs {
		if err = sync(); err != nil {
			break
		}
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if err != nil {
		p.failed = fmt.Errorf("%w (pool %s): %w", ErrFailed, p.cfg.Name, err)
	}
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
// not, the pool takes none either until it is opened again. A filesystem that
// is mounted read-only shows that, and may be mounted anew.
func (p *Pool) TryWrite() {
	if p.Failure() != nil {
		return
	}
	err := p.staging.SetAttribute(Attribute+".probe", []byte("x"))
	if !errno.ReadOnly(err) && !errno.NoDisk(err) {
		return
	}
	if ro, serr := p.ReadOnlyNow(); ro && serr == nil && errno.ReadOnly(err) {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.failed = fmt.Errorf("%w (pool %s): %w", ErrFailed, p.cfg.Name, err)
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
