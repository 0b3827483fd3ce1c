package extents_test

import (
	"bytes"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/hostvol/hostvol/pkg/host/btrfs"
	"github.com/hostvol/hostvol/pkg/host/extents"
	"github.com/hostvol/hostvol/pkg/host/hosttest"
)

func compressed(t testing.TB) string {
	t.Helper()
	device := hosttest.Loop(t, "", 256)
	hosttest.Run(t, "mkfs.btrfs", "-q", "-f", device)
	dir := filepath.Join(t.TempDir(), "mnt")
	hosttest.Mount(t, device, dir, "btrfs", 0, "compress-force=zstd")
	return dir
}

// What is shared is not read, however large, and whichever subvolume it is in.
func TestDeltaDoesNotRead(t *testing.T) {
	sub := hosttest.BtrfsNoQuota(t, 256)
	root := hosttest.Open(t, sub)
	must(t, btrfs.CreateSubvolume(root, "a"))
	must(t, btrfs.CreateSubvolume(root, "b"))
	xfs := hosttest.XFS(t, 300, "")
	for _, c := range []struct{ base, target string }{{xfs + "/a", xfs + "/b"}, {sub + "/a/image", sub + "/b/image"}} {
		base, target := create(t, c.base, 1<<30), create(t, c.target, 0)
		for at := int64(0); at < 1<<30; at += 16 * mib {
			write(t, base, at, mib)
		}
		must(t, unix.IoctlFileClone(int(target.Fd()), int(base.Fd())))
		write(t, target, 32*mib+64*kib, 64*kib)
		write(t, target, 100*mib, 64*kib)
		want := []extents.Range{{Offset: 32*mib + 64*kib, Length: 64 * kib}, {Offset: 100 * mib, Length: 64 * kib}}
		before := bytesRead(t)
		all := collect(t, target, extents.Delta(t.Context(), base, target, 0))
		if n := bytesRead(t) - before; n > 64*kib {
			t.Errorf("%s: %d bytes read", c.base, n)
		}
		if !slices.Equal(all, want) {
			t.Errorf("%s: %v", c.base, all)
		}
	}
}

// More extents than one answer of the kernel holds.
func TestDeltaOfManyExtents(t *testing.T) {
	const n = 3000
	dir := hosttest.XFS(t, 300, "")
	base, target := create(t, dir+"/base", 8*kib*n), create(t, dir+"/target", 0)
	for i := range int64(n) {
		write(t, base, 8*kib*i, 4*kib)
	}
	must(t, unix.IoctlFileClone(int(target.Fd()), int(base.Fd())))
	var want []extents.Range
	for i := int64(7); i < n; i += 100 {
		write(t, target, 8*kib*i, 4*kib)
		want = append(want, extents.Range{Offset: 8 * kib * i, Length: 4 * kib})
	}
	for _, from := range []int64{0, 4 * mib, 20 * mib} {
		if all := collect(t, target, extents.Delta(t.Context(), base, target, from)); !slices.Equal(all, cut(want, from)) {
			t.Errorf("from %d: %v", from, all)
		}
	}
}

// Files that share nothing are read, and only what differs is told.
func TestDeltaOfStrangers(t *testing.T) {
	xfs, other, ext4 := hosttest.XFS(t, 300, ""), hosttest.XFS(t, 300, ""), hosttest.Ext4(t, 256, "")
	for _, dir := range []string{xfs, other, ext4, tmpfs(t)} {
		base, target := create(t, xfs+"/base", 20*mib), create(t, dir+"/target", 21*mib)
		for _, f := range []*os.File{base, target} {
			write(t, f, 2*mib, mib)
			write(t, f, 10*mib, mib)
		}
		_, err := target.WriteAt([]byte("differs"), 2*mib+8190)
		must(t, err)
		write(t, target, 20*mib+64*kib, 64*kib)
		want := []extents.Range{{Offset: 2*mib + 4096, Length: 8192}, {Offset: 20*mib + 64*kib, Length: 64 * kib}}
		before := bytesRead(t)
		all := collect(t, target, extents.Delta(t.Context(), base, target, 0))
		if !slices.Equal(all, want) {
			t.Errorf("%s: %v", dir, all)
		}
		// The block differs before the offset only.
		const from = 2*mib + 8300
		if all := collect(t, target, extents.Delta(t.Context(), base, target, from)); !slices.Equal(all, cut(want, from)) {
			t.Errorf("%s: from %d: %v", dir, from, all)
		}
		if n := bytesRead(t) - before; n > 9*mib {
			t.Errorf("%s: %d bytes read, of 2 MiB of data each, twice", dir, n)
		}
	}
}

// Files on new filesystems of one kind lie at the same addresses.
func TestDeltaOfSameAddresses(t *testing.T) {
	for kind, make := range map[string]func() string{
		"xfs":   func() string { return hosttest.XFS(t, 300, "") },
		"ext4":  func() string { return hosttest.Ext4(t, 256, "") },
		"btrfs": func() string { return hosttest.BtrfsNoQuota(t, 256) },
	} {
		var pair [2]*os.File
		for i := range pair {
			pair[i] = create(t, make()+"/image", 0)
			_, err := pair[i].Write(bytes.Repeat([]byte{byte(i + 1)}, 4*mib))
			must(t, err)
			must(t, pair[i].Sync())
		}
		all := collect(t, pair[1], extents.Delta(t.Context(), pair[0], pair[1], 0))
		if want := []extents.Range{{Offset: 0, Length: 4 * mib}}; !slices.Equal(all, want) {
			t.Errorf("%s: %v", kind, all)
		}
	}
}

// A compressed extent has one address, whichever part of it a file has.
func TestDeltaOfCompressed(t *testing.T) {
	dir := compressed(t)
	base, target := create(t, dir+"/base", 0), create(t, dir+"/target", 0)
	_, err := base.Write(append(bytes.Repeat([]byte("a"), 64*kib), bytes.Repeat([]byte("b"), 64*kib)...))
	must(t, err)
	must(t, base.Sync())
	must(t, unix.IoctlFileClone(int(target.Fd()), int(base.Fd())))
	if all := collect(t, target, extents.Delta(t.Context(), base, target, 0)); len(all) != 0 {
		t.Errorf("the same: %v", all)
	}
	must(t, unix.IoctlFileCloneRange(int(target.Fd()), &unix.FileCloneRange{
		Src_fd: int64(base.Fd()), Src_offset: 64 * kib, Src_length: 64 * kib,
	}))
	write(t, target, 100*kib, 4*kib)
	want := []extents.Range{{Offset: 0, Length: 64 * kib}, {Offset: 100 * kib, Length: 4 * kib}}
	if all := collect(t, target, extents.Delta(t.Context(), base, target, 0)); !slices.Equal(all, want) {
		t.Errorf("moved and written: %v", all)
	}
}

// Small files of btrfs lie beside their inodes.
func TestDeltaOfInline(t *testing.T) {
	dir := hosttest.BtrfsNoQuota(t, 256)
	base, target := create(t, dir+"/base", 0), create(t, dir+"/target", 0)
	for f, content := range map[*os.File]string{base: "one thing", target: "something else"} {
		_, err := f.WriteString(content)
		must(t, err)
		must(t, f.Sync())
	}
	want := []extents.Range{{Offset: 0, Length: int64(len("something else"))}}
	if all := collect(t, target, extents.Delta(t.Context(), base, target, 0)); !slices.Equal(all, want) {
		t.Errorf("%v", all)
	}
}
