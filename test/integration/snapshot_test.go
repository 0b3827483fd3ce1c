package integration

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/container-storage-interface/spec/lib/go/csi"
	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/proto"

	"github.com/hostvol/hostvol/pkg/host/btrfs"
	"github.com/hostvol/hostvol/pkg/host/hosttest"
)

// One of everything that a tree can hold comes back from a snapshot, a restore and a clone as it was, on each kind of
// file system, also after the source is gone.
func TestRestoreKeepsTheTree(t *testing.T) {
	for kind, method := range map[string]string{"btrfs": "btrfs-snapshot", "xfs": "reflink", "ext4": "copy"} {
		t.Run(kind, func(t *testing.T) {
			t.Parallel()
			n := serveOn(t, kind)
			n.volume("vol", bytes(100*mib))
			hosttest.MakeTree(t, n.data("vol"))
			tree := describeTree(t, n.data("vol"))
			n.snapshot("snap", "vol")
			if s := n.snapshots()["snap"]; s.Method != method || s.SourceID != "vol" || s.Bytes != 100*mib || s.HeldBytes <= 0 || s.HeldBytes > 100*mib {
				t.Errorf("%+v", s)
			}
			n.volume("clone", bytes(100*mib), fromVolume("vol"))
			must(t, os.RemoveAll(filepath.Join(n.data("vol"), "a")))
			n.put("vol", "plain", "changed")
			must(t, n.remove("vol"))
			n.volume("restored", bytes(100*mib), fromSnapshot("snap"))
			n.volume("larger", bytes(200*mib), fromSnapshot("snap"), with("mode", "0700", "uid", "5"))
			for _, id := range []string{"clone", "restored", "larger"} {
				hosttest.CompareTrees(t, tree, describeTree(t, n.data(id)))
				var st, whole int64 = usedBlocks(t, filepath.Join(n.data(id), "sparse")), 64 * mib
				if st*512 > whole/4 {
					t.Errorf("%s: the sparse file takes %d bytes", id, st*512)
				}
			}
			n.restart()
			hosttest.CompareTrees(t, tree, describeTree(t, n.data("restored")))
			must(t, n.removeSnapshot("snap"))
			n.volume("again", bytes(100*mib), fromVolume("restored"))
			hosttest.CompareTrees(t, tree, describeTree(t, n.data("again")))
			target := n.mounted("again", "pod")
			must(t, os.WriteFile(filepath.Join(target, "new"), []byte("x"), 0o600))
			n.unmounted("again", target)
			for _, id := range n.all() {
				must(t, n.remove(id))
			}
			n.empty()
		})
	}
}

// A snapshot does not change with its volume, nor a volume with its clone.
func TestCopiesAreApart(t *testing.T) {
	for _, kind := range []string{"btrfs", "xfs", "ext4"} {
		t.Run(kind, func(t *testing.T) {
			t.Parallel()
			n := serveOn(t, kind)
			n.volume("vol")
			n.put("vol", "file", "one")
			n.snapshot("first", "vol")
			n.put("vol", "file", "two")
			n.snapshot("second", "vol")
			n.volume("clone", fromVolume("vol"))
			n.put("clone", "file", "three")
			n.has("vol", "file", "two")
			n.volume("a", fromSnapshot("first"))
			n.volume("b", fromSnapshot("second"))
			n.has("a", "file", "one")
			n.has("b", "file", "two")
			n.put("a", "file", "four")
			n.volume("c", fromSnapshot("first"))
			n.has("c", "file", "one")
			if kind == "btrfs" {
				if err := os.WriteFile(filepath.Join(n.pool, "snapshots/first/data/file"), nil, 0o600); err == nil {
					t.Error("a snapshot can be written to")
				}
				bound(t, n.mounted("c", "pod"), 16*mib)
			}
		})
	}
}

