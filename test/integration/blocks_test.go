package integration

import (
	stdbytes "bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/container-storage-interface/spec/lib/go/csi"
	"golang.org/x/sys/unix"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/protobuf/proto"
)

// message is an answer of either call.
type message interface {
	GetBlockMetadataType() csi.BlockMetadataType
	GetVolumeCapacityBytes() int64
	GetBlockMetadata() []*csi.BlockMetadata
}

// told is all that a stream has told.
type told struct {
	bytes    int64
	blocks   []*csi.BlockMetadata
	messages []int // how many blocks each had
}

// allocated reads a whole stream about one snapshot.
func (n *node) allocated(snapshot string, from int64, most int32) (told, error) {
	n.t.Helper()
	stream, err := csi.NewSnapshotMetadataClient(n.daemon.Conn()).GetMetadataAllocated(n.ctx(), &csi.GetMetadataAllocatedRequest{SnapshotId: snapshot, StartingOffset: from, MaxResults: most})
	must(n.t, err)
	return collect(n.t, from, func() (message, error) { return stream.Recv() })
}

// delta reads a whole stream about two.
func (n *node) delta(base, target string, from int64, most int32) (told, error) {
	n.t.Helper()
	stream, err := csi.NewSnapshotMetadataClient(n.daemon.Conn()).GetMetadataDelta(n.ctx(), &csi.GetMetadataDeltaRequest{BaseSnapshotId: base, TargetSnapshotId: target, StartingOffset: from, MaxResults: most})
	must(n.t, err)
	return collect(n.t, from, func() (message, error) { return stream.Recv() })
}

// collect verifies what the specification says of every stream.
func collect(t *testing.T, from int64, recv func() (message, error)) (told, error) {
	t.Helper()
	var all told
	end := from - 1
	for {
		m, err := recv()
		if errors.Is(err, io.EOF) {
			if len(all.messages) == 0 {
				t.Error("nothing was told, not even the capacity")
			}
			return all, nil
		}
		if err != nil {
			return all, err
		}
		if all.bytes == 0 {
			all.bytes = m.GetVolumeCapacityBytes()
		}
		if m.GetBlockMetadataType() != csi.BlockMetadataType_VARIABLE_LENGTH || m.GetVolumeCapacityBytes() != all.bytes || all.bytes == 0 {
			t.Fatalf("%v", m)
		}
		all.messages = append(all.messages, len(m.GetBlockMetadata()))
		for _, b := range m.GetBlockMetadata() {
			if b.GetByteOffset() <= end || b.GetSizeBytes() <= 0 || b.GetByteOffset()+b.GetSizeBytes() > all.bytes {
				t.Fatalf("%v after one that ends at %d, of %d", b, end, all.bytes)
			}
			end = b.GetByteOffset() + b.GetSizeBytes()
			all.blocks = append(all.blocks, b)
		}
	}
}

func (a told) total() (sum int64) {
	for _, b := range a.blocks {
		sum += b.GetSizeBytes()
	}
	return sum
}

// tail is what a call with a starting offset has to tell.
func (a told) tail(from int64) (out []*csi.BlockMetadata) {
	for _, b := range a.blocks {
		if end := b.GetByteOffset() + b.GetSizeBytes(); end > from {
			at := max(b.GetByteOffset(), from)
			out = append(out, &csi.BlockMetadata{ByteOffset: at, SizeBytes: end - at})
		}
	}
	return out
}

func sameBlocks(a, b []*csi.BlockMetadata) bool {
	return slices.EqualFunc(a, b, func(x, y *csi.BlockMetadata) bool { return proto.Equal(x, y) })
}

// frozen is the content of a snapshot, filled up with zeros to its capacity.
func (n *node) frozen(snapshot string, capacity int64) []byte {
	n.t.Helper()
	b, err := os.ReadFile(filepath.Join(n.pool, "snapshots", snapshot, "image"))
	must(n.t, err)
	return append(b, make([]byte, max(0, capacity-int64(len(b))))...)
}

