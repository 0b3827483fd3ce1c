package distributed

import (
	"context"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/hostvol/hostvol/test/e2e/cluster"
)

// A claim waits for its pod, the volume is made on the node that the scheduler
// has chosen, and nowhere else.
func TestVolumeIsMadeWhereThePodGoes(t *testing.T) {
	s := begin(t)
	s.Claim("data", "64Mi")
	s.Event("waiting for first consumer", time.Minute)
	if phase := s.GetClaim("data").Status.Phase; phase != corev1.ClaimPending {
		t.Fatalf("without a pod the claim is %s", phase)
	}
	s.Pod("writer", "data", cluster.OnNode("n2"))
	node := s.Ready("writer")
	pv := s.Bound("data", time.Minute)
	if node != "n2" || cluster.VolumeNode(pv) != "n2" {
		t.Errorf("pod on %s, volume bound to %s; both must be n2", node, cluster.VolumeNode(pv))
	}
	if got := s.GetClaim("data").Annotations["volume.kubernetes.io/selected-node"]; got != "n2" {
		t.Errorf("selected node of the claim is %q", got)
	}
	if handle := pv.Spec.CSI.VolumeHandle; !strings.HasPrefix(handle, pv.Name+"@") {
		t.Errorf("volume handle %s", handle)
	}
	for _, n := range cluster.Nodes() {
		if listed := strings.Contains(s.Hostvol(n, "volumes"), pv.Name); listed != (n == "n2") {
			t.Errorf("node %s lists the volume: %t", n, listed)
		}
	}
}

// A pod that is deleted and made again comes back to its node and its data,
// also when another node would do as well for the scheduler.
func TestDataComesBack(t *testing.T) {
	s := begin(t)
	s.Claim("data", "64Mi")
	s.Pod("writer", "data")
	node := s.Ready("writer")
	s.In("writer", "echo hello >/data/greeting && sync")
	s.DeletePod("writer")
	for range 2 {
		s.Pod("writer", "data")
		if again := s.Ready("writer"); again != node {
			t.Errorf("the pod was on %s and is now on %s", node, again)
		}
		if got := s.In("writer", "cat /data/greeting"); got != "hello" {
			t.Errorf("it reads %q", got)
		}
		s.DeletePod("writer")
	}
}

// The pod cannot write more than was asked, and others do not notice.
func TestLimitBites(t *testing.T) {
	s := begin(t)
	s.Claim("small", "32Mi")
	s.Claim("other", "32Mi")
	s.Pod("writer", "small", cluster.WithClaim("other", "/other"))
	s.Ready("writer")
	out, err := s.TryIn("writer", "dd if=/dev/zero of=/data/big bs=1M count=64 conv=fsync")
	if err == nil || !strings.Contains(out, "quota exceeded") {
		t.Errorf("64 MiB into a volume of 32 MiB: %v: %s", err, out)
	}
	s.In("writer", "dd if=/dev/zero of=/other/file bs=1M count=20 conv=fsync")
	s.In("writer", "rm /data/big && dd if=/dev/zero of=/data/again bs=1M count=20 conv=fsync")
}

// When the claim goes, so does what is on the disk, and the space is there
// again.
func TestDeletedIsGone(t *testing.T) {
	s := begin(t)
	s.Claim("data", "64Mi")
	s.Pod("writer", "data")
	node := s.Ready("writer")
	pv := s.Bound("data", time.Minute)
	s.In("writer", "dd if=/dev/urandom of=/data/file bs=1M count=8 conv=fsync")
	s.DeletePod("writer")
	s.DeleteClaim("data")
	s.VolumeGone(pv.Name, time.Minute)
	if listed := s.Hostvol(node, "volumes"); strings.Contains(listed, pv.Name) {
		t.Errorf("the node still lists %s", listed)
	}
	cluster.Eventually(t, time.Minute, "nothing of it on the disk", func(context.Context) string {
		return cluster.Node(t, "exec", node, "sh", "-c", "ls -d /var/lib/hostvol/*/"+pv.Name+"* 2>/dev/null || true")
	})
}

// A claim that is deleted while its pod runs stays until the pod is gone.
func TestClaimDeletedUnderAPod(t *testing.T) {
	s := begin(t)
	s.Claim("data", "64Mi")
	s.Pod("writer", "data")
	s.Ready("writer")
	pv := s.Bound("data", time.Minute)
	s.In("writer", "echo before >/data/file")
	s.DeleteClaim("data")
	time.Sleep(2 * time.Second) // long enough for a volume to be deleted, were it not protected
	if got := s.In("writer", "cat /data/file && echo after >>/data/file"); got != "before" {
		t.Errorf("the pod reads %q", got)
	}
	if s.GetClaim("data").DeletionTimestamp == nil {
		t.Error("the claim is not being deleted")
	}
	s.DeletePod("writer")
	s.VolumeGone(pv.Name, time.Minute)
}
