//go:build !vm

package flex

import (
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"testing"
	"time"
)

const (
	// startLimit is how many times as long as the smallest Go program the executable may take for init.
	startLimit = 3
	sizeLimit  = 15 << 20
)

// The kubelet starts the executable for every call, and each node has a copy for each driver.
func TestStartUp(t *testing.T) {
	n := newNode(t)
	info, err := os.Stat(executable)
	must(t, err)
	t.Logf("the executable has %.1f MiB", float64(info.Size())/(1<<20))
	if info.Size() > sizeLimit {
		t.Errorf("that is more than %d MiB", sizeLimit>>20)
	}
	source, hello := filepath.Join(n.dir, "hello.go"), filepath.Join(n.dir, "hello")
	n.write(source, "package main\n\nimport \"fmt\"\n\nfunc main() { fmt.Println(\"hello\") }\n")
	build := exec.Command("go", "build", "-trimpath", "-ldflags", "-s -w", "-o", hello, source)
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	n.settings.Log = ""
	driver := n.driver("local")
	// On a busy machine a round can go wrong; a program that is too slow is so in each.
	const rounds, runs = 5, 60
	for round := range rounds {
		var least, ours []time.Duration
		for range runs {
			least = append(least, timed(t, hello))
			ours = append(ours, timed(t, driver, "init"))
		}
		ratio := float64(median(ours)) / float64(median(least))
		t.Logf("init takes %s, a program that prints hello %s: %.2f times as long", median(ours), median(least), ratio)
		if ratio <= startLimit {
			return
		}
		if round == rounds-1 {
			t.Errorf("that is more than %d times", startLimit)
		}
	}
}

func timed(t testing.TB, argv ...string) time.Duration {
	t.Helper()
	begin := time.Now()
	if out, err := exec.Command(argv[0], argv[1:]...).CombinedOutput(); err != nil {
		t.Fatalf("%v: %v: %s", argv, err, out)
	}
	return time.Since(begin)
}

func median(of []time.Duration) time.Duration {
	slices.Sort(of)
	return of[len(of)/2]
}
