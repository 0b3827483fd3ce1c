package integration

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/hostvol/hostvol/test/daemon"
)

// The disk of one of two pools fails under the daemon: what lies below its loop device is full, so that writes to
// blocks that were never written come back as I/O errors.
func TestAFailedSync(t *testing.T) {
	n := newNode(t)
	n.faulty = true
	below := filepath.Join(n.dir, "below")
	must(t, os.Mkdir(below, 0o755))
	must(t, unix.Mount("tmpfs", below, "tmpfs", 0, "size=64m"))
	mountpoint, cleanup, err := daemon.LoopFS(below, "ext4", 600)
	must(t, err)
	t.Cleanup(func() { _ = cleanup() }) // the file system is broken by then
	bad, good := filepath.Join(mountpoint, "pool"), filepath.Join(n.dir, "good")
	n.start("--pool", "bad="+bad, "--pool", "good="+good)

	onBad := with("pool", "bad")
	n.volume("old", onBad)
	target := n.mounted("old", "pod")
	filler, err := os.Create(filepath.Join(below, "filler"))
	must(t, err)
	fill(t, filler)
	must(t, filler.Close())

	// Sooner or later a sync fails. Nobody may be told then that the volume exists, or make it elsewhere.
	name, tries := "", 0
	eventually(t, waitPurge, func() string {
		tries++
		name = fmt.Sprintf("new-%d", tries)
		_, err := n.create(name, onBad)
		if got := status.Code(err); got != codes.Unavailable {
			return "create is answered with " + got.String()
		}
		return ""
	})
	_, err = n.create(name, onBad)
	want(t, err, codes.Unavailable, "restart")
	_, err = n.create(name)
	want(t, err, codes.Unavailable)
	_, err = n.get(name)
	want(t, err, codes.Unavailable)

	// What was there is neither deleted nor told to be.
	n.unmounted("old", target)
	want(t, n.remove("old"), codes.Unavailable)
	want(t, n.remove("old"), codes.Unavailable)

	if n.storage()["PoolFailed"] == "" {
		t.Errorf("%v", n.storage())
	}
	if state := n.poolState("bad"); state.Problem == "" {
		t.Errorf("%+v", state)
	}
	n.volume("other") // the other pool goes on
	if got := n.poolOf("other"); got != "good" {
		t.Errorf("in %s", got)
	}
}
