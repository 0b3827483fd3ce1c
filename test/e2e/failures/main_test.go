// Package failures breaks parts of a cluster under users of the driver. Its
// tests run one after the other, but for those that break one node each.
package failures

import (
	"os"
	"testing"

	"github.com/hostvol/hostvol/test/e2e/cluster"
)

var c *cluster.Cluster

func TestMain(m *testing.M) { os.Exit(cluster.Main(m, "test/e2e/deploy/distributed", &c)) }
