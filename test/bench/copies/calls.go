package main

import (
	"context"

	"github.com/container-storage-interface/spec/lib/go/csi"
	"google.golang.org/grpc"
)

// calls are the driver's RPCs. In mode single and with names in the id grammar, handles are names.
type calls struct {
	ctx        context.Context
	identity   csi.IdentityClient
	controller csi.ControllerClient
	nodes      csi.NodeClient
}

func newCalls(ctx context.Context, conn *grpc.ClientConn) *calls {
	return &calls{ctx, csi.NewIdentityClient(conn), csi.NewControllerClient(conn), csi.NewNodeClient(conn)}
}

func (c *calls) probe() error {
	_, err := c.identity.GetPluginInfo(c.ctx, &csi.GetPluginInfoRequest{})
	return err
}

func (c *calls) capacity() error {
	_, err := c.controller.GetCapacity(c.ctx, &csi.GetCapacityRequest{VolumeCapabilities: []*csi.VolumeCapability{directory.capability()}})
	return err
}

// form is what a volume is: a directory, a raw block device, or an image with a filesystem.
type form struct {
	block  bool
	fsType string
}

var (
	directory = form{}
	block     = form{block: true}
)

func (f form) image() bool { return f.block || f.fsType != "" }

func (f form) capability() *csi.VolumeCapability {
	c := &csi.VolumeCapability{AccessMode: &csi.VolumeCapability_AccessMode{Mode: csi.VolumeCapability_AccessMode_SINGLE_NODE_WRITER}}
	if f.block {
		c.AccessType = &csi.VolumeCapability_Block{Block: &csi.VolumeCapability_BlockVolume{}}
	} else {
		c.AccessType = &csi.VolumeCapability_Mount{Mount: &csi.VolumeCapability_MountVolume{FsType: f.fsType}}
	}
	return c
}

func (c *calls) create(name string, f form, bytes int64, source *csi.VolumeContentSource) error {
	r := &csi.CreateVolumeRequest{
		Name: name, CapacityRange: &csi.CapacityRange{RequiredBytes: bytes},
		VolumeCapabilities: []*csi.VolumeCapability{f.capability()}, VolumeContentSource: source,
	}
	if f.image() {
		r.Parameters = map[string]string{"engine": "image"}
	}
	_, err := c.controller.CreateVolume(c.ctx, r)
	return err
}

func ofVolume(name string) *csi.VolumeContentSource {
	return &csi.VolumeContentSource{Type: &csi.VolumeContentSource_Volume{
		Volume: &csi.VolumeContentSource_VolumeSource{VolumeId: name},
	}}
}

func ofSnapshot(name string) *csi.VolumeContentSource {
	return &csi.VolumeContentSource{Type: &csi.VolumeContentSource_Snapshot{
		Snapshot: &csi.VolumeContentSource_SnapshotSource{SnapshotId: name},
	}}
}

func (c *calls) remove(name string) error {
	_, err := c.controller.DeleteVolume(c.ctx, &csi.DeleteVolumeRequest{VolumeId: name})
	return err
}

func (c *calls) snapshot(name, of string) error {
	_, err := c.controller.CreateSnapshot(c.ctx, &csi.CreateSnapshotRequest{Name: name, SourceVolumeId: of})
	return err
}

func (c *calls) removeSnapshot(name string) error {
	_, err := c.controller.DeleteSnapshot(c.ctx, &csi.DeleteSnapshotRequest{SnapshotId: name})
	return err
}

func (c *calls) publish(name string, f form, target string) error {
	_, err := c.nodes.NodePublishVolume(c.ctx, &csi.NodePublishVolumeRequest{
		VolumeId: name, TargetPath: target, VolumeCapability: f.capability(),
	})
	return err
}

func (c *calls) unpublish(name, target string) error {
	_, err := c.nodes.NodeUnpublishVolume(c.ctx, &csi.NodeUnpublishVolumeRequest{VolumeId: name, TargetPath: target})
	return err
}
