package integration

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/container-storage-interface/spec/lib/go/csi"
	"google.golang.org/grpc/codes"

	"github.com/hostvol/hostvol/pkg/pool"
)

func (n *node) groups() csi.GroupControllerClient {
	return csi.NewGroupControllerClient(n.daemon.Conn())
}

func (n *node) cutGroup(name string, sources ...string) (*csi.VolumeGroupSnapshot, error) {
	answer, err := n.groups().CreateVolumeGroupSnapshot(n.ctx(), &csi.CreateVolumeGroupSnapshotRequest{Name: name, SourceVolumeIds: sources})
	return answer.GetGroupSnapshot(), err
}

func (n *node) removeGroup(id string, snapshots ...string) error {
	_, err := n.groups().DeleteVolumeGroupSnapshot(n.ctx(), &csi.DeleteVolumeGroupSnapshotRequest{GroupSnapshotId: id, SnapshotIds: snapshots})
	return err
}

func (n *node) getGroup(id string, snapshots ...string) (*csi.VolumeGroupSnapshot, error) {
	answer, err := n.groups().GetVolumeGroupSnapshot(n.ctx(), &csi.GetVolumeGroupSnapshotRequest{GroupSnapshotId: id, SnapshotIds: snapshots})
	return answer.GetGroupSnapshot(), err
}

func memberIDs(g *csi.VolumeGroupSnapshot) []string {
	var out []string
	for _, s := range g.GetSnapshots() {
		out = append(out, s.GetSnapshotId())
	}
	slices.Sort(out)
	return out
}

// A group of filesystems that are written is of one instant: what was written to the second volume after the
// first is never in the second's snapshot alone.
func TestAGroupIsOneInstant(t *testing.T) {
	for _, kind := range []string{"xfs", "btrfs", "ext4"} {
		t.Run(kind, func(t *testing.T) {
			t.Parallel()
			n := serveOn(t, kind)
			use, image := formatted("ext4"), with("engine", "image")
			var paths []string
			for _, id := range []string{"first", "second"} {
				n.volume(id, image, as(use), bytes(32*mib))
				paths = append(paths, filepath.Join(n.mounted(id, id, usedAs(use)), "count"))
				must(t, os.WriteFile(paths[len(paths)-1], []byte("0"), 0o600))
			}
			stop, stopped := make(chan struct{}), make(chan error, 1)
			go func() {
				for i := 1; ; i++ {
					select {
					case <-stop:
						stopped <- nil
						return
					default:
					}
					for _, path := range paths {
						if err := replace(path, strconv.Itoa(i)); err != nil {
							stopped <- err
							return
						}
					}
				}
			}()
			for round := range 4 {
				time.Sleep(50 * time.Millisecond)
				g, err := n.cutGroup(fmt.Sprint("group-", round), "first", "second")
				must(t, err)
				if len(g.GetSnapshots()) != 2 || !g.GetReadyToUse() {
					t.Fatalf("%v", g)
				}
				var counts [2]int
				for _, s := range g.GetSnapshots() {
					if s.GetGroupSnapshotId() != g.GetGroupSnapshotId() {
						t.Errorf("%v", s)
					}
					id := fmt.Sprintf("of-%s-%d", s.GetSourceVolumeId(), round)
					n.volume(id, image, as(use), bytes(32*mib), fromSnapshot(s.GetSnapshotId()))
					text, err := os.ReadFile(filepath.Join(n.mounted(id, id, usedAs(use)), "count"))
					must(t, err)
					at := slices.Index([]string{"first", "second"}, s.GetSourceVolumeId())
					counts[at], err = strconv.Atoi(string(text))
					must(t, err)
				}
				if counts[0] < counts[1] || counts[0] > counts[1]+1 || counts[0] == 0 {
					t.Errorf("round %d: %v", round, counts)
				}
			}
			close(stop)
			must(t, <-stopped)
		})
	}
}

// replace writes a file anew, durably.
func replace(path, text string) error {
	f, err := os.Create(path + ".new")
	if err != nil {
		return err
	}
	if _, err := f.WriteString(text); err != nil {
		return err
	}
	if err := f.Sync(); err != nil {
		return err
	}
	if err := f.Close(); err != nil {
		return err
	}
	return os.Rename(path+".new", path)
}

