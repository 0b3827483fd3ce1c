package driver

import (
	"context"

	"github.com/container-storage-interface/spec/lib/go/csi"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/hostvol/hostvol/pkg/volume"
)

// ControllerGetVolumeHealth implements csi.ControllerServer.
func (d *Driver) ControllerGetVolumeHealth(ctx context.Context, r *csi.ControllerGetVolumeHealthRequest) (*csi.ControllerGetVolumeHealthResponse, error) {
	if err := d.volumes.Owned(r.GetVolumeId()); err != nil {
		return nil, toStatus(err)
	}
	health, err := d.health(ctx, r.GetVolumeId(), "")
	if err != nil {
		return nil, err
	}
	return &csi.ControllerGetVolumeHealthResponse{VolumeHealth: health}, nil
}

// NodeGetVolumeHealth implements csi.NodeServer.
func (d *Driver) NodeGetVolumeHealth(ctx context.Context, r *csi.NodeGetVolumeHealthRequest) (*csi.NodeGetVolumeHealthResponse, error) {
	health, err := d.health(ctx, r.GetVolumeId(), r.GetVolumePublishPath())
	if err != nil {
		return nil, err
	}
	return &csi.NodeGetVolumeHealthResponse{VolumeHealth: health}, nil
}

func (d *Driver) health(ctx context.Context, handle, path string) (*csi.VolumeHealth, error) {
	if handle == "" {
		return nil, missing("volume_id")
	}
	found, err := d.volumes.VolumeHealth(ctx, handle, path)
	if err != nil {
		return nil, toStatus(err)
	}
	return volumeHealth(handle, found), nil
}

// volumeHealth translates findings. CSI wants each pair of status and reason
// once.
func volumeHealth(handle string, found []volume.Finding) *csi.VolumeHealth {
	out := &csi.VolumeHealth{VolumeId: handle}
	seen := map[string]bool{}
	for _, f := range found {
		if seen[f.Reason] {
			continue
		}
		seen[f.Reason] = true
		entry := &csi.VolumeHealth_VolumeHealthEntry{Status: csi.VolumeHealthErrorType_DEGRADED, Reason: f.Reason, Message: f.Message}
		switch f.Severity {
		case volume.Inaccessible:
			entry.Status = csi.VolumeHealthErrorType_INACCESSIBLE
		case volume.DataLoss:
			entry.Status = csi.VolumeHealthErrorType_DATA_LOSS
		}
		out.HealthStatuses = append(out.HealthStatuses, entry)
	}
	return out
}

// ControllerListVolumeHealth implements csi.ControllerServer.
func (d *Driver) ControllerListVolumeHealth(_ context.Context, r *csi.ControllerListVolumeHealthRequest) (*csi.ControllerListVolumeHealthResponse, error) {
	if r.GetMaxEntries() < 0 {
		return nil, status.Error(codes.InvalidArgument, "max_entries cannot be negative")
	}
	page, next, err := d.volumes.ListHealth(r.GetStartingToken(), int(r.GetMaxEntries()))
	if err != nil {
		return nil, toStatus(err)
	}
	out := &csi.ControllerListVolumeHealthResponse{NextToken: next}
	for _, v := range page {
		out.Entries = append(out.Entries, volumeHealth(v.Handle, v.All))
	}
	return out, nil
}

// NodeGetStorageHealth implements csi.NodeServer. CSI wants each pair of status
// and reason once, so the messages of two pools are joined.
func (d *Driver) NodeGetStorageHealth(context.Context, *csi.NodeGetStorageHealthRequest) (*csi.NodeGetStorageHealthResponse, error) {
	out := &csi.NodeGetStorageHealthResponse{}
	byReason := map[string]*csi.NodeGetStorageHealthResponse_StorageBackendHealth{}
	for _, f := range d.volumes.StorageHealth() {
		state := csi.StorageHealthErrorType_STORAGE_DEGRADED
		if f.Severity == volume.Inaccessible {
			state = csi.StorageHealthErrorType_STORAGE_UNREACHABLE
		}
		key := state.String() + f.Reason
		if have := byReason[key]; have != nil {
			have.Message += "; " + f.Message
			continue
		}
		byReason[key] = &csi.NodeGetStorageHealthResponse_StorageBackendHealth{Status: state, Reason: f.Reason, Message: f.Message}
		out.BackendHealth = append(out.BackendHealth, byReason[key])
	}
	return out, nil
}