// Snapshots, their volume, and what was made of them can be deleted in every order.
func TestEveryOrderOfDeletion(t *testing.T) {
	for _, kind := range []string{"btrfs", "ext4"} {
		t.Run(kind, func(t *testing.T) {
			t.Parallel()
			n := serveOn(t, kind)
			for i, order := range permutations([]string{"vol", "snap", "restored", "clone"}) {
				name := func(of string) string { return fmt.Sprintf("%s-%d", of, i) }
				n.volume(name("vol"))
				n.put(name("vol"), "file", name("text"))
				n.snapshot(name("snap"), name("vol"))
				n.volume(name("clone"), fromVolume(name("vol")))
				n.volume(name("restored"), fromSnapshot(name("snap")))
				for left := order; len(left) > 0; left = left[1:] {
					for _, of := range left {
						if of != "snap" {
							n.has(name(of), "file", name("text"))
						} else if s, err := n.getSnapshot(name("snap")); err != nil || s.GetSourceVolumeId() != name("vol") {
							t.Errorf("%v: %v %v", order, s, err)
						}
					}
					remove := n.remove
					if left[0] == "snap" {
						remove = n.removeSnapshot
					}
					must(t, remove(name(left[0])))
					must(t, remove(name(left[0])))
				}
			}
			n.empty()
			if left, err := os.ReadDir(filepath.Join(n.pool, "snapshots")); err != nil || len(left) > 0 {
				t.Errorf("%v %v", left, err)
			}
		})
	}
}

func permutations(of []string) [][]string {
	if len(of) == 0 {
		return [][]string{nil}
	}
	var out [][]string
	for i := range of {
		for _, rest := range permutations(slices.Concat(of[:i], of[i+1:])) {
			out = append(out, append([]string{of[i]}, rest...))
		}
	}
	return out
}

func TestRepeatedSnapshots(t *testing.T) {
	n := serveOn(t, "ext4")
	n.volume("vol")
	n.volume("other")
	first, err := n.cut("snap", "vol")
	must(t, err)
	check := func() {
		t.Helper()
		again, err := n.cut("snap", "vol")
		must(t, err)
		got, err := n.getSnapshot("snap")
		must(t, err)
		if !proto.Equal(first, again) || !proto.Equal(first, got) {
			t.Errorf("%v, then %v, then %v", first, again, got)
		}
		_, err = n.cut("snap", "other")
		want(t, err, codes.AlreadyExists, "vol", "other")
		_, err = n.cut("snap", "vol", "snapshotConsistency", "atomic")
		want(t, err, codes.AlreadyExists, "best-effort")
	}
	check()
	n.restart()
	check()
	must(t, n.remove("vol"))
	check()
	long := strings.Repeat("Long Name ", 12)
	if first, second := n.snapshot(long, "other"), n.snapshot(long, "other"); first != second {
		t.Errorf("%s, then %s", first, second)
	}
	// A volume and a snapshot may have one name.
	n.snapshot("other", "other")
	must(t, n.remove("other"))
	if _, err := n.getSnapshot("other"); err != nil {
		t.Error(err)
	}
}

