package clone_test

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/hostvol/hostvol/pkg/host/clone"
	"github.com/hostvol/hostvol/pkg/host/hosttest"
	"github.com/hostvol/hostvol/pkg/host/rmtree/dirstack"
)

func openFiles(t *testing.T) int {
	t.Helper()
	fds, err := os.ReadDir("/proc/self/fd")
	must(t, err)
	return len(fds)
}

// tree clones between two paths and checks that nothing stays open.
func tree(t *testing.T, src, dst string, o clone.Options) (clone.Stats, error) {
	t.Helper()
	from, to := hosttest.Open(t, src), hosttest.Open(t, dst)
	before := openFiles(t)
	stats, err := clone.Tree(t.Context(), from, to, o)
	if after := openFiles(t); after != before {
		t.Errorf("%d files stay open", after-before)
	}
	return stats, err
}

func mkdirs(t *testing.T, paths ...string) {
	t.Helper()
	for _, p := range paths {
		must(t, os.MkdirAll(p, 0o755))
	}
}

func TestTree(t *testing.T) {
	xfs, btrfs, ext4 := hosttest.XFS(t, 512, ""), hosttest.BtrfsNoQuota(t, 512), hosttest.Ext4(t, 256, "")
	for _, dir := range []string{xfs, btrfs, ext4} { // or looking at the original would change it
		must(t, unix.Mount("", dir, "", unix.MS_REMOUNT|unix.MS_NOATIME, ""))
	}
	for _, c := range []struct {
		name, from, to string
		o              clone.Options
		shared         bool
	}{
		{"xfs always", xfs, xfs, clone.Options{Reflink: clone.Always, Sync: true}, true},
		{"xfs never", xfs, xfs, clone.Options{Reflink: clone.Never}, false},
		{"xfs auto one worker", xfs, xfs, clone.Options{Workers: 1}, true},
		{"btrfs always", btrfs, btrfs, clone.Options{Reflink: clone.Always}, true},
		{"btrfs never", btrfs, btrfs, clone.Options{Reflink: clone.Never}, false},
		{"ext4 auto", ext4, ext4, clone.Options{Workers: 7, Sync: true}, false},
		{"xfs to ext4", xfs, ext4, clone.Options{}, false},
		{"ext4 to btrfs", ext4, btrfs, clone.Options{}, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			src, dst := c.from+"/src "+c.name, c.to+"/dst "+c.name
			mkdirs(t, src, dst)
			makeTree(t, src)
			must(t, unix.Setxattr(src, "trusted.hostvol", []byte("record"), 0))
			must(t, unix.Setxattr(dst, "system.posix_acl_default", hosttest.ACL(7, 7, 7, 7, 7), 0))
			stats, err := tree(t, src, dst, c.o)
			must(t, err)
			if _, err := unix.Getxattr(dst, "trusted.hostvol", nil); !errors.Is(err, unix.ENODATA) {
				t.Errorf("the record was copied: %v", err)
			}
			must(t, unix.Removexattr(src, "trusted.hostvol"))
			compare(t, src, dst)
			want := int64(0)
			if c.shared {
				want = 200 + 10 // of many, and the other regular files with content
			}
			if stats.Allocated < 60000 || stats.Allocated > 4<<20 {
				t.Errorf("%d bytes are allocated", stats.Allocated)
			}
			if stats.Reflinked != want || stats.Dirs != 7 || stats.Files != 200+22 || stats.Bytes < 1<<30+64<<20 {
				t.Errorf("stats %+v, want %d reflinked", stats, want)
			}
			if b := blocks(t, dst+"/sparse"); b > 1<<20/512 {
				t.Errorf("sparse has %d blocks", b)
			}
			if b := blocks(t, dst+"/hole"); b > 8 {
				t.Errorf("hole has %d blocks", b)
			}
			if got := shares(t, dst+"/plain"); got != c.shared {
				t.Errorf("plain shares its blocks: %v", got)
			}
			must(t, os.RemoveAll(src))
			must(t, os.RemoveAll(dst))
		})
	}
}

// shares asks FIEMAP whether the first extent of a file is shared.
func shares(t *testing.T, path string) bool {
	t.Helper()
	unix.Sync()
	return strings.Contains(hosttest.Run(t, "filefrag", "-v", path), "shared")
}

func TestNotEmpty(t *testing.T) {
	dir := t.TempDir()
	mkdirs(t, dir+"/src", dir+"/dst")
	must(t, os.WriteFile(dir+"/src/f", nil, 0o600))
	must(t, os.WriteFile(dir+"/dst/f", []byte("precious"), 0o600))
	if _, err := tree(t, dir+"/src", dir+"/dst", clone.Options{}); !errors.Is(err, fs.ErrExist) {
		t.Error(err)
	}
	if b, _ := os.ReadFile(dir + "/dst/f"); string(b) != "precious" {
		t.Error("an existing file was overwritten")
	}
}

