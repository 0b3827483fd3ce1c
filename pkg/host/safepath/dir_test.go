package safepath

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/hostvol/hostvol/pkg/host/errno"
)

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func root(t *testing.T, path string) *Dir {
	t.Helper()
	d, err := OpenRoot(path)
	must(t, err)
	t.Cleanup(func() { _ = d.Close() })
	return d
}

// bothWays runs a test with openat2 and with the walk that older kernels need.
func bothWays(t *testing.T, test func(t *testing.T)) {
	t.Run("openat2", func(t *testing.T) {
		test(t)
		if noOpenat2.Load() {
			t.Error("this kernel lacks openat2: the walk was tested twice")
		}
	})
	t.Run("walk", func(t *testing.T) {
		before := noOpenat2.Swap(true)
		defer noOpenat2.Store(before)
		test(t)
	})
}

// tree has files inside and outside, and links that lead everywhere.
func tree(t *testing.T) (inside *Dir, outside string) {
	t.Helper()
	base := t.TempDir()
	outside = filepath.Join(base, "outside")
	in := filepath.Join(base, "in")
	must(t, os.MkdirAll(filepath.Join(in, "a/b"), 0o755))
	must(t, os.MkdirAll(filepath.Join(outside, "x"), 0o755))
	must(t, os.WriteFile(filepath.Join(in, "a/b/file"), []byte("inside"), 0o600))
	must(t, os.WriteFile(filepath.Join(outside, "file"), []byte("outside"), 0o600))
	for name, to := range map[string]string{
		"out": outside, "up": "../outside", "root": "/", "near": "a", "to-file": "a/b/file", "self": "self",
		"a/b/out": outside, "a/up": "..", "magic": "/proc/self/root", "dangling": "new",
	} {
		must(t, os.Symlink(to, filepath.Join(in, name)))
	}
	return root(t, in), outside
}

func TestLinksAreRefusedOnTheWholeWay(t *testing.T) {
	bothWays(t, func(t *testing.T) {
		d, outside := tree(t)
		for _, path := range []string{
			"out", "up", "root", "near", "self", "magic", "dangling", "a/b/out", "a/up",
			"out/x", "up/x", "root/etc", "near/b", "self/x", "magic/etc", "a/b/out/x", "a/up/a",
			"..", "../outside", "a/../../outside", "a/b/../../../outside", "/", "/etc", outside,
		} {
			if dir, err := d.OpenDir(path); !errno.Link(err) {
				t.Errorf("%s as a directory: %v %v", path, dir, err)
			}
		}
		for _, path := range []string{
			"to-file", "out/file", "up/file", "near/b/file", "root/etc/passwd", "magic/etc/passwd", "../outside/file", "/etc/passwd",
		} {
			if f, err := d.Open(path, unix.O_RDONLY, 0); !errno.Link(err) {
				t.Errorf("%s as a file: %v %v", path, f, err)
			}
		}
		for _, path := range []string{"dangling", "out/new", "up/new", "to-file", "../new"} {
			if f, err := d.Open(path, unix.O_WRONLY|unix.O_CREAT|unix.O_TRUNC, 0o600); err == nil {
				t.Errorf("%s was made or cut: %v", path, f)
			}
		}
		for path, want := range map[string]string{outside + "/file": "outside", d.Name() + "/a/b/file": "inside"} {
			if text, err := os.ReadFile(path); err != nil || string(text) != want {
				t.Errorf("%s: %q %v", path, text, err)
			}
		}
		if left, err := os.ReadDir(outside); err != nil || len(left) != 2 {
			t.Errorf("outside: %v %v", left, err)
		}
	})
}

func TestWhatIsBeneathIsOpened(t *testing.T) {
	bothWays(t, func(t *testing.T) {
		d, _ := tree(t)
		for _, path := range []string{".", "a", "a/b", "a/./b"} {
			dir, err := d.OpenDir(path)
			if err != nil {
				t.Errorf("%s: %v", path, err)
				continue
			}
			if dir.Name() != filepath.Join(d.Name(), path) {
				t.Errorf("%s is called %s", path, dir.Name())
			}
			must(t, dir.Close())
		}
		text, err := d.ReadFile("a/b/file", 100)
		if err != nil || string(text) != "inside" {
			t.Errorf("%q %v", text, err)
		}
		if _, err := d.ReadFile("a/b/file", 3); err == nil {
			t.Error("more than the limit was read")
		}
		for _, path := range []string{"none", "none/x", "a/none", ""} {
			if _, err := d.OpenDir(path); !errors.Is(err, fs.ErrNotExist) {
				t.Errorf("%q: %v", path, err)
			}
		}
		if _, err := d.OpenDir("a/b/file"); !errno.Link(err) {
			t.Errorf("a file as a directory: %v", err)
		}
		must(t, d.WriteFile("new", []byte("text"), 0o640))
		if info, err := os.Stat(filepath.Join(d.Name(), "new")); err != nil || info.Size() != 4 {
			t.Errorf("%v %v", info, err)
		}
	})
}

