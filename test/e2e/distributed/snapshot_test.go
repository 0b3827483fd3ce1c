package distributed

import (
	"strings"
	"testing"
	"time"

	"github.com/hostvol/hostvol/test/e2e/cluster"
)

// A snapshot keeps what a volume held, also when the volume is gone; a claim
// made from it gets that, in a pod that goes to the snapshot's node.
func TestSnapshotAndRestore(t *testing.T) {
	s := begin(t)
	s.Claim("data", "32Mi")
	s.Pod("writer", "data", cluster.OnNode("n2"))
	s.Ready("writer")
	s.In("writer", "echo before >/data/file && sync")
	s.Snapshot("cut", "data")
	s.SnapshotReady("cut")
	s.In("writer", "echo after >/data/file && sync")
	pv := s.Bound("data", time.Minute)
	s.DeletePod("writer")
	s.DeleteClaim("data")
	s.VolumeGone(pv.Name, time.Minute)

	s.Claim("restored", "64Mi", cluster.From("VolumeSnapshot", "cut"))
	s.Pod("reader", "restored", cluster.OnNode("n2"))
	s.Ready("reader")
	if got := s.In("reader", "cat /data/file"); got != "before" {
		t.Errorf("the restored volume holds %q", got)
	}
	s.In("reader", "dd if=/dev/zero of=/data/big bs=1M count=48 conv=fsync")
	if out, err := s.TryIn("reader", "dd if=/dev/zero of=/data/more bs=1M count=48 conv=fsync"); err == nil {
		t.Errorf("96 MiB fit into 64: %s", out)
	}
	s.DeletePod("reader")
	s.DeleteClaim("restored")
	s.DeleteSnapshot("cut")
	if listed := s.Hostvol("n2", "snapshots"); strings.Contains(listed, pv.Name) {
		t.Errorf("the node still lists\n%s", listed)
	}
}

// A clone holds what its source held, and each goes its own way.
func TestClone(t *testing.T) {
	s := begin(t)
	s.Claim("data", "32Mi")
	s.Pod("writer", "data", cluster.OnNode("n3"))
	s.Ready("writer")
	s.In("writer", "echo both >/data/file && sync")
	s.Claim("clone", "32Mi", cluster.From("PersistentVolumeClaim", "data"))
	s.Pod("reader", "clone", cluster.OnNode("n3"))
	s.Ready("reader")
	s.In("writer", "echo mine >/data/file && sync")
	if got := s.In("reader", "cat /data/file"); got != "both" {
		t.Errorf("the clone holds %q", got)
	}
}

// A pod that goes to another node than its source's waits, and the claim says
// for what. Nothing tells the scheduler where the source is: it chooses again,
// but by its own scores, and may never come to the right one while, say, the
// source's own pod makes that node the fuller one. So a pod is told its node.
func TestRestoreElsewhere(t *testing.T) {
	s := begin(t)
	s.Claim("data", "32Mi")
	s.Pod("writer", "data", cluster.OnNode("n1"))
	s.Ready("writer")
	s.Claim("clone", "32Mi", cluster.From("PersistentVolumeClaim", "data"))
	s.Pod("reader", "clone", cluster.OnNode("n2"))
	s.Event("belongs to another node", time.Minute)
	// Where it is let go, it goes to its data.
	s.DeletePod("reader")
	s.Pod("reader", "clone", cluster.OnNode("n1"))
	s.ReadyWithin("reader", 2*time.Minute)
}
