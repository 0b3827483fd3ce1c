package integration

import (
	"os"
	"path/filepath"
	"testing"

	"google.golang.org/grpc/codes"
)

// The administrator may name directories by links: the kubelet's and a pool's. What is mounted is found again
// after a restart, though the mount table shows it elsewhere.
func TestDirectoriesNamedByLinks(t *testing.T) {
	n := newNode(t)
	for _, name := range []string{"kubelet", "pool"} {
		must(t, os.Mkdir(filepath.Join(n.dir, "real-"+name), 0o755))
		must(t, os.Symlink("real-"+name, filepath.Join(n.dir, name)))
	}
	n.start("--pool", "default="+n.pool)
	id := n.volume("vol")
	target := n.mounted(id, "pod")
	shown := filepath.Join(n.dir, "real-kubelet/pods/pod/mount")
	t.Cleanup(func() { _ = n.unpublish(id, target) })
	for range 2 {
		if got := layers(t, shown); got != 1 {
			t.Errorf("%d layers", got)
		}
		want(t, n.remove(id), codes.FailedPrecondition, target)
		must(t, n.publish(id, target))
		if _, err := n.stats(id, target); err != nil {
			t.Error(err)
		}
		want(t, n.publish(id, filepath.Join(target, "inside")), codes.InvalidArgument)
		n.restart()
	}
	n.unmounted(id, target)
	if got := layers(t, shown); got != 0 {
		t.Errorf("%d layers", got)
	}
	must(t, n.remove(id))
	n.empty()
}
