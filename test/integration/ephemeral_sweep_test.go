package integration

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
	"google.golang.org/grpc/codes"
)

// dear publishes a pod's volume and writes to it.
func (n *node) dear(name string) pod {
	n.t.Helper()
	p := n.podOf(name)
	must(n.t, n.publishInline(p, "size", "16Mi"))
	must(n.t, os.WriteFile(filepath.Join(p.target, "file"), []byte("dear"), 0o600))
	return p
}

// still verifies that the volume's data is there.
func (n *node) still(p pod) {
	n.t.Helper()
	if text, err := os.ReadFile(filepath.Join(n.item(p.id), "data/file")); err != nil || string(text) != "dear" {
		n.t.Errorf("%q %v", text, err)
	}
}

// lose takes a pod's mount off behind the daemon's back, as a reboot does.
func (n *node) lose(p pod) {
	n.t.Helper()
	takeOff(n.t, p.target)
}

// takeOff unmounts a path; see unmounted for why that can take two tries.
func takeOff(t *testing.T, path string) {
	t.Helper()
	eventually(t, waitPurge, func() string {
		if err := unix.Unmount(path, unix.UMOUNT_NOFOLLOW); err != nil {
			return err.Error()
		}
		return ""
	})
}

// A pod's volume does not mind that the daemon ends, in whatever way, between publish and unpublish.
func TestAnEphemeralVolumeOutlivesTheDaemon(t *testing.T) {
	for _, kind := range []string{"ext4", "btrfs"} {
		t.Run(kind, func(t *testing.T) {
			t.Parallel()
			n := serveOn(t, kind, keeping(t)...)
			p := n.dear("web")
			n.restart()
			must(t, n.publishInline(p, "size", "16Mi"))
			if got := layers(t, p.target); got != 1 {
				t.Errorf("%d layers", got)
			}
			must(t, n.daemon.Kill())
			n.restart()
			n.still(p)
			n.unmounted(p.id, p.target)
			n.gone(p)
		})
	}
}

// After a reboot the kubelet publishes again, and finds the data.
func TestAnEphemeralVolumeAfterAReboot(t *testing.T) {
	n := serve(t)
	p := n.dear("web")
	n.stop()
	n.lose(p)
	n.start()
	must(t, n.publishInline(p, "size", "16Mi"))
	n.still(p)
	if got := layers(t, p.target); got != 1 {
		t.Errorf("%d layers", got)
	}
	// Or the pod was deleted meanwhile.
	n.stop()
	n.lose(p)
	must(t, os.RemoveAll(filepath.Dir(p.target)))
	n.start()
	must(t, n.unpublish(p.id, p.target))
	n.gone(p)
}

// swept starts the daemon again, which sweeps first of all, and waits until it has done so.
func (n *node) swept() {
	n.t.Helper()
	witness := n.podOf("witness")
	witness.id = "csi-" + strings.Repeat("f", 64) // the last one that is looked at
	eventually(n.t, waitPurge, func() string {    // an earlier sweep may not be done with it
		if err := n.publishInline(witness, "size", "16Mi"); err != nil {
			return err.Error()
		}
		return ""
	})
	n.lose(witness)
	must(n.t, os.RemoveAll(witness.dir))
	n.restart()
	eventually(n.t, waitPurge, func() string {
		if n.there(witness.id) {
			return "nothing is swept"
		}
		return ""
	})
}

func TestSweep(t *testing.T) {
	for _, kind := range []string{"ext4", "btrfs"} {
		t.Run(kind, func(t *testing.T) {
			t.Parallel()
			n := serveOn(t, kind, keeping(t)...)
			running, waiting, elsewhere, part, ended := n.dear("running"), n.dear("waiting"), n.dear("elsewhere"), n.dear("part"), n.dear("ended")
			vol := n.volume("vol")

			n.lose(waiting) // published again in a moment
			// Mounted somewhere, though not where the kubelet had it.
			for p, what := range map[pod]string{elsewhere: "data", part: "data/sub"} {
				must(t, os.MkdirAll(filepath.Join(n.item(p.id), "data/sub"), 0o755))
				at := filepath.Join(n.dir, "at-"+p.uid)
				must(t, os.Mkdir(at, 0o755))
				n.lose(p)
				must(t, os.RemoveAll(p.dir))
				must(t, unix.Mount(filepath.Join(n.item(p.id), what), at, "", unix.MS_BIND, ""))
				t.Cleanup(func() { _ = unix.Unmount(at, unix.MNT_DETACH) })
			}
			n.lose(ended)
			must(t, os.RemoveAll(ended.dir))
			n.swept()
			eventually(t, waitPurge, func() string { return differ(n.there(ended.id), false) })
			for _, p := range []pod{running, waiting, elsewhere, part} {
				n.still(p)
			}
			if why := differ(n.all(), []string{vol}); why != "" {
				t.Error(why)
			}
			for _, p := range []pod{elsewhere, part} {
				takeOff(t, filepath.Join(n.dir, "at-"+p.uid))
			}
			n.swept()
			for _, p := range []pod{elsewhere, part} {
				eventually(t, waitPurge, func() string { return differ(n.there(p.id), false) })
			}
			must(t, n.publishInline(waiting, "size", "16Mi"))
			n.still(waiting)
			n.unmounted(waiting.id, waiting.target)
			n.unmounted(running.id, running.target)
			must(t, n.remove(vol))
			n.admin("trash", "purge", "--all")
			n.empty()
		})
	}
}

