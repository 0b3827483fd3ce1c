package failures

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/hostvol/hostvol/test/e2e/cluster"
)

// installPrevious installs the driver and the manifests of the commit before,
// which hack/cluster/e2e.sh has prepared: a build needs the module proxy, to
// which the control plane's network namespace has no way.
func installPrevious(t *testing.T) {
	t.Helper()
	store := os.Getenv("HOSTVOL_CLUSTER_STORE")
	archive := filepath.Join(store, "images/hostvol-previous.tar")
	if _, err := os.Stat(archive); err != nil {
		t.Fatalf("the driver of the commit before was not built: %v; run the tests with make e2e", err)
	}
	for _, node := range cluster.Nodes() {
		cluster.Node(t, "load", node, archive)
	}
	for _, args := range [][]string{
		{"apply", "-k", filepath.Join(store, "previous")},
		{"-n", cluster.System, "delete", "pods", "-l", "app.kubernetes.io/component=driver"}, // not one after the other
		{"-n", cluster.System, "rollout", "status", "daemonset/hostvol", "--timeout=180s"},
	} {
		if _, err := cluster.Kubectl(args...); err != nil {
			t.Fatal(err)
		}
	}
}
