package integration

import (
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/container-storage-interface/spec/lib/go/csi"
	"google.golang.org/grpc/codes"
)

func TestParametersThatAreWrong(t *testing.T) {
	n := serve(t)
	for _, c := range []struct {
		name       string
		parameters []string
		code       codes.Code
		words      []string
	}{
		{"unknown", []string{"size", "1Gi"}, codes.InvalidArgument, []string{`"size"`, "pool, engine, enforce, mode, uid, gid"}},
		{"upper case", []string{"Pool", "default"}, codes.InvalidArgument, []string{"known"}},
		{"almost foreign", []string{"csi.storage.k8s.io", "x"}, codes.InvalidArgument, []string{"known"}},
		{"no pool", []string{"pool", "none"}, codes.InvalidArgument, []string{"none", "default"}},
		{"policy", []string{"enforce", "always"}, codes.InvalidArgument, []string{"required", "preferred", "none"}},
		{"mode", []string{"mode", "rwx"}, codes.InvalidArgument, []string{"octal"}},
		{"long mode", []string{"mode", "100777"}, codes.InvalidArgument, []string{"octal"}},
		{"negative uid", []string{"uid", "-1"}, codes.InvalidArgument, []string{"uid"}},
		{"no uid", []string{"uid", "4294967295"}, codes.InvalidArgument, []string{"uid"}},
		{"name for a gid", []string{"gid", "root"}, codes.InvalidArgument, []string{"gid"}},
		{"what this pool cannot", []string{"enforce", "required"}, codes.FailedPrecondition, []string{"cannot enforce"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, err := n.create("vol", with(c.parameters...))
			want(t, err, c.code, c.words...)
		})
	}
	n.empty()
}

func TestForeignParametersMeanNothing(t *testing.T) {
	n := serve(t)
	n.volume("vol", with("csi.storage.k8s.io/pvc/name", "claim", "csi.storage.k8s.io/pvc/namespace", "shop"))
	n.volume("vol", with("csi.storage.k8s.io/pvc/name", "another"))
	n.volume("vol")
	n.volume("vol", with("enforce", "preferred", "mode", "0777", "uid", "0")) // what the defaults say
}

func TestOwnerAndMode(t *testing.T) {
	for _, kind := range []string{"ext4", "btrfs"} {
		t.Run(kind, func(t *testing.T) {
			t.Parallel()
			n := serveOn(t, kind)
			for _, c := range []struct {
				id         string
				parameters []string
				mode       uint32
				uid, gid   uint32
			}{
				{"default", nil, 0o777, 0, 0},
				{"private", []string{"mode", "0700", "uid", "1000", "gid", "2000"}, 0o700, 1000, 2000},
				{"sticky", []string{"mode", "1777"}, 0o1777, 0, 0},
				{"set-gid", []string{"mode", "2770", "gid", "3000"}, 0o2770, 0, 3000},
				{"nothing", []string{"mode", "0"}, 0, 0, 0},
				{"largest", []string{"uid", "4294967294"}, 0o777, 4294967294, 0},
			} {
				n.volume(c.id, with(c.parameters...))
				var st syscall.Stat_t
				must(t, syscall.Stat(n.mounted(c.id, c.id), &st))
				if st.Mode&0o7777 != c.mode || st.Uid != c.uid || st.Gid != c.gid {
					t.Errorf("%s: %o %d:%d", c.id, st.Mode, st.Uid, st.Gid)
				}
			}
			// Other users of the node do not get to the volumes.
			for _, dir := range []string{"volumes", "staging", "trash"} {
				info, err := os.Stat(filepath.Join(n.pool, dir))
				must(t, err)
				if info.Mode().Perm() != 0o700 {
					t.Errorf("%s: %v", dir, info.Mode())
				}
			}
		})
	}
}

func TestRepeatsThatDiffer(t *testing.T) {
	n := newNode(t)
	n.start("--pool", "a="+n.dir+"/a", "--pool", "b="+n.dir+"/b")
	n.volume("vol", with("pool", "a", "mode", "0700"))
	for _, c := range []struct {
		name   string
		change []func(*csi.CreateVolumeRequest)
	}{
		{"larger", []func(*csi.CreateVolumeRequest){with("pool", "a", "mode", "0700"), bytes(17 * mib)}},
		{"smaller", []func(*csi.CreateVolumeRequest){with("pool", "a", "mode", "0700"), bytes(15 * mib)}},
		{"default size", []func(*csi.CreateVolumeRequest){with("pool", "a", "mode", "0700"), func(r *csi.CreateVolumeRequest) { r.CapacityRange = nil }}},
		{"pool", []func(*csi.CreateVolumeRequest){with("pool", "b", "mode", "0700")}},
		{"any pool", []func(*csi.CreateVolumeRequest){with("mode", "0700")}},
		{"mode", []func(*csi.CreateVolumeRequest){with("pool", "a", "mode", "0750")}},
		{"no mode", []func(*csi.CreateVolumeRequest){with("pool", "a")}},
		{"owner", []func(*csi.CreateVolumeRequest){with("pool", "a", "mode", "0700", "uid", "1")}},
		{"policy", []func(*csi.CreateVolumeRequest){with("pool", "a", "mode", "0700", "enforce", "none")}},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, err := n.create("vol", c.change...)
			want(t, err, codes.AlreadyExists)
		})
	}
	n.volume("vol", with("pool", "a", "mode", "700"))
	n.restart()
	n.volume("vol", with("pool", "a", "mode", "0700"))
}