// apply takes what a stream tells over from a snapshot into a backup.
func (a told) apply(backup, from []byte) []byte {
	backup = append(backup, make([]byte, max(0, a.bytes-int64(len(backup))))...)
	for _, b := range a.blocks {
		copy(backup[b.GetByteOffset():], from[b.GetByteOffset():b.GetByteOffset()+b.GetSizeBytes()])
	}
	return backup
}

// checkResumption continues at the end of each block, and within some.
func (a told) checkResumption(t *testing.T, ask func(from int64, most int32) (told, error)) {
	t.Helper()
	offsets := []int64{a.bytes}
	for i, b := range a.blocks {
		offsets = append(offsets, b.GetByteOffset()+b.GetSizeBytes())
		if i%5 == 0 {
			offsets = append(offsets, b.GetByteOffset(), b.GetByteOffset()+1, b.GetByteOffset()+b.GetSizeBytes()/2)
		}
	}
	for _, from := range offsets {
		got, err := ask(from, 0)
		must(t, err)
		if !sameBlocks(got.blocks, a.tail(from)) || got.bytes != a.bytes {
			t.Fatalf("from %d: %v, want %v", from, got.blocks, a.tail(from))
		}
	}
	for _, most := range []int32{1, 3, 1 << 30} {
		got, err := ask(0, most)
		must(t, err)
		if !sameBlocks(got.blocks, a.blocks) || int32(slices.Max(got.messages)) > most {
			t.Errorf("at most %d: %v", most, got.messages)
		}
	}
}

// touchBytes is the unit in which the test keeps what it has written: a filesystem
// may tell more than what was written, but no more than that.
const touchBytes = 64 << 10

// rawDisk is a raw block volume that a test writes to.
type rawDisk struct {
	n       *node
	pool    string
	rng     *rand.Rand
	f       *os.File
	target  string
	touched map[int64]bool // since the last snapshot
}

func (d *rawDisk) open() {
	d.target = d.n.mounted("vol", "pod", usedAs(manyRaw()))
	f, err := os.OpenFile(d.target, os.O_RDWR, 0)
	must(d.n.t, err)
	d.f = f
}

func (d *rawDisk) close() {
	must(d.n.t, d.f.Sync())
	must(d.n.t, d.f.Close())
	d.n.unmounted("vol", d.target)
}

// change writes and discards here and there.
func (d *rawDisk) change(times int) {
	d.n.t.Helper()
	end, err := d.f.Seek(0, io.SeekEnd)
	must(d.n.t, err)
	for i := range times {
		at, size := d.rng.Int64N(end/512)*512, (1+d.rng.Int64N(64))*512
		if i%3 == 0 {
			at, size = at&^4095, (size+4095)&^4095
		}
		size = min(size, end-at)
		if i%7 == 6 {
			at, size = at&^4095, 16*4096
			size = min(size, end&^4095-at)
			if size > 0 {
				must(d.n.t, unix.Fallocate(int(d.f.Fd()), unix.FALLOC_FL_PUNCH_HOLE|unix.FALLOC_FL_KEEP_SIZE, at, size))
			}
		} else {
			b := make([]byte, size)
			for j := 0; j < len(b); j += 8 {
				binary.LittleEndian.PutUint64(b[j:], d.rng.Uint64())
			}
			_, err := d.f.WriteAt(b, at)
			must(d.n.t, err)
		}
		for b := at / touchBytes; b*touchBytes < at+size; b++ {
			d.touched[b] = true
		}
	}
	must(d.n.t, d.f.Sync())
}

// cut makes a snapshot: in use where the pool can do that.
func (d *rawDisk) cut(name string) {
	d.n.t.Helper()
	if d.pool == "ext4" {
		d.close()
		defer d.open()
	}
	d.n.snapshot(name, "vol")
}

