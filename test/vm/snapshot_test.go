//go:build vm

package vm

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/container-storage-interface/spec/lib/go/csi"
	"golang.org/x/sys/unix"
)

func ofSnapshot(id string) *csi.VolumeContentSource {
	return &csi.VolumeContentSource{Type: &csi.VolumeContentSource_Snapshot{Snapshot: &csi.VolumeContentSource_SnapshotSource{SnapshotId: id}}}
}

func ofVolume(id string) *csi.VolumeContentSource {
	return &csi.VolumeContentSource{Type: &csi.VolumeContentSource_Volume{Volume: &csi.VolumeContentSource_VolumeSource{VolumeId: id}}}
}

// TestSnapshots: on XFS with project quotas copies share their blocks, and each counts for its own project.
func TestSnapshots(t *testing.T) {
	each(t, func(t *testing.T, n *node) {
		method := map[string]string{"xfs": "reflink", "ext4": "copy"}[n.kind]
		n.create("vol", 32*mib, nil)
		target := n.publish("vol")
		_, err := bound().write(t, filepath.Join(target, "large"), 16*mib)
		must(t, err)
		for i := range 20 {
			dir := filepath.Join(target, fmt.Sprint("d", i%3))
			must(t, os.MkdirAll(dir, 0o755))
			must(t, os.WriteFile(filepath.Join(dir, fmt.Sprint("f", i)), fmt.Appendf(nil, "file %d", i), 0o644))
		}
		unix.Sync()
		_, free := n.size(n.mount)

		_, err = n.controller().CreateSnapshot(t.Context(), &csi.CreateSnapshotRequest{Name: "snap", SourceVolumeId: "vol"})
		must(t, err)
		if r := n.record("snapshots/snap"); r.Snapshot.Method != method || r.Project != 0 {
			t.Errorf("the snapshot was made by %q, with project %d", r.Snapshot.Method, r.Project)
		}
		must(t, os.Rename(filepath.Join(target, "large"), filepath.Join(target, "renamed"))) // what comes later is not in it
		n.create("restored", 40*mib, ofSnapshot("snap"))
		must(t, os.Rename(filepath.Join(target, "renamed"), filepath.Join(target, "large")))
		n.create("cloned", 32*mib, ofVolume("vol"))
		unix.Sync()

		copies := []string{filepath.Join(n.pool, "snapshots/snap/data"), n.publish("restored"), n.publish("cloned")}
		for _, copied := range copies {
			same(t, target, copied)
		}
		_, left := n.size(n.mount)
		took := (free - left) / mib
		if shared := took < 8; shared != (n.kind == "xfs") {
			t.Errorf("three copies of 16 MiB by %s took %d MiB", method, took)
		}
		t.Logf("three copies of 16 MiB by %s took %d MiB", method, took)

		// What is shared counts in full.
		if total, free := n.size(copies[1]); total != 40*mib || free > 24*mib || free < 23*mib {
			t.Errorf("a restore of 40 MiB with 16 MiB in it has %d bytes, %d of them free", total, free)
		}
		if written, err := bound().write(t, filepath.Join(copies[1], "more"), 26*mib); err == nil || written > 24*mib {
			t.Errorf("into the restore went %d bytes: %v", written, err)
		}
		if out, clean := n.check(); !clean {
			t.Error(out)
		}
	})
}

// same compares two trees, file by file.
func same(t *testing.T, want, got string) {
	t.Helper()
	files := 0
	must(t, filepath.WalkDir(want, func(path string, e os.DirEntry, err error) error {
		if err != nil || e.IsDir() {
			return err
		}
		files++
		other := filepath.Join(got, path[len(want):])
		a, err := os.ReadFile(path)
		must(t, err)
		b, err := os.ReadFile(other)
		if err != nil || !bytes.Equal(a, b) {
			t.Errorf("%s differs: %v", other, err)
		}
		return nil
	}))
	if files != 21 {
		t.Errorf("%d files were compared", files)
	}
}
