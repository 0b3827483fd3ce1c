package distributed

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
	s := begin(t)
	const node = "n3" // where no other test uses that pool
	s.Claim("other", "64Mi")
	s.Pod("other", "other", cluster.OnNode(node))
	s.Ready("other")
	s.Claim("hog", "64Mi", cluster.OfClass("hostvol-second"))
	s.Pod("hog", "hog", cluster.OnNode(node))
	s.Ready("hog")
	hog := s.Bound("hog", time.Minute)
	out, err := s.TryIn("hog", "dd if=/dev/zero of=/data/all bs=1M")
	if err == nil || !strings.Contains(out, "No space left on device") {
		t.Fatalf("the disk took it all: %v: %s", err, out)
	}
	if pools := s.Hostvol(node, "pools"); strings.Count(pools, " ok") != 2 {
		t.Errorf("pools: %s", pools)
	}
	s.In("other", "dd if=/dev/zero of=/data/file bs=1M count=32 conv=fsync")
	// There is no room for another here; its pod goes where there is.
	s.Claim("another", "64Mi", cluster.OfClass("hostvol-second"))
	s.Pod("another", "another", prefer(node))
	if at := s.ReadyWithin("another", 3*time.Minute); at == node {
		t.Error("another volume was made on the full pool")
	}
	s.DeletePod("hog")
	s.DeleteClaim("hog")
	s.VolumeGone(hog.Name, 2*time.Minute)
	s.Claim("next", "64Mi", cluster.OfClass("hostvol-second"))
	s.Pod("next", "next", cluster.OnNode(node))
	s.ReadyWithin("next", 3*time.Minute)
}
