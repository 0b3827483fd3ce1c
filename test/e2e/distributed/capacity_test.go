package distributed

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/hostvol/hostvol/test/e2e/cluster"
)

// A pod whose volume does not fit on the node it would like goes to another.
func TestPodGoesWhereItsVolumeFits(t *testing.T) {
	s := begin(t)
	most := capacity(s, "n1").Value() * 9 / 10
	size := fmt.Sprintf("%d", most)
	s.Claim("filler", size)
	s.Pod("filler", "filler", cluster.OnNode("n1"))
	s.Ready("filler")
	s.Claim("data", size)
	s.Pod("writer", "data", prefer("n1"))
	if node := s.Ready("writer"); node == "n1" {
		t.Error("two volumes of nine tenths of a pool are on one node")
	}
	s.Claim("more", size)
	s.Pod("stuck", "more", cluster.OnNode("n1"))
	s.Event("not have enough free storage", time.Minute)
	// Space that comes free is noticed, and the pod starts.
	s.DeletePod("filler")
	s.DeleteClaim("filler")
	s.ReadyWithin("stuck", 3*time.Minute)
}

// capacity is what the scheduler believes that a node can still make.
func capacity(s *cluster.Story, node string) *resource.Quantity {
	s.Helper()
	var found *resource.Quantity
	cluster.Eventually(s, 2*time.Minute, "capacity of "+node, func(ctx context.Context) string {
		list, err := s.Kube.StorageV1().CSIStorageCapacities(cluster.System).List(ctx, metav1.ListOptions{})
		if err != nil {
			return err.Error()
		}
		for _, c := range list.Items {
			if of(c, node) && c.StorageClassName == cluster.Class && c.Capacity != nil {
				found = c.Capacity
				return ""
			}
		}
		return fmt.Sprintf("%d objects, none of class and node", len(list.Items))
	})
	return found
}

func of(c storagev1.CSIStorageCapacity, node string) bool {
	return c.NodeTopology != nil && c.NodeTopology.MatchLabels[cluster.TopologyKey] == node
}

func prefer(node string) func(*corev1.Pod) {
	return func(p *corev1.Pod) {
		p.Spec.Affinity = &corev1.Affinity{NodeAffinity: &corev1.NodeAffinity{
			PreferredDuringSchedulingIgnoredDuringExecution: []corev1.PreferredSchedulingTerm{{Weight: 100, Preference: corev1.NodeSelectorTerm{
				MatchExpressions: []corev1.NodeSelectorRequirement{{Key: "kubernetes.io/hostname", Operator: corev1.NodeSelectorOpIn, Values: []string{node}}},
			}}},
		}}
	}
}

// The objects that carry the capacity belong to the DaemonSet, and go with it.
func TestCapacityObjectsHaveAnOwner(t *testing.T) {
	s := begin(t)
	capacity(s, "n2")
	list, err := s.Kube.StorageV1().CSIStorageCapacities(cluster.System).List(t.Context(), metav1.ListOptions{})
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range list.Items {
		if len(c.OwnerReferences) != 1 || c.OwnerReferences[0].Kind != "DaemonSet" {
			t.Errorf("%s is owned by %v", c.Name, c.OwnerReferences)
		}
	}
}

// A volume grows under a pod that writes, and the pod may write more.
func TestGrowthUnderAWriter(t *testing.T) {
	s := begin(t)
	s.Claim("data", "32Mi")
	s.Pod("writer", "data")
	node := s.Ready("writer")
	pv := s.Bound("data", time.Minute)
	if out, err := s.TryIn("writer", "dd if=/dev/zero of=/data/big bs=1M count=48 conv=fsync; s=$?; rm /data/big; exit $s"); err == nil {
		t.Fatalf("48 MiB fit into 32: %s", out)
	}
	s.In("writer", "(while :; do date >/data/now || echo bad >>/tmp/failed; sleep 0.05; done) >/dev/null 2>&1 &")
	s.Grow("data", "128Mi")
	s.Capacity("data", "128Mi", 2*time.Minute)
	s.In("writer", "dd if=/dev/zero of=/data/big bs=1M count=96 conv=fsync")
	if failed := s.In("writer", "cat /tmp/failed 2>/dev/null || true"); failed != "" {
		t.Errorf("the writer met errors: %s", failed)
	}
	if out, err := s.TryIn("writer", "dd if=/dev/zero of=/data/more bs=1M count=64 conv=fsync; s=$?; rm /data/more; exit $s"); err == nil {
		t.Errorf("160 MiB fit into 128: %s", out)
	}
	for _, line := range strings.Split(s.Hostvol(node, "volumes"), "\n") {
		if strings.Contains(line, pv.Name) && !strings.Contains(line, "128Mi") {
			t.Errorf("on the node: %s", line)
		}
	}
	if err := s.TryGrow("data", "16Mi"); err == nil {
		t.Error("a claim was made smaller")
	}
}

// A growth that does not fit is told at the claim, and the pod goes on; asking
// for less, as long as it is more than before, mends it.
func TestGrowthThatDoesNotFit(t *testing.T) {
	s := begin(t)
	s.Claim("data", "32Mi")
	s.Pod("writer", "data")
	s.Ready("writer")
	s.Grow("data", "100Gi")
	s.Event("more than the pool can ever hold", 2*time.Minute)
	s.In("writer", "echo still >/data/file")
	s.Grow("data", "64Mi")
	s.Capacity("data", "64Mi", 3*time.Minute)
	s.In("writer", "dd if=/dev/zero of=/data/big bs=1M count=48 conv=fsync")
}

// A growth that does not fit does not keep a pod from starting.
func TestPodStartsWhoseVolumeCannotGrow(t *testing.T) {
	s := begin(t)
	s.Claim("data", "32Mi")
	s.Pod("writer", "data")
	s.Ready("writer")
	s.In("writer", "echo still >/data/file")
	s.DeletePod("writer")
	s.Grow("data", "100Gi")
	s.Pod("writer", "data")
	s.Ready("writer")
	if got := s.In("writer", "cat /data/file"); got != "still" {
		t.Errorf("it reads %q", got)
	}
	// While the pod runs the kubelet does not ask again; with the next pod it
	// does, and finds that the claim asks for less by now.
	s.Grow("data", "64Mi")
	s.DeletePod("writer")
	s.Pod("writer", "data")
	s.Ready("writer")
	s.Capacity("data", "64Mi", 3*time.Minute)
}
