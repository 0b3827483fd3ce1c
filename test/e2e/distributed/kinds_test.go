package distributed

import (
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/hostvol/hostvol/test/e2e/cluster"
)

// A generic ephemeral volume is made for its pod and goes with it.
func TestGenericEphemeralVolume(t *testing.T) {
	s := begin(t)
	claim := cluster.NewClaim("", "32Mi")
	s.Pod("worker", "", cluster.WithVolume("scratch", "/data", corev1.VolumeSource{Ephemeral: &corev1.EphemeralVolumeSource{
		VolumeClaimTemplate: &corev1.PersistentVolumeClaimTemplate{Spec: claim.Spec},
	}}))
	s.Ready("worker")
	if out, err := s.TryIn("worker", "dd if=/dev/zero of=/data/big bs=1M count=64 conv=fsync"); err == nil {
		t.Errorf("no limit: %s", out)
	}
	pv := s.Bound("worker-scratch", time.Minute)
	s.DeletePod("worker")
	s.VolumeGone(pv.Name, time.Minute)
}

// What lies in a directory of a node already becomes a volume by its name, and
// is used through a PersistentVolume with that handle.
func TestStaticVolumeOfAName(t *testing.T) {
	s := begin(t)
	name := "existing-" + s.Namespace // an earlier run may have left its own
	old := "/mnt/second/" + name
	cluster.Node(t, "exec", "n1", "sh", "-c", "mkdir -p "+old+" && echo treasure >"+old+"/file")
	s.Hostvol("n1", "adopt", "--pool", "second", "--name", name, "--size", "64Mi", old, "--execute")
	s.Static("static-by-name", name, "n1", nil)
	s.Claim("data", "64Mi", cluster.OfClass(""), cluster.OfVolume("static-by-name"))
	s.Pod("reader", "data")
	if node := s.Ready("reader"); node != "n1" {
		t.Errorf("the pod is on %s", node)
	}
	if got := s.In("reader", "cat /data/file && echo more >>/data/file"); got != "treasure" {
		t.Errorf("it reads %q", got)
	}
	s.DeletePod("reader")
	s.Hostvol("n1", "release", name) // the pod is gone, so is its mount
	if got := cluster.Node(t, "exec", "n1", "cat", old+"/file"); got != "treasure\nmore" {
		t.Errorf("given back, the directory holds %q", got)
	}
}

// A directory below the administrator's static root is mounted as it is, and
// never touched otherwise.
func TestStaticVolumeOfAPath(t *testing.T) {
	s := begin(t)
	cluster.Node(t, "exec", "n2", "sh", "-c", "mkdir -p /mnt/second/static/photos && echo holiday >/mnt/second/static/photos/file")
	s.Static("static-by-path", "photos", "n2", map[string]string{"path": "/mnt/second/static/photos"})
	s.Claim("data", "1Gi", cluster.OfClass(""), cluster.OfVolume("static-by-path"))
	s.Pod("reader", "data")
	s.Ready("reader")
	if got := s.In("reader", "cat /data/file"); got != "holiday" {
		t.Errorf("it reads %q", got)
	}
	s.DeletePod("reader")
	if got := cluster.Node(t, "exec", "n2", "cat", "/mnt/second/static/photos/file"); got != "holiday" {
		t.Errorf("afterwards the directory holds %q", got)
	}
}

// A retained volume outlives its claim, and another claim gets its data.
func TestRetainAndBindAgain(t *testing.T) {
	s := begin(t)
	s.Claim("data", "64Mi", cluster.OfClass("hostvol-retain"))
	s.Pod("writer", "data")
	node := s.Ready("writer")
	pv := s.Bound("data", time.Minute)
	s.In("writer", "echo kept >/data/file")
	s.DeletePod("writer")
	s.DeleteClaim("data")
	s.Phase(pv.Name, corev1.VolumeReleased)
	s.Release(pv.Name)
	s.Claim("again", "64Mi", cluster.OfClass("hostvol-retain"), cluster.OfVolume(pv.Name))
	s.Pod("reader", "again")
	if got := s.Ready("reader"); got != node {
		t.Errorf("the reader is on %s, the data on %s", got, node)
	}
	if got := s.In("reader", "cat /data/file"); got != "kept" {
		t.Errorf("it reads %q", got)
	}
	s.DeletePod("reader")
	s.SetReclaim(pv.Name, corev1.PersistentVolumeReclaimDelete)
	s.DeleteClaim("again")
	s.VolumeGone(pv.Name, time.Minute)
}

// A class names its pool; a class with immediate binding and allowedTopologies
// has its volumes made on those nodes before there is a pod.
func TestClassesOfPoolsAndNodes(t *testing.T) {
	s := begin(t)
	s.Claim("second", "32Mi", cluster.OfClass("hostvol-second"))
	s.Claim("now", "32Mi", cluster.OfClass("hostvol-n2-now"))
	pv := s.Bound("now", time.Minute)
	if node := cluster.VolumeNode(pv); node != "n2" {
		t.Errorf("made at once on %s, allowed is n2", node)
	}
	s.Pod("writer", "second", cluster.WithClaim("now", "/now"))
	if node := s.Ready("writer"); node != "n2" {
		t.Errorf("the pod is on %s", node)
	}
	second := s.Bound("second", time.Minute)
	for _, line := range strings.Split(s.Hostvol("n2", "volumes"), "\n") {
		switch {
		case strings.Contains(line, second.Name) && !strings.Contains(line, " second "):
			t.Errorf("class of pool second: %s", line)
		case strings.Contains(line, pv.Name) && !strings.Contains(line, " default "):
			t.Errorf("class of no pool: %s", line)
		}
	}
}

// What a class must not say is told to the user, at the claim.
func TestClassThatCannotBe(t *testing.T) {
	s := begin(t)
	s.Class("hostvol-e2e-wrong", map[string]string{"polo": "default"})
	s.Claim("data", "32Mi", cluster.OfClass("hostvol-e2e-wrong"))
	s.Pod("writer", "data")
	s.Event(`unknown parameter "polo"`, 3*time.Minute)
}

// A pool that no node has is, for the scheduler, one that is full everywhere.
func TestPoolThatIsNowhere(t *testing.T) {
	s := begin(t)
	s.Class("hostvol-e2e-nowhere", map[string]string{"pool": "third"})
	s.Claim("data", "32Mi", cluster.OfClass("hostvol-e2e-nowhere"))
	s.Pod("writer", "data")
	s.Event("did not have enough free storage", time.Minute)
}

// Inline volumes are off unless the administrator switches them on.
func TestInlineVolumesAreOff(t *testing.T) {
	s := begin(t)
	s.Pod("worker", "", cluster.WithVolume("scratch", "/data", corev1.VolumeSource{
		CSI: &corev1.CSIVolumeSource{Driver: cluster.Driver, VolumeAttributes: map[string]string{"size": "32Mi"}},
	}))
	s.Event(`"Ephemeral" not supported by driver`, time.Minute)
	s.DeletePod("worker")
}
