package flexvolume

import (
	"context"
	"slices"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/hostvol/hostvol/test/e2e/cluster"
)

// The DaemonSet brings the driver to nodes whose kubelets run. What it finds as it
// should be it does not touch; what is removed comes back.
func TestInstalledWhileTheKubeletRuns(t *testing.T) {
	kubelets := map[string]string{}
	for _, node := range cluster.Nodes() {
		kubelets[node] = onNode(t, node, "cat /run/kubelet.pid")
	}
	apply(t, "install")
	rolledOut(t)
	for _, node := range cluster.Nodes() {
		becomes(t, node, "ls -A "+directory, installed)
		before := onNode(t, node, "stat -c '%i %Y %Z %a' "+executable+" "+directory+"/.hostvol-flex.json "+directory)
		kubectl(t, "-n", cluster.System, "delete", "pods", "-l", "app.kubernetes.io/component=flexvolume", "--field-selector=spec.nodeName="+node)
		rolledOut(t)
		if after := onNode(t, node, "stat -c '%i %Y %Z %a' "+executable+" "+directory+"/.hostvol-flex.json "+directory); before != after {
			t.Errorf("%s: a new pod of the same version has changed something:\n%s\n%s", node, before, after)
		}
		if after := onNode(t, node, "cat /run/kubelet.pid"); after != kubelets[node] {
			t.Errorf("the kubelet of %s was started again", node)
		}
	}
	onNode(t, "n1", "rm "+executable)
	cluster.Eventually(t, 90*time.Second, "executable repaired", func(context.Context) string {
		return onNode(t, "n1", "[ -x "+executable+" ] || echo it is not there")
	})
	noFailedInit(t)
}

// A pod writes a file, is deleted, and comes back on it, within the size of its
// volume.
func TestPodComesBack(t *testing.T) {
	s := begin(t)
	volume := local(s.Namespace)
	s.Pod("worker", "", volume, cluster.OnNode("n1"))
	s.Ready("worker")
	s.In("worker", "echo hello >/data/file && dd if=/dev/zero of=/data/some bs=1M count=40 conv=fsync")
	if out, err := s.TryIn("worker", "dd if=/dev/zero of=/data/big bs=1M count=80 conv=fsync"); err == nil || !strings.Contains(out, "quota exceeded") {
		t.Errorf("120 MiB into 64 MiB: %v: %s", err, out)
	}
	s.In("worker", "rm -f /data/big /data/some")
	mountOf(s, "n1", "worker")
	s.DeletePod("worker")
	if left := onNode(t, "n1", "grep hostvol~local /proc/self/mountinfo || true"); left != "" {
		t.Errorf("still mounted: %s", left)
	}
	s.Pod("worker", "", volume, cluster.OnNode("n1"))
	s.Ready("worker")
	if got := s.In("worker", "cat /data/file"); got != "hello" {
		t.Errorf("it reads %q", got)
	}
	if listed := s.Hostvol("n1", "volumes"); !strings.Contains(listed, s.Namespace) {
		t.Errorf("volumes of the node:\n%s", listed)
	}
	// The kubelet is killed, and unmounts by what it finds.
	cluster.Node(t, "restart-kubelet", "n1")
	s.DeletePod("worker")
	if left := onNode(t, "n1", "grep hostvol~local /proc/self/mountinfo || true"); left != "" {
		t.Errorf("still mounted: %s", left)
	}
	noFailedInit(t)
}

// What is asked wrongly is told to the pod.
func TestRefused(t *testing.T) {
	s := begin(t)
	s.Pod("worker", "", cluster.OnNode("n1"), cluster.WithVolume("data", "/data", corev1.VolumeSource{FlexVolume: &corev1.FlexVolumeSource{
		Driver: driver, Options: map[string]string{"pool": "none-such", "volume": s.Namespace, "size": "64Mi"},
	}}))
	s.Event("none-such", 2*time.Minute)
	s.DeletePod("worker")
}

// A claim is bound to a volume that the administrator has made by hand.
func TestPersistentVolume(t *testing.T) {
	s := begin(t)
	s.FlexVolume("flex-"+s.Namespace, "n2", map[string]string{"pool": "default", "volume": s.Namespace, "size": "64Mi"})
	s.Claim("data", "64Mi", cluster.OfClass(""), cluster.OfVolume("flex-"+s.Namespace))
	for _, pod := range []string{"first", "second"} {
		s.Pod(pod, "data")
		if node := s.Ready(pod); node != "n2" {
			t.Errorf("%s is on %s", pod, node)
		}
		s.In(pod, "echo "+pod+" >>/data/file && sync")
		if pod == "second" {
			if got := s.In(pod, "cat /data/file"); got != "first\nsecond" {
				t.Errorf("it reads %q", got)
			}
		}
		s.DeletePod(pod)
	}
	s.Pod("reader", "", cluster.WithVolume("data", "/data", corev1.VolumeSource{
		PersistentVolumeClaim: &corev1.PersistentVolumeClaimVolumeSource{ClaimName: "data", ReadOnly: true},
	}))
	s.Ready("reader")
	if out, err := s.TryIn("reader", "touch /data/other"); err == nil || !strings.Contains(out, "Read-only file system") {
		t.Errorf("it writes: %v: %s", err, out)
	}
	s.DeletePod("reader")
}

