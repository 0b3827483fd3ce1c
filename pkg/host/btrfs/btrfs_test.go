package btrfs_test

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/hostvol/hostvol/pkg/host/btrfs"
	"github.com/hostvol/hostvol/pkg/host/hosttest"
)

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func TestIs(t *testing.T) {
	dir := hosttest.BtrfsNoQuota(t, 128)
	must(t, os.Mkdir(dir+"/plain", 0o755))
	root := hosttest.Open(t, dir)
	must(t, btrfs.CreateSubvolume(root, "sub"))
	for _, c := range []struct {
		path       string
		is, subvol bool
	}{
		{dir, true, true}, {dir + "/plain", true, false}, {dir + "/sub", true, true}, {"/proc", false, false},
	} {
		fd := hosttest.Open(t, c.path)
		is, err := btrfs.Is(fd)
		must(t, err)
		subvol, err := btrfs.IsSubvolume(fd)
		must(t, err)
		if is != c.is || subvol != c.subvol {
			t.Errorf("%s: Is %v, IsSubvolume %v", c.path, is, subvol)
		}
	}
}

func TestCreateAndDelete(t *testing.T) {
	dir := hosttest.Btrfs(t, 128)
	root := hosttest.Open(t, dir)
	must(t, btrfs.CreateSubvolume(root, "a"))
	if err := btrfs.CreateSubvolume(root, "a"); !errors.Is(err, fs.ErrExist) {
		t.Errorf("create twice: %v", err)
	}
	for _, name := range []string{"", ".", "..", "x/y", "x\x00"} {
		if btrfs.CreateSubvolume(root, name) == nil || btrfs.DeleteSubvolume(root, name) == nil {
			t.Errorf("name %q was accepted", name)
		}
	}
	a := hosttest.Open(t, dir+"/a")
	must(t, btrfs.CreateSubvolume(a, "nested"))
	must(t, btrfs.CreateSubvolume(a, "other"))
	if err := btrfs.DeleteSubvolume(root, "a"); !errors.Is(err, unix.ENOTEMPTY) {
		t.Errorf("delete with nested subvolumes: %v", err)
	}

	want := make([]uint64, 0, 2)
	for _, name := range []string{"nested", "other"} {
		id, err := btrfs.ID(hosttest.Open(t, dir+"/a/"+name))
		must(t, err)
		want = append(want, id)
	}
	got, err := btrfs.Children(a)
	must(t, err)
	if !slices.Equal(got, want) {
		t.Errorf("children %v, want %v", got, want)
	}

	must(t, btrfs.DeleteSubvolume(a, "nested"))
	must(t, btrfs.DeleteSubvolume(a, "other"))
	if got, err = btrfs.Children(a); err != nil || len(got) != 0 {
		t.Errorf("children after delete: %v, %v", got, err)
	}
	must(t, os.WriteFile(dir+"/a/full", make([]byte, 1<<20), 0o600))
	must(t, btrfs.SetReadOnly(a, true))
	if err := os.WriteFile(dir+"/a/x", nil, 0o600); !errors.Is(err, unix.EROFS) {
		t.Fatalf("subvolume is not read-only: %v", err)
	}
	must(t, btrfs.DeleteSubvolume(root, "a"))
	if err := btrfs.DeleteSubvolume(root, "a"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("delete twice: %v", err)
	}
	must(t, os.Mkdir(dir+"/plain", 0o755))
	if err := btrfs.DeleteSubvolume(root, "plain"); !errors.Is(err, unix.EINVAL) {
		t.Errorf("delete a plain directory: %v", err)
	}
}

func TestManyChildren(t *testing.T) {
	root := hosttest.Open(t, hosttest.BtrfsNoQuota(t, 256))
	const n = 400 // more than one buffer of the search
	long := fmt.Sprintf("%0200d", 0)
	for i := range n {
		must(t, btrfs.CreateSubvolume(root, fmt.Sprintf("%s-%d", long, i)))
	}
	got, err := btrfs.Children(root)
	must(t, err)
	if len(got) != n || !slices.IsSorted(got) || len(slices.Compact(got)) != n {
		t.Errorf("%d children, want %d distinct and sorted", len(got), n)
	}
}

