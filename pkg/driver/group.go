package driver

import (
	"context"

	"github.com/container-storage-interface/spec/lib/go/csi"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/hostvol/hostvol/pkg/volume"
)

// GroupControllerGetCapabilities implements csi.GroupControllerServer. In
// distributed mode there are no groups: no sidecar would bring a call to the node
// of the volumes.
func (d *Driver) GroupControllerGetCapabilities(context.Context, *csi.GroupControllerGetCapabilitiesRequest) (*csi.GroupControllerGetCapabilitiesResponse, error) {
	out := &csi.GroupControllerGetCapabilitiesResponse{}
	if !d.volumes.Distributed() {
		out.Capabilities = append(out.Capabilities, &csi.GroupControllerServiceCapability{
			Type: &csi.GroupControllerServiceCapability_Rpc{Rpc: &csi.GroupControllerServiceCapability_RPC{
				Type: csi.GroupControllerServiceCapability_RPC_CREATE_DELETE_GET_VOLUME_GROUP_SNAPSHOT,
			}},
		})
	}
	return out, nil
}

// CreateVolumeGroupSnapshot implements csi.GroupControllerServer.
func (d *Driver) CreateVolumeGroupSnapshot(ctx context.Context, r *csi.CreateVolumeGroupSnapshotRequest) (*csi.CreateVolumeGroupSnapshotResponse, error) {
	switch {
	case r.GetName() == "":
		return nil, missing("name")
	case len(r.GetSourceVolumeIds()) == 0:
		return nil, missing("source_volume_ids")
	}
	if err := d.grouping(); err != nil {
		return nil, err
	}
	g, err := d.volumes.SnapshotGroup(ctx, volume.GroupRequest{Name: r.GetName(), Sources: r.GetSourceVolumeIds(), Parameters: r.GetParameters()})
	if err != nil {
		return nil, toStatus(err)
	}
	return &csi.CreateVolumeGroupSnapshotResponse{GroupSnapshot: group(g)}, nil
}

func (d *Driver) grouping() error {
	if d.volumes.Distributed() {
		return status.Error(codes.Unimplemented, "there are no groups of snapshots in distributed mode; use the deployment \"single\"")
	}
	return nil
}

func group(g volume.Group) *csi.VolumeGroupSnapshot {
	out := &csi.VolumeGroupSnapshot{GroupSnapshotId: g.Handle, CreationTime: timestamppb.New(g.Created), ReadyToUse: true}
	for _, s := range g.Snapshots {
		out.Snapshots = append(out.Snapshots, snapshot(s))
	}
	return out
}

// DeleteVolumeGroupSnapshot implements csi.GroupControllerServer.
func (d *Driver) DeleteVolumeGroupSnapshot(ctx context.Context, r *csi.DeleteVolumeGroupSnapshotRequest) (*csi.DeleteVolumeGroupSnapshotResponse, error) {
	if r.GetGroupSnapshotId() == "" {
		return nil, missing("group_snapshot_id")
	}
	if err := d.grouping(); err != nil {
		return nil, err
	}
	return &csi.DeleteVolumeGroupSnapshotResponse{}, toStatus(d.volumes.DeleteGroup(ctx, r.GetGroupSnapshotId(), r.GetSnapshotIds()))
}

// GetVolumeGroupSnapshot implements csi.GroupControllerServer.
func (d *Driver) GetVolumeGroupSnapshot(_ context.Context, r *csi.GetVolumeGroupSnapshotRequest) (*csi.GetVolumeGroupSnapshotResponse, error) {
	if r.GetGroupSnapshotId() == "" {
		return nil, missing("group_snapshot_id")
	}
	if err := d.grouping(); err != nil {
		return nil, err
	}
	g, err := d.volumes.GetGroup(r.GetGroupSnapshotId(), r.GetSnapshotIds())
	if err != nil {
		return nil, toStatus(err)
	}
	return &csi.GetVolumeGroupSnapshotResponse{GroupSnapshot: group(g)}, nil
}
