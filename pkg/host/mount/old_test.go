package mount

import (
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/hostvol/hostvol/pkg/host/safepath"
)

// What older kernels get is run here on a newer one, by calling it directly.

func dirs(t *testing.T) (base string, src, parent *safepath.Dir) {
	t.Helper()
	base = t.TempDir()
	for _, d := range []string{"pool/data", "kubelet/target"} {
		if err := os.MkdirAll(filepath.Join(base, d), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	open := func(name string) *safepath.Dir {
		d, err := safepath.OpenRoot(filepath.Join(base, name))
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = d.Close() })
		return d
	}
	return base, open("pool/data"), open("kubelet")
}

func TestBindOldSetsTheFlags(t *testing.T) {
	_, src, parent := dirs(t)
	asked := Flags{ReadOnly: true, NoSUID: true, NoDev: true, NoAtime: true}
	if err := bindOld(src, parent, "target", asked); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _, _ = Unmount(parent, "target") })
	state, err := Look(parent, "target")
	if err != nil {
		t.Fatal(err)
	}
	want, err := OfDir(src).Effective(asked)
	if err != nil {
		t.Fatal(err)
	}
	if !state.Mounted || state.Flags != want {
		t.Fatalf("got %+v, want %+v", state, want)
	}
	if mounted, err := mountedOld(parent, "target"); err != nil || !mounted {
		t.Fatalf("mountedOld: %v, %v", mounted, err)
	}
	if mounted, err := mountedOld(parent, "."); err != nil || mounted {
		t.Fatalf("mountedOld of no mount point: %v, %v", mounted, err)
	}
}

func TestAttachedPoolMountServesBindsAndIsTakenOver(t *testing.T) {
	base, _, parent := dirs(t)
	at := filepath.Join(base, "own")
	for round := range 2 { // the second finds what a killed daemon left
		tree, err := unix.OpenTree(unix.AT_FDCWD, filepath.Join(base, "pool"), unix.OPEN_TREE_CLONE|unix.OPEN_TREE_CLOEXEC)
		if err != nil {
			t.Fatal(err)
		}
		if err := attach(tree, at); err != nil {
			t.Fatalf("round %d: %v", round, err)
		}
		_ = unix.Close(tree)
	}
	own, err := safepath.OpenRoot(filepath.Join(at, "data"))
	if err != nil {
		t.Fatal(err)
	}
	if err := OfDir(own).Mount(parent, "target", Flags{}); err != nil {
		t.Fatal(err)
	}
	if n, err := Unmount(parent, "target"); n != 1 || err != nil {
		t.Fatalf("%d, %v", n, err)
	}
	_ = own.Close()
	top, err := safepath.OpenRoot(base)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = top.Close() }()
	if n, err := Unmount(top, "own"); n != 1 || err != nil {
		t.Fatalf("the mount of its own was attached %d times: %v", n, err)
	}
}
