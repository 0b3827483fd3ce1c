package failures

import (
	"context"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/hostvol/hostvol/test/e2e/cluster"
)

func volumes(s *cluster.Story, node string) []string {
	s.Helper()
	var ids []string
	for _, line := range strings.Split(s.Hostvol(node, "volumes"), "\n")[1:] {
		if id, _, _ := strings.Cut(line, " "); id != "" {
			ids = append(ids, id)
		}
	}
	return ids
}

// The kubelet is killed and comes back: pods go on, others end and start.
func TestKubeletRestarted(t *testing.T) {
	s := cluster.Begin(t, c)
	w := startWriter(s, "writer", cluster.OnNode("n1"))
	going := startWriter(s, "going", cluster.OnNode("n1"))
	w.undisturbed(func() {
		cluster.Node(t, "restart-kubelet", "n1")
		s.DeletePod(going.pod)
		s.Pod("next", going.pod, cluster.OnNode("n1"))
		s.Ready("next")
	})
	twins(t, s)
}

// The plug of a node is pulled, and it comes back with the same disk: the
// volumes are found, mounted anew, and hold what was flushed.
func TestNodeDiesAndComesBack(t *testing.T) {
	t.Parallel() // on another node than the other such test
	s := cluster.Begin(t, c)
	w := startWriter(s, "writer", cluster.OnNode("n3"))
	s.Claim("idle", "8Mi")
	s.Pod("idle", "idle", cluster.OnNode("n3"))
	s.Ready("idle")
	s.In("idle", "echo precious | dd of=/data/file conv=fsync")
	own := startWriterOf(s, cluster.NewClaim("own", "64Mi", cluster.OfClass("hostvol-e2e-ext4")), cluster.OnNode("n3"))
	raw := startWriterOf(s, cluster.NewClaim("raw", "32Mi", cluster.AsBlock), cluster.OnNode("n3"))
	pv := s.Bound("writer", time.Minute)
	unplug(t, "n3")
	notReady(s, "n3")
	cluster.Node(t, "start", "n3")
	s.NodeReady("n3")
	s.DriverPod("n3")
	for _, w := range []writer{w, own, raw} {
		cluster.Eventually(t, 3*time.Minute, w.pod+" writes again", func(context.Context) string {
			out, err := s.TryIn(w.pod, "cat /tmp/count")
			if err != nil || out == "" {
				return "not yet"
			}
			return ""
		})
		w.mount()
	}
	if found := strings.Join(volumes(s, "n3"), " "); !strings.Contains(found, pv.Name) {
		t.Errorf("the node has %s", found)
	}
	s.ReadyWithin("idle", 2*time.Minute)
	if got := s.In("idle", "cat /data/file"); got != "precious" {
		t.Errorf("it reads %q", got)
	}
	twins(t, s, "n1", "n3")
}

// unplug stops a node. It runs again when the test ends, whatever becomes of it.
func unplug(t *testing.T, node string) {
	t.Helper()
	cluster.Node(t, "stop", node)
	t.Cleanup(func() {
		if _, err := cluster.Run("hack/cluster/node.sh", "exec", node, "true"); err != nil {
			cluster.Node(t, "start", node)
		}
	})
}

func notReady(s *cluster.Story, node string) {
	s.Helper()
	cluster.Eventually(s, 2*time.Minute, node+" not ready", func(ctx context.Context) string {
		n, err := s.Kube.CoreV1().Nodes().Get(ctx, node, metav1.GetOptions{})
		if err != nil {
			return err.Error()
		}
		for _, c := range n.Status.Conditions {
			if c.Type == corev1.NodeReady && c.Status != corev1.ConditionTrue {
				return ""
			}
		}
		return "it is ready"
	})
}

// A node is gone for good: the pod of its volume waits, and is told for what.
// Pods of other nodes do not notice. When the node comes back after all, so
// does the pod.
func TestNodeGoneForGood(t *testing.T) {
	t.Parallel() // on another node than the other such test
	s := cluster.Begin(t, c)
	w := startWriter(s, "elsewhere", cluster.OnNode("n1"))
	s.Claim("data", "8Mi")
	s.Pod("owner", "data", cluster.OnNode("n2"))
	s.Ready("owner")
	s.In("owner", "echo precious >/data/file && sync")
	w.undisturbed(func() {
		unplug(t, "n2")
		if err := s.Kube.CoreV1().Nodes().Delete(t.Context(), "n2", metav1.DeleteOptions{}); err != nil {
			t.Fatal(err)
		}
		// The controller of the pod, here the test, makes another one.
		none := int64(0)
		err := s.Kube.CoreV1().Pods(s.Namespace).Delete(t.Context(), "owner", metav1.DeleteOptions{GracePeriodSeconds: &none})
		if err != nil {
			t.Fatal(err)
		}
		s.Pod("heir", "data")
		s.Event("didn't match PersistentVolume's node affinity", time.Minute)
		if p := s.GetPod("heir"); p.Status.Phase != corev1.PodPending || p.Spec.NodeName != "" {
			t.Errorf("the heir is %s on %q", p.Status.Phase, p.Spec.NodeName)
		}
	})
	cluster.Node(t, "start", "n2")
	s.NodeReady("n2")
	s.ReadyWithin("heir", 3*time.Minute)
	if got := s.In("heir", "cat /data/file"); got != "precious" {
		t.Errorf("it reads %q", got)
	}
	twins(t, s, "n1", "n2")
}

// The apiserver is away for a minute: pods write on, and afterwards all is made
// that was asked for.
func TestAPIServerAway(t *testing.T) {
	s := cluster.Begin(t, c)
	w := startWriter(s, "writer")
	w.undisturbed(func() {
		s.Claim("asked-before", "8Mi", cluster.SelectedNode("n1"))
		noteForm(t, cluster.NoForm)
		control(t, "stop")
		t.Cleanup(func() { // refused if it runs, as it does unless the test ended early
			_, _ = cluster.Run("hack/cluster/control-plane.sh", "start", "kube-apiserver")
		})
		time.Sleep(time.Minute)
		control(t, "start")
		cluster.Eventually(t, 2*time.Minute, "apiserver", func(ctx context.Context) string {
			// It says so when it has read its roles, too.
			if out, err := s.Kube.CoreV1().RESTClient().Get().AbsPath("/readyz").DoRaw(ctx); err != nil {
				return err.Error() + ": " + string(out)
			}
			return ""
		})
		noteForm(t, "distributed")
		s.Bound("asked-before", 3*time.Minute)
		s.Claim("asked-after", "8Mi")
		s.Pod("late", "asked-after")
		s.ReadyWithin("late", 3*time.Minute)
		s.Grow("asked-after", "16Mi")
		s.Capacity("asked-after", "16Mi", 3*time.Minute)
	})
	twins(t, s)
}

func noteForm(t *testing.T, form string) {
	t.Helper()
	if err := cluster.NoteForm(form); err != nil {
		t.Fatal(err)
	}
}

func control(t *testing.T, verb string) {
	t.Helper()
	if _, err := cluster.Run("hack/cluster/control-plane.sh", verb, "kube-apiserver"); err != nil {
		t.Fatal(err)
	}
}
