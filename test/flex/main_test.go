//go:build !vm

// Package flex tests the built hostvol-flex as the kubelet calls it: one process for each call, on real mounts, with a
// real daemon behind the driver local. Where the machine has no such filesystem (nfs, cifs), a program stands in for
// mount(8) and tells what it was given; the real ones are mounted in the virtual machine, see test/vmflex.
//
// It runs in hack/sandbox.sh only, as the integration tests do.
package flex

import (
	"context"
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/hostvol/hostvol/test/daemon"
)

var executable string // set once, by TestMain

func TestMain(m *testing.M) {
	if err := prepare(); err != nil {
		fmt.Fprintln(os.Stderr, "flex:", err)
		os.Exit(1)
	}
	code := m.Run()
	fmt.Printf("flex: %d calls were made, in %d cases\n", calls.Load(), cases.Load())
	if full() && cases.Load() < 50 && code == 0 {
		fmt.Println("flex: fewer than 50 cases")
		code = 1
	}
	os.Exit(code)
}

// full tells that no tests were selected by name.
func full() bool {
	for _, arg := range os.Args {
		if strings.HasPrefix(arg, "-test.run=") || strings.HasPrefix(arg, "-test.list") {
			return false
		}
	}
	return true
}

func prepare() error {
	if os.Geteuid() != 0 {
		return fmt.Errorf("needs root: it mounts file systems")
	}
	table, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		return err
	}
	if !strings.Contains(string(table), " - overlay sandbox ") {
		return fmt.Errorf("hostile requests may only be made in the sandbox: go test -exec $PWD/hack/sandbox.sh ./test/flex/")
	}
	if err := os.Setenv("GORACE", "atexit_sleep_ms=50"); err != nil {
		return err
	}
	executable, err = daemon.FlexBinary(context.Background())
	return err
}