// checkAllocated verifies what is told of one snapshot with its content.
func checkAllocated(t *testing.T, a told, content []byte) {
	t.Helper()
	at := int64(0)
	for _, b := range append(slices.Clone(a.blocks), &csi.BlockMetadata{ByteOffset: a.bytes}) {
		if gap := content[at:b.GetByteOffset()]; stdbytes.Count(gap, []byte{0}) != len(gap) {
			t.Fatalf("something in [%d, %d) is not 0 and in no block", at, b.GetByteOffset())
		}
		at = b.GetByteOffset() + b.GetSizeBytes()
	}
}

// checkDelta verifies what is told of two snapshots with their content.
func checkDelta(t *testing.T, a told, base, target []byte, touched map[int64]bool) {
	t.Helper()
	base = append(slices.Clone(base), make([]byte, len(target)-len(base))...)
	at := int64(0)
	for _, b := range append(slices.Clone(a.blocks), &csi.BlockMetadata{ByteOffset: a.bytes}) {
		if !stdbytes.Equal(base[at:b.GetByteOffset()], target[at:b.GetByteOffset()]) {
			t.Fatalf("something in [%d, %d) differs and is in no block", at, b.GetByteOffset())
		}
		at = b.GetByteOffset() + b.GetSizeBytes()
		for i := b.GetByteOffset() / touchBytes; b.GetSizeBytes() > 0 && i*touchBytes < at; i++ {
			if !touched[i] {
				t.Fatalf("%v has a part that nobody touched, at %d", b, i*touchBytes)
			}
		}
	}
}

// A backup that is made of nothing but the streams is the snapshot, full and incremental, also after a growth.
func TestBlocksMakeABackup(t *testing.T) {
	for _, pool := range []string{"ext4", "xfs", "btrfs"} {
		t.Run(pool, func(t *testing.T) {
			t.Parallel()
			n := serveOn(t, pool)
			n.volume("vol", as(manyRaw()), bytes(16*mib+512))
			d := &rawDisk{n: n, pool: pool, rng: rand.New(rand.NewPCG(1, 2)), touched: map[int64]bool{}}
			d.open()
			d.cut("empty")
			if a, err := n.allocated("empty", 0, 0); err != nil || len(a.blocks) > 0 || a.bytes != 16*mib+512 {
				t.Errorf("%+v %v", a, err)
			}
			d.change(30)
			d.cut("s0")
			full, err := n.allocated("s0", 0, 0)
			must(t, err)
			last := n.frozen("s0", full.bytes)
			checkAllocated(t, full, last)
			if full.total() > 8*mib {
				t.Errorf("%d bytes are told of %d", full.total(), full.bytes)
			}
			full.checkResumption(t, func(from int64, most int32) (told, error) { return n.allocated("s0", from, most) })
			backup := full.apply(nil, last)
			first, since := last, map[int64]bool{}
			for round := 1; round <= 4; round++ {
				clear(d.touched)
				if round == 3 {
					must(t, n.expand("vol", 20*mib))
					d.touched[16*mib/touchBytes] = true // the last block, of which there was a part
				}
				if round != 2 { // of which nothing differs
					d.change(15)
				}
				for b := range d.touched {
					since[b] = true
				}
				base, name := fmt.Sprint("s", round-1), fmt.Sprint("s", round)
				d.cut(name)
				delta, err := n.delta(base, name, 0, 0)
				must(t, err)
				now := n.frozen(name, delta.bytes)
				checkDelta(t, delta, last, now, d.touched)
				delta.checkResumption(t, func(from int64, most int32) (told, error) { return n.delta(base, name, from, most) })
				if backup = delta.apply(backup, now); !stdbytes.Equal(backup, now) {
					t.Fatalf("round %d: the backup is not the snapshot", round)
				}
				far, err := n.delta("s0", name, 0, 0)
				must(t, err)
				checkDelta(t, far, first, now, since)
				last = now
			}
			if len(last) != 20*mib {
				t.Errorf("%d bytes", len(last))
			}
			n.restart() // pairs are told after it as before
			far, err := n.delta("s0", "s4", 0, 0)
			must(t, err)
			checkDelta(t, far, first, last, since)
			must(t, n.removeSnapshot("s1")) // what was between is not needed
			again, err := n.delta("s0", "s4", 0, 0)
			if err != nil || !sameBlocks(again.blocks, far.blocks) {
				t.Errorf("%v %v, before %v", again.blocks, err, far.blocks)
			}
			d.close()
		})
	}
}