func TestRepeatedRestores(t *testing.T) {
	n := serveOn(t, "ext4")
	n.volume("vol")
	n.snapshot("snap", "vol")
	n.snapshot("twin", "vol")
	v, err := n.create("new", fromSnapshot("snap"))
	must(t, err)
	if v.GetContentSource().GetSnapshot().GetSnapshotId() != "snap" {
		t.Errorf("%v", v)
	}
	clone, err := n.create("clone", fromVolume("vol"))
	must(t, err)
	if clone.GetContentSource().GetVolume().GetVolumeId() != "vol" {
		t.Errorf("%v", clone)
	}
	n.volume("open", fromSnapshot("snap"), func(r *csi.CreateVolumeRequest) { r.CapacityRange = nil })
	if o, err := n.get("open"); err != nil || o.GetCapacityBytes() != 16*mib || o.GetContentSource().GetSnapshot().GetSnapshotId() != "snap" {
		t.Errorf("%v %v", o, err)
	}
	for _, gone := range []bool{false, true} {
		if gone { // a repeat needs the sources no more
			must(t, n.removeSnapshot("snap"))
			must(t, n.remove("vol"))
		}
		again, err := n.create("new", fromSnapshot("snap"))
		must(t, err)
		if !proto.Equal(v, again) {
			t.Errorf("%v, then %v", v, again)
		}
		n.volume("open", fromSnapshot("snap"), func(r *csi.CreateVolumeRequest) { r.CapacityRange = nil })
		for name, change := range map[string]func(*csi.CreateVolumeRequest){
			"another snapshot": fromSnapshot("twin"), "a volume": fromVolume("snap"), "nothing": func(*csi.CreateVolumeRequest) {},
		} {
			_, err := n.create("new", change)
			want(t, err, codes.AlreadyExists, "snap")
			if t.Failed() {
				t.Fatal(name)
			}
		}
		_, err = n.create("new", fromSnapshot("snap"), bytes(32*mib))
		want(t, err, codes.AlreadyExists)
	}
	answer, err := n.controller.ListVolumes(n.ctx(), &csi.ListVolumesRequest{})
	must(t, err)
	listed := map[string]string{}
	for _, e := range answer.GetEntries() {
		s := e.GetVolume().GetContentSource()
		listed[e.GetVolume().GetVolumeId()] = s.GetSnapshot().GetSnapshotId() + s.GetVolume().GetVolumeId()
	}
	if why := differ(listed, map[string]string{"new": "snap", "clone": "vol", "open": "snap"}); why != "" {
		t.Error(why)
	}
}

func TestWhatCannotBeRestored(t *testing.T) {
	n := serveOn(t, "ext4")
	n.volume("vol", bytes(32*mib))
	n.snapshot("snap", "vol")
	for _, from := range []func(*csi.CreateVolumeRequest){fromSnapshot("snap"), fromVolume("vol")} {
		_, err := n.create("new", from, bytes(16*mib))
		want(t, err, codes.OutOfRange, "33554432")
		_, err = n.create("new", from, func(r *csi.CreateVolumeRequest) { r.CapacityRange = &csi.CapacityRange{LimitBytes: 16 * mib} })
		want(t, err, codes.OutOfRange)
		_, err = n.create("new", from, bytes(32*mib), with("pool", "none"))
		want(t, err, codes.InvalidArgument)
	}
	for _, from := range []func(*csi.CreateVolumeRequest){fromSnapshot("vol"), fromVolume("snap"), fromSnapshot("../snap"), fromVolume("a/b")} {
		_, err := n.create("new", from)
		want(t, err, codes.NotFound)
	}
	_, err := n.create("new", fromSnapshot(""))
	want(t, err, codes.InvalidArgument)
	_, err = n.create("new", func(r *csi.CreateVolumeRequest) { r.VolumeContentSource = &csi.VolumeContentSource{} })
	want(t, err, codes.InvalidArgument)
	_, err = n.cut("new", "snap")
	want(t, err, codes.NotFound)
	_, err = n.cut("new", "../volumes/vol")
	want(t, err, codes.NotFound)
	_, err = n.cut("new", "vol", "consistency", "atomic")
	want(t, err, codes.InvalidArgument, "snapshotConsistency")
	_, err = n.cut("new", "vol", "snapshotConsistency", "best")
	want(t, err, codes.InvalidArgument, "atomic best-effort")
	n.snapshot("new", "vol", "csi.storage.k8s.io/volumesnapshot/name", "claim")
	must(t, n.removeSnapshot("../volumes/vol"))
	must(t, n.removeSnapshot("nobody"))
	if len(n.all()) != 1 {
		t.Errorf("%v", n.all())
	}
}

