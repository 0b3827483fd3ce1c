package main

import (
	"context"
	"path/filepath"

	"github.com/container-storage-interface/spec/lib/go/csi"
	"google.golang.org/grpc"
)

const volumeSize = 1 << 20

// calls are the driver's RPCs, each on the volume of the name, through one connection.
type calls struct {
	ctx        context.Context
	node       string
	targets    string
	identity   csi.IdentityClient
	controller csi.ControllerClient
	nodes      csi.NodeClient
}

func newCalls(ctx context.Context, conn *grpc.ClientConn, node, targets string) *calls {
	return &calls{
		ctx:        ctx,
		node:       node,
		targets:    targets,
		identity:   csi.NewIdentityClient(conn),
		controller: csi.NewControllerClient(conn),
		nodes:      csi.NewNodeClient(conn),
	}
}

func (c *calls) target(name string) string { return filepath.Join(c.targets, name) }

func (c *calls) probe(string) error {
	_, err := c.identity.GetPluginInfo(c.ctx, &csi.GetPluginInfoRequest{})
	return err
}

// create relies on mode single and names in the id grammar: the handle is the name.
func (c *calls) create(name string) error {
	_, err := c.controller.CreateVolume(c.ctx, &csi.CreateVolumeRequest{
		Name:               name,
		CapacityRange:      &csi.CapacityRange{RequiredBytes: volumeSize},
		VolumeCapabilities: []*csi.VolumeCapability{capability()},
	})
	return err
}

func (c *calls) remove(name string) error {
	_, err := c.controller.DeleteVolume(c.ctx, &csi.DeleteVolumeRequest{VolumeId: name})
	return err
}

func (c *calls) attach(name string) error {
	_, err := c.controller.ControllerPublishVolume(c.ctx, &csi.ControllerPublishVolumeRequest{
		VolumeId: name, NodeId: c.node, VolumeCapability: capability(),
	})
	return err
}

func (c *calls) publish(name string) error {
	_, err := c.nodes.NodePublishVolume(c.ctx, &csi.NodePublishVolumeRequest{
		VolumeId: name, TargetPath: c.target(name), VolumeCapability: capability(),
	})
	return err
}

func (c *calls) unpublish(name string) error {
	_, err := c.nodes.NodeUnpublishVolume(c.ctx, &csi.NodeUnpublishVolumeRequest{VolumeId: name, TargetPath: c.target(name)})
	return err
}

func (c *calls) stats(name string) error {
	_, err := c.nodes.NodeGetVolumeStats(c.ctx, &csi.NodeGetVolumeStatsRequest{VolumeId: name, VolumePath: c.target(name)})
	return err
}

func (c *calls) list(string) error {
	_, err := c.controller.ListVolumes(c.ctx, &csi.ListVolumesRequest{MaxEntries: 100})
	return err
}

func capability() *csi.VolumeCapability {
	return &csi.VolumeCapability{
		AccessType: &csi.VolumeCapability_Mount{Mount: &csi.VolumeCapability_MountVolume{}},
		AccessMode: &csi.VolumeCapability_AccessMode{Mode: csi.VolumeCapability_AccessMode_SINGLE_NODE_WRITER},
	}
}