// Where the kubelet's directory does not look as if the kubelet used it, or the record is not whole, nothing can be
// told.
func TestNothingIsSweptInDoubt(t *testing.T) {
	for name, doubt := range map[string]func(t *testing.T, n *node, p pod){
		"no directory of pods": func(t *testing.T, n *node, _ pod) { must(t, os.RemoveAll(n.pods())) },
		"an empty one":         func(*testing.T, *node, pod) {},
		"a file": func(t *testing.T, n *node, _ pod) {
			must(t, os.RemoveAll(n.pods()))
			must(t, os.WriteFile(n.pods(), nil, 0o600))
		},
		"a link": func(t *testing.T, n *node, _ pod) {
			must(t, os.RemoveAll(n.pods()))
			must(t, os.Symlink(canary(t), n.pods()))
		},
		"no uid":             func(t *testing.T, n *node, p pod) { n.changeRecord(t, p, p.uid+`","target`, `","target`) },
		"a uid that is none": func(t *testing.T, n *node, p pod) { n.changeRecord(t, p, p.uid+`","target`, `../x","target`) },
		"another kubelet's":  func(t *testing.T, n *node, p pod) { n.changeRecord(t, p, n.dir+"/kubelet/", "/var/lib/kubelet/") },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			n := serve(t)
			p := n.dear("web")
			n.lose(p)
			n.stop()
			must(t, os.RemoveAll(p.dir))
			doubt(t, n, p)
			n.start("-v=4")
			eventually(t, waitPurge, func() string {
				if !strings.Contains(n.daemon.Log(), "Left an ephemeral volume alone") {
					return "nothing was looked at"
				}
				return ""
			})
			n.still(p)
		})
	}
}

// changeRecord changes a volume's record on the disk, and has another pod beside it.
func (n *node) changeRecord(t *testing.T, p pod, old, changed string) {
	t.Helper()
	n.podOf("another")
	record := run(t, "getfattr", "-n", "trusted.hostvol", "--only-values", "--absolute-names", n.item(p.id))
	if !strings.Contains(record, old) {
		t.Fatalf("no %s in %s", old, record)
	}
	run(t, "setfattr", "-n", "trusted.hostvol", "-v", strings.Replace(record, old, changed, 1), n.item(p.id))
}

// The kubelet's directory is mounted over under the daemon, which then sees an old one.
func TestNothingIsSweptWhenTheKubeletsDirectoryIsCovered(t *testing.T) {
	t.Parallel()
	n := serve(t, "-v=4")
	p := n.dear("web")
	n.podOf("another")
	n.lose(p)
	kubelet := filepath.Dir(n.pods())
	must(t, unix.Mount("tmpfs", kubelet, "tmpfs", 0, ""))
	t.Cleanup(func() { _ = unix.Unmount(kubelet, unix.MNT_DETACH) })
	must(t, os.RemoveAll(p.dir)) // of the new one, which has no such pod
	eventually(t, waitRetry, func() string {
		if !strings.Contains(n.daemon.Log(), "shows another directory") {
			return "nothing was looked at"
		}
		return ""
	})
	n.still(p)
	takeOff(t, kubelet)
	must(t, n.publishInline(p, "size", "16Mi"))
}

// A disk that takes no writes does not keep a pod from ending. The volume goes when it can.
func TestAnEphemeralVolumeOnAReadOnlyPool(t *testing.T) {
	for _, kind := range []string{"ext4", "btrfs"} {
		t.Run(kind, func(t *testing.T) {
			t.Parallel()
			n := serveOn(t, kind)
			p := n.dear("web")
			n.podOf("another")
			eventually(t, waitPurge, func() string { // see unmounted
				if err := unix.Mount("", n.pool, "", unix.MS_REMOUNT|unix.MS_RDONLY, ""); err != nil {
					return err.Error()
				}
				return ""
			})
			n.unmounted(p.id, p.target)
			n.still(p)
			must(t, os.RemoveAll(p.dir))
			want(t, n.publishInline(n.podOf("new"), "size", "16Mi"), codes.FailedPrecondition, "read-only")
			n.stop()
			n.start()
			n.still(p)
			n.stop()
			must(t, unix.Mount("", n.pool, "", unix.MS_REMOUNT, ""))
			n.start()
			n.gone(p)
		})
	}
}

// While a pool is not open its volumes are neither made anew elsewhere nor believed to be gone, and pods can end.
func TestEphemeralVolumesWhileADiskIsGone(t *testing.T) {
	n := newNode(t)
	d := n.disk("ext4")
	n.pool = d.mountpoint
	n.start("--pool", "default="+n.pool, "--pool", "other="+filepath.Join(n.dir, "other"))
	running, ended := n.podOf("running"), n.podOf("ended")
	for _, p := range []pod{running, ended} {
		must(t, n.publishInline(p, "size", "16Mi", "pool", "default"))
		must(t, os.WriteFile(filepath.Join(p.target, "file"), []byte("dear"), 0o600))
		n.lose(p)
	}
	n.stop()
	d.takeAway(t)
	n.start()
	want(t, n.publishInline(running, "size", "16Mi", "pool", "default"), codes.Unavailable, "default")
	must(t, n.unpublish(ended.id, ended.target))
	must(t, os.RemoveAll(ended.dir))

	d.putBack(t)
	n.restart()
	must(t, n.publishInline(running, "size", "16Mi", "pool", "default"))
	n.still(running)
	eventually(t, waitPurge, func() string { return differ(n.there(ended.id), false) })
	n.unmounted(running.id, running.target)
	n.gone(running)
}
