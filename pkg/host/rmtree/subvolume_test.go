package rmtree_test

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/hostvol/hostvol/pkg/host/btrfs"
	"github.com/hostvol/hostvol/pkg/host/hosttest"
	"github.com/hostvol/hostvol/pkg/host/rmtree"
)

func subvolume(t *testing.T, path string) uint64 {
	t.Helper()
	must(t, os.MkdirAll(filepath.Dir(path), 0o755))
	must(t, btrfs.CreateSubvolume(hosttest.Open(t, filepath.Dir(path)), filepath.Base(path)))
	id, err := btrfs.ID(hosttest.Open(t, path))
	must(t, err)
	return id
}

func TestSubvolumeGoesWhole(t *testing.T) {
	dir := hosttest.Btrfs(t, 256)
	id := subvolume(t, dir+"/x/data")
	for i := range 1000 {
		write(t, fmt.Sprintf("%s/x/data/%d", dir, i))
	}
	hosttest.Run(t, "btrfs", "property", "set", dir+"/x/data", "ro", "true")
	o := tokens(2)
	var removed []uint64
	o.Removed = func(id uint64) { removed = append(removed, id) }
	must(t, remove(t, dir, "x", o))
	if exists(dir+"/x") || !slices.Equal(removed, []uint64{id}) {
		t.Errorf("removed %v, want %d", removed, id)
	}
}

func TestNestedSubvolumes(t *testing.T) {
	dir := hosttest.Btrfs(t, 256)
	ids := []uint64{
		subvolume(t, dir+"/x/data"),
		subvolume(t, dir+"/x/data/a/b"),
		subvolume(t, dir+"/x/data/a/b/c/d"),
		subvolume(t, dir+"/x/data/e"),
	}
	for _, p := range []string{"", "/a", "/a/b", "/a/b/c", "/a/b/c/d", "/e"} {
		write(t, dir+"/x/data"+p+"/file")
	}
	// In the snapshot, a directory of another kind stands where a/b was.
	hosttest.Run(t, "btrfs", "subvolume", "snapshot", dir+"/x/data", dir+"/x/snap")
	snap, err := btrfs.ID(hosttest.Open(t, dir+"/x/snap"))
	must(t, err)
	ids = append(ids, snap, subvolume(t, dir+"/x/snap/f"))
	hosttest.Run(t, "chattr", "+i", dir+"/x/data/a/b/c", dir+"/x/data/e", dir+"/x/data/a/b/file")
	for _, p := range []string{"/data/a/b/c/d", "/data/a/b", "/data", "/snap"} {
		hosttest.Run(t, "btrfs", "property", "set", dir+"/x"+p, "ro", "true")
	}
	var removed []uint64
	must(t, remove(t, dir, "x", rmtree.Options{Removed: func(id uint64) { removed = append(removed, id) }}))
	slices.Sort(ids)
	slices.Sort(removed)
	if exists(dir+"/x") || !slices.Equal(removed, ids) {
		t.Errorf("removed %v, want %v", removed, ids)
	}
}

func TestSubvolumesDeep(t *testing.T) {
	dir := hosttest.BtrfsNoQuota(t, 256)
	path := "x"
	const n = 60 // more than are kept open
	for range n {
		subvolume(t, dir+"/"+path)
		path += "/p/s"
	}
	removed := 0
	must(t, remove(t, dir, "x", rmtree.Options{Removed: func(uint64) { removed++ }}))
	if exists(dir+"/x") || removed != n {
		t.Errorf("removed %d, want %d", removed, n)
	}
}

// Deleting a subvolume makes the kernel detach what is mounted in it.
func TestMountInSubvolume(t *testing.T) {
	dir := hosttest.BtrfsNoQuota(t, 128)
	view := filepath.Join(t.TempDir(), "view")
	hosttest.Mount(t, dir, view, "", unix.MS_BIND, "")
	for _, c := range []struct{ name, on string }{
		{"in", "in/data/p/target with space"}, {"root", "root/data"},
	} {
		subvolume(t, dir+"/"+c.name+"/data")
		hosttest.Mount(t, "none", dir+"/"+c.on, "tmpfs", 0, "size=1m")
		write(t, dir+"/"+c.on+"/keep")
		for _, from := range []string{view, dir} {
			err := remove(t, from, c.name, rmtree.Options{})
			if !errors.Is(err, rmtree.ErrMountPoint) {
				t.Errorf("%s from %s: %v", c.name, from, err)
			}
			if !exists(dir + "/" + c.on + "/keep") {
				t.Errorf("%s from %s: the mount is gone", c.name, from)
			}
		}
	}
}
