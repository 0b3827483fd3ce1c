package driver

import (
	"context"

	"github.com/container-storage-interface/spec/lib/go/csi"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/hostvol/hostvol/pkg/volume"
)

// CreateSnapshot implements csi.ControllerServer. What it answers is cut,
// durable and ready.
func (d *Driver) CreateSnapshot(ctx context.Context, r *csi.CreateSnapshotRequest) (*csi.CreateSnapshotResponse, error) {
	switch {
	case r.GetName() == "":
		return nil, missing("name")
	case r.GetSourceVolumeId() == "":
		return nil, missing("source_volume_id")
	}
	s, err := d.volumes.Snapshot(ctx, volume.SnapshotRequest{
		Name: r.GetName(), Source: r.GetSourceVolumeId(), Parameters: r.GetParameters(),
	})
	if err != nil {
		return nil, toStatus(err)
	}
	return &csi.CreateSnapshotResponse{Snapshot: snapshot(s)}, nil
}

func snapshot(s volume.Snapshot) *csi.Snapshot {
	return &csi.Snapshot{
		SnapshotId: s.Handle, SourceVolumeId: s.Source, SizeBytes: s.Bytes,
		CreationTime: timestamppb.New(s.Created), ReadyToUse: true,
		GroupSnapshotId: s.Group,
	}
}

// DeleteSnapshot implements csi.ControllerServer.
func (d *Driver) DeleteSnapshot(ctx context.Context, r *csi.DeleteSnapshotRequest) (*csi.DeleteSnapshotResponse, error) {
	if r.GetSnapshotId() == "" {
		return nil, missing("snapshot_id")
	}
	return &csi.DeleteSnapshotResponse{}, toStatus(d.volumes.DeleteSnapshot(ctx, r.GetSnapshotId()))
}

// ListSnapshots implements csi.ControllerServer.
func (d *Driver) ListSnapshots(_ context.Context, r *csi.ListSnapshotsRequest) (*csi.ListSnapshotsResponse, error) {
	if r.GetMaxEntries() < 0 {
		return nil, status.Error(codes.InvalidArgument, "max_entries cannot be negative")
	}
	filter := volume.SnapshotFilter{Snapshot: r.GetSnapshotId(), Source: r.GetSourceVolumeId()}
	page, next, err := d.volumes.ListSnapshots(filter, r.GetStartingToken(), int(r.GetMaxEntries()))
	if err != nil {
		return nil, toStatus(err)
	}
	out := &csi.ListSnapshotsResponse{NextToken: next}
	for _, s := range page {
		out.Entries = append(out.Entries, &csi.ListSnapshotsResponse_Entry{Snapshot: snapshot(s)})
	}
	return out, nil
}

// GetSnapshot implements csi.ControllerServer.
func (d *Driver) GetSnapshot(_ context.Context, r *csi.GetSnapshotRequest) (*csi.GetSnapshotResponse, error) {
	if r.GetSnapshotId() == "" {
		return nil, missing("snapshot_id")
	}
	s, err := d.volumes.GetSnapshot(r.GetSnapshotId())
	if err != nil {
		return nil, toStatus(err)
	}
	return &csi.GetSnapshotResponse{Snapshot: snapshot(s)}, nil
}

// contentOf is the source that a request names.
func contentOf(s *csi.VolumeContentSource) (volume.Content, error) {
	c := volume.Content{Snapshot: s.GetSnapshot().GetSnapshotId(), Volume: s.GetVolume().GetVolumeId()}
	if s != nil && c == (volume.Content{}) {
		return c, missing("the id in volume_content_source")
	}
	return c, nil
}

// contentSource is the source in answers.
func contentSource(c volume.Content) *csi.VolumeContentSource {
	switch {
	case c.Snapshot != "":
		return &csi.VolumeContentSource{Type: &csi.VolumeContentSource_Snapshot{
			Snapshot: &csi.VolumeContentSource_SnapshotSource{SnapshotId: c.Snapshot},
		}}
	case c.Volume != "":
		return &csi.VolumeContentSource{Type: &csi.VolumeContentSource_Volume{
			Volume: &csi.VolumeContentSource_VolumeSource{VolumeId: c.Volume},
		}}
	}
	return nil
}
