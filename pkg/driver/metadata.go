package driver

import (
	"context"
	"iter"

	"github.com/container-storage-interface/spec/lib/go/csi"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/hostvol/hostvol/pkg/host/extents"
	"github.com/hostvol/hostvol/pkg/volume"
)

// blockMetadataType: ranges are as the filesystem tells them, and joined where they
// touch. Blocks of a fixed length would be more messages, and a tail that the last
// block has to reach beyond.
const blockMetadataType = csi.BlockMetadataType_VARIABLE_LENGTH

// GetMetadataAllocated implements csi.SnapshotMetadataServer.
func (d *Driver) GetMetadataAllocated(r *csi.GetMetadataAllocatedRequest, stream csi.SnapshotMetadata_GetMetadataAllocatedServer) error {
	switch {
	case r.GetSnapshotId() == "":
		return missing("snapshot_id")
	case r.GetMaxResults() < 0:
		return negative("max_results")
	}
	return toStatus(d.volumes.AllocatedBlocks(stream.Context(), r.GetSnapshotId(), r.GetStartingOffset(), streamed(r.GetMaxResults(), func(bytes int64, blocks []*csi.BlockMetadata) error {
		return stream.Send(&csi.GetMetadataAllocatedResponse{BlockMetadataType: blockMetadataType, VolumeCapacityBytes: bytes, BlockMetadata: blocks})
	})))
}

// GetMetadataDelta implements csi.SnapshotMetadataServer.
func (d *Driver) GetMetadataDelta(r *csi.GetMetadataDeltaRequest, stream csi.SnapshotMetadata_GetMetadataDeltaServer) error {
	switch {
	case r.GetBaseSnapshotId() == "":
		return missing("base_snapshot_id")
	case r.GetTargetSnapshotId() == "":
		return missing("target_snapshot_id")
	case r.GetMaxResults() < 0:
		return negative("max_results")
	}
	return toStatus(d.volumes.ChangedBlocks(stream.Context(), r.GetBaseSnapshotId(), r.GetTargetSnapshotId(), r.GetStartingOffset(), streamed(r.GetMaxResults(), func(bytes int64, blocks []*csi.BlockMetadata) error {
		return stream.Send(&csi.GetMetadataDeltaResponse{BlockMetadataType: blockMetadataType, VolumeCapacityBytes: bytes, BlockMetadata: blocks})
	})))
}

func negative(field string) error {
	return status.Errorf(codes.InvalidArgument, "%s is negative", field)
}

// streamed sends ranges in messages of at most so many; 0 leaves that to us.
func streamed(most int32, send func(bytes int64, blocks []*csi.BlockMetadata) error) volume.UseBlocks {
	return func(ctx context.Context, bytes int64, ranges iter.Seq2[extents.Range, error]) error {
		s := sending{most: mostBlocks, linger: linger, patience: patience, send: func(blocks []*csi.BlockMetadata) error { return send(bytes, blocks) }}
		if most > 0 {
			s.most = min(s.most, int(most))
		}
		return s.all(ctx, ranges)
	}
}
