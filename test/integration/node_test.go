package integration

import (
	"context"
	"encoding/json"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/container-storage-interface/spec/lib/go/csi"
	"golang.org/x/sys/unix"

	"github.com/hostvol/hostvol/pkg/admin"
	"github.com/hostvol/hostvol/pkg/host/mount"
	"github.com/hostvol/hostvol/test/daemon"
)

const (
	mib = 1 << 20
	gib = 1 << 30
)

// node is a machine with one daemon: a scratch directory with the pools, the kubelet's directory and the sockets.
type node struct {
	t    *testing.T
	dir  string
	pool string // directory of the pool "default"

	// What the next start is given.
	args []string // of the command line

	// binary is another program than the one to test; "" for that one.
	binary string

	// faulty is set by tests that leave a pool in disorder; otherwise `hostvol check` must find nothing at the end.
	faulty bool

	daemon     *daemon.Daemon
	identity   csi.IdentityClient
	controller csi.ControllerClient
	kubelet    csi.NodeClient
}

// newNode makes the directories; nothing runs yet.
func newNode(t *testing.T) *node {
	t.Helper()
	dir, err := os.MkdirTemp("", "n") // short: the path of a socket is
	if err != nil {
		t.Fatal(err)
	}
	n := &node{t: t, dir: dir, pool: filepath.Join(dir, "pool")}
	n.args = []string{"--run-dir", filepath.Join(dir, "run")}
	t.Cleanup(func() {
		unmountBelow(t, dir)
		if err := os.RemoveAll(dir); err != nil {
			t.Error(err)
		}
	})
	return n
}

// serve starts a daemon with one pool on a plain directory, and the given further arguments.
func serve(t *testing.T, args ...string) *node {
	t.Helper()
	n := newNode(t)
	n.start(append([]string{"--pool", "default=" + n.pool}, args...)...)
	return n
}

// serveOn is serve with the pool on a file system of its own.
func serveOn(t *testing.T, kind string, args ...string) *node {
	t.Helper()
	n := newNode(t)
	n.pool = n.filesystem(kind, 4096)
	n.start(append([]string{"--pool", "default=" + n.pool}, args...)...)
	return n
}

// filesystem makes and mounts a file system of the kind; see daemon.LoopFS.
func (n *node) filesystem(kind string, sizeMiB int) string {
	n.t.Helper()
	dir, err := os.MkdirTemp(n.dir, "fs")
	must(n.t, err)
	mountpoint, cleanup, err := daemon.LoopFS(dir, kind, sizeMiB)
	must(n.t, err)
	n.t.Cleanup(func() { // the second, also when the first fails
		if err := cleanup(); err != nil && !n.t.Failed() {
			n.t.Error(err)
		}
	})
	n.t.Cleanup(func() {
		unmountBelow(n.t, filepath.Join(n.dir, "kubelet"))
		detachOn(n.t, mountpoint)
	})
	return mountpoint
}

// start starts the daemon, with further arguments that stay for restarts.
func (n *node) start(args ...string) {
	n.t.Helper()
	n.args = append(n.args, args...)
	must(n.t, n.tryStart())
}

func (n *node) tryStart() error {
	d, err := daemon.Start(n.t.Context(), daemon.Options{Binary: n.binary, Dir: n.dir, Args: n.args})
	if err != nil {
		return err
	}
	n.daemon = d
	n.identity = csi.NewIdentityClient(d.Conn())
	n.controller = csi.NewControllerClient(d.Conn())
	n.kubelet = csi.NewNodeClient(d.Conn())
	n.t.Cleanup(func() { n.end(d) })
	return nil
}

// end is the last thing of a test: the pools are in order, and the daemon ends well, without data races.
func (n *node) end(d *daemon.Daemon) {
	if d != n.daemon { // another one was started since
		return
	}
	n.daemon = nil
	if !n.faulty && !n.t.Failed() {
		if out, err := d.Admin(context.Background(), "check"); err != nil {
			n.t.Errorf("after the test: %v %s", err, out)
		}
	}
	if err := d.Stop(); err != nil {
		n.t.Error(err)
	}
	if n.t.Failed() {
		n.t.Logf("the daemon's log:\n%s", tail(d.Log()))
	}
}

