package crash

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/container-storage-interface/spec/lib/go/csi"
	"google.golang.org/grpc"

	"github.com/hostvol/hostvol/pkg/admin"
)

// callTimeout bounds a call; a daemon that does not answer for so long hangs.
const callTimeout = 30 * time.Second

func ask[R, A any](method func(context.Context, R) (A, error), request R) (A, error) {
	ctx, cancel := context.WithTimeout(context.Background(), callTimeout)
	defer cancel()
	return method(ctx, request)
}

func call[R, A any](method func(context.Context, R, ...grpc.CallOption) (A, error), request R) (A, error) {
	return ask(func(ctx context.Context, r R) (A, error) { return method(ctx, r) }, request)
}

func (w *world) controller() csi.ControllerClient { return csi.NewControllerClient(w.daemon.Conn()) }
func (w *world) node() csi.NodeClient             { return csi.NewNodeClient(w.daemon.Conn()) }

func (w *world) create(id string, bytes int64) error {
	_, err := call(w.controller().CreateVolume, &csi.CreateVolumeRequest{
		Name: id, CapacityRange: &csi.CapacityRange{RequiredBytes: bytes}, VolumeCapabilities: []*csi.VolumeCapability{capability()},
	})
	return err
}

// clone makes a volume of another one, or of a snapshot.
func (w *world) clone(id string, bytes int64, from *csi.VolumeContentSource) error {
	_, err := call(w.controller().CreateVolume, &csi.CreateVolumeRequest{
		Name: id, CapacityRange: &csi.CapacityRange{RequiredBytes: bytes}, VolumeCapabilities: []*csi.VolumeCapability{capability()},
		VolumeContentSource: from,
	})
	return err
}

func ofVolume(id string) *csi.VolumeContentSource {
	return &csi.VolumeContentSource{Type: &csi.VolumeContentSource_Volume{Volume: &csi.VolumeContentSource_VolumeSource{VolumeId: id}}}
}

func ofSnapshot(id string) *csi.VolumeContentSource {
	return &csi.VolumeContentSource{Type: &csi.VolumeContentSource_Snapshot{Snapshot: &csi.VolumeContentSource_SnapshotSource{SnapshotId: id}}}
}

func (w *world) snapshot(id, source string) error {
	_, err := call(w.controller().CreateSnapshot, &csi.CreateSnapshotRequest{Name: id, SourceVolumeId: source})
	return err
}

func (w *world) deleteSnapshot(id string) error {
	_, err := call(w.controller().DeleteSnapshot, &csi.DeleteSnapshotRequest{SnapshotId: id})
	return err
}

func (w *world) expand(id string, bytes int64) error {
	_, err := call(w.controller().ControllerExpandVolume, &csi.ControllerExpandVolumeRequest{
		VolumeId: id, CapacityRange: &csi.CapacityRange{RequiredBytes: bytes}, VolumeCapability: capability(),
	})
	return err
}

func (w *world) delete(id string) error {
	_, err := call(w.controller().DeleteVolume, &csi.DeleteVolumeRequest{VolumeId: id})
	return err
}

func (w *world) capacity() (int64, error) {
	answer, err := call(w.controller().GetCapacity, &csi.GetCapacityRequest{})
	return answer.GetAvailableCapacity(), err
}

// target is where a volume is published.
func (w *world) target(id string) string { return filepath.Join(w.daemon.KubeletDir(), "pods", id) }

func (w *world) publish(id string) error {
	if err := os.MkdirAll(filepath.Dir(w.target(id)), 0o755); err != nil { // as the kubelet does
		return err
	}
	_, err := call(w.node().NodePublishVolume, &csi.NodePublishVolumeRequest{
		VolumeId: id, TargetPath: w.target(id), VolumeCapability: capability(),
	})
	return err
}

func (w *world) unpublish(id string) error {
	_, err := call(w.node().NodeUnpublishVolume, &csi.NodeUnpublishVolumeRequest{VolumeId: id, TargetPath: w.target(id)})
	return err
}

func (w *world) restore(entry string) error {
	_, err := ask(w.admin.Restore, entry)
	return err
}

// purge removes everything that is in the trash.
func (w *world) purge() error {
	_, err := ask(w.admin.Purge, "")
	return err
}

func (w *world) origin(id string) string { return filepath.Join(w.origins, id) }

func (w *world) adopt(id string, bytes int64, convert bool) error {
	_, err := ask(w.admin.Adopt, admin.Adoption{Pool: poolName, Name: id, Path: w.origin(id), Bytes: bytes, Convert: convert})
	return err
}

func (w *world) release(id string) error {
	released, err := ask(w.admin.Release, id)
	if err == nil && released.Origin != w.origin(id) {
		err = fmt.Errorf("released to %s, it came from %s", released.Origin, w.origin(id))
	}
	return err
}

func capability() *csi.VolumeCapability {
	return &csi.VolumeCapability{
		AccessType: &csi.VolumeCapability_Mount{Mount: &csi.VolumeCapability_MountVolume{}},
		AccessMode: &csi.VolumeCapability_AccessMode{Mode: csi.VolumeCapability_AccessMode_SINGLE_NODE_WRITER},
	}
}
