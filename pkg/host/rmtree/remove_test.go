package rmtree_test

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"
	"golang.org/x/time/rate"

	"github.com/hostvol/hostvol/pkg/host/hosttest"
	"github.com/hostvol/hostvol/pkg/host/rmtree"
	"github.com/hostvol/hostvol/pkg/host/rmtree/dirstack"
)

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func write(t testing.TB, path string) {
	t.Helper()
	must(t, os.MkdirAll(filepath.Dir(path), 0o755))
	must(t, os.WriteFile(path, []byte("content"), 0o600))
}

func exists(path string) bool {
	_, err := os.Lstat(path)
	return err == nil
}

func remove(t testing.TB, dir, name string, o rmtree.Options) error {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	return rmtree.Remove(ctx, hosttest.Open(t, dir), name, o)
}

// tokens is a limiter that gives n tokens and then fails: the next comes after
// the deadline of remove.
func tokens(n int) rmtree.Options {
	return rmtree.Options{Limiter: rate.NewLimiter(rate.Every(time.Hour), n)}
}

func TestRemove(t *testing.T) {
	dir, outside := t.TempDir(), t.TempDir()
	write(t, outside+"/keep")
	write(t, dir+"/x/a/b/file")
	write(t, dir+"/y")
	must(t, os.MkdirAll(dir+"/x/empty/empty", 0o755))
	must(t, os.Symlink("/", dir+"/x/root"))
	must(t, os.Symlink(outside, dir+"/x/a/outside"))
	must(t, os.Link(outside+"/keep", dir+"/x/hard"))
	must(t, unix.Mkfifo(dir+"/x/fifo", 0o600))
	must(t, unix.Mknod(dir+"/x/null", unix.S_IFCHR|0o600, int(unix.Mkdev(1, 3))))
	must(t, os.WriteFile(dir+"/x/"+strings.Repeat("n", 255), nil, 0))
	for i := range 2000 {
		write(t, fmt.Sprintf("%s/x/wide/%d", dir, i))
	}
	must(t, remove(t, dir, "x", rmtree.Options{}))
	if exists(dir + "/x") {
		t.Error("x is still there")
	}
	if !exists(dir+"/y") || !exists(outside+"/keep") {
		t.Error("something outside was removed")
	}
	must(t, remove(t, dir, "x", rmtree.Options{})) // absent
	must(t, remove(t, dir, "y", rmtree.Options{})) // a file
	must(t, os.Symlink(outside, dir+"/link"))
	must(t, remove(t, dir, "link", rmtree.Options{}))
	if exists(dir+"/y") || exists(dir+"/link") || !exists(outside+"/keep") {
		t.Error("a single file or link")
	}
	for _, name := range []string{"", ".", "..", "../x", "/", "a/b", "a\x00"} {
		if err := remove(t, dir, name, rmtree.Options{}); !errors.Is(err, fs.ErrInvalid) {
			t.Errorf("name %q: %v", name, err)
		}
	}
}

func TestDeep(t *testing.T) {
	dir := t.TempDir()
	s, err := dirstack.New(hosttest.Open(t, dir))
	must(t, err)
	defer s.Close()
	long := strings.Repeat("d", 200)
	for range 5000 {
		must(t, unix.Mkdirat(s.FD(), long, 0o755))
		must(t, unix.Mkdirat(s.FD(), "side", 0o755))
		must(t, s.Enter(long))
	}
	start := time.Now()
	must(t, remove(t, dir, long, rmtree.Options{}))
	if took := time.Since(start); took > 20*time.Second {
		t.Errorf("5000 levels took %v", took)
	}
	if exists(dir + "/" + long) {
		t.Error("still there")
	}
}

func TestProtectedFiles(t *testing.T) {
	for _, dir := range []string{
		hosttest.Ext4(t, 64, ""), hosttest.XFS(t, 300, ""), hosttest.BtrfsNoQuota(t, 128),
	} {
		write(t, dir+"/x/immutable/file")
		write(t, dir+"/x/append")
		write(t, dir+"/x/shared")
		must(t, os.Link(dir+"/x/shared", dir+"/other"))
		hosttest.Run(t, "chattr", "+i", dir+"/x/immutable/file", dir+"/x/immutable", dir+"/other")
		hosttest.Run(t, "chattr", "+a", dir+"/x/append", dir+"/x")
		must(t, remove(t, dir, "x", rmtree.Options{}))
		if exists(dir + "/x") {
			t.Errorf("%s: x is still there", dir)
		}
		if flags, _, _ := strings.Cut(hosttest.Run(t, "lsattr", dir+"/other"), " "); !strings.Contains(flags, "i") {
			t.Errorf("%s: the other name lost its flag: %s", dir, flags)
		}
		hosttest.Run(t, "chattr", "-i", dir+"/other")

		// The caller's own directory stays protected.
		write(t, dir+"/mine/x")
		hosttest.Run(t, "chattr", "+i", dir+"/mine")
		if err := remove(t, dir+"/mine", "x", rmtree.Options{}); !errors.Is(err, unix.EPERM) {
			t.Errorf("%s: removal from an immutable parent: %v", dir, err)
		}
		hosttest.Run(t, "chattr", "-i", dir+"/mine")
	}
}