func TestRequestsThatCannotBeServed(t *testing.T) {
	n := serve(t)
	id := n.volume("vol")
	block := &csi.VolumeCapability{AccessMode: many().GetAccessMode(), AccessType: &csi.VolumeCapability_Block{Block: &csi.VolumeCapability_BlockVolume{}}}
	formatted := capability(csi.VolumeCapability_AccessMode_SINGLE_NODE_WRITER)
	formatted.GetMount().FsType = "xfs"
	noMode := capability(csi.VolumeCapability_AccessMode_UNKNOWN)
	group := capability(csi.VolumeCapability_AccessMode_SINGLE_NODE_WRITER)
	group.GetMount().VolumeMountGroup = "5"
	for name, c := range map[string]*csi.VolumeCapability{
		"raw block": block, "a file system of its own": formatted, "no mode": noMode, "a mount group": group, "nothing": {}, "none": nil,
	} {
		t.Run(name, func(t *testing.T) {
			set := func(r *csi.CreateVolumeRequest) { r.VolumeCapabilities = []*csi.VolumeCapability{c} }
			_, err := n.create("new", set, with("engine", "directory"))
			want(t, err, codes.InvalidArgument)
			onNode := codes.InvalidArgument
			if c == block || c == formatted || c == group { // well-formed, and more than a volume can do
				onNode = codes.FailedPrecondition
			}
			want(t, n.publish(id, n.target("pod"), func(r *csi.NodePublishVolumeRequest) { r.VolumeCapability = c }), onNode)
			if c != nil {
				answer, err := n.controller.ValidateVolumeCapabilities(n.ctx(), &csi.ValidateVolumeCapabilitiesRequest{VolumeId: id, VolumeCapabilities: []*csi.VolumeCapability{c}})
				if err != nil || answer.GetConfirmed() != nil || answer.GetMessage() == "" {
					t.Errorf("%v %v", answer, err)
				}
			}
		})
	}
	for name, change := range map[string]func(*csi.CreateVolumeRequest){
		"an empty source":    func(r *csi.CreateVolumeRequest) { r.VolumeContentSource = &csi.VolumeContentSource{} },
		"mutable parameters": func(r *csi.CreateVolumeRequest) { r.MutableParameters = map[string]string{"a": "b"} },
		"no name":            func(r *csi.CreateVolumeRequest) { r.Name = "" },
		"no capabilities":    func(r *csi.CreateVolumeRequest) { r.VolumeCapabilities = nil },
	} {
		_, err := n.create("new", change)
		want(t, err, codes.InvalidArgument)
		if t.Failed() {
			t.Fatal(name)
		}
	}
	if why := differ(n.all(), "[vol]"); why != "" {
		t.Error(why)
	}
}

func TestTopology(t *testing.T) {
	n := serve(t)
	at := func(places ...map[string]string) func(*csi.CreateVolumeRequest) {
		return func(r *csi.CreateVolumeRequest) {
			r.AccessibilityRequirements = &csi.TopologyRequirement{}
			for _, place := range places {
				r.AccessibilityRequirements.Requisite = append(r.AccessibilityRequirements.Requisite, &csi.Topology{Segments: place})
			}
		}
	}
	const key = "topology.hostvol.csi.io/node"
	here, there := map[string]string{key: "node-a"}, map[string]string{key: "node-b"}
	v, err := n.create("here", at(there, here))
	must(t, err)
	if why := differ(v.GetAccessibleTopology()[0].GetSegments(), here); why != "" {
		t.Error(why)
	}
	for _, place := range []map[string]string{there, {"zone": "z"}, {key: "node-a", "zone": "z"}} {
		_, err = n.create("there", at(place))
		want(t, err, codes.ResourceExhausted, "node-a")
	}
	info, err := n.kubelet.NodeGetInfo(n.ctx(), &csi.NodeGetInfoRequest{})
	must(t, err)
	if why := differ(info.GetAccessibleTopology().GetSegments(), here); why != "" || info.GetNodeId() != "node-a" {
		t.Errorf("%v %s", info, why)
	}
	_, err = n.controller.ControllerPublishVolume(n.ctx(), &csi.ControllerPublishVolumeRequest{VolumeId: "here", NodeId: "node-b", VolumeCapability: many()})
	want(t, err, codes.NotFound, "node-b")
}

// The scheduler learns from the node how many volumes it takes, if that is limited.
func TestVolumesPerNode(t *testing.T) {
	for text, limit := range map[string]int64{"{}": 0, "maxVolumesPerNode: 7": 7} {
		n := serve(t, "--config", writeConfig(t, text))
		info, err := n.kubelet.NodeGetInfo(n.ctx(), &csi.NodeGetInfoRequest{})
		must(t, err)
		if info.GetMaxVolumesPerNode() != limit {
			t.Errorf("%s: %d volumes", text, info.GetMaxVolumesPerNode())
		}
	}
}
