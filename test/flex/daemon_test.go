//go:build !vm

package flex

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/hostvol/hostvol/pkg/host/hosttest"
	"github.com/hostvol/hostvol/test/daemon"
)

// backing is what the driver local has behind it: a daemon with a pool, and a root for paths.
type backing struct {
	pool, roots string
	daemon      *daemon.Daemon
}

// withDaemon starts a daemon with a pool on btrfs, whose volumes are limited.
func withDaemon(t testing.TB) *node {
	t.Helper()
	n := newNode(t)
	n.roots = filepath.Join(n.dir, "roots")
	n.pool = hosttest.Btrfs(t, 1500)
	config := filepath.Join(n.dir, "config.yaml")
	must(t, os.WriteFile(config, fmt.Appendf(nil, `
pools: [{name: default, path: %[1]s/pool, create: true}, {name: closed, path: %[1]s/closed, create: true}]
flex: {endpoint: "unix://%[2]s", pools: [default], roots: [%[3]s]}
`, n.pool, n.settings.Socket, n.roots), 0o600))
	must(t, os.MkdirAll(n.roots, 0o755), os.MkdirAll(n.pool+"/pool", 0o700), os.MkdirAll(n.pool+"/closed", 0o700))
	d, err := daemon.Start(context.Background(), daemon.Options{Dir: n.dir, Args: []string{"--config", config, "--run-dir", filepath.Join(n.dir, "run")}})
	must(t, err)
	n.daemon = d
	t.Cleanup(func() {
		n.clear()
		if err := d.Stop(); err != nil {
			t.Errorf("stop the daemon: %v", err)
		}
	})
	return n
}

// succeeded is succeeds for a call that is not made by the test's own goroutine.
func (r result) succeeded() {
	r.Helper()
	if r.status != "Success" || r.code != 0 {
		r.Errorf("%s: exit %d, %s", r.call, r.code, r.text)
	}
}
