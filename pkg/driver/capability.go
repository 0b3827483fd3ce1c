package driver

import (
	"cmp"

	"github.com/container-storage-interface/spec/lib/go/csi"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/hostvol/hostvol/pkg/volume"
)

// access is what an access mode means on one node.
type access struct {
	readOnly, exclusive bool
}

// accessOf tells the meaning of a mode; false for one that CSI does not have. A
// volume lies on one node, so the multi-node modes allow what the single-node
// ones with many users do, and the CO sees to it that all are on that node.
func accessOf(mode csi.VolumeCapability_AccessMode_Mode) (access, bool) {
	switch mode {
	case csi.VolumeCapability_AccessMode_SINGLE_NODE_WRITER, csi.VolumeCapability_AccessMode_SINGLE_NODE_SINGLE_WRITER:
		return access{exclusive: true}, true
	case csi.VolumeCapability_AccessMode_SINGLE_NODE_READER_ONLY:
		return access{readOnly: true, exclusive: true}, true
	case csi.VolumeCapability_AccessMode_MULTI_NODE_READER_ONLY:
		return access{readOnly: true}, true
	case csi.VolumeCapability_AccessMode_SINGLE_NODE_MULTI_WRITER,
		csi.VolumeCapability_AccessMode_MULTI_NODE_SINGLE_WRITER,
		csi.VolumeCapability_AccessMode_MULTI_NODE_MULTI_WRITER:
		return access{}, true
	}
	return access{}, false
}

// malformed tells why the capability is none; "" if it is.
func malformed(c *csi.VolumeCapability) string {
	if _, ok := accessOf(c.GetAccessMode().GetMode()); !ok {
		return "the access mode is missing or unknown"
	}
	if c.GetBlock() == nil && c.GetMount() == nil {
		return "the access type is missing"
	}
	if err := volume.CheckFlags(c.GetMount().GetMountFlags()); err != nil {
		return err.Error()
	}
	return ""
}

// exceeding tells why no volume can be used so; "" if it can.
func exceeding(c *csi.VolumeCapability) string {
	switch {
	case c.GetBlock() != nil:
		return "raw block volumes need the image engine, which this version does not have; ask for volumeMode: Filesystem"
	case c.GetMount().GetFsType() != "":
		return "a directory volume has the filesystem of its pool; leave out csi.storage.k8s.io/fstype"
	case c.GetMount().GetVolumeMountGroup() != "":
		return "volume_mount_group is not supported; the kubelet applies fsGroup itself"
	}
	return ""
}

func unsupported(c *csi.VolumeCapability) string { return cmp.Or(malformed(c), exceeding(c)) }

func checkCapability(c *csi.VolumeCapability) error { return checkFor(c, codes.InvalidArgument) }

// checkNodeCapability is checkCapability for calls to the node, where CSI has
// another code for what a volume cannot do.
func checkNodeCapability(c *csi.VolumeCapability) error {
	return checkFor(c, codes.FailedPrecondition)
}

func checkFor(c *csi.VolumeCapability, exceeded codes.Code) error {
	if c == nil {
		return missing("volume_capability")
	}
	if why := malformed(c); why != "" {
		return status.Error(codes.InvalidArgument, why)
	}
	if why := exceeding(c); why != "" {
		return status.Error(exceeded, why)
	}
	return nil
}

func checkCapabilities(cs []*csi.VolumeCapability) error {
	if len(cs) == 0 {
		return missing("volume_capabilities")
	}
	for _, c := range cs {
		if err := checkCapability(c); err != nil {
			return err
		}
	}
	return nil
}
