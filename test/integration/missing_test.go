package integration

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
	"google.golang.org/grpc/codes"

	"github.com/hostvol/hostvol/test/daemon"
)

// disk is a file system that can be taken away and put back.
type disk struct{ image, mountpoint, kind string }

func (n *node) disk(kind string) disk {
	mountpoint := n.filesystem(kind, 768)
	return disk{filepath.Join(filepath.Dir(mountpoint), kind+".img"), mountpoint, kind}
}

func (d disk) takeAway(t *testing.T) {
	t.Helper()
	eventually(t, waitPurge, func() string {
		if err := unix.Unmount(d.mountpoint, unix.UMOUNT_NOFOLLOW); err != nil {
			return err.Error()
		}
		return ""
	})
	eventually(t, waitPurge, func() string { return differ(len(daemon.LoopDevices(d.image)), 0) })
}

func (d disk) putBack(t *testing.T) {
	run(t, "mount", "-t", d.kind, "-o", "loop", d.image, d.mountpoint)
}

// A missing disk does not look like an empty pool: nothing is made on its mount point, nothing is believed to be
// gone, and when it comes back it is served again.
func TestThePoolsDiskIsGone(t *testing.T) {
	for _, c := range []struct {
		name, kind string
		args       func(n *node) []string
	}{
		{"made by --pool", "ext4", func(n *node) []string {
			return []string{"--pool", "default=" + n.pool}
		}},
		{"made by --pool below the mount point", "btrfs", func(n *node) []string {
			n.pool += "/pool"
			return []string{"--pool", "default=" + n.pool}
		}},
		{"made by the configuration", "btrfs", func(n *node) []string {
			return []string{"--config", writeConfig(t, "pools: [{name: default, path: "+n.pool+", create: true, requireMount: true}]")}
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			n := newNode(t)
			d := n.disk(c.kind)
			n.pool = d.mountpoint
			n.start(c.args(n)...)
			id := n.volume("vol")
			target := n.mounted(id, "pod")
			must(t, os.WriteFile(filepath.Join(target, "file"), []byte("x"), 0o600))
			n.unmounted(id, target)
			n.stop()
			d.takeAway(t)
			unchanged(t, d.mountpoint)

			n.start()
			before := fingerprint(t, d.mountpoint)
			_, err := n.create("vol")
			want(t, err, codes.Unavailable, "default")
			_, err = n.create("new")
			want(t, err, codes.Unavailable)
			want(t, n.remove(id), codes.Unavailable)
			want(t, n.remove("never-there"), codes.Unavailable)
			_, err = n.get(id)
			oneOf(t, err, codes.NotFound, codes.Unavailable)
			if n.publish(id, target) == nil {
				t.Error("published from a missing pool")
			}
			n.unmounted(id, target) // needs no pool
			if n.storage()["PoolMissing"] == "" {
				t.Errorf("storage health: %v", n.storage())
			}
			if p := n.poolState("default"); p.Open || p.Problem == "" {
				t.Errorf("%+v", p)
			}
			if after := fingerprint(t, d.mountpoint); after != before {
				t.Errorf("something was made on the mount point:\n%s", after)
			}

			d.putBack(t)
			eventually(t, waitRetry, func() string {
				if _, err := n.get(id); err != nil {
					return err.Error()
				}
				return ""
			})
			if why := differ(n.storage(), map[string]string{}); why != "" {
				t.Error(why)
			}
			target = n.mounted(id, "pod")
			if _, err := os.Stat(filepath.Join(target, "file")); err != nil {
				t.Error(err)
			}
			n.unmounted(id, target)
			must(t, n.remove(id))
			must(t, n.remove(id))
			n.empty()
			n.stop()
			d.takeAway(t)
		})
	}
}

// Volumes of the other pools go on; what cannot be known is not told.
func TestOneOfTwoPoolsIsGone(t *testing.T) {
	t.Parallel()
	n := newNode(t)
	d := n.disk("ext4")
	n.start("--pool", "far="+d.mountpoint, "--pool", "near="+filepath.Join(n.dir, "near"))
	far, near := n.volume("in-far", with("pool", "far")), n.volume("in-near", with("pool", "near"))
	n.stop()
	d.takeAway(t)
	n.start()
	n.volume("in-near", with("pool", "near"))
	must(t, n.expand(near, 32*mib))
	target := n.mounted(near, "pod")
	n.unmounted(near, target)
	_, err := n.create("in-far", with("pool", "near")) // a twin
	want(t, err, codes.Unavailable, "far")
	_, err = n.create("another", with("pool", "near")) // it may exist in the other
	want(t, err, codes.Unavailable, "far")
	want(t, n.remove(far), codes.Unavailable)
	must(t, n.remove(near))
	want(t, n.remove(near), codes.Unavailable) // by now it could be in the other
	if got := n.storage()["PoolMissing"]; !strings.Contains(got, "far") {
		t.Errorf("%v", n.storage())
	}
	n.faulty = true
	n.stop()
	d.putBack(t)
	n.faulty = false
	n.start()
	if _, err := n.get(far); err != nil {
		t.Error(err)
	}
	n.stop()
}

// The disk is unmounted while the daemon runs: the daemon has the pool open, goes on, and says so.
func TestTheDiskIsUnmountedUnderTheDaemon(t *testing.T) {
	n := newNode(t)
	d := n.disk("ext4")
	n.start("--pool", "default="+d.mountpoint)
	id := n.volume("vol")
	must(t, unix.Unmount(d.mountpoint, 0))
	before := fingerprint(t, d.mountpoint)
	n.volume("vol")
	n.volume("new")
	target := n.mounted(id, "pod")
	must(t, os.WriteFile(filepath.Join(target, "file"), nil, 0o600))
	n.unmounted(id, target)
	if n.storage()["PoolNotAtItsPath"] == "" {
		t.Errorf("storage health: %v", n.storage())
	}
	if after := fingerprint(t, d.mountpoint); after != before {
		t.Errorf("something was made on the mount point:\n%s", after)
	}
	n.faulty = true // check goes by the path
	n.stop()
	d.putBack(t)
	n.start()
	if why := differ(n.all(), []string{"new", "vol"}); why != "" {
		t.Error(why)
	}
}

func TestRequireMount(t *testing.T) {
	n := newNode(t)
	n.faulty = true
	must(t, os.Mkdir(n.pool, 0o755))
	n.start("--config", writeConfig(t, "pools: [{name: default, path: "+n.pool+", create: true, requireMount: true}]"))
	_, err := n.create("vol")
	want(t, err, codes.Unavailable, "requireMount")
	if why := differ(fmt.Sprint(os.ReadDir(n.pool)), "[] <nil>"); why != "" {
		t.Error(why)
	}
}

func run(t *testing.T, line ...string) string {
	t.Helper()
	out, err := command(line...).CombinedOutput()
	if err != nil {
		t.Fatalf("%v: %v: %s", line, err, out)
	}
	return string(out)
}
