package extents_test

import (
	"bytes"
	"encoding/binary"
	"math/rand/v2"
	"os"
	"slices"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/hostvol/hostvol/pkg/host/extents"
	"github.com/hostvol/hostvol/pkg/host/hosttest"
)

const (
	fileBytes  = 2 * mib
	touchBytes = 64 * kib
	rounds     = 50
)

// trial is a base, and a target that was once the same.
type trial struct {
	t            *testing.T
	rng          *rand.Rand
	base, target *os.File
	touched      map[int64]bool // blocks of touchBytes
}

func (x *trial) touch(from, to int64) {
	for b := from / touchBytes; b*touchBytes < to; b++ {
		x.touched[b] = true
	}
}

func size(t testing.TB, f *os.File) int64 {
	t.Helper()
	st, err := f.Stat()
	must(t, err)
	return st.Size()
}

func read(t testing.TB, f *os.File) []byte {
	t.Helper()
	b := make([]byte, size(t, f))
	_, err := f.ReadAt(b, 0)
	must(t, err)
	return b
}

// content is random, or compressible, or zeros.
func (x *trial) content(n int64) []byte {
	b := make([]byte, n)
	switch x.rng.IntN(5) {
	case 0:
	case 1:
		copy(b, bytes.Repeat([]byte{byte(x.rng.Int()), 'x'}, int(n/2)))
	default:
		for i := 0; i+8 <= len(b); i += 8 {
			binary.LittleEndian.PutUint64(b[i:], x.rng.Uint64())
		}
	}
	return b
}

// change does one random thing to a file.
func (x *trial) change(f *os.File) {
	x.t.Helper()
	end := size(x.t, f)
	at := x.rng.Int64N(max(end, 1))
	n := 1 + x.rng.Int64N(1<<(1+x.rng.IntN(18)))
	if x.rng.IntN(2) == 0 {
		at, n = at&^4095, (n+4095)&^4095
	}
	fallocate := func(mode uint32) {
		err := unix.Fallocate(int(f.Fd()), mode, at, n)
		if err != unix.EOPNOTSUPP { // tmpfs cannot zero
			must(x.t, err)
		}
	}
	switch x.rng.IntN(12) {
	case 0, 1:
		fallocate(unix.FALLOC_FL_PUNCH_HOLE | unix.FALLOC_FL_KEEP_SIZE)
	case 2:
		fallocate(unix.FALLOC_FL_ZERO_RANGE | unix.FALLOC_FL_KEEP_SIZE)
	case 3:
		fallocate(0)
	case 4:
		at = max(end-x.rng.Int64N(200*kib), 0)
		n = 2*fileBytes - at
		must(x.t, f.Truncate(at))
		if x.rng.IntN(2) == 0 {
			must(x.t, f.Truncate(end+x.rng.Int64N(100*kib)))
		}
	default:
		_, err := f.WriteAt(x.content(n), at)
		must(x.t, err)
	}
	if end < at+n { // what lay behind the end may be zeroed on disk
		at = min(at, end)
	}
	x.touch(at, at+n)
}

// verify compares with what reading both tells: whatever differs is in a range,
// and no range has a block that was not touched.
func (x *trial) verify() {
	x.t.Helper()
	all := collect(x.t, x.target, extents.Delta(x.t.Context(), x.base, x.target, 0))
	b, c := read(x.t, x.base), read(x.t, x.target)
	b = append(b, make([]byte, max(0, len(c)-len(b)))...)[:len(c)]
	at := int64(0)
	for _, r := range append(all, extents.Range{Offset: int64(len(c))}) {
		if !bytes.Equal(b[at:r.Offset], c[at:r.Offset]) {
			x.t.Fatalf("something in [%d, %d) differs and is in none of %v", at, r.Offset, all)
		}
		at = r.Offset + r.Length
		for i := r.Offset / touchBytes; r.Length > 0 && i*touchBytes < at; i++ {
			if !x.touched[i] {
				x.t.Fatalf("range %+v has a part that nobody touched, %d", r, i*touchBytes)
			}
		}
	}
	for range 2 {
		from := x.rng.Int64N(int64(len(c)) + 1)
		tail := collect(x.t, x.target, extents.Delta(x.t.Context(), x.base, x.target, from))
		if !slices.Equal(tail, cut(all, from)) {
			x.t.Fatalf("from %d: %v, want %v", from, tail, cut(all, from))
		}
	}
}

func TestDelta(t *testing.T) {
	for _, c := range []struct {
		name    string
		dir     func() string
		reflink bool
	}{
		{"xfs", func() string { return hosttest.XFS(t, 300, "") }, true},
		{"btrfs", func() string { return hosttest.BtrfsNoQuota(t, 256) }, true},
		{"btrfs compressed", func() string { return compressed(t) }, true},
		{"btrfs copies", func() string { return hosttest.BtrfsNoQuota(t, 256) }, false},
		{"ext4", func() string { return hosttest.Ext4(t, 256, "") }, false},
		{"ext4 of 1 KiB blocks", func() string { return hosttest.Ext4(t, 256, "", "-b", "1024") }, false},
		{"tmpfs", func() string { return tmpfs(t) }, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			dir := c.dir()
			for round := range uint64(rounds) {
				x := &trial{t: t, rng: rand.New(rand.NewPCG(round, 1)), touched: map[int64]bool{}}
				x.base = create(t, dir+"/base", 0)
				x.target = create(t, dir+"/target", 0)
				must(t, x.base.Truncate(fileBytes))
				for range x.rng.IntN(30) {
					x.change(x.base)
				}
				clear(x.touched)
				x.copy(c.reflink)
				for range x.rng.IntN(12) {
					x.change(x.target)
				}
				x.verify()
				if t.Failed() {
					t.Fatalf("round %d", round)
				}
				must(t, x.base.Close())
				must(t, x.target.Close())
			}
		})
	}
}

func (x *trial) copy(reflink bool) {
	x.t.Helper()
	if reflink {
		must(x.t, unix.IoctlFileClone(int(x.target.Fd()), int(x.base.Fd())))
		return
	}
	_, err := x.target.WriteAt(read(x.t, x.base), 0)
	must(x.t, err)
}
