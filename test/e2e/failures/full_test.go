package failures

import (
	"strings"
	"testing"
	"time"

	"github.com/hostvol/hostvol/test/e2e/cluster"
)

// A pool without quotas fills up to its last byte: who writes is told so, the
// driver and the volumes of other pools go on, and what is deleted is space
// again.
func TestPoolFillsUp(t *testing.T) {
	s := cluster.Begin(t, c)
	w := startWriter(s, "writer", cluster.OnNode("n1"))
	s.Claim("hog", "64Mi", cluster.OfClass("hostvol-second"))
	s.Pod("hog", "hog", cluster.OnNode("n1"))
	s.Ready("hog")
	hog := s.Bound("hog", time.Minute)
	w.undisturbed(func() {
		out, err := s.TryIn("hog", "dd if=/dev/zero of=/data/all bs=1M")
		if err == nil || !strings.Contains(out, "No space left on device") {
			t.Fatalf("the disk took it all: %v: %s", err, out)
		}
		if pools := s.Hostvol("n1", "pools"); !strings.Contains(pools, "second") {
			t.Errorf("pools: %s", pools)
		}
		// On n1 there is no room for another; the pod goes where there is.
		s.Claim("another", "64Mi", cluster.OfClass("hostvol-second"))
		s.Pod("another", "another")
		if node := s.ReadyWithin("another", 3*time.Minute); node == "n1" {
			t.Error("another volume was made on the full pool")
		}
		s.DeletePod("hog")
		s.DeleteClaim("hog")
		s.VolumeGone(hog.Name, 2*time.Minute)
		s.Claim("next", "64Mi", cluster.OfClass("hostvol-second"))
		s.Pod("next", "next", cluster.OnNode("n1"))
		s.ReadyWithin("next", 3*time.Minute)
	})
}
