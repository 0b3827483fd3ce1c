package integration

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/container-storage-interface/spec/lib/go/csi"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// many lets several pods of the node write, as ReadWriteOnce does for a driver with SINGLE_NODE_MULTI_WRITER.
func many() *csi.VolumeCapability {
	return capability(csi.VolumeCapability_AccessMode_SINGLE_NODE_MULTI_WRITER)
}

func capability(mode csi.VolumeCapability_AccessMode_Mode, flags ...string) *csi.VolumeCapability {
	return &csi.VolumeCapability{
		AccessMode: &csi.VolumeCapability_AccessMode{Mode: mode},
		AccessType: &csi.VolumeCapability_Mount{Mount: &csi.VolumeCapability_MountVolume{MountFlags: flags}},
	}
}

func createRequest(name string) *csi.CreateVolumeRequest {
	return &csi.CreateVolumeRequest{
		Name:               name,
		CapacityRange:      &csi.CapacityRange{RequiredBytes: 16 * mib},
		VolumeCapabilities: []*csi.VolumeCapability{many()},
	}
}

func bytes(size int64) func(*csi.CreateVolumeRequest) {
	return func(r *csi.CreateVolumeRequest) { r.CapacityRange = &csi.CapacityRange{RequiredBytes: size} }
}

// with sets parameters, given as key, value, key, value, …
func with(pairs ...string) func(*csi.CreateVolumeRequest) {
	return func(r *csi.CreateVolumeRequest) {
		r.Parameters = map[string]string{}
		for pair := range slices.Chunk(pairs, 2) {
			r.Parameters[pair[0]] = pair[1]
		}
	}
}

// create makes a volume of 16 MiB unless changed.
func (n *node) create(name string, change ...func(*csi.CreateVolumeRequest)) (*csi.Volume, error) {
	r := createRequest(name)
	for _, c := range change {
		c(r)
	}
	answer, err := n.controller.CreateVolume(n.ctx(), r)
	return answer.GetVolume(), err
}

// volume is create where it must succeed; it gives the handle.
func (n *node) volume(name string, change ...func(*csi.CreateVolumeRequest)) string {
	n.t.Helper()
	v, err := n.create(name, change...)
	must(n.t, err)
	return v.GetVolumeId()
}

func (n *node) remove(handle string) error {
	_, err := n.controller.DeleteVolume(n.ctx(), &csi.DeleteVolumeRequest{VolumeId: handle})
	return err
}

func (n *node) get(handle string) (*csi.Volume, error) {
	answer, err := n.controller.ControllerGetVolume(n.ctx(), &csi.ControllerGetVolumeRequest{VolumeId: handle})
	return answer.GetVolume(), err
}

func (n *node) expand(handle string, size int64) error {
	_, err := n.controller.ControllerExpandVolume(n.ctx(), &csi.ControllerExpandVolumeRequest{
		VolumeId: handle, CapacityRange: &csi.CapacityRange{RequiredBytes: size},
	})
	return err
}

// target is where a pod of that name wants its volume, below the kubelet's directory. Its parent is there.
func (n *node) target(pod string) string {
	n.t.Helper()
	dir := filepath.Join(n.daemon.KubeletDir(), "pods", pod)
	must(n.t, os.MkdirAll(dir, 0o755))
	return filepath.Join(dir, "mount")
}

func publishRequest(handle, target string) *csi.NodePublishVolumeRequest {
	return &csi.NodePublishVolumeRequest{VolumeId: handle, TargetPath: target, VolumeCapability: many()}
}

func readOnly(r *csi.NodePublishVolumeRequest) { r.Readonly = true }

func mode(m csi.VolumeCapability_AccessMode_Mode, flags ...string) func(*csi.NodePublishVolumeRequest) {
	return func(r *csi.NodePublishVolumeRequest) { r.VolumeCapability = capability(m, flags...) }
}

func attributes(a map[string]string) func(*csi.NodePublishVolumeRequest) {
	return func(r *csi.NodePublishVolumeRequest) { r.VolumeContext = a }
}

