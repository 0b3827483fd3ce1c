package integration

import (
	"slices"
	"strings"
	"testing"

	"github.com/container-storage-interface/spec/lib/go/csi"
	"google.golang.org/grpc/codes"
)

func distributed(t *testing.T) *node {
	t.Helper()
	n := newNode(t)
	limited(t, n, "mode: distributed")
	return n
}

func TestHandlesCarryTheNode(t *testing.T) {
	n := distributed(t)
	handle := n.volume("vol")
	id, tag, ok := strings.Cut(handle, "@")
	if !ok || id != "vol" || len(tag) != 8 {
		t.Fatalf("%q", handle)
	}
	if again := n.volume("vol"); again != handle {
		t.Errorf("%q, before %q", again, handle)
	}
	if why := differ(n.all(), []string{handle}); why != "" {
		t.Error(why)
	}
	for _, h := range []string{handle, "vol"} { // one without a tag is local
		if v, err := n.get(h); err != nil || v.GetVolumeId() != handle {
			t.Errorf("%s: %v %v", h, v, err)
		}
		target := n.mounted(h, "pod")
		if _, err := n.stats(h, target); err != nil {
			t.Error(err)
		}
		n.unmounted(h, target)
	}
	// Both name one volume: published under one, it is in use under the other.
	target := n.mounted("vol", "pod")
	want(t, n.remove(handle), codes.FailedPrecondition, target)
	n.unmounted(handle, target)

	foreign := "vol@deadbeef"
	_, err := n.get(foreign)
	want(t, err, codes.NotFound)
	want(t, n.remove(foreign), codes.NotFound, "another node")
	want(t, n.publish(foreign, n.target("pod")), codes.NotFound)
	_, err = n.stats(foreign, n.target("pod"))
	want(t, err, codes.NotFound)
	_, err = n.kubelet.NodeExpandVolume(n.ctx(), &csi.NodeExpandVolumeRequest{VolumeId: foreign, VolumePath: n.target("pod")})
	want(t, err, codes.NotFound)
	n.unmounted(foreign, n.target("pod"))
	for _, h := range []string{"vol@", "vol@xyz", "vol@" + tag + "@" + tag, "@" + tag} {
		_, err := n.get(h)
		want(t, err, codes.NotFound)
	}
	must(t, n.remove(handle))
	must(t, n.remove(handle))
	must(t, n.remove("vol"))
}

// On RESOURCE_EXHAUSTED, and on nothing else, the provisioner lets the scheduler try another node.
func TestWhatDoesNotFitHereMayFitElsewhere(t *testing.T) {
	n := distributed(t)
	for name, change := range map[string]func(*csi.CreateVolumeRequest){
		"huge":     bytes(1 << 50),
		"full":     bytes(101 * mib),
		"pool":     with("pool", "ssd"),
		"enforced": with("enforce", "required"),
		"place": func(r *csi.CreateVolumeRequest) {
			r.AccessibilityRequirements = &csi.TopologyRequirement{Requisite: []*csi.Topology{{Segments: map[string]string{"topology.hostvol.csi.io/node": "node-b"}}}}
		},
	} {
		_, err := n.create(name, change)
		want(t, err, codes.ResourceExhausted)
	}
	_, err := n.create("wrong", with("bogus", "x")) // wrong everywhere
	want(t, err, codes.InvalidArgument)
	n.empty()
}

func TestExpansionOnTheNode(t *testing.T) {
	n := distributed(t)
	handle := n.volume("vol")
	target := n.mounted(handle, "pod")
	expand := func(size int64) error {
		_, err := n.kubelet.NodeExpandVolume(n.ctx(), &csi.NodeExpandVolumeRequest{
			VolumeId: handle, VolumePath: target, VolumeCapability: many(), CapacityRange: &csi.CapacityRange{RequiredBytes: size},
		})
		return err
	}
	want(t, n.expand(handle, 32*mib), codes.Unimplemented)
	for range 2 {
		must(t, expand(32*mib))
	}
	if v, err := n.get(handle); err != nil || v.GetCapacityBytes() != 32*mib {
		t.Errorf("%v %v", v, err)
	}
	n.volume("other", bytes(60*mib))
	want(t, expand(64*mib), codes.OutOfRange, "available") // the kubelet says so at the claim
	want(t, expand(1<<50), codes.OutOfRange)
	want(t, expand(-1), codes.InvalidArgument)
	n.unmounted(handle, target)
	_, err := n.kubelet.NodeExpandVolume(n.ctx(), &csi.NodeExpandVolumeRequest{VolumeId: "nobody", VolumePath: "relative"})
	want(t, err, codes.NotFound) // the volume comes before the path
}

func TestCapabilitiesFollowTheMode(t *testing.T) {
	types := func(n *node) []string {
		answer, err := n.controller.ControllerGetCapabilities(n.ctx(), &csi.ControllerGetCapabilitiesRequest{})
		must(t, err)
		var out []string
		for _, c := range answer.GetCapabilities() {
			out = append(out, c.GetRpc().GetType().String())
		}
		return out
	}
	single, many := types(serve(t)), types(distributed(t))
	for _, c := range []string{"CREATE_DELETE_VOLUME", "LIST_VOLUMES", "GET_CAPACITY", "GET_VOLUME", "GET_VOLUME_HEALTH", "LIST_VOLUME_HEALTH", "CREATE_DELETE_SNAPSHOT", "LIST_SNAPSHOTS", "GET_SNAPSHOT", "CLONE_VOLUME", "SINGLE_NODE_MULTI_WRITER"} {
		if !slices.Contains(single, c) || !slices.Contains(many, c) {
			t.Errorf("%s: %v %v", c, single, many)
		}
	}
	for _, c := range []string{"PUBLISH_UNPUBLISH_VOLUME", "EXPAND_VOLUME"} {
		if !slices.Contains(single, c) || slices.Contains(many, c) {
			t.Errorf("%s: %v %v", c, single, many)
		}
	}
	for _, c := range []string{"LIST_VOLUMES_PUBLISHED_NODES", "PUBLISH_READONLY", "MODIFY_VOLUME"} {
		if slices.Contains(single, c) || slices.Contains(many, c) {
			t.Errorf("%s: %v %v", c, single, many)
		}
	}
}
