package driver

import (
	"context"

	"github.com/container-storage-interface/spec/lib/go/csi"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/hostvol/hostvol/pkg/volume"
)

// CreateVolume implements csi.ControllerServer.
func (d *Driver) CreateVolume(ctx context.Context, r *csi.CreateVolumeRequest) (*csi.CreateVolumeResponse, error) {
	if r.GetName() == "" {
		return nil, missing("name")
	}
	if err := checkCapabilities(r.GetVolumeCapabilities()); err != nil {
		return nil, err
	}
	access, err := accessInAll(r.GetVolumeCapabilities())
	if err != nil {
		return nil, err
	}
	content, err := contentOf(r.GetVolumeContentSource())
	if err != nil {
		return nil, err
	}
	if len(r.GetMutableParameters()) > 0 {
		return nil, status.Error(codes.InvalidArgument, "mutable parameters are not supported; leave out the volumeAttributesClassName")
	}
	v, err := d.volumes.Create(ctx, volume.CreateRequest{
		Name:       r.GetName(),
		Size:       sizeOf(r.GetCapacityRange()),
		Access:     access,
		Parameters: r.GetParameters(),
		Content:    content,
		Topology:   requisite(r.GetAccessibilityRequirements()),
	})
	if err != nil {
		return nil, toStatus(err)
	}
	return &csi.CreateVolumeResponse{Volume: d.volume(v)}, nil
}

func sizeOf(r *csi.CapacityRange) volume.Range {
	return volume.Range{Required: r.GetRequiredBytes(), Limit: r.GetLimitBytes()}
}

// requisite are the places where the volume must be. Where only preferences
// are given, the one node there is serves as well as any.
func requisite(t *csi.TopologyRequirement) []map[string]string {
	var places []map[string]string
	for _, place := range t.GetRequisite() {
		places = append(places, place.GetSegments())
	}
	return places
}

func (d *Driver) volume(v volume.Volume) *csi.Volume {
	return &csi.Volume{VolumeId: v.Handle, CapacityBytes: v.Bytes, ContentSource: contentSource(v.Content), AccessibleTopology: d.here}
}

// DeleteVolume implements csi.ControllerServer.
func (d *Driver) DeleteVolume(ctx context.Context, r *csi.DeleteVolumeRequest) (*csi.DeleteVolumeResponse, error) {
	if r.GetVolumeId() == "" {
		return nil, missing("volume_id")
	}
	return &csi.DeleteVolumeResponse{}, toStatus(d.volumes.Delete(ctx, r.GetVolumeId()))
}

// exists checks that the handle names a volume, of a pool or a static one.
func (d *Driver) exists(handle string, attributes map[string]string) error {
	if volume.IsStatic(attributes) {
		return toStatus(d.volumes.CheckStatic(handle, attributes))
	}
	_, err := d.volumes.Get(handle)
	return toStatus(err)
}

// usable checks a capability, and that the volume, which exists, has it.
func (d *Driver) usable(handle string, attributes map[string]string, c *csi.VolumeCapability) error {
	if err := checkCapability(c); err != nil {
		return err
	}
	return toStatus(d.volumes.CheckAccess(handle, attributes, accessIn(c)))
}

// ControllerPublishVolume implements csi.ControllerServer. It only checks: a
// volume is where its node is.
func (d *Driver) ControllerPublishVolume(_ context.Context, r *csi.ControllerPublishVolumeRequest) (*csi.ControllerPublishVolumeResponse, error) {
	switch {
	case r.GetVolumeId() == "":
		return nil, missing("volume_id")
	case r.GetNodeId() == "":
		return nil, missing("node_id")
	case r.GetReadonly():
		return nil, status.Error(codes.InvalidArgument, "readonly is not supported at attachment; publish the volume read-only on the node")
	}
	if err := checkCapability(r.GetVolumeCapability()); err != nil {
		return nil, err
	}
	if err := d.exists(r.GetVolumeId(), r.GetVolumeContext()); err != nil {
		return nil, err
	}
	if err := d.usable(r.GetVolumeId(), r.GetVolumeContext(), r.GetVolumeCapability()); err != nil {
		return nil, err
	}
	if r.GetNodeId() != d.volumes.NodeID() {
		return nil, status.Errorf(codes.NotFound, "volume %s is on node %s, not on %s", r.GetVolumeId(), d.volumes.NodeID(), r.GetNodeId())
	}
	return &csi.ControllerPublishVolumeResponse{}, nil
}

// ControllerUnpublishVolume implements csi.ControllerServer. Nothing is kept of a
// publication, so of any volume and node it is undone.
func (d *Driver) ControllerUnpublishVolume(_ context.Context, r *csi.ControllerUnpublishVolumeRequest) (*csi.ControllerUnpublishVolumeResponse, error) {
	if r.GetVolumeId() == "" {
		return nil, missing("volume_id")
	}
	return &csi.ControllerUnpublishVolumeResponse{}, nil
}

// ValidateVolumeCapabilities implements csi.ControllerServer.
func (d *Driver) ValidateVolumeCapabilities(_ context.Context, r *csi.ValidateVolumeCapabilitiesRequest) (*csi.ValidateVolumeCapabilitiesResponse, error) {
	switch {
	case r.GetVolumeId() == "":
		return nil, missing("volume_id")
	case len(r.GetVolumeCapabilities()) == 0:
		return nil, missing("volume_capabilities")
	}
	if err := d.exists(r.GetVolumeId(), r.GetVolumeContext()); err != nil {
		return nil, err
	}
	for _, c := range r.GetVolumeCapabilities() {
		why := unsupported(c)
		if err := d.volumes.CheckAccess(r.GetVolumeId(), r.GetVolumeContext(), accessIn(c)); why == "" && err != nil {
			why = err.Error()
		}
		if why != "" {
			return &csi.ValidateVolumeCapabilitiesResponse{Message: why}, nil
		}
	}
	if err := volume.CheckParameters(r.GetParameters()); err != nil {
		return &csi.ValidateVolumeCapabilitiesResponse{Message: err.Error()}, nil
	}
	return &csi.ValidateVolumeCapabilitiesResponse{Confirmed: &csi.ValidateVolumeCapabilitiesResponse_Confirmed{
		VolumeContext: r.GetVolumeContext(), VolumeCapabilities: r.GetVolumeCapabilities(), Parameters: r.GetParameters(),
	}}, nil
}

