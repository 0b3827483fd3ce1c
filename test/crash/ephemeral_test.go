package crash

import (
	"errors"
	"os"
	"path/filepath"

	"github.com/container-storage-interface/spec/lib/go/csi"
)

// An ephemeral volume is published for a pod of its own, at a target whose last part is the volume's id, as view
// wants it.
func (w *world) podTarget(id string) string {
	return filepath.Join(w.daemon.KubeletDir(), "pods", "pod-"+id, id)
}

// pod makes the pod's directory, as the kubelet does.
func (w *world) pod(id string) error { return os.MkdirAll(filepath.Dir(w.podTarget(id)), 0o755) }

func (w *world) publishEphemeral(id string) error {
	_, err := call(w.node().NodePublishVolume, &csi.NodePublishVolumeRequest{
		VolumeId: id, TargetPath: w.podTarget(id), VolumeCapability: capability(),
		VolumeContext: map[string]string{"csi.storage.k8s.io/ephemeral": "true", "csi.storage.k8s.io/pod.uid": "pod-" + id, "size": "8Mi"},
	})
	return err
}

func (w *world) unpublishEphemeral(id string) error {
	_, err := call(w.node().NodeUnpublishVolume, &csi.NodeUnpublishVolumeRequest{VolumeId: id, TargetPath: w.podTarget(id)})
	return err
}

// publishedEphemeral makes an ephemeral volume with content.
func publishedEphemeral(w *world, id string) error {
	return errors.Join(w.pod(id), w.publishEphemeral(id), write(w.data(id), content(id)))
}