// A descriptor that is left open keeps a filesystem busy for ever.
func TestNothingStaysOpen(t *testing.T) {
	bothWays(t, func(t *testing.T) {
		d, _ := tree(t)
		count := func() int {
			list, err := os.ReadDir("/proc/self/fd")
			must(t, err)
			return len(list)
		}
		before := count()
		for _, path := range []string{"a/b", "a/b/none", "a/b/out/x", "near/b", "../x", "a/b/file/x"} {
			if dir, err := d.OpenDir(path); err == nil {
				must(t, dir.Close())
			}
		}
		if after := count(); after != before {
			t.Errorf("%d open files, before %d", after, before)
		}
	})
}

func TestEntriesAreSingleNames(t *testing.T) {
	d, outside := tree(t)
	for _, name := range []string{"", ".", "..", "/", "a/b", "../outside", "a/", "/etc", "a\x00b"} {
		for what, call := range map[string]func() error{
			"mkdir":       func() error { return d.Mkdir(name, 0o700) },
			"rmdir":       func() error { return d.Rmdir(name) },
			"unlink":      func() error { return d.Unlink(name) },
			"rename":      func() error { return d.Rename(name, d, "target") },
			"rename to":   func() error { return d.Rename("a", d, name) },
			"exists":      func() error { _, err := d.Exists(name); return err },
			"replace":     func() error { return d.Replace(name, "target") },
			"a component": func() error { return Component(name) },
		} {
			if err := call(); !errors.Is(err, fs.ErrInvalid) {
				t.Errorf("%s of %q: %v", what, name, err)
			}
		}
	}
	must(t, d.Unlink("out")) // the link goes, and not what it shows
	if _, err := os.Stat(filepath.Join(outside, "file")); err != nil {
		t.Error(err)
	}
	if there, err := d.Exists("dangling"); err != nil || !there {
		t.Errorf("a dangling link: %v %v", there, err)
	}
	if err := d.Rmdir("near"); err == nil {
		t.Error("a link was removed as a directory")
	}
}

func TestRenameReplacesNothing(t *testing.T) {
	d, outside := tree(t)
	to := root(t, outside)
	must(t, d.Mkdir("new", 0o700))
	for _, taken := range []string{"x", "file"} {
		if err := d.Rename("new", to, taken); !errors.Is(err, fs.ErrExist) {
			t.Errorf("over %s: %v", taken, err)
		}
	}
	if err := d.Rename("new", d, "dangling"); !errors.Is(err, fs.ErrExist) {
		t.Errorf("over a link: %v", err)
	}
	must(t, d.Rename("new", to, "moved"))
	if there, err := to.Exists("moved"); err != nil || !there {
		t.Errorf("%v %v", there, err)
	}
}

func TestALockHasOneHolder(t *testing.T) {
	d, _ := tree(t)
	first, err := d.Lock("lock")
	must(t, err)
	if _, err := d.Lock("lock"); !errors.Is(err, ErrLocked) {
		t.Errorf("%v", err)
	}
	must(t, first.Close())
	again, err := d.Lock("lock")
	must(t, err)
	must(t, again.Close())
	if _, err := d.Lock("to-file"); !errno.Link(err) {
		t.Errorf("a lock by a link: %v", err)
	}
}

func TestOpenRoot(t *testing.T) {
	d, _ := tree(t)
	for _, path := range []string{"", ".", "relative"} {
		if _, err := OpenRoot(path); !errors.Is(err, fs.ErrInvalid) {
			t.Errorf("%q: %v", path, err)
		}
	}
	if _, err := OpenRoot(d.Name() + "/a/b/file"); err == nil {
		t.Error("a file was opened")
	}
	linked := root(t, d.Name()+"/near") // the administrator's own links are followed
	if there, err := linked.Exists("b"); err != nil || !there {
		t.Errorf("%v %v", there, err)
	}
	names, err := linked.Names()
	if err != nil || len(names) != 2 || !strings.Contains(strings.Join(names, " "), "b") {
		t.Errorf("%v %v", names, err)
	}
}