func TestMounts(t *testing.T) {
	dir, outside := t.TempDir(), t.TempDir()
	write(t, outside+"/keep")
	write(t, dir+"/bind/x/target/below") // covered by the mount
	hosttest.Mount(t, outside, dir+"/bind/x/target", "", unix.MS_BIND, "")
	hosttest.Mount(t, "none", dir+"/tmpfs/x/a/b", "tmpfs", 0, "size=1m")
	write(t, dir+"/tmpfs/x/a/b/keep")
	for _, c := range []struct{ parent, names, keep string }{
		{"bind", "x/target", dir + "/bind/x/target/keep"},
		{"tmpfs", "x/a/b", dir + "/tmpfs/x/a/b/keep"},
	} {
		err := remove(t, dir+"/"+c.parent, "x", rmtree.Options{})
		if !errors.Is(err, rmtree.ErrMountPoint) || !strings.Contains(err.Error(), c.names) {
			t.Errorf("%s: %v", c.parent, err)
		}
		if !exists(c.keep) {
			t.Errorf("%s: removed what is mounted", c.parent)
		}
	}
}

func TestMountOnFile(t *testing.T) {
	dir, outside := t.TempDir(), t.TempDir()
	write(t, outside+"/keep")
	write(t, dir+"/x/target")
	must(t, unix.Mount(outside+"/keep", dir+"/x/target", "", unix.MS_BIND, ""))
	t.Cleanup(func() { must(t, unix.Unmount(dir+"/x/target", 0)) })
	err := remove(t, dir, "x", rmtree.Options{})
	if !errors.Is(err, rmtree.ErrMountPoint) || !strings.Contains(err.Error(), "x/target") {
		t.Error(err)
	}
	if b, err := os.ReadFile(outside + "/keep"); err != nil || string(b) != "content" {
		t.Errorf("mounted file: %q, %v", b, err)
	}
}

// The mount was made through another mount of the same filesystem, so that it
// cannot be seen from here.
func TestMountSeenElsewhere(t *testing.T) {
	dir := hosttest.Ext4(t, 64, "")
	view := filepath.Join(t.TempDir(), "view")
	must(t, os.MkdirAll(dir+"/x/target", 0o755))
	hosttest.Mount(t, dir, view, "", unix.MS_BIND, "")
	hosttest.Mount(t, "none", dir+"/x/target", "tmpfs", 0, "size=1m")
	write(t, dir+"/x/target/keep")
	if err := remove(t, view, "x", rmtree.Options{}); !errors.Is(err, rmtree.ErrMountPoint) {
		t.Error(err)
	}
	if !exists(dir + "/x/target/keep") {
		t.Error("the mount is gone")
	}
}

func TestLimiterAndContext(t *testing.T) {
	dir := t.TempDir()
	for i := range 20 {
		write(t, fmt.Sprintf("%s/x/%d", dir, i))
	}
	if err := remove(t, dir, "x", tokens(10)); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("out of tokens: %v", err)
	}
	if left, _ := os.ReadDir(dir + "/x"); len(left) != 10 {
		t.Errorf("%d entries left, want 10", len(left))
	}
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	slow := rmtree.Options{Limiter: rate.NewLimiter(rate.Every(30*time.Millisecond), 1)}
	parent := hosttest.Open(t, dir)
	if err := rmtree.Remove(ctx, parent, "x", slow); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("deadline: %v", err)
	}
	cancel()
	if err := rmtree.Remove(ctx, parent, "x", rmtree.Options{}); err == nil {
		t.Error("removed under an ended context")
	}
	must(t, remove(t, dir, "x", tokens(11)))
	if exists(dir + "/x") {
		t.Error("still there")
	}
}

func TestConcurrently(t *testing.T) {
	dir := t.TempDir()
	for i := range 3000 {
		write(t, fmt.Sprintf("%s/x/%d/%d/f", dir, i%7, i))
	}
	var g sync.WaitGroup
	for range 4 {
		g.Go(func() {
			if err := remove(t, dir, "x", rmtree.Options{}); err != nil {
				t.Error(err)
			}
		})
	}
	g.Wait()
	if exists(dir + "/x") {
		t.Error("still there")
	}
}

// Somebody swaps a directory of the tree for a link to a directory outside, without rest. A call may give up on that;
// it must not go outside.
func TestSwappedForLink(t *testing.T) {
	dir, outside := t.TempDir(), t.TempDir()
	for i := range 50 {
		write(t, fmt.Sprintf("%s/%d", outside, i))
	}
	stop := make(chan struct{})
	var g sync.WaitGroup
	g.Go(func() {
		for {
			select {
			case <-stop:
				return
			default:
			}
			_ = os.Mkdir(dir+"/x", 0o755)
			_ = os.Mkdir(dir+"/x/d", 0o755)
			_ = os.Symlink(outside, dir+"/x/link")
			_ = unix.Renameat2(unix.AT_FDCWD, dir+"/x/d", unix.AT_FDCWD, dir+"/x/link", unix.RENAME_EXCHANGE)
		}
	})
	for range 300 {
		err := remove(t, dir, "x", rmtree.Options{})
		gaveUp := slices.ContainsFunc([]unix.Errno{unix.ENOTEMPTY, unix.ENOTDIR, unix.EISDIR, unix.ELOOP}, func(e unix.Errno) bool { return errors.Is(err, e) })
		if err != nil && !gaveUp {
			t.Error(err)
		}
	}
	close(stop)
	g.Wait()
	must(t, remove(t, dir, "x", rmtree.Options{}))
	if left, _ := os.ReadDir(outside); len(left) != 50 {
		t.Errorf("%d files left outside, want 50", len(left))
	}
}