func TestSnapshotLists(t *testing.T) {
	n, _, _ := twoPools(t, "ext4", "btrfs", "")
	for i := range 12 {
		id, pool := fmt.Sprintf("vol-%d", i%4), []string{"a", "b"}[i%2]
		n.volume(id, with("pool", pool))
		n.snapshot(fmt.Sprintf("snap-%02d", i), id)
	}
	var seen []string
	for token, page := "", 0; page == 0 || token != ""; page++ {
		handles, next, err := n.listSnapshots(&csi.ListSnapshotsRequest{MaxEntries: 5, StartingToken: token})
		must(t, err)
		seen, token = append(seen, handles...), next
		if page == 0 {
			must(t, n.removeSnapshot("snap-04")) // the one that the token names
			must(t, n.removeSnapshot("snap-10"))
		}
	}
	if len(seen) != 11 || !slices.IsSorted(seen) {
		t.Errorf("%v", seen)
	}
	for _, c := range []struct {
		r    *csi.ListSnapshotsRequest
		want []string
	}{
		{&csi.ListSnapshotsRequest{SourceVolumeId: "vol-1"}, []string{"snap-01", "snap-05", "snap-09"}},
		{&csi.ListSnapshotsRequest{SourceVolumeId: "vol-2"}, []string{"snap-02", "snap-06"}},
		{&csi.ListSnapshotsRequest{SourceVolumeId: "vol-1", MaxEntries: 2}, []string{"snap-01", "snap-05"}},
		{&csi.ListSnapshotsRequest{SnapshotId: "snap-03"}, []string{"snap-03"}},
		{&csi.ListSnapshotsRequest{SnapshotId: "snap-03", SourceVolumeId: "vol-3"}, []string{"snap-03"}},
		{&csi.ListSnapshotsRequest{SnapshotId: "snap-03", SourceVolumeId: "vol-1"}, nil},
		{&csi.ListSnapshotsRequest{SnapshotId: "snap-04"}, nil},
		{&csi.ListSnapshotsRequest{SourceVolumeId: "nobody"}, nil},
		{&csi.ListSnapshotsRequest{SourceVolumeId: "../x"}, nil},
	} {
		handles, _, err := n.listSnapshots(c.r)
		must(t, err)
		if why := differ(handles, c.want); why != "" {
			t.Errorf("%v: %s", c.r, why)
		}
	}
	_, _, err := n.listSnapshots(&csi.ListSnapshotsRequest{MaxEntries: -1})
	want(t, err, codes.InvalidArgument)
	_, _, err = n.listSnapshots(&csi.ListSnapshotsRequest{StartingToken: "bogus"})
	want(t, err, codes.Aborted)
	_, err = n.getSnapshot("snap-04")
	want(t, err, codes.NotFound)
	if out := n.admin("snapshots"); !strings.Contains(out, "OF VOLUME") || !strings.Contains(out, "snap-01") || !strings.Contains(out, "atomic") {
		t.Errorf("%s", out)
	}
}

func TestConsistency(t *testing.T) {
	n, _, _ := twoPools(t, "ext4", "btrfs", "")
	n.volume("plain", with("pool", "a"))
	n.volume("sub", with("pool", "b"))
	_, err := n.cut("snap", "plain", "snapshotConsistency", "atomic")
	want(t, err, codes.FailedPrecondition, "pool a", "ext4", "pools have it: b")
	n.snapshot("effort", "plain", "snapshotConsistency", "best-effort")
	n.snapshot("atomic", "sub", "snapshotConsistency", "atomic")
	n.snapshot("default", "sub")
	all := n.snapshots()
	for id, consistency := range map[string]string{"effort": "best-effort", "atomic": "atomic", "default": "atomic"} {
		if all[id].Consistency != consistency {
			t.Errorf("%s: %+v", id, all[id])
		}
	}
}

// A directory that was adopted is no subvolume, and is copied.
func TestSnapshotsOfAnAdoptedDirectory(t *testing.T) {
	n := newNode(t)
	disk := n.filesystem("btrfs", 1024)
	n.pool = filepath.Join(disk, "pool")
	n.start("--pool", "default="+n.pool)
	old := filepath.Join(disk, "old")
	must(t, os.Mkdir(old, 0o755))
	run(t, "btrfs", "subvolume", "create", filepath.Join(old, "nested"))
	must(t, os.WriteFile(filepath.Join(old, "nested", "file"), []byte("text"), 0o600))
	n.admin("adopt", "--pool", "default", "--name", "vol", "--size", "64Mi", "--execute", old)
	_, err := n.cut("snap", "vol", "snapshotConsistency", "atomic")
	want(t, err, codes.FailedPrecondition, "no pool of this node can")
	n.snapshot("snap", "vol")
	if s := n.snapshots()["snap"]; s.Consistency != "best-effort" || s.Method == "btrfs-snapshot" {
		t.Errorf("%+v", s)
	}
	if err := os.WriteFile(filepath.Join(n.pool, "snapshots/snap/data/new"), nil, 0o600); err == nil {
		t.Error("the snapshot can be written to")
	}
	n.admin("release", "vol")
	n.volume("new", bytes(64*mib), fromSnapshot("snap"), with("enforce", "required"))
	n.has("new", "nested/file", "text")
}

