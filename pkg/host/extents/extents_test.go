package extents_test

import (
	"context"
	"errors"
	"io/fs"
	"iter"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/hostvol/hostvol/pkg/host/extents"
	"github.com/hostvol/hostvol/pkg/host/hosttest"
)

const (
	kib = 1 << 10
	mib = 1 << 20
)

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func create(t testing.TB, path string, bytes int64) *os.File {
	t.Helper()
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|os.O_TRUNC, 0o600)
	must(t, err)
	t.Cleanup(func() { _ = f.Close() })
	must(t, f.Truncate(bytes))
	return f
}

func write(t testing.TB, f *os.File, at, bytes int64) {
	t.Helper()
	b := make([]byte, bytes)
	for i := range b {
		b[i] = byte(i%251 + 1)
	}
	_, err := f.WriteAt(b, at)
	must(t, err)
}

func tmpfs(t testing.TB) string {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "tmpfs")
	hosttest.Mount(t, "tmpfs", dir, "tmpfs", 0, "")
	return dir
}

// collect checks that the ranges are as promised.
func collect(t testing.TB, f *os.File, ranges iter.Seq2[extents.Range, error]) []extents.Range {
	t.Helper()
	st, err := f.Stat()
	must(t, err)
	var all []extents.Range
	end := int64(-1)
	for r, err := range ranges {
		must(t, err)
		if r.Length <= 0 || r.Offset <= end || r.Offset+r.Length > st.Size() {
			t.Fatalf("range %+v after one that ends at %d, in a file of %d", r, end, st.Size())
		}
		end = r.Offset + r.Length
		all = append(all, r)
	}
	return all
}

// cut leaves out what lies before an offset.
func cut(all []extents.Range, from int64) []extents.Range {
	var out []extents.Range
	for _, r := range all {
		if end := r.Offset + r.Length; end > from {
			start := max(r.Offset, from)
			out = append(out, extents.Range{Offset: start, Length: end - start})
		}
	}
	return out
}

// bytesRead is what this process has read by system calls so far.
func bytesRead(t testing.TB) int64 {
	t.Helper()
	b, err := os.ReadFile("/proc/self/io")
	must(t, err)
	_, after, _ := strings.Cut(string(b), "rchar: ")
	line, _, _ := strings.Cut(after, "\n")
	n, err := strconv.ParseInt(line, 10, 64)
	must(t, err)
	return n
}

func TestAllocated(t *testing.T) {
	for kind, dir := range map[string]string{
		"ext4": hosttest.Ext4(t, 256, ""), "xfs": hosttest.XFS(t, 300, ""), "btrfs": hosttest.BtrfsNoQuota(t, 256), "tmpfs": tmpfs(t),
	} {
		t.Run(kind, func(t *testing.T) {
			f := create(t, dir+"/image", 64*mib+512)
			if all := collect(t, f, extents.Allocated(t.Context(), f, 0)); len(all) != 0 {
				t.Errorf("empty: %v", all)
			}
			if kind != "tmpfs" { // which zeroes and has no extents
				must(t, unix.Fallocate(int(f.Fd()), 0, 0, 64*mib)) // thick
			}
			write(t, f, 3*mib, 128*kib)
			write(t, f, 40*mib, 64*kib)
			write(t, f, 64*mib, 512) // the end is in the middle of a block
			want := []extents.Range{{Offset: 3 * mib, Length: 128 * kib}, {Offset: 40 * mib, Length: 64 * kib}, {Offset: 64 * mib, Length: 512}}
			for _, from := range []int64{0, mib, 3*mib + 5000, 40 * mib, 64*mib + 511, 64*mib + 512, 1 << 40} {
				all := collect(t, f, extents.Allocated(t.Context(), f, from))
				if !slices.Equal(all, cut(want, from)) {
					t.Errorf("from %d: %v", from, all)
				}
			}
			must(t, unix.Fallocate(int(f.Fd()), unix.FALLOC_FL_PUNCH_HOLE|unix.FALLOC_FL_KEEP_SIZE, 3*mib, 64*kib))
			must(t, unix.Fallocate(int(f.Fd()), unix.FALLOC_FL_KEEP_SIZE, 64*mib+4096, mib)) // beyond the end
			want[0] = extents.Range{Offset: 3*mib + 64*kib, Length: 64 * kib}
			if all := collect(t, f, extents.Allocated(t.Context(), f, 0)); !slices.Equal(all, want) {
				t.Errorf("punched: %v", all)
			}
		})
	}
}

func TestManyExtents(t *testing.T) {
	const n = 100_000
	f := create(t, hosttest.Ext4(t, 512, "", "-b", "1024")+"/image", 2*n*kib)
	b := []byte(strings.Repeat("x", kib))
	for i := range int64(n) {
		_, err := f.WriteAt(b, 2*i*kib)
		must(t, err)
	}
	must(t, f.Sync())
	count := int64(0)
	allocs := testing.AllocsPerRun(1, func() {
		count = 0
		for r, err := range extents.Allocated(t.Context(), f, 0) {
			must(t, err)
			if want := (extents.Range{Offset: 2 * count * kib, Length: kib}); r != want {
				t.Fatalf("range %d is %v", count, r)
			}
			count++
		}
	})
	if count != n || allocs > n/100 {
		t.Errorf("%d ranges, %.0f allocations", count, allocs)
	}
	before := bytesRead(t)
	if all := collect(t, f, extents.Delta(t.Context(), f, f, 0)); len(all) != 0 || bytesRead(t)-before > mib {
		t.Errorf("with itself: %d ranges, %d bytes read", len(all), bytesRead(t)-before)
	}
	ctx, cancel := context.WithCancel(t.Context())
	count = 0
	for _, err := range extents.Allocated(ctx, f, 0) {
		if err != nil {
			if !errors.Is(err, context.Canceled) || count > 1000 {
				t.Errorf("canceled: %v after %d ranges", err, count)
			}
			break
		}
		if count++; count == 10 {
			cancel()
		}
	}
	cancel()
}

func TestRefuses(t *testing.T) {
	dir := t.TempDir()
	f := create(t, dir+"/file", mib)
	folder, err := os.Open(dir)
	must(t, err)
	defer folder.Close()
	for name, ranges := range map[string]iter.Seq2[extents.Range, error]{
		"negative":          extents.Allocated(t.Context(), f, -1),
		"directory":         extents.Allocated(t.Context(), folder, 0),
		"negative delta":    extents.Delta(t.Context(), f, f, -1),
		"delta of a folder": extents.Delta(t.Context(), folder, f, 0),
	} {
		n := 0
		for r, err := range ranges {
			if n++; r != (extents.Range{}) || !errors.Is(err, fs.ErrInvalid) {
				t.Errorf("%s: %v, %v", name, r, err)
			}
		}
		if n != 1 {
			t.Errorf("%s: %d answers", name, n)
		}
	}
}
