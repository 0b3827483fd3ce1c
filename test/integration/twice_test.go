package integration

import (
	"testing"

	"github.com/container-storage-interface/spec/lib/go/csi"
	"google.golang.org/protobuf/proto"
)

// Every call can be made again, right after and after a restart of the daemon, with the same answer.
func TestEveryCallTwice(t *testing.T) {
	for _, kind := range []string{"ext4", "btrfs"} {
		t.Run(kind, func(t *testing.T) {
			t.Parallel()
			n := serveOn(t, kind)
			for _, c := range life(n) {
				first, err := c.call()
				if err != nil {
					t.Fatalf("%s: %v", c.name, err)
				}
				for _, when := range []string{"at once", "after a restart"} {
					if when == "after a restart" {
						n.restart()
					}
					again, err := c.call()
					if err != nil {
						t.Errorf("%s %s: %v", c.name, when, err)
					} else if !proto.Equal(first, again) {
						t.Errorf("%s %s: %v, before %v", c.name, when, again, first)
					}
				}
			}
			if left := n.all(); len(left) > 0 {
				t.Errorf("left: %v", left)
			}
		})
	}
}

type call struct {
	name string
	call func() (proto.Message, error)
}

// life is the life of one volume, in every call that there is.
func life(n *node) []call {
	target, staging := "", ""
	id := "vol"
	size := &csi.CapacityRange{RequiredBytes: 32 * mib}
	if n.daemon != nil {
		target, staging = n.target("pod"), n.target("staging")
	}
	return []call{
		{"GetPluginInfo", func() (proto.Message, error) {
			return n.identity.GetPluginInfo(n.ctx(), &csi.GetPluginInfoRequest{})
		}},
		{"GetPluginCapabilities", func() (proto.Message, error) {
			return n.identity.GetPluginCapabilities(n.ctx(), &csi.GetPluginCapabilitiesRequest{})
		}},
		{"Probe", func() (proto.Message, error) { return n.identity.Probe(n.ctx(), &csi.ProbeRequest{}) }},
		{"ControllerGetCapabilities", func() (proto.Message, error) {
			return n.controller.ControllerGetCapabilities(n.ctx(), &csi.ControllerGetCapabilitiesRequest{})
		}},
		{"NodeGetCapabilities", func() (proto.Message, error) {
			return n.kubelet.NodeGetCapabilities(n.ctx(), &csi.NodeGetCapabilitiesRequest{})
		}},
		{"NodeGetInfo", func() (proto.Message, error) { return n.kubelet.NodeGetInfo(n.ctx(), &csi.NodeGetInfoRequest{}) }},
		{"CreateVolume", func() (proto.Message, error) {
			return n.controller.CreateVolume(n.ctx(), createRequest(id))
		}},
		{"ControllerGetVolume", func() (proto.Message, error) {
			return n.controller.ControllerGetVolume(n.ctx(), &csi.ControllerGetVolumeRequest{VolumeId: id})
		}},
		{"ListVolumes", func() (proto.Message, error) {
			return n.controller.ListVolumes(n.ctx(), &csi.ListVolumesRequest{})
		}},
		{"ValidateVolumeCapabilities", func() (proto.Message, error) {
			return n.controller.ValidateVolumeCapabilities(n.ctx(), &csi.ValidateVolumeCapabilitiesRequest{
				VolumeId: id, VolumeCapabilities: []*csi.VolumeCapability{many()},
			})
		}},
		{"ControllerPublishVolume", func() (proto.Message, error) {
			return n.controller.ControllerPublishVolume(n.ctx(), &csi.ControllerPublishVolumeRequest{
				VolumeId: id, NodeId: "node-a", VolumeCapability: many(),
			})
		}},
		{"NodeStageVolume", func() (proto.Message, error) {
			return n.kubelet.NodeStageVolume(n.ctx(), &csi.NodeStageVolumeRequest{
				VolumeId: id, StagingTargetPath: staging, VolumeCapability: many(),
			})
		}},
		{"NodePublishVolume", func() (proto.Message, error) {
			return n.kubelet.NodePublishVolume(n.ctx(), publishRequest(id, target))
		}},
		{"NodeGetVolumeStats", func() (proto.Message, error) {
			answer, err := n.stats(id, target)
			for _, u := range answer.GetUsage() { // an ext4 grows a directory of its own meanwhile
				u.Available, u.Used = 0, 0
			}
			return answer, err
		}},
		{"ControllerExpandVolume", func() (proto.Message, error) {
			return n.controller.ControllerExpandVolume(n.ctx(), &csi.ControllerExpandVolumeRequest{VolumeId: id, CapacityRange: size})
		}},
		{"NodeExpandVolume", func() (proto.Message, error) {
			return n.kubelet.NodeExpandVolume(n.ctx(), &csi.NodeExpandVolumeRequest{VolumeId: id, VolumePath: target, CapacityRange: size})
		}},
		{"CreateSnapshot", func() (proto.Message, error) {
			return n.controller.CreateSnapshot(n.ctx(), n.snapshotRequest("snap", id))
		}},
		{"GetSnapshot", func() (proto.Message, error) {
			return n.controller.GetSnapshot(n.ctx(), &csi.GetSnapshotRequest{SnapshotId: "snap"})
		}},
		{"ListSnapshots", func() (proto.Message, error) {
			return n.controller.ListSnapshots(n.ctx(), &csi.ListSnapshotsRequest{})
		}},
		{"CreateVolume of a snapshot", func() (proto.Message, error) {
			r := createRequest("restored")
			fromSnapshot("snap")(r)
			bytes(32 * mib)(r)
			return n.controller.CreateVolume(n.ctx(), r)
		}},
		{"CreateVolume of a volume", func() (proto.Message, error) {
			r := createRequest("clone")
			fromVolume(id)(r)
			bytes(32 * mib)(r)
			return n.controller.CreateVolume(n.ctx(), r)
		}},
		{"DeleteSnapshot", func() (proto.Message, error) {
			return n.controller.DeleteSnapshot(n.ctx(), &csi.DeleteSnapshotRequest{SnapshotId: "snap"})
		}},
		{"DeleteVolume of the restored", func() (proto.Message, error) {
			return n.controller.DeleteVolume(n.ctx(), &csi.DeleteVolumeRequest{VolumeId: "restored"})
		}},
		{"DeleteVolume of the clone", func() (proto.Message, error) {
			return n.controller.DeleteVolume(n.ctx(), &csi.DeleteVolumeRequest{VolumeId: "clone"})
		}},
		{"ControllerGetVolumeHealth", func() (proto.Message, error) {
			return n.controller.ControllerGetVolumeHealth(n.ctx(), &csi.ControllerGetVolumeHealthRequest{VolumeId: id})
		}},
		{"ControllerListVolumeHealth", func() (proto.Message, error) {
			return n.controller.ControllerListVolumeHealth(n.ctx(), &csi.ControllerListVolumeHealthRequest{})
		}},
		{"NodeGetVolumeHealth", func() (proto.Message, error) {
			return n.kubelet.NodeGetVolumeHealth(n.ctx(), &csi.NodeGetVolumeHealthRequest{VolumeId: id, VolumePublishPath: target})
		}},
		{"NodeGetStorageHealth", func() (proto.Message, error) {
			return n.kubelet.NodeGetStorageHealth(n.ctx(), &csi.NodeGetStorageHealthRequest{})
		}},
		{"NodeUnpublishVolume", func() (proto.Message, error) {
			return n.kubelet.NodeUnpublishVolume(n.ctx(), &csi.NodeUnpublishVolumeRequest{VolumeId: id, TargetPath: target})
		}},
		{"NodeUnstageVolume", func() (proto.Message, error) {
			return n.kubelet.NodeUnstageVolume(n.ctx(), &csi.NodeUnstageVolumeRequest{VolumeId: id, StagingTargetPath: staging})
		}},
		{"ControllerUnpublishVolume", func() (proto.Message, error) {
			return n.controller.ControllerUnpublishVolume(n.ctx(), &csi.ControllerUnpublishVolumeRequest{VolumeId: id, NodeId: "node-a"})
		}},
		{"DeleteVolume", func() (proto.Message, error) {
			return n.controller.DeleteVolume(n.ctx(), &csi.DeleteVolumeRequest{VolumeId: id})
		}},
		{"GetCapacity", func() (proto.Message, error) {
			answer, err := n.controller.GetCapacity(n.ctx(), &csi.GetCapacityRequest{})
			return &csi.GetCapacityResponse{MinimumVolumeSize: answer.GetMinimumVolumeSize()}, err
		}},
	}
}