func (n *node) publish(handle, target string, change ...func(*csi.NodePublishVolumeRequest)) error {
	r := publishRequest(handle, target)
	for _, c := range change {
		c(r)
	}
	_, err := n.kubelet.NodePublishVolume(n.ctx(), r)
	return err
}

// mounted publishes a volume for a pod, which must succeed, and gives the target.
func (n *node) mounted(handle, pod string, change ...func(*csi.NodePublishVolumeRequest)) string {
	n.t.Helper()
	target := n.target(pod)
	must(n.t, n.publish(handle, target, change...))
	return target
}

func (n *node) unpublish(handle, target string) error {
	_, err := n.kubelet.NodeUnpublishVolume(n.ctx(), &csi.NodeUnpublishVolumeRequest{VolumeId: handle, TargetPath: target})
	return err
}

// stats are the bytes and, where they are told, the inodes that a volume uses.
func (n *node) stats(handle, path string) (*csi.NodeGetVolumeStatsResponse, error) {
	return n.kubelet.NodeGetVolumeStats(n.ctx(), &csi.NodeGetVolumeStatsRequest{VolumeId: handle, VolumePath: path})
}

// list gives the handles of one page.
func (n *node) list(token string, size int32) (handles []string, next string, err error) {
	answer, err := n.controller.ListVolumes(n.ctx(), &csi.ListVolumesRequest{StartingToken: token, MaxEntries: size})
	for _, e := range answer.GetEntries() {
		handles = append(handles, e.GetVolume().GetVolumeId())
	}
	return handles, answer.GetNextToken(), err
}

func (n *node) all() []string {
	n.t.Helper()
	handles, _, err := n.list("", 0)
	must(n.t, err)
	return handles
}

// reasons are those of a volume's health findings.
func (n *node) reasons(handle string) []string {
	n.t.Helper()
	answer, err := n.controller.ControllerGetVolumeHealth(n.ctx(), &csi.ControllerGetVolumeHealthRequest{VolumeId: handle})
	must(n.t, err)
	return reasonsOf(answer.GetVolumeHealth())
}

func reasonsOf(h *csi.VolumeHealth) []string {
	var out []string
	for _, s := range h.GetHealthStatuses() {
		out = append(out, s.GetReason())
	}
	return out
}

// storage are the findings about pools: reason → message.
func (n *node) storage() map[string]string {
	n.t.Helper()
	answer, err := n.kubelet.NodeGetStorageHealth(n.ctx(), &csi.NodeGetStorageHealthRequest{})
	must(n.t, err)
	out := map[string]string{}
	for _, h := range answer.GetBackendHealth() {
		out[h.GetReason()] = h.GetMessage()
	}
	return out
}

// want checks an error's code, and that its message has all the words.
func want(t *testing.T, err error, code codes.Code, words ...string) {
	t.Helper()
	if got := status.Code(err); got != code {
		t.Errorf("%v (%v), want %v", got, err, code)
		return
	}
	for _, word := range words {
		if !strings.Contains(status.Convert(err).Message(), word) {
			t.Errorf("the message lacks %q: %v", word, err)
		}
	}
}

// oneOf checks that an error's code is one of those.
func oneOf(t *testing.T, err error, allowed ...codes.Code) {
	t.Helper()
	if !slices.Contains(allowed, status.Code(err)) {
		t.Errorf("%v, want one of %v", err, allowed)
	}
}

// unmounted unpublishes a volume, which must succeed. A process that another test forks at this moment has our open
// files until it execs, so a file that was just closed can keep the mount busy for a moment longer.
func (n *node) unmounted(handle, target string) {
	n.t.Helper()
	eventually(n.t, waitPurge, func() string {
		err := n.unpublish(handle, target)
		if err == nil {
			return ""
		}
		if !strings.Contains(err.Error(), "in use") {
			n.t.Fatal(err)
		}
		return err.Error()
	})
}
