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
	return ""
}

// exceeding tells why no volume can be used so; "" if one can.
func exceeding(c *csi.VolumeCapability) string {
	if c.GetMount().GetVolumeMountGroup() != "" {
		return "volume_mount_group is not supported; the kubelet applies fsGroup itself"
	}
	return ""
}

// accessIn is what a capability asks of the volume.
func accessIn(c *csi.VolumeCapability) volume.Access {
	return volume.Access{Block: c.GetBlock() != nil, FSType: c.GetMount().GetFsType(), Options: c.GetMount().GetMountFlags()}
}

// accessInAll is what several capabilities of one volume ask of it.
func accessInAll(cs []*csi.VolumeCapability) (volume.Access, error) {
	all := accessIn(cs[0])
	for _, c := range cs[1:] {
		a := accessIn(c)
		switch {
		case a.Block != all.Block:
			return all, status.Error(codes.InvalidArgument, "a volume is a block device or has a filesystem; ask for one volumeMode")
		case all.FSType != "" && a.FSType != "" && a.FSType != all.FSType:
			return all, status.Errorf(codes.InvalidArgument, "a volume cannot have the filesystem %s and %s", all.FSType, a.FSType)
		}
		all.FSType = cmp.Or(all.FSType, a.FSType)
		all.Options = append(all.Options, a.Options...)
	}
	return all, nil
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
