// Package integration tests the built hostvol binary through its sockets, on real mounts and real file systems:
// what each call answers, what is on the disk and in the mount table afterwards, and that nothing else is
// touched, however hostile the request.
//
// It runs in hack/sandbox.sh only (see SYSTEM_TESTS in the Makefile), since a driver that is wrong could
// unmount or delete what belongs to the machine.
package integration

import (
	"context"
	"flag"
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/hostvol/hostvol/test/daemon"
)

func TestMain(m *testing.M) {
	if err := prepare(); err != nil {
		fmt.Fprintln(os.Stderr, "integration:", err)
		os.Exit(1)
	}
	// Parallel tests mostly wait: for a retry, a purge, an fsync.
	if err := flag.Set("test.parallel", "8"); err != nil {
		panic(err)
	}
	os.Exit(m.Run())
}

func prepare() error {
	if os.Geteuid() != 0 {
		return fmt.Errorf("needs root: it mounts file systems")
	}
	table, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		return err
	}
	if !strings.Contains(string(table), " / / ") || !strings.Contains(string(table), " - overlay sandbox ") {
		return fmt.Errorf("hostile requests may only be made in the sandbox: go test -exec $PWD/hack/sandbox.sh ./test/integration/")
	}
	binary, err := daemon.Binary(context.Background())
	if err != nil {
		return err
	}
	// The race detector makes a process wait a second before it exits, for reports that come late. Every stop of
	// a daemon would take that long.
	if err := os.Setenv("GORACE", "atexit_sleep_ms=50"); err != nil {
		return err
	}
	return os.Setenv("HOSTVOL_BINARY", binary)
}
