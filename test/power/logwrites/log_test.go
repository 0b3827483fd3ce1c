package logwrites

import (
	"bytes"
	"encoding/binary"
	"math/rand/v2"
	"slices"
	"testing"
)

const sector = 512

// written makes a log as the target writes it; data is filled with the entry's number.
func written(entries ...Entry) []byte {
	le := binary.LittleEndian
	out := make([]byte, sector)
	le.PutUint64(out, magic)
	le.PutUint64(out[8:], version)
	le.PutUint64(out[16:], uint64(len(entries)))
	le.PutUint32(out[24:], sector)
	for i, e := range entries {
		head := make([]byte, sector)
		le.PutUint64(head, uint64(e.Offset/sector))
		le.PutUint64(head[8:], uint64(e.Size/sector))
		le.PutUint64(head[16:], uint64(e.Flags))
		if e.is(Mark) {
			le.PutUint64(head[24:], uint64(len(e.Mark)))
			copy(head[headerSize:], e.Mark)
		}
		out = append(out, head...)
		if !e.is(Discard) {
			out = append(out, bytes.Repeat([]byte{byte(i + 1)}, int(e.Size))...)
		}
	}
	return out
}

// memory is a disk.
type memory []byte

func (m memory) WriteAt(p []byte, off int64) (int, error) { return copy(m[off:], p), nil }

func (m memory) Zero(offset, size int64) error {
	clear(m[offset : offset+size])
	return nil
}

func example(t *testing.T) *Log {
	t.Helper()
	l, err := Read(bytes.NewReader(written(
		Entry{Flags: Mark, Mark: "begin:1"},
		Entry{Offset: 0, Size: 8192},
		Entry{Offset: 4096, Size: 4096},
		Entry{Flags: Flush},
		Entry{Flags: FUA, Offset: 8192, Size: 4096},
		Entry{Flags: Mark, Mark: "ack:1"},
		Entry{Flags: Discard, Offset: 0, Size: 4096},
		Entry{Flags: Flush},
	)))
	if err != nil {
		t.Fatal(err)
	}
	return l
}

func TestRead(t *testing.T) {
	l := example(t)
	if len(l.Entries) != 8 || l.Entries[0].Mark != "begin:1" || l.Entries[5].Mark != "ack:1" || l.Entries[4].Offset != 8192 {
		t.Errorf("%+v", l.Entries)
	}
	if _, err := Read(bytes.NewReader(make([]byte, 4096))); err == nil {
		t.Error("an empty disk was read as a log")
	}
	whole := written(Entry{Size: 4096})
	binary.LittleEndian.PutUint64(whole[16:], 3)
	if _, err := Read(bytes.NewReader(whole)); err == nil {
		t.Error("a log that ends early was read")
	}
}

func TestReplay(t *testing.T) {
	l, disk := example(t), make(memory, 12288)
	for to, want := range [][3]byte{{}, {}, {2, 2}, {2, 3}, {2, 3}, {2, 3, 5}, {2, 3, 5}, {0, 3, 5}, {0, 3, 5}} {
		if err := l.Replay(disk, max(0, to-1), to); err != nil {
			t.Fatal(err)
		}
		if got := [3]byte{disk[0], disk[4096], disk[8192]}; got != want {
			t.Errorf("the first %d entries give %v, want %v", to, got, want)
		}
	}
}

func TestTorn(t *testing.T) {
	l := example(t)
	for from, want := range []Cut{{1, 3}, {1, 3}, {2, 3}, {4, 5}, {4, 5}, {6, 7}, {6, 7}, {8, 8}, {8, 8}} {
		if got := l.Torn(from); got != want {
			t.Errorf("from %d: %v, want %v", from, got, want)
		}
	}
}

// Every subset of the pieces comes up, and none that a disk cannot have.
func TestTear(t *testing.T) {
	l := example(t)
	found := map[[2]byte]int{}
	random := rand.New(rand.NewPCG(1, 2))
	for range 2000 {
		disk := make(memory, 12288)
		if err := l.Tear(disk, l.Torn(0), random); err != nil {
			t.Fatal(err)
		}
		if !slices.Equal(disk[:4096], bytes.Repeat(disk[:1], 4096)) {
			t.Fatal("a piece was torn")
		}
		found[[2]byte{disk[0], disk[4096]}]++
	}
	for _, first := range []byte{0, 2} {
		for _, second := range []byte{0, 2, 3} {
			if found[[2]byte{first, second}] == 0 {
				t.Errorf("never found: %d, %d; %v", first, second, found)
			}
		}
	}
	if len(found) != 6 {
		t.Errorf("found %v", found)
	}
}
