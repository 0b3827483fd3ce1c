//go:build vm

package vm

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"syscall"
	"testing"
)

// writerVariable makes this binary write to the end of a file: its arguments are the path and how many.
const writerVariable = "HOSTVOL_VM_WRITER"

func TestMain(m *testing.M) {
	if os.Getenv(writerVariable) == "" {
		os.Exit(m.Run())
	}
	written, err := write(os.Args[1], os.Args[2])
	var errno syscall.Errno
	if err != nil && !errors.As(err, &errno) {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	fmt.Println(written, int(errno))
}

func write(path, size string) (written int64, err error) {
	total, err := strconv.ParseInt(size, 10, 64)
	if err != nil {
		return 0, err
	}
	chunk := bytes.Repeat([]byte("0123456789abcdef"), 4096)
	f, err := os.OpenFile(path, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o644)
	if err != nil {
		return 0, err
	}
	for written < total && err == nil {
		var n int
		n, err = f.Write(chunk[:min(int64(len(chunk)), total-written)])
		written += int64(n)
		if err == nil && written%mib == 0 {
			err = f.Sync() // delayed allocation may meet the limit only now
		}
	}
	return written, errors.Join(err, f.Sync(), f.Close())
}

// writer is who writes: root, with the arguments of setpriv that make less of it.
type writer []string

// The kernel exempts who has CAP_SYS_RESOURCE from limits on ext4; a container's root does not have it.
func root() writer { return nil }
func bound() writer {
	return writer{"--bounding-set", "-sys_resource", "--inh-caps", "-sys_resource"}
}
func user(uid int) writer {
	id := strconv.Itoa(uid)
	return writer{"--reuid", id, "--regid", id, "--clear-groups"}
}

// run runs a command line as the writer.
func (w writer) run(t *testing.T, line ...string) string {
	t.Helper()
	out, err := w.try(line...)
	must(t, err)
	return out
}

func (w writer) try(line ...string) (string, error) {
	if w != nil {
		line = append(append([]string{"setpriv"}, w...), line...)
	}
	command := exec.Command(line[0], line[1:]...)
	command.Env = append(os.Environ(), writerVariable+"=1")
	out, err := command.CombinedOutput()
	if err != nil {
		err = fmt.Errorf("%v: %w: %s", line, err, out)
	}
	return string(out), err
}

// write appends so many bytes, and tells how many the kernel has taken, and why not all.
func (w writer) write(t *testing.T, path string, bytes int64) (written int64, err error) {
	t.Helper()
	self, err := os.Executable()
	must(t, err)
	var errno int
	out := w.run(t, self, path, strconv.FormatInt(bytes, 10))
	if _, err := fmt.Sscan(out, &written, &errno); err != nil {
		t.Fatalf("%q: %v", out, err)
	}
	if errno != 0 {
		return written, syscall.Errno(errno)
	}
	return written, nil
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
