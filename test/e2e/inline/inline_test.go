// Package inline tells what users of CSI inline volumes do, where the
// administrator has switched them on.
package inline

import (
	"context"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/hostvol/hostvol/test/e2e/cluster"
)

var c *cluster.Cluster

// What an object CSIDriver says of inline volumes cannot be changed, so it is
// made anew, before and after.
func TestMain(m *testing.M) {
	code := 1
	if err := removeDriverObject(); err == nil {
		code = cluster.Main(m, "test/e2e/deploy/inline", &c)
	}
	if err := removeDriverObject(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		code = 1
	}
	os.Exit(code)
}

func removeDriverObject() error {
	_, err := cluster.Kubectl("delete", "csidriver", cluster.Driver, "--ignore-not-found")
	return err
}

func inline(attributes map[string]string) func(*corev1.Pod) {
	return cluster.WithVolume("scratch", "/data", corev1.VolumeSource{
		CSI: &corev1.CSIVolumeSource{Driver: cluster.Driver, VolumeAttributes: attributes},
	})
}

// An inline volume is as large as its attributes say, holds what the pod
// writes, and is gone with the pod.
func TestInlineVolume(t *testing.T) {
	s := cluster.Begin(t, c)
	s.Pod("worker", "", inline(map[string]string{"size": "32Mi"}), cluster.OnNode("n1"))
	s.Ready("worker")
	s.In("worker", "echo hello >/data/file && dd if=/dev/zero of=/data/some bs=1M count=20 conv=fsync")
	if out, err := s.TryIn("worker", "dd if=/dev/zero of=/data/big bs=1M count=64 conv=fsync"); err == nil || !strings.Contains(out, "quota exceeded") {
		t.Errorf("64 MiB into 32 MiB: %v: %s", err, out)
	}
	if listed := s.Hostvol("n1", "volumes"); !strings.Contains(listed, "csi-") {
		t.Errorf("volumes of the node:\n%s", listed)
	}
	s.DeletePod("worker")
	cluster.Eventually(t, time.Minute, "inline volume gone", goneFrom(s, "n1"))
}

// A pod whose attributes are wrong is told so.
func TestInlineVolumeWithoutSize(t *testing.T) {
	s := cluster.Begin(t, c)
	s.Pod("worker", "", inline(nil))
	s.Event("size", time.Minute)
	s.DeletePod("worker")
}

// The driver is killed under the pod, and the pod deleted meanwhile: the volume
// goes as soon as the driver is back.
func TestInlineVolumeAndDriverKilled(t *testing.T) {
	s := cluster.Begin(t, c)
	s.Pod("worker", "", inline(map[string]string{"size": "32Mi"}), cluster.OnNode("n2"))
	s.Ready("worker")
	s.KillDriver("n2")
	s.In("worker", "echo hello >/data/file")
	s.DeletePod("worker")
	cluster.Eventually(t, 2*time.Minute, "inline volume gone", goneFrom(s, "n2"))
}

func goneFrom(s *cluster.Story, node string) func(context.Context) string {
	return func(context.Context) string {
		listed, err := s.TryHostvol(node, "volumes")
		if err != nil {
			return err.Error()
		}
		if strings.Contains(listed, "csi-") {
			return listed
		}
		return cluster.Node(s, "exec", node, "sh", "-c", "ls -d /var/lib/hostvol/*/csi-* 2>/dev/null || true")
	}
}
