// Package flexvolume tells what users of the FlexVolume driver hostvol/local do, and
// how it comes to the nodes and goes, with kubelets that run all the time. Its tests
// run in order: the last removes what the first installs.
package flexvolume

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

func TestMain(m *testing.M) {
	code := cluster.Main(m, deploy+"driver", &c)
	// The next suite has no use for it, and a failed one may have left it.
	if _, err := cluster.Kubectl("-n", cluster.System, "delete", set, "--ignore-not-found"); err != nil {
		fmt.Fprintln(os.Stderr, err)
		code = 1
	}
	os.Exit(code)
}

const (
	deploy = "test/e2e/deploy/flexvolume/"
	set    = "daemonset/hostvol-flex"
	driver = "hostvol/local"
	// directory of the driver on the nodes.
	directory  = "/var/lib/kubelet/volumeplugins/hostvol~local"
	executable = directory + "/local"
)

// begin begins a story of a user, with the drivers installed.
func begin(t *testing.T) *cluster.Story {
	t.Helper()
	s := cluster.Begin(t, c)
	apply(t, "install")
	rolledOut(t)
	return s
}

func kubectl(t *testing.T, args ...string) string {
	t.Helper()
	out, err := cluster.Kubectl(args...)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func apply(t *testing.T, form string) {
	t.Helper()
	kubectl(t, "apply", "-k", cluster.Root()+"/"+deploy+form)
}

func rolledOut(t *testing.T) {
	t.Helper()
	kubectl(t, "-n", cluster.System, "rollout", "status", set, "--timeout=120s")
}

// local is a volume of a pod, which is made for the first pod that names it.
func local(volume string) func(*corev1.Pod) {
	return cluster.WithVolume("data", "/data", corev1.VolumeSource{FlexVolume: &corev1.FlexVolumeSource{
		Driver: driver, Options: map[string]string{"pool": "default", "volume": volume, "size": "64Mi"},
	}})
}

// onNode runs a shell script on a node.
func onNode(t testing.TB, node, script string) string {
	t.Helper()
	return cluster.Node(t, "exec", node, "sh", "-c", script)
}

// becomes waits until a script on a node prints what is wanted: a pod that is
// ready has begun to install, and is done a moment later.
func becomes(t testing.TB, node, script string, wanted func(out string) bool) string {
	t.Helper()
	out := ""
	cluster.Eventually(t, time.Minute, node+": "+script, func(context.Context) string {
		if out = onNode(t, node, script); !wanted(out) {
			return out
		}
		return ""
	})
	return out
}

// installed is what the driver's directory has then, and nothing else.
func installed(files string) bool { return files == ".hostvol-flex.json\nlocal" }

// mountOf is the line of a node's mount table with the volume of a pod; its first
// field is another for each mount.
func mountOf(s *cluster.Story, node, pod string) string {
	s.Helper()
	lines := onNode(s, node, "cat /proc/self/mountinfo")
	for line := range strings.Lines(lines) {
		if strings.Contains(line, fmt.Sprintf("/pods/%s/volumes/hostvol~local/data ", s.GetPod(pod).UID)) {
			return line
		}
	}
	s.Fatalf("the volume of %s is not mounted on %s:\n%s", pod, node, lines)
	return ""
}

// noFailedInit checks that no call by which a kubelet takes a driver up has failed,
// since its start.
func noFailedInit(t *testing.T) {
	t.Helper()
	for _, node := range cluster.Nodes() {
		if failed := onNode(t, node, `grep -E 'args: \[init\], error|Error dynamically probing' /var/log/kubelet.log | tail -n 3`); failed != "" {
			t.Errorf("on %s: %s", node, failed)
		}
	}
}