// stop ends the daemon; start begins another one.
func (n *node) stop() {
	n.t.Helper()
	d := n.daemon
	n.daemon = nil
	must(n.t, d.Stop())
}

func (n *node) restart() {
	n.t.Helper()
	must(n.t, n.daemon.Restart(n.t.Context()))
}

// ctx bounds one call: a hostile request may make a driver hang.
func (n *node) ctx() context.Context {
	ctx, cancel := context.WithTimeout(n.t.Context(), 20*time.Second)
	n.t.Cleanup(cancel)
	return ctx
}

// admin runs one of the administrator's commands, which must succeed, and gives what it prints.
func (n *node) admin(args ...string) string {
	n.t.Helper()
	out, err := n.daemon.Admin(n.ctx(), args...)
	must(n.t, err)
	return out
}

// refused runs one of the administrator's commands, which must fail, and gives what it prints.
func (n *node) refused(args ...string) string {
	n.t.Helper()
	out, err := n.daemon.Admin(n.ctx(), args...)
	if err == nil {
		n.t.Fatalf("hostvol %v succeeded: %s", args, out)
	}
	return out
}

// poolState is what the daemon says of a pool.
func (n *node) poolState(name string) admin.Pool {
	n.t.Helper()
	for _, p := range decode[[]admin.Pool](n.t, n.admin("pools", "-o", "json")) {
		if p.Name == name {
			return p
		}
	}
	n.t.Fatalf("there is no pool %s", name)
	return admin.Pool{}
}

func (n *node) trash() []admin.TrashEntry {
	n.t.Helper()
	return decode[[]admin.TrashEntry](n.t, n.admin("trash", "list", "-o", "json"))
}

func decode[T any](t *testing.T, text string) T {
	t.Helper()
	var v T
	if err := json.Unmarshal([]byte(text), &v); err != nil {
		t.Fatalf("%v in %s", err, text)
	}
	return v
}

// layers counts the mounts on a path.
func layers(t *testing.T, path string) int {
	t.Helper()
	table, err := mount.Table()
	must(t, err)
	count := 0
	for _, e := range table {
		if e.Point == path {
			count++
		}
	}
	return count
}

// unmountBelow takes off what a test has left mounted below dir.
func unmountBelow(t *testing.T, dir string) {
	table, err := mount.Table()
	if err != nil {
		t.Error(err)
	}
	for _, e := range slices.Backward(table) {
		if mount.Below(e.Point, dir) {
			err = errors.Join(err, unix.Unmount(e.Point, unix.MNT_DETACH|unix.UMOUNT_NOFOLLOW))
		}
	}
	if err != nil {
		t.Error(err)
	}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func tail(text string) string {
	lines := strings.Split(text, "\n")
	return strings.Join(lines[max(0, len(lines)-40):], "\n")
}

// How long things may take that are done in the background, on a slow machine.
const (
	waitPurge = 20 * time.Second
	// waitCopy is for a copy that outlives the call that began it.
	waitCopy = 2 * time.Minute
	// waitRetry is the interval in which pools are tried again, 30 s, and some.
	waitRetry = 45 * time.Second
)

// eventually polls until check gives "", and fails with what it gave last.
func eventually(t *testing.T, within time.Duration, check func() string) {
	t.Helper()
	deadline := time.Now().Add(within)
	for {
		why := check()
		if why == "" {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("still so after %v: %s", within, why)
		}
		time.Sleep(20 * time.Millisecond)
	}
}

// writeConfig writes a configuration file and gives its path.
func writeConfig(t *testing.T, text string) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "config.yaml")
	must(t, os.WriteFile(file, []byte(text), 0o600))
	return file
}

func command(line ...string) *exec.Cmd {
	c := exec.Command(line[0], line[1:]...)
	c.Env = append(os.Environ(), "LC_ALL=C")
	return c
}
