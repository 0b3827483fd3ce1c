package integration

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"testing"

	"github.com/container-storage-interface/spec/lib/go/csi"
	"golang.org/x/sys/unix"

	"github.com/hostvol/hostvol/pkg/admin"
	"github.com/hostvol/hostvol/pkg/host/hosttest"
)

func (n *node) snapshotRequest(name, source string, pairs ...string) *csi.CreateSnapshotRequest {
	r := &csi.CreateSnapshotRequest{Name: name, SourceVolumeId: source, Parameters: map[string]string{}}
	for i := 0; i < len(pairs); i += 2 {
		r.Parameters[pairs[i]] = pairs[i+1]
	}
	return r
}

// cut asks for a snapshot; pairs are parameters of the class.
func (n *node) cut(name, source string, pairs ...string) (*csi.Snapshot, error) {
	answer, err := n.controller.CreateSnapshot(n.ctx(), n.snapshotRequest(name, source, pairs...))
	return answer.GetSnapshot(), err
}

// snapshot is cut where it must succeed; it gives the handle.
func (n *node) snapshot(name, source string, pairs ...string) string {
	n.t.Helper()
	s, err := n.cut(name, source, pairs...)
	must(n.t, err)
	if !s.GetReadyToUse() || s.GetSourceVolumeId() == "" || s.GetCreationTime() == nil || s.GetSizeBytes() == 0 {
		n.t.Errorf("snapshot %v", s)
	}
	return s.GetSnapshotId()
}

func (n *node) removeSnapshot(handle string) error {
	_, err := n.controller.DeleteSnapshot(n.ctx(), &csi.DeleteSnapshotRequest{SnapshotId: handle})
	return err
}

func (n *node) getSnapshot(handle string) (*csi.Snapshot, error) {
	answer, err := n.controller.GetSnapshot(n.ctx(), &csi.GetSnapshotRequest{SnapshotId: handle})
	return answer.GetSnapshot(), err
}

func (n *node) listSnapshots(r *csi.ListSnapshotsRequest) (handles []string, next string, err error) {
	answer, err := n.controller.ListSnapshots(n.ctx(), r)
	for _, e := range answer.GetEntries() {
		handles = append(handles, e.GetSnapshot().GetSnapshotId())
	}
	return handles, answer.GetNextToken(), err
}

// snapshots are what the administrator sees, by id.
func (n *node) snapshots() map[string]admin.Snapshot {
	n.t.Helper()
	out := map[string]admin.Snapshot{}
	for _, s := range decode[[]admin.Snapshot](n.t, n.admin("snapshots", "-o", "json")) {
		out[s.ID] = s
	}
	return out
}

func fromSnapshot(handle string) func(*csi.CreateVolumeRequest) {
	return func(r *csi.CreateVolumeRequest) {
		r.VolumeContentSource = &csi.VolumeContentSource{Type: &csi.VolumeContentSource_Snapshot{
			Snapshot: &csi.VolumeContentSource_SnapshotSource{SnapshotId: handle},
		}}
	}
}

func fromVolume(handle string) func(*csi.CreateVolumeRequest) {
	return func(r *csi.CreateVolumeRequest) {
		r.VolumeContentSource = &csi.VolumeContentSource{Type: &csi.VolumeContentSource_Volume{
			Volume: &csi.VolumeContentSource_VolumeSource{VolumeId: handle},
		}}
	}
}

// data is the content of a volume of the pool "default", on the disk.
func (n *node) data(id string) string { return filepath.Join(n.pool, "volumes", id, "data") }

// put writes a file into a volume, behind the daemon's back as a pod does.
func (n *node) put(id, name, text string) {
	n.t.Helper()
	must(n.t, os.WriteFile(filepath.Join(n.data(id), name), []byte(text), 0o600))
}

// has fails unless a file of a volume has that text.
func (n *node) has(id, name, text string) {
	n.t.Helper()
	got, err := os.ReadFile(filepath.Join(n.data(id), name))
	if err != nil || string(got) != text {
		n.t.Errorf("%s of %s is %q (%v), not %q", name, id, got, err, text)
	}
}

// twoPools starts a daemon with the pools "a" and "b" on filesystems of these kinds, and gives their directories.
func twoPools(t *testing.T, kindA, kindB string, config string) (n *node, a, b string) {
	t.Helper()
	n = newNode(t)
	a, b = n.filesystem(kindA, 1024), n.filesystem(kindB, 1024)
	n.pool = a
	n.start("--config", writeConfig(t, fmt.Sprintf("pools: [{name: a, path: %s, create: true}, {name: b, path: %s, create: true}]\n%s", a, b, config)))
	return n, a, b
}

func usedBlocks(t *testing.T, path string) int64 {
	t.Helper()
	var st unix.Stat_t
	must(t, unix.Lstat(path, &st))
	return st.Blocks
}

var accessTime = regexp.MustCompile(` atime [0-9]+\.[0-9]+`)

// describeTree is hosttest.DescribeTree without times of access, which looking changes.
func describeTree(t *testing.T, dir string) map[string]string {
	t.Helper()
	tree := hosttest.DescribeTree(t, dir)
	for path, what := range tree {
		tree[path] = accessTime.ReplaceAllString(what, "")
	}
	return tree
}