// ListVolumes implements csi.ControllerServer.
func (d *Driver) ListVolumes(_ context.Context, r *csi.ListVolumesRequest) (*csi.ListVolumesResponse, error) {
	if r.GetMaxEntries() < 0 {
		return nil, status.Error(codes.InvalidArgument, "max_entries cannot be negative")
	}
	page, next, err := d.volumes.List(r.GetStartingToken(), int(r.GetMaxEntries()))
	if err != nil {
		return nil, toStatus(err)
	}
	return d.page(page, next), nil
}

// ControllerGetVolume implements csi.ControllerServer.
func (d *Driver) ControllerGetVolume(_ context.Context, r *csi.ControllerGetVolumeRequest) (*csi.ControllerGetVolumeResponse, error) {
	if r.GetVolumeId() == "" {
		return nil, missing("volume_id")
	}
	v, err := d.volumes.Get(r.GetVolumeId())
	if err != nil {
		return nil, toStatus(err)
	}
	return &csi.ControllerGetVolumeResponse{Volume: d.volume(v), Status: &csi.ControllerGetVolumeResponse_VolumeStatus{}}, nil
}

// GetCapacity implements csi.ControllerServer.
func (d *Driver) GetCapacity(_ context.Context, r *csi.GetCapacityRequest) (*csi.GetCapacityResponse, error) {
	var access volume.Access
	for _, c := range r.GetVolumeCapabilities() {
		if unsupported(c) != "" {
			return &csi.GetCapacityResponse{}, nil // no volume of that kind fits anywhere
		}
		access = accessIn(c)
	}
	c, err := d.volumes.Capacity(r.GetParameters(), r.GetAccessibleTopology().GetSegments(), access)
	if err != nil {
		return nil, toStatus(err)
	}
	return &csi.GetCapacityResponse{
		AvailableCapacity: c.Available,
		MaximumVolumeSize: wrapperspb.Int64(c.Largest),
		MinimumVolumeSize: wrapperspb.Int64(volume.MinBytes),
	}, nil
}

// ControllerExpandVolume implements csi.ControllerServer. Nothing is left to do
// on the node.
func (d *Driver) ControllerExpandVolume(ctx context.Context, r *csi.ControllerExpandVolumeRequest) (*csi.ControllerExpandVolumeResponse, error) {
	switch {
	case r.GetVolumeId() == "":
		return nil, missing("volume_id")
	case r.GetCapacityRange() == nil:
		return nil, missing("capacity_range")
	}
	if d.volumes.Distributed() {
		return nil, status.Error(codes.Unimplemented, "in distributed mode a volume is expanded on its node, by NodeExpandVolume")
	}
	if r.GetVolumeCapability() != nil {
		if err := d.usable(r.GetVolumeId(), nil, r.GetVolumeCapability()); err != nil {
			return nil, err
		}
	}
	v, err := d.volumes.Expand(ctx, r.GetVolumeId(), sizeOf(r.GetCapacityRange()))
	if err != nil {
		return nil, toStatus(err)
	}
	return &csi.ControllerExpandVolumeResponse{CapacityBytes: v.Bytes}, nil
}

// ControllerGetCapabilities implements csi.ControllerServer. In distributed mode
// only what the sidecars route to the right node is advertised.
func (d *Driver) ControllerGetCapabilities(context.Context, *csi.ControllerGetCapabilitiesRequest) (*csi.ControllerGetCapabilitiesResponse, error) {
	types := []csi.ControllerServiceCapability_RPC_Type{
		csi.ControllerServiceCapability_RPC_CREATE_DELETE_VOLUME,
		csi.ControllerServiceCapability_RPC_LIST_VOLUMES,
		csi.ControllerServiceCapability_RPC_GET_CAPACITY,
		csi.ControllerServiceCapability_RPC_CREATE_DELETE_SNAPSHOT,
		csi.ControllerServiceCapability_RPC_LIST_SNAPSHOTS,
		csi.ControllerServiceCapability_RPC_GET_SNAPSHOT,
		csi.ControllerServiceCapability_RPC_CLONE_VOLUME,
		csi.ControllerServiceCapability_RPC_GET_VOLUME,
		csi.ControllerServiceCapability_RPC_SINGLE_NODE_MULTI_WRITER,
		csi.ControllerServiceCapability_RPC_GET_VOLUME_HEALTH,
		csi.ControllerServiceCapability_RPC_LIST_VOLUME_HEALTH,
	}
	if !d.volumes.Distributed() {
		types = append(types,
			csi.ControllerServiceCapability_RPC_PUBLISH_UNPUBLISH_VOLUME,
			csi.ControllerServiceCapability_RPC_EXPAND_VOLUME,
		)
	}
	out := &csi.ControllerGetCapabilitiesResponse{}
	for _, t := range types {
		out.Capabilities = append(out.Capabilities, &csi.ControllerServiceCapability{
			Type: &csi.ControllerServiceCapability_Rpc{Rpc: &csi.ControllerServiceCapability_RPC{Type: t}},
		})
	}
	return out, nil
}
