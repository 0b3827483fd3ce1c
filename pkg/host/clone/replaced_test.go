package clone_test

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/hostvol/hostvol/pkg/host/clone"
	"github.com/hostvol/hostvol/pkg/host/hosttest"
)

// replaceAll replaces the files 0 to n-1 of dir, one after the other, until ctx ends.
func replaceAll(ctx context.Context, dir string, n int) {
	for i := 0; ctx.Err() == nil; i++ {
		p := fmt.Sprintf("%s/%d", dir, i%n)
		_ = os.WriteFile(p+".new", []byte("y"), 0o600)
		_ = os.Rename(p+".new", p)
	}
}

// A file that is replaced by a rename is there at every instant, so it is in the copy.
func TestReplaced(t *testing.T) {
	btrfs, xfs, ext4 := hosttest.BtrfsNoQuota(t, 512), hosttest.XFS(t, 512, ""), hosttest.Ext4(t, 256, "")
	for _, c := range []struct {
		name, dir   string
		files, idle int
		age         time.Duration
	}{
		{"btrfs", btrfs, 400, 3000, 0},
		{"btrfs few", btrfs, 20, 3000, 0},
		{"btrfs one", btrfs, 1, 1000, 0},
		{"btrfs alone", btrfs, 3, 0, 0},
		{"btrfs after a rest", btrfs, 2000, 3000, 3 * time.Second},
		{"xfs", xfs, 400, 3000, 0},
		{"ext4", ext4, 400, 3000, 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			base := c.dir + "/" + c.name
			src := base + "/src/sub"
			mkdirs(t, src)
			for i := range c.files {
				must(t, os.WriteFile(fmt.Sprintf("%s/%d", src, i), []byte("x"), 0o600))
			}
			for i := range c.idle {
				must(t, os.WriteFile(fmt.Sprintf("%s/idle-%d", src, i), []byte("x"), 0o600))
			}
			ctx, stop := context.WithCancel(t.Context())
			var writer sync.WaitGroup
			writer.Go(func() {
				hold := time.NewTimer(c.age) // a directory that was not changed of late
				defer hold.Stop()
				select {
				case <-hold.C:
				case <-ctx.Done():
				}
				replaceAll(ctx, src, c.files)
			})
			defer writer.Wait()
			defer stop()
			time.Sleep(c.age)
			for i := range 5 {
				dst := fmt.Sprintf("%s/dst-%d", base, i)
				mkdirs(t, dst)
				_, err := clone.Tree(t.Context(), hosttest.Open(t, base+"/src"), hosttest.Open(t, dst), clone.Options{})
				must(t, err)
				lost := 0
				for f := range c.files {
					if _, err := os.Lstat(fmt.Sprintf("%s/sub/%d", dst, f)); err != nil {
						lost++
					}
				}
				if lost > 0 {
					t.Errorf("copy %d lacks %d of %d files", i, lost, c.files)
				}
			}
		})
	}
}

// Entries that come again and again do not keep the walk from its end.
func TestNewNamesWithoutEnd(t *testing.T) {
	dir := hosttest.BtrfsNoQuota(t, 512)
	mkdirs(t, dir+"/src")
	ctx, stop := context.WithCancel(t.Context())
	var writers sync.WaitGroup
	for w := range 2 {
		writers.Go(func() {
			for i := 0; ctx.Err() == nil; i++ {
				_ = os.WriteFile(fmt.Sprintf("%s/src/%d-%d", dir, w, i), nil, 0o600)
				_ = os.Remove(fmt.Sprintf("%s/src/%d-%d", dir, w, i-100))
			}
		})
	}
	defer writers.Wait()
	defer stop()
	for i := range 30 {
		dst := fmt.Sprintf("%s/dst-%d", dir, i)
		mkdirs(t, dst)
		_, err := clone.Tree(t.Context(), hosttest.Open(t, dir+"/src"), hosttest.Open(t, dst), clone.Options{})
		must(t, err)
	}
}

