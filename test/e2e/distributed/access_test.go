package distributed

import (
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/hostvol/hostvol/test/e2e/cluster"
)

// ReadWriteOncePod: a second pod waits until the first is gone.
func TestOnePodOnly(t *testing.T) {
	s := begin(t)
	s.Claim("data", "32Mi", cluster.WithMode(corev1.ReadWriteOncePod))
	s.Pod("first", "data")
	s.Ready("first")
	s.Pod("second", "data")
	s.Event("ReadWriteOncePod", time.Minute)
	if node := s.GetPod("second").Spec.NodeName; node != "" {
		t.Errorf("the second pod was scheduled to %s", node)
	}
	s.DeletePod("first")
	s.Ready("second")
}

// ReadWriteOnce is a promise about nodes: two pods of one node share a volume.
func TestTwoPodsOfOneNodeShare(t *testing.T) {
	s := begin(t)
	s.Claim("data", "32Mi")
	s.Pod("first", "data")
	node := s.Ready("first")
	s.Pod("second", "data")
	if got := s.Ready("second"); got != node {
		t.Fatalf("the second pod is on %s, the volume on %s", got, node)
	}
	s.In("first", "echo hello >/data/file")
	if got := s.In("second", "cat /data/file"); got != "hello" {
		t.Errorf("the second pod reads %q", got)
	}
}

// A read-only mount of a claim, and one of a container only.
func TestReadOnly(t *testing.T) {
	s := begin(t)
	s.Claim("data", "32Mi")
	s.Pod("writer", "data")
	s.Ready("writer")
	s.In("writer", "echo hello >/data/file")
	s.Pod("reader", "", cluster.WithVolume("data", "/data", corev1.VolumeSource{
		PersistentVolumeClaim: &corev1.PersistentVolumeClaimVolumeSource{ClaimName: "data", ReadOnly: true},
	}))
	s.Pod("looker", "data", func(p *corev1.Pod) { p.Spec.Containers[0].VolumeMounts[0].ReadOnly = true })
	for _, pod := range []string{"reader", "looker"} {
		s.Ready(pod)
		if out, err := s.TryIn(pod, "echo x >/data/file"); err == nil || !strings.Contains(out, "Read-only file system") {
			t.Errorf("pod %s writes: %v: %s", pod, err, out)
		}
		if got := s.In(pod, "cat /data/file"); got != "hello" {
			t.Errorf("pod %s reads %q", pod, got)
		}
	}
	s.In("writer", "echo more >>/data/file")
}

// Each container sees its own part of one volume.
func TestSubPath(t *testing.T) {
	s := begin(t)
	s.Claim("data", "32Mi")
	s.Pod("writer", "data", func(p *corev1.Pod) {
		p.Spec.Containers[0].VolumeMounts = []corev1.VolumeMount{
			{Name: "data", MountPath: "/logs", SubPath: "logs"},
			{Name: "data", MountPath: "/all"},
		}
	})
	s.Ready("writer")
	s.In("writer", "echo hello >/logs/file")
	if got := s.In("writer", "cat /all/logs/file && ls /all"); got != "hello\nlogs" {
		t.Errorf("the volume holds %q", got)
	}
}

// A pod that is not root writes by its group; what it writes belongs to it.
func TestGroupOfAPodThatIsNotRoot(t *testing.T) {
	s := begin(t)
	s.Claim("data", "32Mi")
	s.Pod("writer", "data", cluster.OfGroup(1000, 2000))
	s.Ready("writer")
	s.In("writer", "echo hello >/data/file")
	if got := s.In("writer", "stat -c '%u %g' /data/file && stat -c %g /data"); got != "1000 2000\n2000" {
		t.Errorf("owner and group of the file, group of the volume: %q", got)
	}
}

// The limit holds a pod that is not root too, through fsGroup and subPath.
func TestLimitOfSubPath(t *testing.T) {
	s := begin(t)
	s.Claim("data", "32Mi")
	user, group := int64(1000), int64(2000)
	s.Pod("writer", "data", func(p *corev1.Pod) {
		p.Spec.SecurityContext = &corev1.PodSecurityContext{RunAsUser: &user, FSGroup: &group}
		p.Spec.Containers[0].VolumeMounts[0].SubPath = "deep/down"
	})
	s.Ready("writer")
	if out, err := s.TryIn("writer", "dd if=/dev/zero of=/data/big bs=1M count=64 conv=fsync"); err == nil || !strings.Contains(out, "quota exceeded") {
		t.Errorf("64 MiB into 32 MiB: %v: %s", err, out)
	}
}
