package cluster

import (
	"context"
	"fmt"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
)

// Static makes a PersistentVolume by hand, retained, for a volume of a node. It
// goes with the test.
func (s *Story) Static(name, handle, node string, attributes map[string]string) {
	s.Helper()
	s.persistent(name, node, TopologyKey, corev1.PersistentVolumeSource{
		CSI: &corev1.CSIPersistentVolumeSource{Driver: Driver, VolumeHandle: handle, VolumeAttributes: attributes},
	})
}

// persistent makes a PersistentVolume that goes with the test.
func (s *Story) persistent(name, node, key string, source corev1.PersistentVolumeSource) {
	s.Helper()
	pv := &corev1.PersistentVolume{
		ObjectMeta: metav1.ObjectMeta{Name: name},
		Spec: corev1.PersistentVolumeSpec{
			Capacity:                      corev1.ResourceList{corev1.ResourceStorage: resource.MustParse("1Gi")},
			AccessModes:                   []corev1.PersistentVolumeAccessMode{corev1.ReadWriteOnce},
			PersistentVolumeReclaimPolicy: corev1.PersistentVolumeReclaimRetain,
			PersistentVolumeSource:        source,
			NodeAffinity: &corev1.VolumeNodeAffinity{Required: &corev1.NodeSelector{NodeSelectorTerms: []corev1.NodeSelectorTerm{{
				MatchExpressions: []corev1.NodeSelectorRequirement{{Key: key, Operator: corev1.NodeSelectorOpIn, Values: []string{node}}},
			}}}},
		},
	}
	if _, err := s.Kube.CoreV1().PersistentVolumes().Create(s.Context(), pv, metav1.CreateOptions{}); err != nil {
		s.Fatal(err)
	}
	s.goesWithTest("volume "+name, func(ctx context.Context) error {
		return s.Kube.CoreV1().PersistentVolumes().Delete(ctx, name, metav1.DeleteOptions{})
	})
}

// Class makes a class that goes with the test.
func (s *Story) Class(name string, parameters map[string]string) {
	s.Helper()
	binding := storagev1.VolumeBindingWaitForFirstConsumer
	_, err := s.Kube.StorageV1().StorageClasses().Create(s.Context(), &storagev1.StorageClass{
		ObjectMeta: metav1.ObjectMeta{Name: name}, Provisioner: Driver, Parameters: parameters, VolumeBindingMode: &binding,
	}, metav1.CreateOptions{})
	if err != nil {
		s.Fatal(err)
	}
	s.goesWithTest("class "+name, func(ctx context.Context) error {
		return s.Kube.StorageV1().StorageClasses().Delete(ctx, name, metav1.DeleteOptions{})
	})
}

func (s *Story) goesWithTest(what string, remove func(context.Context) error) {
	s.Cleanup(func() {
		if err := remove(context.Background()); err != nil && !apierrors.IsNotFound(err) {
			s.Errorf("remove %s: %v", what, err)
		}
	})
}

// Devices are the lines of losetup on a node about a volume's image, or about a
// device that the kubelet has put upon it as a lock.
func (s *Story) Devices(node, volume string) []string {
	s.Helper()
	var lines []string
	for _, line := range strings.Split(Node(s, "exec", node, "losetup", "-nO", "NAME,BACK-FILE,SIZELIMIT,AUTOCLEAR"), "\n") {
		if strings.Contains(line, volume) {
			lines = append(lines, line)
		}
	}
	return lines
}

// Detached waits until no device of a volume is left on a node.
func (s *Story) Detached(node, volume string) {
	s.Helper()
	Eventually(s, 30*time.Second, "devices of "+volume+" detached", func(context.Context) string {
		return strings.Join(s.Devices(node, volume), "\n")
	})
}

// Phase waits until a volume is in that phase.
func (s *Story) Phase(volume string, phase corev1.PersistentVolumePhase) {
	s.Helper()
	Eventually(s, time.Minute, fmt.Sprintf("volume %s %s", volume, phase), func(ctx context.Context) string {
		pv, err := s.Kube.CoreV1().PersistentVolumes().Get(ctx, volume, metav1.GetOptions{})
		if err != nil || pv.Status.Phase == phase {
			return text(err)
		}
		return "it is " + string(pv.Status.Phase)
	})
}

// Release lets a retained volume be bound again.
func (s *Story) Release(volume string) {
	s.Helper()
	s.patchVolume(volume, `{"spec":{"claimRef":null}}`)
}

// SetReclaim sets what becomes of a volume without its claim.
func (s *Story) SetReclaim(volume string, policy corev1.PersistentVolumeReclaimPolicy) {
	s.Helper()
	s.patchVolume(volume, fmt.Sprintf(`{"spec":{"persistentVolumeReclaimPolicy":%q}}`, policy))
}

func (s *Story) patchVolume(volume, patch string) {
	s.Helper()
	_, err := s.Kube.CoreV1().PersistentVolumes().Patch(s.Context(), volume, types.MergePatchType, []byte(patch), metav1.PatchOptions{})
	if err != nil {
		s.Fatal(err)
	}
}

// FlexVolume makes a PersistentVolume of the driver hostvol/local by hand, retained,
// on a node. It goes with the test.
func (s *Story) FlexVolume(name, node string, options map[string]string) {
	s.Helper()
	s.persistent(name, node, "kubernetes.io/hostname", corev1.PersistentVolumeSource{
		FlexVolume: &corev1.FlexPersistentVolumeSource{Driver: "hostvol/local", Options: options},
	})
}
