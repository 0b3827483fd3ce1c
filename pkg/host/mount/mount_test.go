package mount_test

import (
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/hostvol/hostvol/pkg/host/errno"
	"github.com/hostvol/hostvol/pkg/host/mount"
	"github.com/hostvol/hostvol/pkg/host/safepath"
)

func open(t *testing.T, path string) *safepath.Dir {
	t.Helper()
	d, err := safepath.OpenRoot(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = d.Close() })
	return d
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// pool is a directory with a file in it, opened through a mount of its own, and
// the parent of a target.
func pool(t *testing.T) (src, parent *safepath.Dir) {
	t.Helper()
	dir := t.TempDir()
	must(t, os.MkdirAll(filepath.Join(dir, "pool/data"), 0o755))
	must(t, os.WriteFile(filepath.Join(dir, "pool/data/file"), []byte("x"), 0o600))
	must(t, os.MkdirAll(filepath.Join(dir, "kubelet/target"), 0o755))
	room, err := mount.OpenRoom(filepath.Join(dir, "room"))
	must(t, err)
	own, release, err := room.Own(filepath.Join(dir, "pool"))
	must(t, err)
	parent = open(t, filepath.Join(dir, "kubelet"))
	src, err = own.OpenDir("data")
	must(t, err)
	t.Cleanup(func() {
		_, err := mount.Unmount(parent, "target")
		must(t, err)
		_ = src.Close()
		_ = own.Close()
		must(t, release())
		must(t, room.Close())
	})
	return src, parent
}

func TestBindIsWhatLookSees(t *testing.T) {
	src, parent := pool(t)
	state, err := mount.Look(parent, "target")
	must(t, err)
	if !state.Exists || state.Mounted || !state.Dir {
		t.Fatalf("before: %+v", state)
	}
	asked := mount.Flags{ReadOnly: true, NoSUID: true, NoDev: true, NoExec: true, NoAtime: true}
	want, err := mount.OfDir(src).Effective(asked)
	must(t, err)
	must(t, mount.OfDir(src).Mount(parent, "target", asked))
	state, err = mount.Look(parent, "target")
	must(t, err)
	id, err := src.Identity()
	must(t, err)
	if !state.Mounted || state.Identity != id || state.Flags != want {
		t.Fatalf("after: %+v, want %v and %+v", state, id, want)
	}
	if err := os.WriteFile(filepath.Join(parent.Name(), "target/new"), nil, 0o600); !errno.ReadOnly(err) {
		t.Fatalf("write through a read-only bind: %v", err)
	}
}

func TestUnmountTakesAllLayersAndRepeats(t *testing.T) {
	src, parent := pool(t)
	for range 3 {
		must(t, mount.OfDir(src).Mount(parent, "target", mount.Flags{}))
	}
	if n, err := mount.Unmount(parent, "target"); err != nil || n != 3 {
		t.Fatalf("unmounted %d, %v", n, err)
	}
	if n, err := mount.Unmount(parent, "target"); err != nil || n != 0 {
		t.Fatalf("again: %d, %v", n, err)
	}
	if n, err := mount.Unmount(parent, "absent"); err != nil || n != 0 {
		t.Fatalf("absent: %d, %v", n, err)
	}
}

func TestUnmountOfABusyMountSaysSo(t *testing.T) {
	src, parent := pool(t)
	must(t, mount.OfDir(src).Mount(parent, "target", mount.Flags{}))
	f, err := os.Open(filepath.Join(parent.Name(), "target/file"))
	must(t, err)
	if _, err := mount.Unmount(parent, "target"); !errno.Busy(err) {
		t.Fatalf("busy: %v", err)
	}
	must(t, f.Close())
}

func TestLinksAreNotFollowed(t *testing.T) {
	src, parent := pool(t)
	aside := t.TempDir()
	must(t, os.Symlink(aside, filepath.Join(parent.Name(), "link")))
	if err := mount.OfDir(src).Mount(parent, "link", mount.Flags{}); err == nil {
		t.Fatal("bound over a link")
	}
	state, err := mount.Look(parent, "link")
	must(t, err)
	if state.Dir || state.Mounted || !state.Exists {
		t.Fatalf("link: %+v", state)
	}
	must(t, unix.Mount("tmpfs", aside, "tmpfs", 0, ""))
	t.Cleanup(func() { must(t, unix.Unmount(aside, 0)) })
	if n, err := mount.Unmount(parent, "link"); n != 0 {
		t.Fatalf("unmounted through a link: %d, %v", n, err)
	}
}

func TestTheTableHasTheBind(t *testing.T) {
	src, parent := pool(t)
	must(t, mount.OfDir(src).Mount(parent, "target", mount.Flags{}))
	table, err := mount.Table()
	must(t, err)
	point := filepath.Join(parent.Name(), "target")
	e, ok := mount.At(table, point)
	if !ok || e.Point != point || filepath.Base(e.Root) != "data" {
		t.Fatalf("found %+v", e)
	}
	if other, ok := mount.At(table, point+"x"); !ok || other.Point == point {
		t.Fatalf("a sibling is taken for the mount: %+v", other)
	}
}

func TestParseFlags(t *testing.T) {
	f, err := mount.ParseFlags([]string{"ro,nosuid", "relatime", "noexec"})
	if err != nil || f != (mount.Flags{ReadOnly: true, NoSUID: true, NoExec: true}) {
		t.Fatalf("%+v, %v", f, err)
	}
	if _, err := mount.ParseFlags([]string{"remount"}); err == nil {
		t.Fatal("remount is taken")
	}
}