// A group is there or not: it is found again, restored from the trash and deleted as one.
func TestTheLifeOfAGroup(t *testing.T) {
	n := newNode(t)
	n.pool = n.filesystem("xfs", 4096)
	n.start("--config", writeConfig(t, fmt.Sprintf("trash: {retention: 1h}\npools: [{name: default, path: %s, create: true}]", n.pool)))
	image := with("engine", "image")
	n.volume("a", image, as(formatted("ext4")))
	n.volume("b", as(manyRaw()))
	n.volume("c", as(manyRaw()))
	before := n.poolState("default").ReservedBytes
	g, err := n.cutGroup("group", "a", "b")
	must(t, err)
	members := memberIDs(g)
	again, err := n.cutGroup("group", "b", "a")
	must(t, err)
	if again.GetGroupSnapshotId() != g.GetGroupSnapshotId() || !slices.Equal(memberIDs(again), members) || len(members) != 2 {
		t.Errorf("%v %v", again, g)
	}
	_, err = n.cutGroup("group", "a", "c")
	want(t, err, codes.AlreadyExists)
	_, err = n.cutGroup("twice", "a", "a")
	want(t, err, codes.InvalidArgument)
	_, err = n.cutGroup("missing", "a", "none")
	want(t, err, codes.NotFound)
	_, err = n.getGroup("group", members[0])
	want(t, err, codes.InvalidArgument)
	want(t, n.removeGroup("group", "other"), codes.InvalidArgument)
	want(t, n.removeSnapshot(members[0]), codes.InvalidArgument, "delete the group")
	if s, err := n.getSnapshot(members[0]); err != nil || s.GetGroupSnapshotId() != "group" {
		t.Errorf("%v %v", s, err)
	}
	if listed, _, err := n.listSnapshots(&csi.ListSnapshotsRequest{}); err != nil || len(listed) != 2 {
		t.Errorf("%v %v", listed, err)
	}
	n.restart()
	found, err := n.getGroup("group", members...)
	must(t, err)
	if !slices.Equal(memberIDs(found), members) {
		t.Errorf("%v", found)
	}
	must(t, n.remove("a"))
	n.volume("restored", image, as(formatted("")), fromSnapshot(found.GetSnapshots()[0].GetSnapshotId()))
	must(t, n.removeGroup("group", members...))
	must(t, n.removeGroup("group"))
	_, err = n.getGroup("group")
	want(t, err, codes.NotFound)
	_, err = n.getSnapshot(members[0])
	want(t, err, codes.NotFound)
	n.restart()
	if out := n.admin("trash", "restore", "group"); !strings.Contains(out, "group") {
		t.Errorf("%s", out)
	}
	if found, err = n.getGroup("group"); err != nil || !slices.Equal(memberIDs(found), members) {
		t.Errorf("%v %v", found, err)
	}
	must(t, n.removeGroup("group"))
	n.admin("trash", "purge", "--all")
	must(t, n.remove("restored"))
	n.admin("trash", "purge", "--all")
	n.volume("a", image, as(formatted("ext4")))
	if after := n.poolState("default").ReservedBytes; after != before {
		t.Errorf("%d bytes are reserved, %d before", after, before)
	}
}

// Where there is no common instant, there is no group, and nothing is left of the trial.
func TestGroupsThatCannotBe(t *testing.T) {
	n, _, _ := twoPools(t, "btrfs", "xfs", "")
	inA, inB := with("pool", "a"), with("pool", "b")
	n.volume("dir", inA)
	n.volume("dir2", inA)
	n.volume("raw", inB, as(manyRaw()))
	n.volume("raw2", inB, as(manyRaw()))
	n.volume("far", inA, as(manyRaw()))
	_, err := n.cutGroup("directories", "dir", "dir2")
	want(t, err, codes.FailedPrecondition, "engine: image")
	_, err = n.cutGroup("engines", "dir", "far")
	want(t, err, codes.FailedPrecondition)
	_, err = n.cutGroup("pools", "far", "raw")
	want(t, err, codes.FailedPrecondition, "one pool")
	n.mounted("raw", "raw", usedAs(manyRaw()))
	_, err = n.cutGroup("used", "raw", "raw2")
	want(t, err, codes.FailedPrecondition, "unpublish")
	must(t, n.unpublish("raw", n.target("raw")))
	_, err = n.cutGroup("unused", "raw", "raw2")
	must(t, err)
	if listed, _, err := n.listSnapshots(&csi.ListSnapshotsRequest{}); err != nil || len(listed) != 2 {
		t.Errorf("%v %v", listed, err)
	}
	d := serve(t, "--mode", "distributed")
	_, err = d.cutGroup("group", "vol")
	want(t, err, codes.Unimplemented)
}

// A group that has lost a member is not served in part.
func TestAGroupThatIsTorn(t *testing.T) {
	n := serveOn(t, "xfs")
	for _, id := range []string{"a", "b"} {
		n.volume(id, as(manyRaw()))
	}
	g, err := n.cutGroup("group", "a", "b")
	must(t, err)
	members := memberIDs(g)
	must(t, n.daemon.Stop())
	must(t, os.RemoveAll(filepath.Join(n.pool, "snapshots", "group", members[0])))
	n.daemon = nil
	n.start()
	_, err = n.getGroup("group")
	want(t, err, codes.FailedPrecondition, pool.ErrQuarantine.Error())
	_, err = n.getSnapshot(members[1])
	want(t, err, codes.FailedPrecondition, "group")
	want(t, n.removeGroup("group"), codes.FailedPrecondition)
	n.faulty = true
}