// A volume with a filesystem of its own is a disk below it.
func TestBlocksOfAFilesystem(t *testing.T) {
	for _, pool := range []string{"ext4", "xfs", "btrfs"} {
		t.Run(pool, func(t *testing.T) {
			t.Parallel()
			n := serveOn(t, pool)
			use := formatted("ext4")
			n.volume("vol", with("engine", "image"), as(use), bytes(64*mib))
			var backup []byte
			for round := range 3 {
				target := n.mounted("vol", "pod", usedAs(use))
				_, err := write(t, filepath.Join(target, fmt.Sprint(round)), mib)
				must(t, err)
				if round == 2 {
					must(t, os.Remove(filepath.Join(target, "0")))
				}
				n.unmounted("vol", target)
				name := fmt.Sprint("s", round)
				n.snapshot(name, "vol")
				a, err := n.allocated(name, 0, 0)
				must(t, err)
				now := n.frozen(name, a.bytes)
				checkAllocated(t, a, now)
				if round > 0 {
					a, err = n.delta(fmt.Sprint("s", round-1), name, 0, 0)
					must(t, err)
				}
				if backup = a.apply(backup, now); !stdbytes.Equal(backup, now) {
					t.Fatalf("round %d: the backup is not the snapshot", round)
				}
				if a.total() > 32*mib {
					t.Errorf("%d bytes are told of %d", a.total(), a.bytes)
				}
			}
		})
	}
}

// What a thick volume has allocated and never written is not told.
func TestBlocksOfAThickVolume(t *testing.T) {
	n := serveOn(t, "xfs")
	n.volume("vol", with("allocation", "thick"), as(manyRaw()))
	d := &rawDisk{n: n, pool: "ext4", rng: rand.New(rand.NewPCG(3, 4)), touched: map[int64]bool{}}
	d.open()
	_, err := d.f.WriteAt([]byte(strings.Repeat("x", 4096)), 8*mib)
	must(t, err)
	d.cut("snap")
	d.close()
	a, err := n.allocated("snap", 0, 0)
	must(t, err)
	checkAllocated(t, a, n.frozen("snap", a.bytes))
	if a.total() == 0 || a.total() > mib {
		t.Errorf("%v", a.blocks)
	}
}

