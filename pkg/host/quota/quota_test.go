package quota

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/hostvol/hostvol/pkg/host/hosttest"
)

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func TestUnsupported(t *testing.T) {
	tmpfs := filepath.Join(t.TempDir(), "tmpfs")
	hosttest.Mount(t, "none", tmpfs, "tmpfs", 0, "size=1m")
	for name, dir := range map[string]string{
		"ext4": hosttest.Ext4(t, 64, ""), "xfs": hosttest.XFS(t, 300, ""),
		"btrfs": hosttest.BtrfsNoQuota(t, 128), "tmpfs": tmpfs,
	} {
		fd := hosttest.Open(t, dir)
		p, err := Open(fd)
		if !errors.Is(err, ErrUnsupported) || p != nil {
			t.Errorf("%s: %v, %v", name, p, err)
		}
		if hint := strings.Contains(err.Error(), "prjquota"); (name == "ext4" || name == "xfs") && !hint {
			t.Errorf("%s: the error does not say what to do: %v", name, err)
		}
		if name != "ext4" && name != "xfs" {
			continue
		}
		if on, err := (&Project{fd: fd}).Enforced(); on || err != nil {
			t.Errorf("%s: enforced %v, %v", name, on, err)
		}
		// As on a kernel without quotactl_fd.
		device, err := deviceOf(fd)
		must(t, err)
		if !strings.HasPrefix(device, "/dev/loop") {
			t.Errorf("%s: device %s", name, device)
		}
		if err := (&Project{fd: fd, device: device}).check(); !errors.Is(err, ErrUnsupported) {
			t.Errorf("%s by device: %v", name, err)
		}
	}
	if !kernelHasQuotactlFD() {
		t.Error("quotactl_fd was not found")
	}
}

// Project ids need no quota: XFS keeps and inherits them without counting. ext4
// does so only in a kernel that has quota (enforce_test.go).
func withProjects(t *testing.T) map[string]string {
	return map[string]string{"xfs": hosttest.XFS(t, 300, "")}
}

func TestSetProject(t *testing.T) {
	for name, dir := range withProjects(t) {
		must(t, os.Mkdir(dir+"/v", 0o755))
		fd := hosttest.Open(t, dir+"/v")
		must(t, SetProject(fd, 1<<31, true))
		must(t, SetProject(fd, 1<<31, true))
		must(t, os.Mkdir(dir+"/v/below", 0o755))
		for _, path := range []string{"/v", "/v/below"} {
			id, inherit, err := ProjectOf(hosttest.Open(t, dir+path))
			if id != 1<<31 || !inherit || err != nil {
				t.Errorf("%s%s: %d, %v, %v", name, path, id, inherit, err)
			}
		}
		must(t, SetProject(fd, 0, false))
		if id, inherit, err := ProjectOf(fd); id != 0 || inherit || err != nil {
			t.Errorf("%s cleared: %d, %v, %v", name, id, inherit, err)
		}
	}
	if _, _, err := ProjectOf(hosttest.Open(t, "/proc")); err == nil {
		t.Error("/proc has project ids")
	}
}

func TestTree(t *testing.T) {
	for name, dir := range withProjects(t) {
		t.Run(name, func(t *testing.T) { testTree(t, dir) })
	}
}

func testTree(t *testing.T, dir string) {
	ctx := t.Context()
	must(t, os.WriteFile(dir+"/outside", nil, 0o600))
	must(t, os.MkdirAll(dir+"/v/a/b/mounted", 0o755))
	must(t, os.WriteFile(dir+"/v/a/file", nil, 0))
	must(t, os.Symlink(dir+"/outside", dir+"/v/a/link"))
	must(t, os.Symlink("/", dir+"/v/root"))
	must(t, unix.Mkfifo(dir+"/v/fifo", 0o600))
	must(t, unix.Mknod(dir+"/v/device", unix.S_IFCHR|0o600, int(unix.Mkdev(1, 3))))
	hosttest.Mount(t, dir, dir+"/v/a/b/mounted", "", unix.MS_BIND, "")
	v := hosttest.Open(t, dir+"/v")

	out, err := Outside(ctx, v, 7, 2)
	must(t, err)
	if len(out) != 2 || out[0] != "." {
		t.Errorf("outside before: %q", out)
	}
	must(t, SetTree(ctx, v, 7))
	must(t, SetTree(ctx, v, 7))
	if out, err = Outside(ctx, v, 7, 100); err != nil || len(out) != 0 {
		t.Errorf("outside after: %q, %v", out, err)
	}
	file, err := os.Open(dir + "/outside")
	must(t, err)
	defer file.Close()
	if id, _, err := ProjectOf(int(file.Fd())); id != 0 || err != nil {
		t.Errorf("the link was followed, or the mount crossed: project %d, %v", id, err)
	}

	inner, err := os.Open(dir + "/v/a/file")
	must(t, err)
	defer inner.Close()
	must(t, SetProject(int(inner.Fd()), 8, false))
	must(t, SetProject(hosttest.Open(t, dir+"/v/a/b"), 7, false))
	out, err = Outside(ctx, v, 7, 100)
	must(t, err)
	slices.Sort(out)
	if want := []string{"a/b", "a/file"}; !slices.Equal(out, want) {
		t.Errorf("outside: %q, want %q", out, want)
	}
	if out, err = Outside(ctx, v, 7, 0); err != nil || out != nil {
		t.Errorf("none asked for: %q, %v", out, err)
	}
	ended, cancel := context.WithCancel(ctx)
	cancel()
	if err := SetTree(ended, v, 9); !errors.Is(err, context.Canceled) {
		t.Errorf("ended context: %v", err)
	}
}

// The fallback of kernels before 6.17 skips what it cannot open without an effect.
func TestEntryReopen(t *testing.T) {
	dir := t.TempDir()
	must(t, unix.Mkfifo(dir+"/fifo", 0o600))
	must(t, os.WriteFile(dir+"/file", nil, 0o600))
	fd := hosttest.Open(t, dir)
	for name, want := range map[string]error{"fifo": errNoProject, "file": nil} {
		e, err := openEntry(fd, name)
		must(t, err)
		got, err := e.reopen()
		if !errors.Is(err, want) {
			t.Errorf("%s: %v, want %v", name, err, want)
		}
		_ = unix.Close(got)
		e.close()
	}
}

func effective(t *testing.T) uint32 {
	t.Helper()
	header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var data [2]unix.CapUserData
	must(t, unix.Capget(&header, &data[0]))
	return data[0].Effective
}

func TestWithout(t *testing.T) {
	hosttest.Root(t)
	const bit = 1 << unix.CAP_SYS_NICE // one that a container's root may lack less often
	want := errors.New("from inside")
	for range 50 {
		var inside uint32
		err := without(unix.CAP_SYS_NICE, func() error {
			inside = effective(t)
			return want
		})
		if !errors.Is(err, want) || inside == 0 || inside&bit != 0 {
			t.Fatalf("effective %#x, %v", inside, err)
		}
	}
	tasks, err := filepath.Glob("/proc/self/task/*/status")
	must(t, err)
	for _, task := range tasks {
		b, err := os.ReadFile(task)
		if err != nil {
			continue // the thread has ended
		}
		_, after, _ := strings.Cut(string(b), "CapEff:")
		line, _, _ := strings.Cut(after, "\n")
		eff, err := strconv.ParseUint(strings.TrimSpace(line), 16, 64)
		if err != nil || eff&bit == 0 {
			t.Errorf("%s has capabilities %s, %v", task, line, err)
		}
	}
}