// The drivers are upgraded under a pod: it writes on, to the same mount, and is
// unmounted by the new version.
func TestUpgrade(t *testing.T) {
	loadNext(t)
	s := begin(t)
	before := onNode(t, "n1", "sha256sum <"+executable)
	s.Pod("writer", "", local(s.Namespace), cluster.OnNode("n1"),
		cluster.Running(`trap exit TERM; while :; do date >/data/now || echo bad >>/tmp/errors; sleep 0.05; done`))
	s.Ready("writer")
	mount := mountOf(s, "n1", "writer")
	apply(t, "next")
	rolledOut(t)
	becomes(t, "n1", "sha256sum <"+executable, func(sum string) bool { return sum != before })
	if now := mountOf(s, "n1", "writer"); now != mount {
		t.Errorf("mounted before: %snow: %s", mount, now)
	}
	if errors := s.In("writer", "cat /tmp/errors 2>/dev/null || true"); errors != "" {
		t.Errorf("the writer met errors: %s", errors)
	}
	s.DeletePod("writer")
	s.Pod("reader", "", local(s.Namespace), cluster.OnNode("n1"))
	s.Ready("reader")
	s.In("reader", "cat /data/now")
	s.DeletePod("reader")
	apply(t, "install")
	rolledOut(t)
	becomes(t, "n1", "sha256sum <"+executable, func(sum string) bool { return sum == before })
	noFailedInit(t)
}

// loadNext loads the next version, which hack/cluster/e2e.sh has built, into the nodes.
func loadNext(t *testing.T) {
	t.Helper()
	archive := cluster.Store() + "/images/hostvol-next.tar"
	for _, node := range cluster.Nodes() {
		cluster.Node(t, "load", node, archive)
	}
}

// The drivers are removed: at once where no pod has a volume, elsewhere when it is
// gone.
func TestRemove(t *testing.T) {
	s := begin(t)
	s.Pod("worker", "", local(s.Namespace), cluster.OnNode("n1"))
	s.Ready("worker")
	apply(t, "remove")
	for _, node := range []string{"n2", "n3"} {
		gone(t, node)
	}
	uid := string(s.GetPod("worker").UID)
	cluster.Eventually(t, time.Minute, "refusal on n1", func(context.Context) string {
		log, err := cluster.Kubectl("-n", cluster.System, "logs", "-l", "app.kubernetes.io/component=flexvolume", "-c", "uninstall", "--tail=-1", "--prefix")
		if err != nil {
			return err.Error()
		}
		if !strings.Contains(log, "volumes of the driver are mounted") || !strings.Contains(log, uid) {
			return log
		}
		return ""
	})
	if got := onNode(t, "n1", "ls -A "+directory); !installed(got) {
		t.Errorf("n1 has %s", got)
	}
	s.In("worker", "echo hello >/data/file")
	s.DeletePod("worker")
	gone(t, "n1")
	rolledOut(t)
	kubectl(t, "delete", "-k", cluster.Root()+"/"+deploy+"remove")
	// The kubelets have forgotten it.
	s.Pod("late", "", local(s.Namespace), cluster.OnNode("n1"))
	s.Event("no volume plugin matched", time.Minute)
	s.DeletePod("late")
}

// gone waits until the driver is gone from a node with all that belongs to it.
func gone(t *testing.T, node string) {
	t.Helper()
	cluster.Eventually(t, 2*time.Minute, "driver gone from "+node, func(context.Context) string {
		return onNode(t, node, "ls -A /var/lib/kubelet/volumeplugins")
	})
}

// What the stories have made nobody else deletes: an administrator does.
func TestVolumesAreDeletedByHand(t *testing.T) {
	s := cluster.Begin(t, c)
	list, err := s.Kube.CoreV1().PersistentVolumes().List(t.Context(), metav1.ListOptions{})
	if err != nil {
		t.Fatal(err)
	}
	deleted := 0
	for _, node := range cluster.Nodes() {
		for _, line := range strings.Split(s.Hostvol(node, "volumes"), "\n")[1:] {
			id, _, _ := strings.Cut(line, " ")
			if id == "" || slices.ContainsFunc(list.Items, func(pv corev1.PersistentVolume) bool { return pv.Name == id }) {
				continue
			}
			if out := s.Hostvol(node, "delete", id); !strings.Contains(out, "is deleted") {
				t.Errorf("%s on %s: %s", id, node, out)
			}
			deleted++
		}
	}
	if deleted == 0 {
		t.Error("the stories have left nothing to delete")
	}
}