func TestBlocksThatCannotBeTold(t *testing.T) {
	n := serveOn(t, "btrfs")
	for _, id := range []string{"vol", "other"} {
		n.volume(id, as(manyRaw()))
		n.snapshot(id+"-1", id)
		n.snapshot(id+"-2", id)
	}
	n.volume("dir")
	n.snapshot("dir-1", "dir")
	n.snapshot("dir-2", "dir")
	for _, c := range []struct {
		snapshot   string
		from       int64
		most       int32
		allocated  codes.Code
		base       string
		delta      codes.Code
		wordsDelta string
	}{
		{"vol-2", 0, 0, codes.OK, "vol-1", codes.OK, ""},
		{"vol-2", 16 * mib, 0, codes.OK, "vol-1", codes.OK, ""},
		{"vol-2", 16*mib + 1, 0, codes.OutOfRange, "vol-1", codes.OutOfRange, "16777216 bytes"},
		{"vol-2", -1, 0, codes.OutOfRange, "vol-1", codes.OutOfRange, "-1"},
		{"vol-2", 0, -1, codes.InvalidArgument, "vol-1", codes.InvalidArgument, "max_results"},
		{"", 0, 0, codes.InvalidArgument, "vol-1", codes.InvalidArgument, "target_snapshot_id"},
		{"vol-2", 0, 0, codes.OK, "", codes.InvalidArgument, "base_snapshot_id"},
		{"nobody", 0, 0, codes.NotFound, "vol-1", codes.NotFound, "nobody"},
		{"vol-2", 0, 0, codes.OK, "nobody", codes.NotFound, "nobody"},
		{"vol-2@deadbeef", 0, 0, codes.NotFound, "vol-1", codes.NotFound, "deadbeef"},
		{"vol", 0, 0, codes.NotFound, "vol-1", codes.NotFound, "vol"},
		{"../vol-2", 0, 0, codes.NotFound, "vol-1", codes.NotFound, ""},
		{"vol-2", 0, 0, codes.OK, "other-1", codes.InvalidArgument, "of volume other"},
		{"vol-1", 0, 0, codes.OK, "vol-2", codes.InvalidArgument, "not older"},
		{"vol-1", 0, 0, codes.OK, "vol-1", codes.InvalidArgument, "not older"},
		{"dir-2", 0, 0, codes.FailedPrecondition, "dir-1", codes.FailedPrecondition, "back up its files"},
		{"dir-2", 0, 0, codes.FailedPrecondition, "vol-1", codes.FailedPrecondition, "dir-2"},
	} {
		_, err := n.allocated(c.snapshot, c.from, c.most)
		want(t, err, c.allocated)
		_, err = n.delta(c.base, c.snapshot, c.from, c.most)
		want(t, err, c.delta, c.wordsDelta)
		if t.Failed() {
			t.Fatalf("%+v", c)
		}
	}
	must(t, os.Remove(filepath.Join(n.pool, "snapshots/other-1/image")))
	_, err := n.allocated("other-1", 0, 0)
	want(t, err, codes.FailedPrecondition, "missing")
	must(t, n.removeSnapshot("other-1"))
	if open := n.openImages(); len(open) > 0 {
		t.Errorf("left open: %v", open)
	}
}

// openImages are the images that the daemon has open.
func (n *node) openImages() (out []string) {
	n.t.Helper()
	links, err := filepath.Glob(fmt.Sprintf("/proc/%d/fd/*", n.daemon.PID()))
	must(n.t, err)
	for _, link := range links {
		if path, err := os.Readlink(link); err == nil && filepath.Base(path) == "image" {
			out = append(out, path)
		}
	}
	return out
}

// manyBlocks makes two snapshots of so many blocks that a client has to read for the call to end.
func manyBlocks(t *testing.T) *node {
	n := serveOn(t, "xfs")
	const count = 20_000
	n.volume("vol", as(manyRaw()), bytes(2*count*4096))
	n.snapshot("old", "vol")
	d := &rawDisk{n: n}
	d.open()
	for i := range int64(count) {
		_, err := d.f.WriteAt([]byte(strings.Repeat("x", 4096)), 2*i*4096)
		must(t, err)
	}
	d.close()
	n.snapshot("new", "vol")
	return n
}

// begun is a stream of which only the first message was read.
func (n *node) begun(ctx context.Context, base, target string) grpc.ServerStreamingClient[csi.GetMetadataDeltaResponse] {
	n.t.Helper()
	// The window is small, and of this connection, since others must go on.
	conn, err := grpc.NewClient(n.daemon.Endpoint(), grpc.WithTransportCredentials(insecure.NewCredentials()), grpc.WithInitialWindowSize(1<<16))
	must(n.t, err)
	n.t.Cleanup(func() { conn.Close() })
	stream, err := csi.NewSnapshotMetadataClient(conn).GetMetadataDelta(ctx, &csi.GetMetadataDeltaRequest{BaseSnapshotId: base, TargetSnapshotId: target, MaxResults: 1})
	must(n.t, err)
	m, err := stream.Recv()
	must(n.t, err)
	if len(m.GetBlockMetadata()) != 1 {
		n.t.Errorf("%v", m)
	}
	return stream
}

