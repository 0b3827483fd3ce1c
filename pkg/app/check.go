package app

import (
	"context"
	"errors"

	"github.com/hostvol/hostvol/pkg/admin"
	"github.com/hostvol/hostvol/pkg/config"
	"github.com/hostvol/hostvol/pkg/engine"
	"github.com/hostvol/hostvol/pkg/engine/disk"
	"github.com/hostvol/hostvol/pkg/host/safepath"
	"github.com/hostvol/hostvol/pkg/pool"
	"github.com/hostvol/hostvol/pkg/volume"
)

// Check has the running daemon check its pools, or does it itself when none is
// running. online tells which it was.
func Check(ctx context.Context, cfg config.Config) (faults []volume.Fault, online bool, err error) {
	if cfg.AdminEndpoint != config.None {
		socket, err := config.Socket(cfg.AdminEndpoint)
		if err != nil {
			return nil, false, err
		}
		faults, err := admin.NewClient(socket).Check(ctx)
		if !errors.Is(err, admin.ErrNotRunning) {
			return faults, true, err
		}
	}
	faults = []volume.Fault{}
	for _, p := range cfg.Pools {
		found, err := checkOffline(ctx, p)
		if err != nil {
			return nil, false, err
		}
		faults = append(faults, found...)
	}
	return faults, false, nil
}

func checkOffline(ctx context.Context, p config.Pool) ([]volume.Fault, error) {
	root, err := safepath.OpenRoot(p.Path)
	if err != nil {
		return nil, err
	}
	defer root.Close() //nolint:errcheck // read only
	fs, err := root.Filesystem()
	if err != nil {
		return nil, err
	}
	open := engines(disk.Options{})
	found, err := open(ctx, pool.Place{Root: root, Staging: root, Filesystem: fs, ReadOnly: true})
	if err != nil {
		return nil, err
	}
	by := map[string]engine.Engine{}
	for _, e := range found {
		by[e.Name()] = e
	}
	return volume.CheckOffline(ctx, poolConfig(p), by)
}
