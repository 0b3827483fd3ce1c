package integration

import (
	"strings"
	"testing"

	"github.com/container-storage-interface/spec/lib/go/csi"
)

// No secret of any request is logged, exported or stored, at any verbosity, whether the call succeeds or not.
func TestSecretsAreNowhere(t *testing.T) {
	n := newNode(t)
	metrics := n.metrics()
	n.start("--pool", "default="+n.pool, "-v=5")
	const secret = "correct-horse-battery-staple"
	secrets := map[string]string{"password-key-" + secret: secret}
	for _, id := range []string{"vol", "../vol"} {
		target := n.target("pod")
		create := createRequest(id)
		create.Secrets = secrets
		_, _ = n.controller.CreateVolume(n.ctx(), create)
		create.VolumeCapabilities = nil
		_, _ = n.controller.CreateVolume(n.ctx(), create)
		_, _ = n.controller.ControllerPublishVolume(n.ctx(), &csi.ControllerPublishVolumeRequest{VolumeId: id, NodeId: "node-a", VolumeCapability: many(), Secrets: secrets})
		_, _ = n.controller.ValidateVolumeCapabilities(n.ctx(), &csi.ValidateVolumeCapabilitiesRequest{VolumeId: id, VolumeCapabilities: []*csi.VolumeCapability{many()}, Secrets: secrets})
		_, _ = n.kubelet.NodeStageVolume(n.ctx(), &csi.NodeStageVolumeRequest{VolumeId: id, StagingTargetPath: target, VolumeCapability: many(), Secrets: secrets})
		_ = n.publish(id, target, func(r *csi.NodePublishVolumeRequest) { r.Secrets = secrets })
		_ = n.publish(id, "/", func(r *csi.NodePublishVolumeRequest) { r.Secrets = secrets })
		_, _ = n.controller.ControllerExpandVolume(n.ctx(), &csi.ControllerExpandVolumeRequest{VolumeId: id, CapacityRange: &csi.CapacityRange{RequiredBytes: 32 * mib}, Secrets: secrets})
		_, _ = n.kubelet.NodeExpandVolume(n.ctx(), &csi.NodeExpandVolumeRequest{VolumeId: id, VolumePath: target, Secrets: secrets})
		snapshot := n.snapshotRequest("snap", id)
		snapshot.Secrets = secrets
		_, _ = n.controller.CreateSnapshot(n.ctx(), snapshot)
		_, _ = n.controller.GetSnapshot(n.ctx(), &csi.GetSnapshotRequest{SnapshotId: "snap", Secrets: secrets})
		_, _ = n.controller.ListSnapshots(n.ctx(), &csi.ListSnapshotsRequest{Secrets: secrets})
		restore := createRequest(id + "-new")
		restore.Secrets = secrets
		fromSnapshot("snap")(restore)
		bytes(32 * mib)(restore)
		_, _ = n.controller.CreateVolume(n.ctx(), restore)
		_ = n.unpublish(id, target)
		_, _ = n.controller.ControllerUnpublishVolume(n.ctx(), &csi.ControllerUnpublishVolumeRequest{VolumeId: id, NodeId: "node-a", Secrets: secrets})
		record := run(t, "getfattr", "-d", "-m", "-", "-R", "--absolute-names", n.pool)
		if strings.Contains(record, secret) {
			t.Errorf("stored: %s", record)
		}
		_, _ = n.controller.DeleteSnapshot(n.ctx(), &csi.DeleteSnapshotRequest{SnapshotId: "snap", Secrets: secrets})
		_, _ = n.controller.DeleteVolume(n.ctx(), &csi.DeleteVolumeRequest{VolumeId: id, Secrets: secrets})
	}
	text := metrics()
	d := n.daemon
	n.stop() // which writes out the log
	for where, text := range map[string]string{"log": d.Log(), "metrics": text} {
		if !strings.Contains(text, "NodePublishVolume") {
			t.Errorf("the %s lacks the calls: %s", where, text)
		}
		if strings.Contains(text, secret) {
			t.Errorf("in the %s", where)
		}
	}
}