// A volume that is full to its limit can be copied, at its size, again and again.
func TestCopiesOfAFullVolume(t *testing.T) {
	n := serveOn(t, "btrfs")
	n.volume("vol-0", bytes(24*mib))
	for i := range 40 { // many small files: most of it is metadata
		dir := filepath.Join(n.data("vol-0"), fmt.Sprint(i))
		must(t, os.Mkdir(dir, 0o755))
		for j := range 100 {
			if os.WriteFile(filepath.Join(dir, fmt.Sprint(j)), []byte("x"), 0o600) != nil {
				break
			}
		}
	}
	if _, err := write(t, filepath.Join(n.data("vol-0"), "rest"), 100*mib); err == nil {
		t.Fatal("the volume has no limit")
	}
	_ = os.WriteFile(filepath.Join(n.data("vol-0"), "last"), []byte("x"), 0o600)
	for i := range 10 {
		vol, snap := fmt.Sprintf("vol-%d", i), fmt.Sprintf("snap-%d", i)
		n.snapshot(snap, vol)
		n.volume(fmt.Sprintf("vol-%d", i+1), bytes(24*mib), fromSnapshot(snap))
		n.volume(fmt.Sprintf("clone-%d", i), bytes(24*mib), fromVolume(vol))
		// What is overwritten meanwhile makes the trees a little larger.
		for j := range 100 {
			_ = os.Chtimes(filepath.Join(n.data(fmt.Sprintf("vol-%d", i+1)), fmt.Sprint(j%40), fmt.Sprint(j)), time.Now(), time.Now())
		}
	}
	target := n.mounted("vol-10", "pod")
	if err := os.WriteFile(filepath.Join(target, "more"), make([]byte, mib), 0o600); err == nil {
		t.Error("the copy takes more than its size")
	}
	must(t, n.expand("vol-10", 32*mib))
	_, err := write(t, filepath.Join(target, "more"), mib)
	must(t, err)
}

func TestSnapshotsWithoutQuotas(t *testing.T) {
	n := newNode(t)
	n.pool = n.filesystem("btrfs", 1024)
	run(t, "btrfs", "quota", "disable", n.pool)
	n.start("--pool", "default="+n.pool)
	n.volume("vol")
	n.put("vol", "file", "text")
	n.snapshot("snap", "vol", "snapshotConsistency", "atomic")
	n.volume("new", fromSnapshot("snap"))
	n.volume("clone", fromVolume("vol"), bytes(32*mib))
	n.has("new", "file", "text")
	n.has("clone", "file", "text")
	if reserved := n.poolState("default").ReservedBytes; reserved > 80*mib || reserved <= 64*mib {
		t.Errorf("%d bytes are reserved", reserved)
	}
}

// A volume that nothing kept within its size can hold more than a volume made of it may.
func TestMoreThanTheSize(t *testing.T) {
	n, _, _ := twoPools(t, "ext4", "btrfs", "")
	n.volume("vol", with("pool", "a"))
	_, err := write(t, filepath.Join(n.data("vol"), "file"), 40*mib)
	must(t, err)
	n.snapshot("snap", "vol")
	_, err = n.create("new", fromSnapshot("snap"), with("pool", "b"))
	want(t, err, codes.OutOfRange, "more than the asked size")
	_, err = n.create("new", fromVolume("vol"), with("pool", "b"))
	want(t, err, codes.ResourceExhausted)
	n.volume("free", fromSnapshot("snap"), with("pool", "b", "enforce", "none"))
	n.volume("large", fromSnapshot("snap"), with("pool", "b"), bytes(64*mib))
	n.volume("new", fromSnapshot("snap"), with("pool", "a"))
}