// The inode number of a file that was deleted during the walk is given to another
// one with two names.
func TestInodeNumberUsedAgain(t *testing.T) {
	for _, dir := range []string{hosttest.Ext4(t, 256, ""), hosttest.XFS(t, 512, "")} {
		src, dst := dir+"/src", dir+"/dst"
		mkdirs(t, src+"/0", src+"/1", src+"/2", dst)
		f, err := os.Open(src)
		must(t, err)
		order, err := f.Readdirnames(-1) // in which the walk goes
		must(t, err)
		must(t, f.Close())
		first, last := filepath.Join(src, order[0]), filepath.Join(src, order[2])
		for i := range 20000 {
			must(t, os.WriteFile(fmt.Sprintf("%s/%s/%d", src, order[1], i), []byte("x"), 0o600))
		}
		must(t, os.WriteFile(first+"/a", []byte("first"), 0o600))
		must(t, os.Link(first+"/a", first+"/b"))
		must(t, os.Link(first+"/a", dir+"/held")) // or the walk could know that it met all names
		was := inode(t, first+"/a")
		unix.Sync()
		done := make(chan error, 1)
		from, to := hosttest.Open(t, src), hosttest.Open(t, dst)
		go func() {
			_, err := clone.Tree(t.Context(), from, to, clone.Options{})
			done <- err
		}()
		within(t, "first files", 20*time.Second, func() bool {
			_, err := os.Lstat(filepath.Join(dst, order[0], "b"))
			_, other := os.Lstat(filepath.Join(dst, order[0], "a"))
			return err == nil && other == nil
		})
		must(t, os.Remove(first+"/a"))
		must(t, os.Remove(first+"/b"))
		must(t, os.Remove(dir+"/held"))
		again := false
		for i := 0; i < 300 && !again; i++ {
			p := fmt.Sprintf("%s/new-%d", first, i)
			must(t, os.WriteFile(p, []byte("second"), 0o600))
			if again = inode(t, p) == was; again {
				must(t, os.Rename(p, last+"/c"))
				must(t, os.Link(last+"/c", last+"/d"))
			}
		}
		if len(done) > 0 || !again {
			t.Logf("%s: not tried, number used again: %v", dir, again)
		}
		must(t, <-done)
		for _, name := range []string{"c", "d"} {
			text, err := os.ReadFile(filepath.Join(dst, order[2], name))
			if err == nil && string(text) != "second" {
				t.Errorf("%s: %s has the content of another file: %s", dir, name, text)
			}
			t.Logf("%s: %s: %q, %v", dir, name, text, err)
		}
	}
}

func inode(t *testing.T, path string) uint64 {
	t.Helper()
	var st unix.Stat_t
	must(t, unix.Lstat(path, &st))
	return st.Ino
}

// A lease delays a copy, and does not fail it.
func TestLease(t *testing.T) {
	dir := t.TempDir()
	mkdirs(t, dir+"/src", dir+"/dst")
	f, err := os.Create(dir + "/src/f")
	must(t, err)
	defer func() { _ = f.Close() }()
	_, err = unix.FcntlInt(f.Fd(), unix.F_SETLEASE, unix.F_WRLCK)
	must(t, err)
	done := make(chan error, 1)
	from, to := hosttest.Open(t, dir+"/src"), hosttest.Open(t, dir+"/dst")
	go func() {
		_, err := clone.Tree(t.Context(), from, to, clone.Options{})
		done <- err
	}()
	within(t, "end of the lease asked for", 10*time.Second, func() bool {
		lease, err := unix.FcntlInt(f.Fd(), unix.F_GETLEASE, 0)
		return err == nil && lease != unix.F_WRLCK
	})
	if len(done) > 0 {
		t.Error("the copy did not wait")
	}
	_, err = unix.FcntlInt(f.Fd(), unix.F_SETLEASE, unix.F_UNLCK)
	must(t, err)
	must(t, <-done)
	compare(t, dir+"/src", dir+"/dst")
}

func TestPanicOfProgress(t *testing.T) {
	dir := t.TempDir()
	mkdirs(t, dir+"/src", dir+"/dst")
	for i := range 20000 { // more than half a second of work
		must(t, os.WriteFile(fmt.Sprintf("%s/src/%d", dir, i), []byte("x"), 0o600))
	}
	_, err := clone.Tree(t.Context(), hosttest.Open(t, dir+"/src"), hosttest.Open(t, dir+"/dst"), clone.Options{Workers: 1, Progress: func(clone.Stats) {
		panic("at the disco")
	}})
	if err == nil || !strings.Contains(err.Error(), "at the disco") {
		t.Errorf("no error of the panic: %v", err)
	}
}
