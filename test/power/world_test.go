//go:build power

package power

import (
	"context"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/api/resource"

	"github.com/hostvol/hostvol/pkg/admin"
	"github.com/hostvol/hostvol/pkg/config"
	"github.com/hostvol/hostvol/test/daemon"
)

// world is a pool on a mounted filesystem, and the daemon that serves it.
type world struct {
	filesystem
	dir    string // sockets, the kubelet's directory
	pool   string
	daemon *daemon.Daemon
	admin  *admin.Client
}

// serveOn starts a daemon with a pool on a mount. env is what makes it mark, or lie.
func serveOn(ctx context.Context, fs filesystem, mount, dir string, env ...string) (*world, error) {
	w := &world{filesystem: fs, dir: dir, pool: filepath.Join(mount, "pool")}
	c := config.Config{
		RunDir: filepath.Join(dir, "run"),
		Pools: []config.Pool{{
			Name: "power", Path: w.pool, Create: true, EnableQuota: true,
			Overcommit: 100, Reserve: &config.Size{Quantity: *resource.NewQuantity(0, resource.BinarySI)},
		}},
		Trash: config.Trash{Retention: config.Duration{Duration: time.Hour}, PurgeRate: -1},
	}
	data, err := json.Marshal(c)
	if err != nil {
		return nil, err
	}
	file := filepath.Join(dir, "config.json")
	if err := os.WriteFile(file, data, 0o600); err != nil {
		return nil, err
	}
	binary, err := os.Executable()
	if err != nil {
		return nil, err
	}
	w.daemon, err = daemon.Start(ctx, daemon.Options{
		Binary: binary, Dir: dir, Args: []string{"--config", file}, Env: append(env, daemonVariable+"=1"), Wait: 60 * time.Second,
	})
	if err != nil {
		return nil, err
	}
	if err := w.connect(ctx); err != nil {
		return nil, errors.Join(err, w.daemon.Stop())
	}
	return w, nil
}

// connect waits for the second socket, that of the administration.
func (w *world) connect(ctx context.Context) error {
	w.admin = admin.NewClient(strings.TrimPrefix(w.daemon.AdminEndpoint(), "unix://"))
	for end := time.Now().Add(30 * time.Second); ; time.Sleep(5 * time.Millisecond) {
		if _, err := w.admin.Pools(ctx); !errors.Is(err, admin.ErrNotRunning) || time.Now().After(end) {
			return err
		}
	}
}

// shortDir is a directory with a short path, as sockets want it, on TMPDIR.
func shortDir(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "p")
	must(t, err)
	t.Cleanup(func() { must(t, os.RemoveAll(dir)) })
	return dir
}