// A volume without a limit can hold more than its size, and has a copy within a limit only if it does not. Nor has a
// copy the limit of its source if it is to have none.
func TestCopiesWithAndWithoutALimit(t *testing.T) {
	n := serveOn(t, "btrfs")
	n.volume("free", with("enforce", "none"))
	_, err := write(t, filepath.Join(n.data("free"), "file"), 40*mib)
	must(t, err)
	n.snapshot("of-free", "free")
	_, err = n.create("new", fromVolume("free"))
	want(t, err, codes.ResourceExhausted)
	_, err = n.create("new", fromSnapshot("of-free"))
	want(t, err, codes.OutOfRange, "more than the asked size")
	n.volume("limited")
	n.snapshot("of-limited", "limited")
	for id, c := range map[string]struct {
		from  func(*csi.CreateVolumeRequest)
		limit int64
		more  []func(*csi.CreateVolumeRequest)
	}{
		"larger clone":   {from: fromVolume("free"), limit: 64 * mib, more: []func(*csi.CreateVolumeRequest){bytes(64 * mib)}},
		"larger restore": {from: fromSnapshot("of-free"), limit: 64 * mib, more: []func(*csi.CreateVolumeRequest){bytes(64 * mib)}},
		"clone":          {from: fromVolume("limited"), limit: 16 * mib},
		"restore":        {from: fromSnapshot("of-limited"), limit: 16 * mib},
		"free clone":     {from: fromVolume("limited"), more: []func(*csi.CreateVolumeRequest){with("enforce", "none")}},
		"free restore":   {from: fromSnapshot("of-limited"), more: []func(*csi.CreateVolumeRequest){with("enforce", "none")}},
	} {
		id := n.volume(strings.ReplaceAll(id, " ", "-"), append(c.more, c.from)...)
		usage, err := btrfs.ReadUsage(hosttest.Open(t, n.data(id)))
		if must(t, err); usage.Limit != c.limit {
			t.Errorf("%s has a limit of %d, want %d", id, usage.Limit, c.limit)
		}
		_, err = write(t, filepath.Join(n.data(id), "more"), 40*mib)
		if (err == nil) != (c.limit == 0) {
			t.Errorf("40 MiB more in %s: %v", id, err)
		}
	}
}

// Subvolumes that a pod has made inside its volume would be missing in a snapshot.
func TestNestedSubvolumes(t *testing.T) {
	n := serveOn(t, "btrfs")
	n.volume("vol")
	nested := filepath.Join(n.data("vol"), "dir", "nested")
	must(t, os.MkdirAll(filepath.Dir(nested), 0o755))
	run(t, "btrfs", "subvolume", "create", nested)
	_, err := n.cut("snap", "vol")
	want(t, err, codes.FailedPrecondition, "nested")
	_, err = n.create("clone", fromVolume("vol"))
	want(t, err, codes.FailedPrecondition, "nested")
	if left, err := os.ReadDir(filepath.Join(n.pool, "staging")); err != nil || len(left) > 0 {
		t.Errorf("%v %v", left, err)
	}
	run(t, "btrfs", "subvolume", "delete", nested)
	n.snapshot("snap", "vol")
	n.volume("clone", fromVolume("vol"))
}

