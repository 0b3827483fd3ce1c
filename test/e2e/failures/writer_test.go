package failures

import (
	"strconv"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/hostvol/hostvol/test/e2e/cluster"
)

// writer is a pod that writes a line to its volume twenty times a second,
// flushes it, reads it back, and notes what failed and how long it ever waited.
type writer struct {
	*cluster.Story
	pod string
}

// The longest pause is in hundredths of a second, as /proc/uptime counts them.
const writing = `n=0 longest=0 last=
trap exit TERM
while :; do
	n=$((n + 1))
	{ echo $n | dd of=/data/last conv=fsync 2>/dev/null && [ "$(cat /data/last)" = $n ]; } || echo "write $n" >>/tmp/errors
	read -r now _ </proc/uptime
	now=${now%.*}${now#*.}
	[ -z "$last" ] || [ $((now - last)) -le $longest ] || longest=$((now - last))
	last=$now
	echo $longest >/tmp/longest
	echo $n >/tmp/count
	sleep 0.05
done`

// longestPause is more than a busy machine with a slow disk needs for a flush,
// and less than a driver takes to be replaced.
const longestPause = 5 * time.Second

func startWriter(s *cluster.Story, name string, change ...func(*corev1.Pod)) writer {
	s.Helper()
	s.Claim(name, "64Mi")
	s.Pod(name, name, append([]func(*corev1.Pod){cluster.Running(writing)}, change...)...)
	s.Ready(name)
	return writer{s, name}
}

// count is how often it has written.
func (w writer) count() int {
	w.Helper()
	n, err := strconv.Atoi(w.In(w.pod, "cat /tmp/count"))
	if err != nil {
		w.Fatal(err)
	}
	return n
}

// mount is the line of the volume in the pod's mount table: its number changes
// when it is mounted anew.
func (w writer) mount() string {
	w.Helper()
	lines := w.In(w.pod, "grep ' /data ' /proc/self/mountinfo")
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
		w.Errorf("pod %s had the mount\n%s\nand has now\n%s", w.pod, mount, after)
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
	pause, err := strconv.Atoi(w.In(w.pod, "cat /tmp/longest"))
	if err != nil {
		w.Fatal(err)
	}
	if longest := time.Duration(pause) * 10 * time.Millisecond; longest > longestPause {
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
