package clone_test

import (
	"fmt"
	"os"
	"os/exec"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/hostvol/hostvol/pkg/host/clone"
	"github.com/hostvol/hostvol/pkg/host/hosttest"
)

// Each iteration clones 10 000 files of 16 KiB by cp and by Tree, in turn, and
// reports the time of Tree as a part of the time of cp.
func BenchmarkReflink(b *testing.B) {
	against(b, hosttest.XFS(b, 2048, ""), "always", clone.Options{Reflink: clone.Always})
}

func BenchmarkCopy(b *testing.B) {
	against(b, hosttest.Ext4(b, 2048, ""), "auto", clone.Options{})
}

func BenchmarkCopyWithoutReflink(b *testing.B) {
	against(b, hosttest.XFS(b, 2048, ""), "never", clone.Options{Reflink: clone.Never})
}

func against(b *testing.B, dir, reflink string, o clone.Options) {
	content := make([]byte, 16<<10)
	for i := range content {
		content[i] = byte(i)
	}
	for d := range 100 {
		sub := fmt.Sprintf("%s/src/%d", dir, d)
		if err := os.MkdirAll(sub, 0o755); err != nil {
			b.Fatal(err)
		}
		for i := range 100 {
			if err := os.WriteFile(fmt.Sprintf("%s/%d", sub, i), content, 0o644); err != nil {
				b.Fatal(err)
			}
		}
	}
	src := hosttest.Open(b, dir+"/src")
	var cp, tree, cpCPU, treeCPU time.Duration
	n := 0
	for b.Loop() {
		n++
		hosttest.Run(b, "sync", "-f", dir)
		start := time.Now()
		cmd := exec.Command("cp", "-a", "--reflink="+reflink, dir+"/src", dir+"/cp")
		if out, err := cmd.CombinedOutput(); err != nil {
			b.Fatalf("cp: %v: %s", err, out)
		}
		cp += time.Since(start)
		cpCPU += cmd.ProcessState.SystemTime() + cmd.ProcessState.UserTime()
		if err := os.Mkdir(dir+"/tree", 0o755); err != nil {
			b.Fatal(err)
		}
		hosttest.Run(b, "sync", "-f", dir)
		start = time.Now()
		before := cpuTime(b)
		if _, err := clone.Tree(b.Context(), src, hosttest.Open(b, dir+"/tree"), o); err != nil {
			b.Fatal(err)
		}
		tree += time.Since(start)
		treeCPU += cpuTime(b) - before
		hosttest.Run(b, "rm", "-rf", dir+"/cp", dir+"/tree")
	}
	b.ReportMetric(cp.Seconds()*1000/float64(n), "ms-cp")
	b.ReportMetric(tree.Seconds()*1000/float64(n), "ms-tree")
	b.ReportMetric(treeCPU.Seconds()/cpCPU.Seconds(), "of-cp-cpu")
	b.ReportMetric(tree.Seconds()/cp.Seconds(), "of-cp")
}

// cpuTime of this process, the kernel's part included.
func cpuTime(b *testing.B) time.Duration {
	b.Helper()
	var u unix.Rusage
	if err := unix.Getrusage(unix.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
