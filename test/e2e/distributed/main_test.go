// Package distributed tells what users of the distributed form do, each test
// one story, on a real cluster.
package distributed

import (
	"os"
	"testing"

	"github.com/hostvol/hostvol/test/e2e/cluster"
)

var c *cluster.Cluster

func TestMain(m *testing.M) { os.Exit(cluster.Main(m, "test/e2e/deploy/distributed", &c)) }

func begin(t *testing.T) *cluster.Story {
	t.Helper()
	t.Parallel()
	return cluster.Begin(t, c)
}
