package measure

import (
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/hostvol/hostvol/test/e2e/cluster"
)

// containers are the processes of the driver's pod, by the names, of 15 characters, of their
// executables.
func containers() []string {
	return []string{"hostvol", "csi-provisioner", "csi-resizer", "csi-snapshotter", "csi-node-driver"}
}

// usage is what one process has taken.
type usage struct {
	cpu            time.Duration // since its start
	resident, peak float64       // MiB, now and at its most
}

// usageOf reads what the driver's processes have taken on a node: the time on a
// processor from schedstat of each thread, in nanoseconds, and the resident set.
func usageOf(t testing.TB, node string) map[string]usage {
	t.Helper()
	script := `for p in /proc/[0-9]*; do
	name=$(cat $p/comm 2>/dev/null) || continue
	case $name in hostvol|csi-*)
		echo $name $(cat $p/task/*/schedstat 2>/dev/null | awk '{s+=$1} END {printf "%.0f", s}') $(awk '/VmRSS/ {now=$2} /VmHWM/ {most=$2} END {print now, most}' $p/status)
	esac
done`
	all := map[string]usage{}
	for _, line := range strings.Split(cluster.Node(t, "exec", node, "sh", "-c", script), "\n") {
		words := strings.Fields(line)
		if len(words) != 4 {
			continue
		}
		cpu, err1 := strconv.ParseInt(words[1], 10, 64)
		kib, err2 := strconv.ParseFloat(words[2], 64)
		most, err3 := strconv.ParseFloat(words[3], 64)
		if err1 != nil || err2 != nil || err3 != nil {
			t.Fatalf("usage of %s: %q", node, line)
		}
		all[words[0]] = usage{time.Duration(cpu), kib / 1024, most / 1024}
	}
	return all
}
