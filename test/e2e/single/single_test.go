// Package single tells what users of the single form do: one pod holds the
// driver and all sidecars, volumes are attached, and the controller grows them.
package single

import (
	"context"
	"os"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/hostvol/hostvol/test/e2e/cluster"
)

var c *cluster.Cluster

func TestMain(m *testing.M) { os.Exit(cluster.Main(m, "test/e2e/deploy/single", &c)) }

func begin(t *testing.T) *cluster.Story {
	t.Helper()
	t.Parallel()
	return cluster.Begin(t, c)
}

// The life of a volume: made where the driver is, attached, limited, mounted
// again, deleted.
func TestLifeOfAVolume(t *testing.T) {
	s := begin(t)
	s.Claim("data", "32Mi")
	s.Pod("writer", "data")
	if node := s.Ready("writer"); node != "n1" {
		t.Errorf("the pod is on %s, the driver on n1", node)
	}
	pv := s.Bound("data", time.Minute)
	if !attached(s, pv.Name) {
		t.Error("there is no VolumeAttachment")
	}
	s.In("writer", "echo hello >/data/greeting && sync")
	if out, err := s.TryIn("writer", "dd if=/dev/zero of=/data/big bs=1M count=64 conv=fsync"); err == nil || !strings.Contains(out, "quota exceeded") {
		t.Errorf("64 MiB into 32 MiB: %v: %s", err, out)
	}
	s.DeletePod("writer")
	s.Pod("writer", "data")
	s.Ready("writer")
	if got := s.In("writer", "cat /data/greeting"); got != "hello" {
		t.Errorf("it reads %q", got)
	}
	s.DeletePod("writer")
	s.DeleteClaim("data")
	s.VolumeGone(pv.Name, time.Minute)
	if listed := s.Hostvol("n1", "volumes"); strings.Contains(listed, pv.Name) {
		t.Errorf("the node still lists\n%s", listed)
	}
}

func attached(s *cluster.Story, volume string) bool {
	s.Helper()
	list, err := s.Kube.StorageV1().VolumeAttachments().List(s.Context(), metav1.ListOptions{})
	if err != nil {
		s.Fatal(err)
	}
	for _, a := range list.Items {
		if name := a.Spec.Source.PersistentVolumeName; name != nil && *name == volume && a.Status.Attached {
			return true
		}
	}
	return false
}

// The controller grows a volume, with a pod and without one.
func TestGrowth(t *testing.T) {
	s := begin(t)
	s.Claim("data", "32Mi")
	s.Pod("writer", "data")
	s.Ready("writer")
	s.Grow("data", "64Mi")
	s.Capacity("data", "64Mi", 2*time.Minute)
	s.In("writer", "dd if=/dev/zero of=/data/big bs=1M count=48 conv=fsync")
	s.DeletePod("writer")
	s.Grow("data", "128Mi")
	s.Capacity("data", "128Mi", 2*time.Minute)
	s.Grow("data", "100Gi")
	s.Event("pool", 2*time.Minute)
	s.Pod("writer", "data")
	s.Ready("writer")
}

// One pod only, and one that may not write.
func TestAccess(t *testing.T) {
	s := begin(t)
	s.Claim("data", "32Mi", cluster.WithMode(corev1.ReadWriteOncePod))
	s.Pod("first", "data")
	s.Ready("first")
	s.Pod("second", "data")
	s.Event("ReadWriteOncePod", time.Minute)
	s.DeletePod("first")
	s.Ready("second")
	s.Claim("shared", "32Mi")
	s.Pod("reader", "", cluster.WithVolume("data", "/data", corev1.VolumeSource{
		PersistentVolumeClaim: &corev1.PersistentVolumeClaimVolumeSource{ClaimName: "shared", ReadOnly: true},
	}))
	s.Ready("reader")
	if out, err := s.TryIn("reader", "touch /data/file"); err == nil || !strings.Contains(out, "Read-only file system") {
		t.Errorf("it writes: %v: %s", err, out)
	}
}

// An existing volume is used by its name, after it was retained.
func TestStaticVolume(t *testing.T) {
	s := begin(t)
	s.Claim("data", "32Mi", cluster.OfClass("hostvol-retain"))
	s.Pod("writer", "data")
	s.Ready("writer")
	pv := s.Bound("data", time.Minute)
	s.In("writer", "echo kept >/data/file && sync")
	s.DeletePod("writer")
	s.DeleteClaim("data")
	s.Phase(pv.Name, corev1.VolumeReleased)
	if err := s.Kube.CoreV1().PersistentVolumes().Delete(t.Context(), pv.Name, metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	s.VolumeGone(pv.Name, time.Minute)
	s.Static("static-single", pv.Spec.CSI.VolumeHandle, "n1", nil)
	s.SetReclaim("static-single", corev1.PersistentVolumeReclaimDelete)
	s.Claim("again", "32Mi", cluster.OfClass(""), cluster.OfVolume("static-single"))
	s.Pod("reader", "again")
	s.Ready("reader")
	if got := s.In("reader", "cat /data/file"); got != "kept" {
		t.Errorf("it reads %q", got)
	}
	s.DeletePod("reader")
	s.DeleteClaim("again")
	s.VolumeGone("static-single", time.Minute)
}

// The driver's pod is deleted under a pod that writes.
func TestDriverDeleted(t *testing.T) {
	s := cluster.Begin(t, c)
	s.Claim("data", "32Mi")
	s.Pod("writer", "data", cluster.Running(`trap exit TERM; while :; do date >/data/now || echo bad >>/tmp/errors; sleep 0.1; done`))
	s.Ready("writer")
	s.KillDriver("n1")
	if _, err := cluster.Kubectl("-n", cluster.System, "delete", "pod", "hostvol-0"); err != nil {
		t.Fatal(err)
	}
	s.Claim("more", "8Mi")
	s.Pod("more", "more")
	s.Ready("more")
	if errors := s.In("writer", "cat /tmp/errors 2>/dev/null || true"); errors != "" {
		t.Errorf("the writer met errors: %s", errors)
	}
	cluster.Eventually(t, time.Minute, "attachments", func(context.Context) string {
		if attached(s, s.GetClaim("more").Spec.VolumeName) {
			return ""
		}
		return "none"
	})
}

// A snapshot is restored, and a volume cloned.
func TestSnapshotAndClone(t *testing.T) {
	s := begin(t)
	s.Claim("data", "32Mi")
	s.Pod("writer", "data")
	s.Ready("writer")
	s.In("writer", "echo before >/data/file && sync")
	s.Snapshot("cut", "data")
	s.SnapshotReady("cut")
	s.In("writer", "echo after >/data/file && sync")
	s.Claim("restored", "32Mi", cluster.From("VolumeSnapshot", "cut"))
	s.Claim("clone", "64Mi", cluster.From("PersistentVolumeClaim", "data"))
	s.Pod("reader", "restored", cluster.WithClaim("clone", "/clone"))
	s.Ready("reader")
	if got := s.In("reader", "cat /data/file /clone/file"); got != "before\nafter" {
		t.Errorf("restored and cloned: %q", got)
	}
	s.DeleteSnapshot("cut")
}
