package failures

import (
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/hostvol/hostvol/test/e2e/cluster"
)

// writer is a pod that writes a line to its volume twenty times a second,
// flushes it, reads it back, and notes what failed and how long it ever waited.
type writer struct {
	*cluster.Story
	pod string
	// what is a script that tells what the pod has of its volume: the line of its
	// mount table, whose number changes when it is mounted anew, or its device.
	what string
	// start makes the pod.
	start func()
}

// writing is what a writer runs, on the file or the device. The longest pause is
// in hundredths of a second, as /proc/uptime counts them.
func writing(to string) string {
	return "to=" + to + `
n=0 longest=0 last=
trap exit TERM
while :; do
	n=$((n + 1))
	{ echo $n | dd of=$to bs=512 conv=sync,fsync 2>/dev/null && [ "$(head -n 1 $to)" = $n ]; } || echo "write $n" >>/tmp/errors
	read -r now _ </proc/uptime
	now=${now%.*}${now#*.}
	[ -z "$last" ] || [ $((now - last)) -le $longest ] || longest=$((now - last))
	last=$now
	echo $longest >/tmp/longest
	echo $n >/tmp/count
	sleep 0.05
done`
}

// longestPause is more than a busy machine with a slow disk needs for a flush,
// and less than a driver takes to be replaced.
const longestPause = 5 * time.Second

func startWriter(s *cluster.Story, name string, change ...func(*corev1.Pod)) writer {
	s.Helper()
	return startWriterOf(s, cluster.NewClaim(name, "64Mi"), change...)
}

// startWriterOf is startWriter for a claim that is not the usual one.
func startWriterOf(s *cluster.Story, claim *corev1.PersistentVolumeClaim, change ...func(*corev1.Pod)) writer {
	s.Helper()
	if _, err := s.Kube.CoreV1().PersistentVolumeClaims(s.Namespace).Create(s.Context(), claim, metav1.CreateOptions{}); err != nil {
		s.Fatal(err)
	}
	name := claim.Name
	w := writer{Story: s, pod: name, what: "grep ' /data ' /proc/self/mountinfo"}
	w.start = func() {
		s.Helper()
		s.Pod(name, name, append(change, cluster.Running(writing("/data/last")))...)
		s.Ready(name)
	}
	if mode := claim.Spec.VolumeMode; mode != nil && *mode == corev1.PersistentVolumeBlock {
		w.what = "stat -c '%t:%T' /dev/raw"
		w.start = func() {
			s.Helper()
			s.Pod(name, "", append(change, cluster.WithDevice(name, "/dev/raw"), cluster.Running(writing("/dev/raw")))...)
			s.Ready(name)
		}
	}
	w.start()
	return w
}

// again deletes the pod and makes it anew.
func (w writer) again() {
	w.Helper()
	w.DeletePod(w.pod)
	w.start()
}

// writers are one for each kind of volume.
type writers []writer

func startWriters(s *cluster.Story) writers {
	s.Helper()
	return writers{
		startWriter(s, "writer"),
		startWriterOf(s, cluster.NewClaim("own-filesystem", "320Mi", cluster.OfClass("hostvol-e2e-xfs"))),
		startWriterOf(s, cluster.NewClaim("raw", "32Mi", cluster.AsBlock)),
	}
}

// undisturbed is that of each.
func (ws writers) undisturbed(disturbance func()) {
	for _, w := range ws {
		inner := disturbance
		disturbance = func() { w.Helper(); w.undisturbed(inner) }
	}
	disturbance()
}

// again is that of each.
func (ws writers) again() {
	for _, w := range ws {
		w.Helper()
		w.again()
	}
}

// count is how often it has written.
func (w writer) count() int {
	w.Helper()
	return w.Number(w.pod, "/tmp/count")
}

// mount tells what the pod has of its volume.
func (w writer) mount() string {
	w.Helper()
	lines := w.In(w.pod, w.what)
	if strings.Contains(lines, "\n") {
		w.Errorf("the volume is mounted more than once in pod %s:\n%s", w.pod, lines)
	}
	return lines
}

// undisturbed runs the disturbance and checks that the pod wrote all the while,
// met no error, was not started anew, and has the same mount.
func (w writer) undisturbed(disturbance func()) {
	w.Helper()
	before, mount, uid := w.count(), w.mount(), w.GetPod(w.pod).UID
	disturbance()
	w.stillWrites(before)
	if after := w.mount(); after != mount {
		w.Errorf("pod %s had\n%s\nand has now\n%s", w.pod, mount, after)
	}
	if p := w.GetPod(w.pod); p.UID != uid || p.Status.ContainerStatuses[0].RestartCount != 0 {
		w.Errorf("pod %s was started anew", w.pod)
	}
}

func (w writer) stillWrites(before int) {
	w.Helper()
	if after := w.count(); after <= before {
		w.Errorf("pod %s wrote %d times before, %d times altogether", w.pod, before, after)
	}
	if errors := w.In(w.pod, "cat /tmp/errors 2>/dev/null || true"); errors != "" {
		w.Errorf("pod %s met errors: %s", w.pod, errors)
	}
	if longest := time.Duration(w.Number(w.pod, "/tmp/longest")) * 10 * time.Millisecond; longest > longestPause {
		w.Errorf("pod %s once waited %s between two writes", w.pod, longest)
	} else {
		w.Logf("pod %s wrote %d times and never waited longer than %s", w.pod, w.count(), longest)
	}
}

// twins fails when a volume is on two of the nodes, all if none are named, or
// mounted twice at one target.
func twins(t *testing.T, s *cluster.Story, nodes ...string) {
	t.Helper()
	if len(nodes) == 0 {
		nodes = cluster.Nodes()
	}
	where := map[string]string{}
	for _, node := range nodes {
		for _, line := range strings.Split(s.Hostvol(node, "volumes"), "\n")[1:] {
			id, _, _ := strings.Cut(line, " ")
			if other, twice := where[id]; twice {
				t.Errorf("volume %s is on %s and on %s", id, other, node)
			}
			where[id] = node
		}
		targets := map[string]bool{}
		for _, target := range strings.Split(cluster.Node(t, "exec", node, "awk", `$5 ~ "kubernetes.io~csi" { print $5 }`, "/proc/self/mountinfo"), "\n") {
			if targets[target] && target != "" {
				t.Errorf("on %s %s is mounted twice", node, target)
			}
			targets[target] = true
		}
	}
}
