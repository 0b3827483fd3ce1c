// Package app wires one process together: configuration, pools, engines, the
// volume service, and what serves it. It is the only place that names every
// engine.
package app

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"time"

	"google.golang.org/grpc"
	"k8s.io/klog/v2"

	"github.com/hostvol/hostvol/pkg/admin"
	"github.com/hostvol/hostvol/pkg/config"
	"github.com/hostvol/hostvol/pkg/driver"
	"github.com/hostvol/hostvol/pkg/engine"
	"github.com/hostvol/hostvol/pkg/engine/directory"
	"github.com/hostvol/hostvol/pkg/engine/disk"
	"github.com/hostvol/hostvol/pkg/engine/disk/loop"
	"github.com/hostvol/hostvol/pkg/flex/server"
	"github.com/hostvol/hostvol/pkg/host/mount"
	"github.com/hostvol/hostvol/pkg/host/umask"
	"github.com/hostvol/hostvol/pkg/kubelet"
	"github.com/hostvol/hostvol/pkg/metrics"
	"github.com/hostvol/hostvol/pkg/pool"
	"github.com/hostvol/hostvol/pkg/version"
	"github.com/hostvol/hostvol/pkg/volume"
)

// TopologyKey is the node's label in topologies.
const TopologyKey = "topology.hostvol.csi.io/node"

// GuardCommand is the command of this program that calls freeze.Guard.
const GuardCommand = "freeze-guard"

// Options are for tests and for whoever embeds the daemon.
type Options struct {
	// Ready is called once requests are served.
	Ready func()
	// Step is called with the name of each durable step; nil in production.
	Step func(name string)
	// Guard is a program, with arguments, whose main calls freeze.Guard with one more
	// argument, the duration; nil for this program's GuardCommand.
	Guard []string
}

// Run serves until ctx is done, then ends what is under way and returns. It
// unmounts nothing. The configuration must be complete and checked.
func Run(ctx context.Context, cfg config.Config, opts Options) error {
	// Modes are given in full everywhere, so that none needs a second call.
	umask.Clear()
	if opts.Guard == nil {
		opts.Guard = []string{"/proc/self/exe", GuardCommand}
	}
	log := klog.FromContext(ctx)
	log.Info("Starting hostvol", "version", version.Version, "node", cfg.NodeID, "mode", cfg.Mode, "driver", cfg.Driver)
	if err := os.MkdirAll(cfg.RunDir, 0o700); err != nil {
		return err
	}
	room, err := mount.OpenRoom(filepath.Join(cfg.RunDir, "mounts"))
	if err != nil {
		return err
	}
	volumes, err := volume.New(ctx, serviceOptions(cfg, opts, room))
	if err != nil {
		return errors.Join(err, room.Close())
	}
	quiet, err := serve(ctx, cfg, opts, volumes)
	if !quiet { // something still works in the pools; the process's end closes them
		return err
	}
	return errors.Join(err, volumes.Close(), room.Close())
}

func serviceOptions(cfg config.Config, opts Options, room *mount.Room) volume.Options {
	o := volume.Options{
		NodeID: cfg.NodeID, TopologyKey: TopologyKey, Distributed: cfg.Mode == config.Distributed,
		KubeletDir: cfg.KubeletDir, InspectDir: filepath.Join(cfg.KubeletDir, "plugins", cfg.Driver, "inspect"), StaticRoots: cfg.StaticRoots, DefaultPool: cfg.DefaultPool,
		Engines: engines(disk.Options{Room: room, FreezeLimit: cfg.Copies.FreezeFor.Duration, Guard: opts.Guard}), Room: room,
		Retention: cfg.Trash.Retention.Duration, PurgeRate: max(0, cfg.Trash.PurgeRate),
		HealthInterval: cfg.Health.Interval.Duration, DeepInterval: cfg.Health.DeepInterval.Duration,
		CopyPatience: cfg.Copies.AbandonAfter.Duration,
		Step:         opts.Step,
	}
	if cfg.Flex != nil { // what pods may have, persistent volumes may have, too
		o.StaticRoots = append(slices.Clone(o.StaticRoots), cfg.Flex.Roots...)
	}
	for _, p := range cfg.Pools {
		o.Pools = append(o.Pools, poolConfig(p))
	}
	return o
}

