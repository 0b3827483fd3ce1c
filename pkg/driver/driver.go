// Package driver speaks CSI: it checks a request's form, calls one method of the
// volume service, and translates the answer. It decides nothing about volumes.
// It alone knows gRPC's codes.
//
// Source: CSI specification v1.13.0.
package driver

import (
	"github.com/container-storage-interface/spec/lib/go/csi"
	"google.golang.org/grpc"

	"github.com/hostvol/hostvol/pkg/volume"
)

// Options say how the driver presents itself.
type Options struct {
	// Name is the driver's, as in CSIDriver objects.
	Name string
	// Version is the build's.
	Version string
	// MaxVolumes is how many volumes the CO may publish on this node; 0 leaves
	// it to the CO.
	MaxVolumes int64
}

// Driver serves Identity, Controller, GroupController, Node and SnapshotMetadata.
type Driver struct {
	csi.UnimplementedIdentityServer
	csi.UnimplementedControllerServer
	csi.UnimplementedGroupControllerServer
	csi.UnimplementedNodeServer
	csi.UnimplementedSnapshotMetadataServer

	opts    Options
	volumes *volume.Service
	// refusals are the growths that this node has refused.
	refusals refusals
	// here is where all volumes are; answers share it.
	here []*csi.Topology
	// hereEncoded is the same as a part of an encoded csi.Volume.
	hereEncoded []byte
}

// New makes a driver for the service.
func New(volumes *volume.Service, opts Options) *Driver {
	here := []*csi.Topology{{Segments: volumes.Segments()}}
	return &Driver{opts: opts, volumes: volumes, here: here, hereEncoded: encodeHere(here)}
}

// Register adds the driver's services to the server.
func (d *Driver) Register(server grpc.ServiceRegistrar) {
	csi.RegisterIdentityServer(server, d)
	csi.RegisterControllerServer(server, d)
	csi.RegisterGroupControllerServer(server, d)
	csi.RegisterNodeServer(server, d)
	csi.RegisterSnapshotMetadataServer(server, d)
}
