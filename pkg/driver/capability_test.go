package driver

import (
	"strings"
	"testing"

	"github.com/container-storage-interface/spec/lib/go/csi"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// Every mode that CSI has is known here, so that a new one is noticed.
func TestAccessModes(t *testing.T) {
	for mode, name := range csi.VolumeCapability_AccessMode_Mode_name {
		a, known := accessOf(csi.VolumeCapability_AccessMode_Mode(mode))
		if known != (name != "UNKNOWN") {
			t.Errorf("%s: known %v", name, known)
		}
		if a.readOnly != strings.HasSuffix(name, "READER_ONLY") {
			t.Errorf("%s: read-only %v", name, a.readOnly)
		}
		// One user: kubelet gives ReadWriteOnce as SINGLE_NODE_MULTI_WRITER to drivers that know it.
		exclusive := name == "SINGLE_NODE_WRITER" || name == "SINGLE_NODE_SINGLE_WRITER" || name == "SINGLE_NODE_READER_ONLY"
		if a.exclusive != exclusive {
			t.Errorf("%s: exclusive %v", name, a.exclusive)
		}
	}
}

func TestCapabilities(t *testing.T) {
	mode := &csi.VolumeCapability_AccessMode{Mode: csi.VolumeCapability_AccessMode_SINGLE_NODE_WRITER}
	mount := func(m *csi.VolumeCapability_MountVolume) *csi.VolumeCapability {
		return &csi.VolumeCapability{AccessMode: mode, AccessType: &csi.VolumeCapability_Mount{Mount: m}}
	}
	for _, c := range []struct {
		name string
		of   *csi.VolumeCapability
		why  string
	}{
		{"plain", mount(&csi.VolumeCapability_MountVolume{}), ""},
		{"flags", mount(&csi.VolumeCapability_MountVolume{MountFlags: []string{"ro", "noexec"}}), ""},
		{"no mode", &csi.VolumeCapability{AccessType: &csi.VolumeCapability_Mount{Mount: &csi.VolumeCapability_MountVolume{}}}, "access mode"},
		{"a mode of the future", &csi.VolumeCapability{AccessMode: &csi.VolumeCapability_AccessMode{Mode: 99}}, "access mode"},
		{"no type", &csi.VolumeCapability{AccessMode: mode}, "access type"},
		{"block", &csi.VolumeCapability{AccessMode: mode, AccessType: &csi.VolumeCapability_Block{Block: &csi.VolumeCapability_BlockVolume{}}}, ""},
		{"fstype", mount(&csi.VolumeCapability_MountVolume{FsType: "ext4"}), ""},
		{"group", mount(&csi.VolumeCapability_MountVolume{VolumeMountGroup: "1"}), "fsGroup"},
	} {
		why := unsupported(c.of)
		if (why == "") != (c.why == "") || !strings.Contains(why, c.why) {
			t.Errorf("%s: %q, want %q", c.name, why, c.why)
		}
		want := codes.InvalidArgument
		if c.why == "" {
			want = codes.OK
		}
		if got := status.Code(checkCapability(c.of)); got != want {
			t.Errorf("%s: %v", c.name, got)
		}
	}
	if status.Code(checkCapability(nil)) != codes.InvalidArgument || status.Code(checkCapabilities(nil)) != codes.InvalidArgument {
		t.Error("none")
	}
}

func TestAccessInAll(t *testing.T) {
	mount := func(fs string) *csi.VolumeCapability {
		return &csi.VolumeCapability{AccessType: &csi.VolumeCapability_Mount{Mount: &csi.VolumeCapability_MountVolume{FsType: fs}}}
	}
	block := &csi.VolumeCapability{AccessType: &csi.VolumeCapability_Block{Block: &csi.VolumeCapability_BlockVolume{}}}
	for name, c := range map[string]struct {
		of   []*csi.VolumeCapability
		fs   string
		code codes.Code
	}{
		"one":         {[]*csi.VolumeCapability{mount("")}, "", codes.OK},
		"two":         {[]*csi.VolumeCapability{mount(""), mount("xfs")}, "xfs", codes.OK},
		"blocks":      {[]*csi.VolumeCapability{block, block}, "", codes.OK},
		"two modes":   {[]*csi.VolumeCapability{mount(""), block}, "", codes.InvalidArgument},
		"two fstypes": {[]*csi.VolumeCapability{mount("ext4"), mount("xfs")}, "", codes.InvalidArgument},
	} {
		a, err := accessInAll(c.of)
		if status.Code(err) != c.code || err == nil && a.FSType != c.fs {
			t.Errorf("%s: %+v %v", name, a, err)
		}
	}
}