func poolConfig(p config.Pool) pool.Config {
	c := pool.Config{
		Name: p.Name, Path: p.Path, Overcommit: p.Overcommit, Create: p.Create,
		RequireMount: p.RequireMount, UUID: p.UUID, EnableQuota: p.EnableQuota,
	}
	if p.Limit != nil {
		c.Limit = p.Limit.Value()
	}
	if p.Reserve != nil {
		reserve := p.Reserve.Value()
		c.Reserve = &reserve
	}
	return c
}

// engines opens every engine there is on a pool, with the options of disks but for
// their backing.
func engines(disks disk.Options) func(context.Context, pool.Place) ([]engine.Engine, error) {
	projects := directory.NewProjects()
	return func(_ context.Context, place pool.Place) ([]engine.Engine, error) {
		d, err := directory.Open(directory.Options{
			Root: place.Root, Staging: place.Staging, Filesystem: place.Filesystem,
			EnableQuota: place.EnableQuota, ReadOnly: place.ReadOnly, Projects: projects,
		})
		if err != nil {
			return nil, err
		}
		images := disks
		if images.Backing, err = loop.Open(loop.Options{Staging: place.Staging, ReadOnly: place.ReadOnly}); err != nil {
			return nil, errors.Join(err, d.Close())
		}
		return []engine.Engine{d, disk.Open(images)}, nil
	}
}

// serve tells whether everything that it has started has ended.
func serve(ctx context.Context, cfg config.Config, opts Options, volumes *volume.Service) (quiet bool, err error) {
	log := klog.FromContext(ctx)
	failed := make(chan error, 8)
	servers := &group{failed: failed}
	background, stopBackground := context.WithCancel(context.WithoutCancel(ctx))
	done := make(chan struct{})
	go func() {
		defer close(done)
		volumes.Run(background)
	}()
	defer func() { // one budget for all, below the 30 s that a kubelet gives
		deadline := time.After(drain)
		stopBackground()
		quiet = servers.stop(context.WithoutCancel(ctx))
		select {
		case <-done:
		case <-deadline:
			quiet = false
		}
	}()
	if err := listenAll(ctx, cfg, volumes, servers); err != nil {
		return false, err
	}
	log.Info("Serving", "endpoint", cfg.Endpoint, "admin", cfg.AdminEndpoint, "metrics", cfg.MetricsAddress)
	if opts.Ready != nil {
		opts.Ready()
	}
	select {
	case err := <-failed:
		return false, err
	case <-ctx.Done():
		log.Info("Stopping; mounts stay as they are")
		return false, nil
	}
}

// listenAll starts the servers. The CSI socket comes last but for what points
// to it: who finds it finds all of the daemon.
func listenAll(ctx context.Context, cfg config.Config, volumes *volume.Service, servers *group) error {
	m := metrics.New(volumes, version.Version)
	if cfg.AdminEndpoint != config.None {
		if err := servers.httpUnix(cfg.AdminEndpoint, admin.NewServer(ctx, volumes)); err != nil {
			return fmt.Errorf("serve admin commands: %w", err)
		}
	}
	if cfg.Flex != nil {
		allowed := server.Allowed{Pools: cfg.Flex.Pools, Roots: cfg.Flex.Roots, KubeletDir: cfg.KubeletDir}
		if err := servers.httpUnix(cfg.Flex.Endpoint, server.New(ctx, volumes, allowed)); err != nil {
			return fmt.Errorf("serve FlexVolume: %w", err)
		}
	}
	if cfg.MetricsAddress != "" {
		if err := servers.httpTCP(cfg.MetricsAddress, metricsHandler(m)); err != nil {
			return fmt.Errorf("serve metrics: %w", err)
		}
	}
	d := driver.New(volumes, driver.Options{Name: cfg.Driver, Version: version.Version, MaxVolumes: cfg.MaxVolumesPerNode})
	log := klog.FromContext(ctx)
	if err := servers.grpc(cfg.Endpoint, d.Register,
		grpc.UnaryInterceptor(driver.Interceptor(log, m.Observe)), grpc.StreamInterceptor(driver.StreamInterceptor(log, m.Observe))); err != nil {
		return fmt.Errorf("serve CSI: %w", err)
	}
	if cfg.RegistrationPath == "" {
		return nil
	}
	socket, err := config.Socket(cfg.Endpoint)
	if err != nil {
		return err
	}
	r := kubelet.New(cfg.Driver, socket, servers.failed)
	if err := servers.grpc("unix://"+r.SocketPath(cfg.RegistrationPath), r.Register); err != nil {
		return fmt.Errorf("register with the kubelet: %w", err)
	}
	return nil
}
