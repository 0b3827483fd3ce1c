package driver

import (
	"context"

	"github.com/container-storage-interface/spec/lib/go/csi"

	"github.com/hostvol/hostvol/pkg/volume"
)

// NodeStageVolume implements csi.NodeServer.
func (d *Driver) NodeStageVolume(ctx context.Context, r *csi.NodeStageVolumeRequest) (*csi.NodeStageVolumeResponse, error) {
	switch {
	case r.GetVolumeId() == "":
		return nil, missing("volume_id")
	case r.GetStagingTargetPath() == "":
		return nil, missing("staging_target_path")
	}
	if err := checkNodeCapability(r.GetVolumeCapability()); err != nil {
		return nil, err
	}
	mode, _ := accessOf(r.GetVolumeCapability().GetAccessMode().GetMode())
	err := d.volumes.Stage(ctx, volume.PublishRequest{
		Handle:        r.GetVolumeId(),
		StagingTarget: r.GetStagingTargetPath(),
		ReadOnly:      mode.readOnly,
		Access:        accessIn(r.GetVolumeCapability()),
		Context:       r.GetVolumeContext(),
	})
	return &csi.NodeStageVolumeResponse{}, toStatus(err)
}

// NodeUnstageVolume implements csi.NodeServer.
func (d *Driver) NodeUnstageVolume(ctx context.Context, r *csi.NodeUnstageVolumeRequest) (*csi.NodeUnstageVolumeResponse, error) {
	switch {
	case r.GetVolumeId() == "":
		return nil, missing("volume_id")
	case r.GetStagingTargetPath() == "":
		return nil, missing("staging_target_path")
	}
	return &csi.NodeUnstageVolumeResponse{}, toStatus(d.volumes.Unstage(ctx, r.GetVolumeId(), r.GetStagingTargetPath()))
}

// NodePublishVolume implements csi.NodeServer.
func (d *Driver) NodePublishVolume(ctx context.Context, r *csi.NodePublishVolumeRequest) (*csi.NodePublishVolumeResponse, error) {
	switch {
	case r.GetVolumeId() == "":
		return nil, missing("volume_id")
	case r.GetTargetPath() == "":
		return nil, missing("target_path")
	}
	if err := checkNodeCapability(r.GetVolumeCapability()); err != nil {
		return nil, err
	}
	mode, _ := accessOf(r.GetVolumeCapability().GetAccessMode().GetMode())
	err := d.volumes.Publish(ctx, volume.PublishRequest{
		Handle:        r.GetVolumeId(),
		Target:        r.GetTargetPath(),
		StagingTarget: r.GetStagingTargetPath(),
		ReadOnly:      r.GetReadonly() || mode.readOnly,
		Exclusive:     mode.exclusive,
		Access:        accessIn(r.GetVolumeCapability()),
		Context:       r.GetVolumeContext(),
	})
	if err == nil {
		d.refusals.published(r.GetVolumeId())
	}
	return &csi.NodePublishVolumeResponse{}, toStatus(err)
}

// NodeUnpublishVolume implements csi.NodeServer.
func (d *Driver) NodeUnpublishVolume(ctx context.Context, r *csi.NodeUnpublishVolumeRequest) (*csi.NodeUnpublishVolumeResponse, error) {
	switch {
	case r.GetVolumeId() == "":
		return nil, missing("volume_id")
	case r.GetTargetPath() == "":
		return nil, missing("target_path")
	}
	d.refusals.forget(r.GetVolumeId())
	return &csi.NodeUnpublishVolumeResponse{}, toStatus(d.volumes.Unpublish(ctx, r.GetVolumeId(), r.GetTargetPath()))
}