func TestCopyWithinOriginal(t *testing.T) {
	dir := t.TempDir()
	mkdirs(t, dir+"/a/b/dst")
	if _, err := tree(t, dir, dir+"/a/b/dst", clone.Options{}); !errors.Is(err, fs.ErrInvalid) {
		t.Error(err)
	}
}

func TestAlwaysWhereImpossible(t *testing.T) {
	dir := hosttest.Ext4(t, 64, "")
	mkdirs(t, dir+"/src", dir+"/dst")
	must(t, os.WriteFile(dir+"/src/f", []byte("x"), 0o600))
	_, err := tree(t, dir+"/src", dir+"/dst", clone.Options{Reflink: clone.Always})
	if !errors.Is(err, clone.ErrNoReflink) {
		t.Error(err)
	}
}

func TestNoCOW(t *testing.T) {
	dir := hosttest.BtrfsNoQuota(t, 128)
	mkdirs(t, dir+"/src", dir+"/dst")
	must(t, os.WriteFile(dir+"/src/f", nil, 0o600))
	hosttest.Run(t, "chattr", "+C", dir+"/src/f")
	must(t, os.WriteFile(dir+"/src/f", make([]byte, 1<<20), 0o600))
	_, err := tree(t, dir+"/src", dir+"/dst", clone.Options{Reflink: clone.Always})
	must(t, err)
	compare(t, dir+"/src", dir+"/dst")
}

func TestMountsAndLinks(t *testing.T) {
	dir, outside := t.TempDir(), t.TempDir()
	must(t, os.WriteFile(outside+"/secret", []byte("secret"), 0o600))
	mkdirs(t, dir+"/src/dir", dir+"/dst")
	must(t, os.WriteFile(dir+"/src/file", nil, 0o600))
	must(t, os.Symlink(outside, dir+"/src/link"))
	hosttest.Mount(t, outside, dir+"/src/dir", "", unix.MS_BIND, "")
	must(t, unix.Mount(outside+"/secret", dir+"/src/file", "", unix.MS_BIND, ""))
	t.Cleanup(func() { must(t, unix.Unmount(dir+"/src/file", 0)) })
	_, err := tree(t, dir+"/src", dir+"/dst", clone.Options{})
	must(t, err)
	if in, err := os.ReadDir(dir + "/dst/dir"); err != nil || len(in) != 0 {
		t.Errorf("what stands for the mount: %v, %v", in, err)
	}
	if _, err := os.Lstat(dir + "/dst/file"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the file mounted on a file: %v", err)
	}
	if to, err := os.Readlink(dir + "/dst/link"); to != outside || err != nil {
		t.Errorf("link: %s, %v", to, err)
	}
}

// Paths here are far longer than PATH_MAX, and one file has names at both ends.
func TestDeep(t *testing.T) {
	dir := t.TempDir()
	mkdirs(t, dir+"/src", dir+"/dst")
	const levels = 1000
	name := strings.Repeat("d", 100)
	s, err := dirstack.New(hosttest.Open(t, dir+"/src"))
	must(t, err)
	defer s.Close()
	for i := range levels {
		must(t, unix.Mkdirat(s.FD(), name, 0o750))
		must(t, s.Enter(name))
		fd, err := unix.Openat(s.FD(), "f", unix.O_CREAT|unix.O_WRONLY, 0o600)
		must(t, err)
		must(t, unix.Close(fd))
		if i >= levels-3 { // several names whose directories can be reached by pieces only
			must(t, unix.Linkat(hosttest.Open(t, dir+"/src/"+name), "f", s.FD(), fmt.Sprint("hard-", i), 0))
			must(t, unix.Linkat(s.FD(), "f", hosttest.Open(t, dir+"/src"), fmt.Sprint("up-", i), 0))
		}
	}
	stats, err := tree(t, dir+"/src", dir+"/dst", clone.Options{})
	must(t, err)
	if stats.Dirs != levels || stats.Files != levels+6 {
		t.Errorf("stats %+v", stats)
	}
	c, err := dirstack.New(hosttest.Open(t, dir+"/dst"))
	must(t, err)
	defer c.Close()
	for range levels {
		must(t, c.Enter(name))
	}
	var st, top unix.Stat_t
	must(t, unix.Fstatat(c.FD(), fmt.Sprint("hard-", levels-1), &st, 0))
	must(t, unix.Stat(dir+"/dst/"+name+"/f", &top))
	if st.Ino != top.Ino || top.Nlink != 4 {
		t.Errorf("the link at the bottom: inode %d, at the top %d with %d names", st.Ino, top.Ino, top.Nlink)
	}
	must(t, unix.Fstatat(c.FD(), "f", &st, 0))
	must(t, unix.Stat(fmt.Sprintf("%s/dst/up-%d", dir, levels-1), &top))
	if st.Ino != top.Ino || top.Nlink != 2 {
		t.Errorf("the link at the top: inode %d, at the bottom %d with %d names", top.Ino, st.Ino, top.Nlink)
	}
}