func TestQuota(t *testing.T) {
	dir := hosttest.BtrfsNoQuota(t, 128)
	root := hosttest.Open(t, dir)
	if m, err := btrfs.QuotaMode(root); err != nil || m != btrfs.Off {
		t.Errorf("mode before: %v, %v", m, err)
	}
	if _, err := btrfs.ReadUsage(root); !errors.Is(err, btrfs.ErrQuotaOff) {
		t.Errorf("usage without quota: %v", err)
	}
	if err := btrfs.SetLimit(root, 1<<20); !errors.Is(err, btrfs.ErrQuotaOff) {
		t.Errorf("limit without quota: %v", err)
	}
	if err := btrfs.Prove(root, "proof"); !errors.Is(err, btrfs.ErrQuotaOff) {
		t.Errorf("prove without quota: %v", err)
	}
	must(t, btrfs.EnableQuota(root))
	must(t, btrfs.EnableQuota(root))
	if m, err := btrfs.QuotaMode(root); err != nil || m != btrfs.Qgroup {
		t.Errorf("mode after: %v, %v", m, err)
	}

	must(t, btrfs.CreateSubvolume(root, "v"))
	v := hosttest.Open(t, dir+"/v")
	must(t, os.Mkdir(dir+"/v/inner", 0o755))
	inner := hosttest.Open(t, dir+"/v/inner") // any directory of the subvolume does
	must(t, btrfs.SetLimit(inner, 8<<20))
	must(t, os.WriteFile(dir+"/v/four", make([]byte, 4<<20), 0o600))
	err := os.WriteFile(dir+"/v/eight", make([]byte, 8<<20), 0o600)
	if !errors.Is(err, unix.EDQUOT) {
		t.Errorf("write beyond the limit: %v", err)
	}
	must(t, os.Remove(dir+"/v/eight"))
	unix.Sync()
	must(t, btrfs.Commit(root))
	u, err := btrfs.ReadUsage(v)
	must(t, err)
	if u.Limit != 8<<20 || u.Referenced < 4<<20 || u.Referenced > 5<<20 || u.Exclusive != u.Referenced {
		t.Errorf("usage %+v", u)
	}
	must(t, btrfs.SetLimit(v, 0))
	must(t, os.WriteFile(dir+"/v/eight", make([]byte, 8<<20), 0o600))
	if u, err = btrfs.ReadUsage(v); err != nil || u.Limit != 0 {
		t.Errorf("usage without limit: %+v, %v", u, err)
	}
	if btrfs.SetLimit(v, -1) == nil {
		t.Error("a negative limit was accepted")
	}
}

func TestRemoveQgroup(t *testing.T) {
	dir := hosttest.Btrfs(t, 128)
	root := hosttest.Open(t, dir)
	must(t, btrfs.CreateSubvolume(root, "v"))
	v, err := unix.Open(dir+"/v", unix.O_RDONLY|unix.O_CLOEXEC, 0)
	must(t, err)
	id, err := btrfs.ID(v)
	must(t, err)
	must(t, os.WriteFile(dir+"/v/f", make([]byte, 4<<20), 0o600))
	must(t, btrfs.Commit(root))
	must(t, unix.Close(v))
	must(t, btrfs.DeleteSubvolume(root, "v"))
	for end := time.Now().Add(20 * time.Second); ; time.Sleep(20 * time.Millisecond) {
		if err = btrfs.RemoveQgroup(root, id); err == nil {
			break
		}
		if !errors.Is(err, btrfs.ErrBusy) || time.Now().After(end) {
			t.Fatal(err)
		}
		must(t, btrfs.Commit(root))
	}
	must(t, btrfs.RemoveQgroup(root, id))
	must(t, btrfs.RemoveQgroup(root, 1<<40))
	if s, err := btrfs.QuotaStatus(root); err != nil || s.Inconsistent {
		t.Errorf("status after removal: %+v, %v", s, err)
	}
	if err := btrfs.RemoveQgroup(root, 5); !errors.Is(err, btrfs.ErrBusy) {
		t.Errorf("remove the qgroup of a living subvolume: %v", err)
	}
	must(t, btrfs.Rescan(root))
}

func TestProve(t *testing.T) {
	dir := hosttest.Btrfs(t, 128)
	root := hosttest.Open(t, dir)
	before := hosttest.Run(t, "btrfs", "qgroup", "show", dir)
	start := time.Now()
	must(t, btrfs.Prove(root, "proof"))
	t.Logf("proof took %v", time.Since(start))
	if left, _ := filepath.Glob(dir + "/*"); len(left) != 0 {
		t.Errorf("left behind: %v", left)
	}
	if after := hosttest.Run(t, "btrfs", "qgroup", "show", dir); after != before {
		t.Errorf("qgroups before:\n%s after:\n%s", before, after)
	}
}

// The image lies on a full tmpfs, so the kernel cannot write the transaction.
func TestCommitOfAbortedFilesystem(t *testing.T) {
	tmp := filepath.Join(t.TempDir(), "tmp")
	hosttest.Mount(t, "tmpfs", tmp, "tmpfs", 0, "size=24m")
	device := hosttest.Loop(t, tmp, 256)
	hosttest.Run(t, "mkfs.btrfs", "-q", device)
	dir := filepath.Join(t.TempDir(), "mnt")
	hosttest.Mount(t, device, dir, "btrfs", 0, "")
	root := hosttest.Open(t, dir)
	must(t, os.Mkdir(dir+"/before", 0o755))
	must(t, btrfs.Commit(root))

	ballast, err := os.Create(tmp + "/ballast")
	must(t, err)
	for err == nil {
		_, err = ballast.Write(make([]byte, 1<<16))
	}
	must(t, ballast.Close())
	for i := range 4000 {
		if err = os.WriteFile(fmt.Sprintf("%s/%0200d", dir, i), []byte("x"), 0o600); err != nil {
			break
		}
	}
	if err := btrfs.Commit(root); err == nil {
		t.Error("a commit that could not be written returned nil")
	} else {
		t.Log(err)
	}
	if err := btrfs.Commit(root); err == nil {
		t.Error("a second commit of the aborted filesystem returned nil")
	}
}

func BenchmarkReadUsage(b *testing.B) {
	dir := hosttest.Btrfs(b, 256)
	root := hosttest.Open(b, dir)
	for i := range 500 {
		must(b, btrfs.CreateSubvolume(root, fmt.Sprint(i)))
	}
	must(b, btrfs.Commit(root))
	v := hosttest.Open(b, dir+"/250")
	b.ReportAllocs()
	for b.Loop() {
		if _, err := btrfs.ReadUsage(v); err != nil {
			b.Fatal(err)
		}
	}
}
