// Package volume is the domain service: what can be done with volumes on one
// node, one file for each verb. It decides and orders; the pool makes things
// durable, the engine makes volumes, and the host packages touch the kernel. It
// knows neither gRPC nor FlexVolume nor HTTP, and no engine by name.
package volume

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"time"

	"k8s.io/klog/v2"

	"github.com/hostvol/hostvol/pkg/engine"
	"github.com/hostvol/hostvol/pkg/host/mount"
	"github.com/hostvol/hostvol/pkg/host/safepath"
	"github.com/hostvol/hostvol/pkg/pool"
	"github.com/hostvol/hostvol/pkg/volume/handle"
)

// Options say what a service serves.
type Options struct {
	// NodeID is this node's name, which the CO uses.
	NodeID string
	// TopologyKey is the segment in which NodeID is told to the CO.
	TopologyKey string
	// Distributed tells that one service runs on each node, so that handles
	// carry the node, and what does not fit here may fit elsewhere.
	Distributed bool
	// KubeletDir is the directory below which all targets must lie, absolute.
	KubeletDir string
	// InspectDir is where Inspect mounts, below KubeletDir; its last part is the
	// service's own.
	InspectDir string
	// StaticRoots are directories below which static volumes may lie.
	StaticRoots []string
	// Pools are the configured pools; DefaultPool is the one for requests that
	// name none, "" for the one with the most space.
	Pools       []pool.Config
	DefaultPool string
	// Engines opens the engines on a pool.
	Engines func(ctx context.Context, place pool.Place) ([]engine.Engine, error)
	// Room keeps the mounts of the daemon's own.
	Room *mount.Room
	// Retention is how long deleted volumes stay in the trash.
	Retention time.Duration
	// PurgeRate bounds the purge, in removed files per second; 0 is unbounded.
	PurgeRate int
	// HealthInterval is the time between two looks at every volume; a walk
	// through files is made every DeepInterval.
	HealthInterval, DeepInterval time.Duration
	// CopyPatience is how long a copy goes on that nobody asks for.
	CopyPatience time.Duration
	// Step is called with the name of each durable step; nil in production.
	Step func(name string)
}

// Service is the volumes of one node. All methods are safe for concurrent use.
// Volumes are named by handles: the id, in distributed mode followed by an at
// sign and the node's tag.
type Service struct {
	opts        Options
	tag         string
	pools       *pools
	locks       locks
	copies      *copies
	published   *published
	staged      staged
	inspections inspections
	kubelet     *safepath.Dir
	// kubeletReal is the kubelet's directory without links, as the mount table
	// shows it.
	kubeletReal string
	keepers     map[string]*keeper // by pool
	health      healthCache
	// stopping is closed when Run ends.
	stopping chan struct{}
}

// New opens what can be opened. A pool that cannot is reported by health and
// tried again while Run runs. It fails on a wrong configuration only.
func New(ctx context.Context, opts Options) (*Service, error) {
	s := &Service{opts: opts, tag: handle.Tag(opts.NodeID), published: newPublished(), copies: newCopies(opts.CopyPatience), keepers: map[string]*keeper{}, stopping: make(chan struct{})}
	var err error
	if s.kubelet, err = safepath.OpenRoot(opts.KubeletDir); err != nil {
		return nil, fmt.Errorf("kubelet directory: %w; set kubeletDir to the kubelet's --root-dir", err)
	}
	if s.kubeletReal, err = filepath.EvalSymlinks(opts.KubeletDir); err != nil {
		return nil, errors.Join(err, s.kubelet.Close())
	}
	s.pools = &pools{configured: opts.Pools, closed: map[string]error{}, trying: map[string]bool{}, open: map[string]*pool.Pool{}}
	for _, cfg := range opts.Pools {
		s.pools.closed[cfg.Name] = errNotTried
		s.keepers[cfg.Name] = newKeeper(s, cfg)
	}
	table, err := mount.Table()
	if err != nil {
		return nil, errors.Join(err, s.kubelet.Close())
	}
	s.checkPropagation(ctx, table)
	s.findStatic(table)
	snapshots := s.endInspections(ctx)
	s.openPools(ctx)
	s.detachInspected(ctx, snapshots)
	return s, nil
}

// Close lets the pools go. It unmounts nothing.
func (s *Service) Close() error {
	errs := []error{s.kubelet.Close()}
	for _, p := range s.pools.all() {
		errs = append(errs, p.Close())
	}
	return errors.Join(errs...)
}

func logger(ctx context.Context) klog.Logger { return klog.FromContext(ctx) }

func (s *Service) step(name string) {
	if s.opts.Step != nil {
		s.opts.Step(name)
	}
}
