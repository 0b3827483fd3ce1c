package failures

import (
	"fmt"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/hostvol/hostvol/test/e2e/cluster"
)

// The driver is killed on one node after the other while pods write and volumes
// are being made.
func TestDriverKilled(t *testing.T) {
	s := cluster.Begin(t, c)
	w := startWriters(s)
	const claims = 30
	w.undisturbed(func() {
		for i := range claims {
			s.Claim(fmt.Sprintf("claim-%02d", i), "8Mi", cluster.SelectedNode(cluster.Nodes()[i%3]))
			if i%10 == 5 { // its claim, at least, is on the way
				s.KillDriver(cluster.Nodes()[i/10])
			}
		}
		for i := range claims {
			pv := s.Bound(fmt.Sprintf("claim-%02d", i), 3*time.Minute)
			if node := cluster.VolumeNode(pv); node != cluster.Nodes()[i%3] {
				t.Errorf("claim %d is on %s", i, node)
			}
		}
	})
	twins(t, s)
	s.Pod("late", "claim-00")
	s.Ready("late")
	onDisk(t, s)
}

// onDisk fails when the disks hold more volumes than the cluster knows.
func onDisk(t *testing.T, s *cluster.Story) {
	t.Helper()
	list, err := s.Kube.CoreV1().PersistentVolumes().List(t.Context(), metav1.ListOptions{})
	if err != nil {
		t.Fatal(err)
	}
	known := map[string]bool{}
	for _, pv := range list.Items {
		known[pv.Name] = true
	}
	for _, node := range cluster.Nodes() {
		for _, id := range volumes(s, node) {
			if !known[id] {
				t.Errorf("%s holds %s, of which the cluster does not know", node, id)
			}
		}
	}
}

// The pods of the driver are deleted, as an upgrade or an eviction does.
func TestDriverPodsDeleted(t *testing.T) {
	s := cluster.Begin(t, c)
	w := startWriters(s)
	w.undisturbed(func() {
		if _, err := cluster.Kubectl("-n", cluster.System, "delete", "pods", "-l", "app.kubernetes.io/component=driver"); err != nil {
			t.Fatal(err)
		}
		s.Claim("more", "8Mi")
		s.Pod("more", "more")
		s.Ready("more")
	})
	w.again()
	twins(t, s)
}

// An upgrade from the commit before, with pods running: their mounts stay and
// their writes go on.
func TestUpgrade(t *testing.T) {
	s := cluster.Begin(t, c)
	installPrevious(t)
	w := startWriters(s)
	w = append(w, startWriter(s, "other", cluster.OnNode("n2")))
	w.undisturbed(func() {
		if err := cluster.Install("test/e2e/deploy/distributed"); err != nil {
			t.Fatal(err)
		}
	})
	s.Grow("writer", "96Mi")
	s.Capacity("writer", "96Mi", 2*time.Minute)
	w.again()
	twins(t, s)
}
