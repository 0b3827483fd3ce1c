// Package measure takes figures on a real cluster, with the manifests as users
// apply them, prints them and keeps them in out/e2e/report.md.
package measure

import (
	"os"
	"testing"

	"github.com/hostvol/hostvol/test/e2e/cluster"
)

var c *cluster.Cluster

func TestMain(m *testing.M) { os.Exit(cluster.Main(m, "deploy/kubernetes/distributed", &c)) }