// NodeGetVolumeStats implements csi.NodeServer.
func (d *Driver) NodeGetVolumeStats(ctx context.Context, r *csi.NodeGetVolumeStatsRequest) (*csi.NodeGetVolumeStatsResponse, error) {
	switch {
	case r.GetVolumeId() == "":
		return nil, missing("volume_id")
	case r.GetVolumePath() == "":
		return nil, missing("volume_path")
	}
	u, err := d.volumes.Stats(ctx, r.GetVolumeId(), r.GetVolumePath())
	if err != nil {
		return nil, toStatus(err)
	}
	out := &csi.NodeGetVolumeStatsResponse{Usage: []*csi.VolumeUsage{
		{Unit: csi.VolumeUsage_BYTES, Total: u.BytesTotal, Used: u.BytesUsed, Available: u.BytesAvailable},
	}}
	if u.InodesTotal >= 0 {
		out.Usage = append(out.Usage, &csi.VolumeUsage{Unit: csi.VolumeUsage_INODES, Total: u.InodesTotal, Used: u.InodesUsed, Available: u.InodesAvailable})
	}
	return out, nil
}

// NodeExpandVolume implements csi.NodeServer. In single mode the controller has
// done it all by then. In distributed mode this is where a volume grows; see
// refusals for the codes of a growth that does not fit.
func (d *Driver) NodeExpandVolume(ctx context.Context, r *csi.NodeExpandVolumeRequest) (*csi.NodeExpandVolumeResponse, error) {
	switch {
	case r.GetVolumeId() == "":
		return nil, missing("volume_id")
	case r.GetVolumePath() == "":
		return nil, missing("volume_path")
	}
	if _, err := d.volumes.Get(r.GetVolumeId()); err != nil {
		return nil, toStatus(err)
	}
	if err := d.volumes.CheckPath(ctx, r.GetVolumeId(), r.GetVolumePath()); err != nil {
		return nil, toStatus(err)
	}
	if r.GetVolumeCapability() != nil {
		if err := d.usable(r.GetVolumeId(), nil, r.GetVolumeCapability()); err != nil {
			return nil, err
		}
	}
	v, err := d.volumes.Expand(ctx, r.GetVolumeId(), sizeOf(r.GetCapacityRange()))
	if err := toStatus(err); err != nil {
		if d.volumes.Distributed() {
			err = d.refusals.code(r.GetVolumeId(), err)
		}
		return nil, err
	}
	d.refusals.forget(r.GetVolumeId())
	return &csi.NodeExpandVolumeResponse{CapacityBytes: v.Bytes}, nil
}

// NodeGetInfo implements csi.NodeServer.
func (d *Driver) NodeGetInfo(context.Context, *csi.NodeGetInfoRequest) (*csi.NodeGetInfoResponse, error) {
	return &csi.NodeGetInfoResponse{
		NodeId:             d.volumes.NodeID(),
		MaxVolumesPerNode:  d.opts.MaxVolumes,
		AccessibleTopology: d.here[0],
	}, nil
}

// NodeGetCapabilities implements csi.NodeServer.
func (d *Driver) NodeGetCapabilities(context.Context, *csi.NodeGetCapabilitiesRequest) (*csi.NodeGetCapabilitiesResponse, error) {
	out := &csi.NodeGetCapabilitiesResponse{}
	for _, t := range []csi.NodeServiceCapability_RPC_Type{
		csi.NodeServiceCapability_RPC_STAGE_UNSTAGE_VOLUME,
		csi.NodeServiceCapability_RPC_GET_VOLUME_STATS,
		csi.NodeServiceCapability_RPC_EXPAND_VOLUME,
		csi.NodeServiceCapability_RPC_SINGLE_NODE_MULTI_WRITER,
		csi.NodeServiceCapability_RPC_GET_VOLUME_HEALTH,
		csi.NodeServiceCapability_RPC_GET_STORAGE_HEALTH,
	} {
		out.Capabilities = append(out.Capabilities, &csi.NodeServiceCapability{
			Type: &csi.NodeServiceCapability_Rpc{Rpc: &csi.NodeServiceCapability_RPC{Type: t}},
		})
	}
	return out, nil
}
