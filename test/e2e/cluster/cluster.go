// Package cluster is the test cluster as a test sees it: objects are made,
// waited for and asked, programs run in pods, nodes are unplugged. It knows
// Kubernetes and the scripts of hack/cluster; of the driver it knows no more
// than its namespace and its command line.
package cluster

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
)

// System is the driver's namespace.
const System = "hostvol-system"

// Driver is the driver's name; the class named hostvol is its first.
const (
	Driver      = "hostvol.csi.io"
	TopologyKey = "topology.hostvol.csi.io/node"
	Class       = "hostvol"
)

// Cluster is the running test cluster.
type Cluster struct {
	Kube    kubernetes.Interface
	Dynamic dynamic.Interface
	config  *rest.Config
}

// Open finds the cluster that hack/cluster/up.sh has brought up. The process
// must run in the control plane's network namespace.
func Open() (*Cluster, error) {
	config, err := clientcmd.BuildConfigFromFlags("", os.Getenv("KUBECONFIG"))
	if err != nil {
		return nil, fmt.Errorf("read KUBECONFIG: %w; run the tests with make e2e", err)
	}
	config.QPS, config.Burst = 500, 1000
	kube, err := kubernetes.NewForConfig(config)
	if err != nil {
		return nil, err
	}
	dyn, err := dynamic.NewForConfig(config)
	if err != nil {
		return nil, err
	}
	if _, err := kube.Discovery().ServerVersion(); err != nil {
		return nil, fmt.Errorf("ask the apiserver: %w; run the tests with make e2e", err)
	}
	return &Cluster{Kube: kube, Dynamic: dyn, config: config}, nil
}

// Root is the repository, as hack/cluster/exec.sh tells it.
func Root() string { return os.Getenv("HOSTVOL_REPOSITORY") }

// Store is where what the cluster runs was built.
func Store() string { return os.Getenv("HOSTVOL_CLUSTER_STORE") }

// Nodes are the names of the cluster's nodes.
func Nodes() []string { return []string{"n1", "n2", "n3"} }

// Run runs a program of the repository or of PATH, and gives its output without
// the last newline. The error carries what it wrote to standard error.
func Run(name string, args ...string) (string, error) {
	if strings.HasPrefix(name, "hack/") {
		name = filepath.Join(Root(), name)
	}
	cmd := exec.Command(name, args...)
	cmd.Dir = Root()
	var out, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &stderr
	if err := cmd.Run(); err != nil {
		return out.String(), fmt.Errorf("%s %s: %w: %s", filepath.Base(name), strings.Join(args, " "), err, strings.TrimSpace(stderr.String()))
	}
	return strings.TrimRight(out.String(), "\n"), nil
}

// Kubectl runs kubectl.
func Kubectl(args ...string) (string, error) { return Run("hack/cluster/kubectl", args...) }

// Node runs hack/cluster/node.sh.
func Node(t testing.TB, args ...string) string {
	t.Helper()
	out, err := Run("hack/cluster/node.sh", args...)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// worthTelling is how long a wait takes that the log tells of.
const worthTelling = 10 * time.Second

// Eventually polls until check gives "", which it must within the time given;
// otherwise check tells what is missing still.
func Eventually(t testing.TB, within time.Duration, what string, check func(ctx context.Context) string) time.Duration {
	t.Helper()
	start := time.Now()
	ctx, cancel := context.WithDeadline(t.Context(), start.Add(within))
	defer cancel()
	for last := ""; ; {
		missing := check(ctx)
		switch {
		case missing == "":
			took := time.Since(start)
			if took > worthTelling {
				t.Logf("%s: after %.0f s", what, took.Seconds())
			}
			return took
		case ctx.Err() == nil:
			last = missing
		case errors.Is(ctx.Err(), context.Canceled):
			t.Fatalf("%s: ended", what)
		default:
			t.Fatalf("%s: not within %s: %s", what, within, last)
		}
		select {
		case <-ctx.Done():
		case <-time.After(50 * time.Millisecond):
		}
	}
}