func TestNoSpace(t *testing.T) {
	src, dst := t.TempDir(), hosttest.Ext4(t, 32, "")
	for i := range 50 {
		must(t, os.WriteFile(fmt.Sprintf("%s/%d", src, i), make([]byte, 1<<20), 0o600))
	}
	mkdirs(t, dst+"/dst")
	if _, err := tree(t, src, dst+"/dst", clone.Options{Sync: true}); !errors.Is(err, unix.ENOSPC) {
		t.Error(err)
	}
}

func TestContext(t *testing.T) {
	dir := t.TempDir()
	mkdirs(t, dir+"/src/sub", dir+"/dst")
	for i := range 40 {
		must(t, os.WriteFile(fmt.Sprintf("%s/src/sub/%d", dir, i), make([]byte, 10<<20), 0o600))
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error)
	from, to := hosttest.Open(t, dir+"/src"), hosttest.Open(t, dir+"/dst")
	before := openFiles(t)
	go func() {
		_, err := clone.Tree(ctx, from, to, clone.Options{})
		done <- err
	}()
	within(t, "first file", 10*time.Second, func() bool {
		in, _ := os.ReadDir(dir + "/dst/sub")
		return len(in) > 0
	})
	cancel()
	select {
	case err := <-done:
		if !errors.Is(err, context.Canceled) {
			t.Error(err)
		}
	case <-time.After(10 * time.Second):
		t.Fatal("the copy goes on")
	}
	if after := openFiles(t); after != before {
		t.Errorf("%d files stay open", after-before)
	}
}

// Files that vanish or change while they are copied are no error.
func TestChangedMeanwhile(t *testing.T) {
	dir := t.TempDir()
	mkdirs(t, dir+"/src")
	stop := make(chan struct{})
	var g sync.WaitGroup
	for w := range 2 {
		g.Go(func() {
			for n := 0; ; n++ {
				select {
				case <-stop:
					return
				default:
				}
				sub := fmt.Sprintf("%s/src/%d/%d", dir, w, n%5)
				_ = os.MkdirAll(sub, 0o755)
				for i := range 20 {
					f := fmt.Sprintf("%s/%d", sub, i)
					_ = os.WriteFile(f, make([]byte, 1000*i), 0o600)
					_ = os.Link(f, f+"-hard")
					_ = os.Symlink("/", f+"-link")
					_ = unix.Renameat2(unix.AT_FDCWD, f, unix.AT_FDCWD, f+"-link", unix.RENAME_EXCHANGE)
				}
				_ = os.RemoveAll(filepath.Dir(sub) + fmt.Sprintf("/%d", (n+2)%5))
			}
		})
	}
	for i := range 60 {
		dst := fmt.Sprintf("%s/dst-%d", dir, i)
		mkdirs(t, dst)
		_, err := clone.Tree(t.Context(), hosttest.Open(t, dir+"/src"), hosttest.Open(t, dst), clone.Options{Workers: 4})
		must(t, err)
	}
	close(stop)
	g.Wait()
}

func TestProgress(t *testing.T) {
	dir := t.TempDir()
	mkdirs(t, dir+"/src", dir+"/dst")
	f, err := os.Create(dir + "/src/f")
	must(t, err)
	must(t, f.Truncate(4<<30)) // a hole, but read and written whole is slow enough
	must(t, unix.Fallocate(int(f.Fd()), 0, 0, 1<<30))
	_, err = f.Write(make([]byte, 600<<20))
	must(t, err)
	must(t, f.Close())
	start := time.Now()
	var last clone.Stats
	calls := 0
	stats, err := tree(t, dir+"/src", dir+"/dst", clone.Options{Reflink: clone.Never, Progress: func(s clone.Stats) {
		if s.Bytes < last.Bytes {
			t.Errorf("bytes went from %d to %d", last.Bytes, s.Bytes)
		}
		last = s
		calls++
	}})
	must(t, err)
	if took := time.Since(start); calls == 0 && took > time.Second {
		t.Errorf("no progress in %v", took)
	}
	if stats.Bytes != 4<<30 || stats.Files != 1 {
		t.Errorf("stats %+v", stats)
	}
}
