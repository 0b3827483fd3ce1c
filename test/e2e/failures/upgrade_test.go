package failures

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/hostvol/hostvol/test/e2e/cluster"
)

// previous builds the driver of the commit before into an image on all nodes,
// and gives the image's name.
func previous(t *testing.T) string {
	t.Helper()
	// A build needs the module proxy, to which the control plane's network
	// namespace has no way: hack/cluster/e2e.sh has built it before.
	archive := filepath.Join(os.Getenv("HOSTVOL_CLUSTER_IMAGES"), "hostvol-previous.tar")
	if _, err := os.Stat(archive); err != nil {
		t.Fatalf("the driver of the commit before was not built: %v; run the tests with make e2e", err)
	}
	for _, node := range cluster.Nodes() {
		cluster.Node(t, "load", node, archive)
	}
	image, err := cluster.Kubectl("-n", cluster.System, "get", "daemonset", "hostvol", "-o", `jsonpath={.spec.template.spec.containers[?(@.name=="hostvol")].image}`)
	if err != nil {
		t.Fatal(err)
	}
	name, _, _ := strings.Cut(image, ":")
	return name + ":previous"
}

// setImage makes the driver run from another image, on all nodes at once.
func setImage(t *testing.T, image string) {
	t.Helper()
	for _, args := range [][]string{
		{"-n", cluster.System, "set", "image", "daemonset/hostvol", "hostvol=" + image},
		{"-n", cluster.System, "delete", "pods", "-l", "app.kubernetes.io/component=driver"},
		{"-n", cluster.System, "rollout", "status", "daemonset/hostvol", "--timeout=180s"},
	} {
		if _, err := cluster.Kubectl(args...); err != nil {
			t.Fatal(err)
		}
	}
}