// A restore goes to the snapshot's pool, and to another only if the class names it.
func TestRestoresAcrossPools(t *testing.T) {
	for _, kinds := range [][2]string{{"btrfs", "ext4"}, {"ext4", "btrfs"}, {"xfs", "btrfs"}, {"btrfs", "btrfs"}} {
		t.Run(kinds[0]+" to "+kinds[1], func(t *testing.T) {
			t.Parallel()
			n, _, b := twoPools(t, kinds[0], kinds[1], "defaultPool: b")
			n.volume("vol", with("pool", "a"), bytes(100*mib))
			hosttest.MakeTree(t, n.data("vol"))
			tree := describeTree(t, n.data("vol"))
			n.snapshot("snap", "vol")
			n.volume("same", fromSnapshot("snap"), bytes(100*mib))
			n.volume("clone", fromVolume("vol"), bytes(100*mib))
			n.volume("other", fromSnapshot("snap"), bytes(120*mib), with("pool", "b"))
			n.volume("cross", fromVolume("vol"), bytes(100*mib), with("pool", "b"))
			for id, pool := range map[string]string{"same": "a", "clone": "a", "other": "b", "cross": "b"} {
				if got := n.poolOf(id); got != pool {
					t.Errorf("%s is in %s", id, got)
				}
			}
			for _, id := range []string{"other", "cross"} {
				got := describeTree(t, filepath.Join(b, "volumes", id, "data"))
				hosttest.CompareTrees(t, tree, got)
			}
			if kinds[1] == "btrfs" {
				target := n.mounted("other", "pod")
				must(t, os.RemoveAll(filepath.Join(target, "sparse")))
				bound(t, target, 120*mib)
			}
		})
	}
}

func TestSnapshotsInTheTrash(t *testing.T) {
	for _, kind := range []string{"ext4", "btrfs"} {
		t.Run(kind, func(t *testing.T) {
			t.Parallel()
			n := serveOn(t, kind, keeping(t)...)
			n.volume("vol")
			n.put("vol", "file", "dear")
			n.snapshot("vol", "vol")
			must(t, n.removeSnapshot("vol"))
			must(t, n.remove("vol"))
			_, err := n.getSnapshot("vol")
			want(t, err, codes.NotFound)
			n.restart()
			entries := n.trash()
			if len(entries) != 2 {
				t.Fatalf("%+v", entries)
			}
			n.refused("trash", "restore", "vol") // which of the two?
			for _, e := range entries {
				out := n.admin("trash", "restore", e.Name)
				if kindWord := strings.ToUpper(e.Kind[:1]) + e.Kind[1:]; !strings.Contains(out, kindWord+" vol is back in pool default") {
					t.Errorf("%s", out)
				}
			}
			n.volume("new", fromSnapshot("vol"))
			n.has("new", "file", "dear")
			n.restart()
			must(t, n.removeSnapshot("vol"))
			n.admin("trash", "purge", "--all")
		})
	}
}

func TestSnapshotHandles(t *testing.T) {
	n := distributed(t)
	vol := n.volume("vol")
	snap := n.snapshot("snap", vol)
	if !strings.HasPrefix(snap, "snap@") {
		t.Errorf("%s", snap)
	}
	tag := strings.TrimPrefix(snap, "snap@")
	v, err := n.create("new", fromSnapshot(snap))
	must(t, err)
	if v.GetContentSource().GetSnapshot().GetSnapshotId() != snap {
		t.Errorf("%v", v)
	}
	n.volume("local", fromSnapshot("snap"))
	n.volume("clone", fromVolume("vol@"+tag))
	for _, from := range []func(*csi.CreateVolumeRequest){fromSnapshot("snap@00000000"), fromVolume("vol@00000000")} {
		_, err = n.create("elsewhere", from)
		want(t, err, codes.ResourceExhausted, "another node")
	}
	_, err = n.create("elsewhere", fromSnapshot("nobody@"+tag))
	want(t, err, codes.NotFound)
	_, err = n.getSnapshot("snap@00000000")
	want(t, err, codes.NotFound)
	want(t, n.removeSnapshot("snap@00000000"), codes.NotFound)
	_, err = n.cut("new", "vol@00000000")
	want(t, err, codes.NotFound)
	handles, _, err := n.listSnapshots(&csi.ListSnapshotsRequest{SourceVolumeId: vol})
	if why := differ(handles, []string{snap}); err != nil || why != "" {
		t.Error(err, why)
	}
	handles, _, err = n.listSnapshots(&csi.ListSnapshotsRequest{SnapshotId: "snap@00000000"})
	if len(handles) > 0 || err != nil {
		t.Error(handles, err)
	}
	must(t, n.removeSnapshot(snap))
}
