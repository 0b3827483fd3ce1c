//go:build power

package power

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"

	"github.com/container-storage-interface/spec/lib/go/csi"

	"github.com/hostvol/hostvol/pkg/admin"
)

func (w *world) controller() csi.ControllerClient { return csi.NewControllerClient(w.daemon.Conn()) }
func (w *world) node() csi.NodeClient             { return csi.NewNodeClient(w.daemon.Conn()) }

// create makes a volume, of a snapshot unless that is "".
func (w *world) create(ctx context.Context, id string, c *class, bytes int64, snapshot string) error {
	r := &csi.CreateVolumeRequest{
		Name: id, CapacityRange: &csi.CapacityRange{RequiredBytes: bytes}, Parameters: c.parameters,
		VolumeCapabilities: []*csi.VolumeCapability{c.capability},
	}
	if snapshot != "" {
		r.VolumeContentSource = &csi.VolumeContentSource{Type: &csi.VolumeContentSource_Snapshot{
			Snapshot: &csi.VolumeContentSource_SnapshotSource{SnapshotId: snapshot},
		}}
	}
	_, err := w.controller().CreateVolume(ctx, r)
	return err
}

func (w *world) expand(ctx context.Context, id string, c *class, bytes int64) error {
	_, err := w.controller().ControllerExpandVolume(ctx, &csi.ControllerExpandVolumeRequest{
		VolumeId: id, CapacityRange: &csi.CapacityRange{RequiredBytes: bytes}, VolumeCapability: c.capability,
	})
	return err
}

func (w *world) delete(ctx context.Context, id string) error {
	_, err := w.controller().DeleteVolume(ctx, &csi.DeleteVolumeRequest{VolumeId: id})
	return err
}

func (w *world) snapshot(ctx context.Context, id, source string) error {
	_, err := w.controller().CreateSnapshot(ctx, &csi.CreateSnapshotRequest{Name: id, SourceVolumeId: source})
	return err
}

func (w *world) deleteSnapshot(ctx context.Context, id string) error {
	_, err := w.controller().DeleteSnapshot(ctx, &csi.DeleteSnapshotRequest{SnapshotId: id})
	return err
}

func (w *world) groups() csi.GroupControllerClient {
	return csi.NewGroupControllerClient(w.daemon.Conn())
}

func (w *world) group(ctx context.Context, id string, sources ...string) error {
	_, err := w.groups().CreateVolumeGroupSnapshot(ctx, &csi.CreateVolumeGroupSnapshotRequest{Name: id, SourceVolumeIds: sources})
	return err
}

func (w *world) deleteGroup(ctx context.Context, id string) error {
	_, err := w.groups().DeleteVolumeGroupSnapshot(ctx, &csi.DeleteVolumeGroupSnapshotRequest{GroupSnapshotId: id})
	return err
}

// published has f work on the volume where it is published.
func (w *world) published(ctx context.Context, id string, c *class, f func(target string) error) (err error) {
	target := filepath.Join(w.daemon.KubeletDir(), "pods", id)
	if err := os.MkdirAll(filepath.Dir(target), 0o755); err != nil { // as the kubelet does
		return err
	}
	if _, err := w.node().NodePublishVolume(ctx, &csi.NodePublishVolumeRequest{VolumeId: id, TargetPath: target, VolumeCapability: c.capability}); err != nil {
		return err
	}
	defer func() {
		_, unpublish := w.node().NodeUnpublishVolume(ctx, &csi.NodeUnpublishVolumeRequest{VolumeId: id, TargetPath: target})
		err = errors.Join(err, unpublish)
	}()
	return f(target)
}

// trash lists what of a volume can be restored, the latest last.
func (w *world) trash(ctx context.Context, id string) ([]admin.TrashEntry, error) {
	all, err := w.admin.Trash(ctx)
	return ofVolume(all, id), err
}

func ofVolume(all []admin.TrashEntry, id string) []admin.TrashEntry {
	own := slices.DeleteFunc(slices.Clone(all), func(e admin.TrashEntry) bool { return e.ID != id || e.Purging })
	slices.SortFunc(own, func(a, b admin.TrashEntry) int {
		return cmp.Or(a.Deleted.Compare(b.Deleted), cmp.Compare(a.Name, b.Name))
	})
	return own
}

func (w *world) restoreLatest(ctx context.Context, id string) error {
	entries, err := w.trash(ctx, id)
	if err != nil || len(entries) == 0 {
		return fmt.Errorf("nothing of %s is in the trash: %w", id, err)
	}
	_, err = w.admin.Restore(ctx, entries[len(entries)-1].Name)
	return err
}

func (w *world) purgeOldest(ctx context.Context, id string) error {
	entries, err := w.trash(ctx, id)
	if err != nil || len(entries) == 0 {
		return fmt.Errorf("nothing of %s is in the trash: %w", id, err)
	}
	_, err = w.admin.Purge(ctx, entries[0].Name)
	return err
}