// While blocks are read, neither snapshot goes away; a client that goes away leaves nothing behind.
func TestBlocksAreReadWhileASnapshotIsDeleted(t *testing.T) {
	n := manyBlocks(t)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	for range 3 {
		n.begun(ctx, "old", "new")
	}
	for _, s := range []string{"old", "new"} {
		want(t, n.removeSnapshot(s), codes.Aborted, "being copied or read", "try again")
	}
	if open := n.openImages(); len(open) != 6 {
		t.Errorf("open: %v", open)
	}
	n.snapshot("newer", "vol") // nothing else waits
	must(t, n.removeSnapshot("newer"))
	n.volume("restored", as(manyRaw()), bytes(256*mib), fromSnapshot("new"))
	cancel()
	eventually(t, waitPurge, func() string { return strings.Join(n.openImages(), " ") })
	for _, s := range []string{"old", "new"} {
		must(t, n.removeSnapshot(s))
		_, err := n.allocated(s, 0, 0)
		want(t, err, codes.NotFound)
	}
	if log := n.daemon.Log(); strings.Contains(log, "panicked") {
		t.Error(log)
	}
}

// A member of a group is a snapshot as others are, and its group stays while it is read.
func TestBlocksOfAGroup(t *testing.T) {
	n := manyBlocks(t)
	n.volume("other", as(manyRaw()))
	g, err := n.cutGroup("group", "vol", "other")
	must(t, err)
	at := slices.IndexFunc(g.GetSnapshots(), func(s *csi.Snapshot) bool { return s.GetSourceVolumeId() == "vol" })
	member := g.GetSnapshots()[at].GetSnapshotId()
	if a, err := n.delta("new", member, 0, 0); err != nil || len(a.blocks) > 0 {
		t.Errorf("%v %v", a.blocks, err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	n.begun(ctx, "old", member)
	want(t, n.removeGroup(g.GetGroupSnapshotId(), memberIDs(g)...), codes.Aborted, "being copied or read")
	cancel()
	eventually(t, waitPurge, func() string { return strings.Join(n.openImages(), " ") })
	must(t, n.removeGroup(g.GetGroupSnapshotId(), memberIDs(g)...))
}

// A stop ends streams, and says so.
func TestBlocksAreReadWhileTheDaemonStops(t *testing.T) {
	n := manyBlocks(t)
	stream := n.begun(t.Context(), "old", "new")
	d := n.daemon
	n.daemon = nil
	begin := time.Now()
	stopped := make(chan error, 1)
	go func() { stopped <- d.Stop() }()
	eventually(t, waitPurge, func() string {
		if _, err := os.Lstat(filepath.Join(n.dir, "csi.sock")); err == nil {
			return "it still listens"
		}
		return ""
	})
	count := 1
	for {
		_, err := stream.Recv()
		if err != nil {
			want(t, err, codes.Unavailable, "continue")
			break
		}
		count++
	}
	must(t, <-stopped)
	if took := time.Since(begin); took > 10*time.Second || count == 20_000 {
		t.Errorf("it took %v, and %d messages came", took, count)
	}
	n.start()
	all, err := n.delta("old", "new", 0, 0)
	if err != nil || len(all.blocks) != 20_000 {
		t.Errorf("%d %v", len(all.blocks), err)
	}
}

// Who asks for blocks knows one address, so only where there is one daemon the service is advertised; it answers in both.
func TestBlocksFollowTheMode(t *testing.T) {
	for mode, advertised := range map[string]bool{"single": true, "distributed": false} {
		n := serveOn(t, "btrfs", "--mode", mode)
		answer, err := n.identity.GetPluginCapabilities(n.ctx(), &csi.GetPluginCapabilitiesRequest{})
		must(t, err)
		if slices.ContainsFunc(answer.GetCapabilities(), func(c *csi.PluginCapability) bool {
			return c.GetService().GetType() == csi.PluginCapability_Service_SNAPSHOT_METADATA_SERVICE
		}) != advertised {
			t.Errorf("%s: %v", mode, answer)
		}
		base := n.snapshot("one", n.volume("vol", as(manyRaw())))
		target := n.snapshot("two", "vol")
		if strings.Contains(base, "@") == advertised {
			t.Errorf("%s: %s", mode, base)
		}
		_, err = n.delta(base, target, 0, 0)
		must(t, err)
	}
}
