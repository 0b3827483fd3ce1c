package clone_test

import (
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/hostvol/hostvol/pkg/host/hosttest"
)

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func makeTree(t *testing.T, dir string) {
	t.Helper()
	hosttest.MakeTree(t, dir)
}

func describe(t *testing.T, dir string) map[string]string {
	t.Helper()
	return hosttest.DescribeTree(t, dir)
}

func compare(t *testing.T, src, dst string) {
	t.Helper()
	hosttest.CompareTrees(t, describe(t, src), describe(t, dst))
}

func blocks(t *testing.T, path string) int64 {
	t.Helper()
	var st unix.Stat_t
	must(t, unix.Lstat(path, &st))
	return st.Blocks
}

func within(t *testing.T, what string, d time.Duration, f func() bool) {
	t.Helper()
	for end := time.Now().Add(d); !f(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("%s: not within %v", what, d)
		}
	}
}
