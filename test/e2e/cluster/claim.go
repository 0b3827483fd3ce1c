package cluster

import (
	"context"
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
)

// NewClaim is a claim of the class hostvol for one node.
func NewClaim(name, size string, change ...func(*corev1.PersistentVolumeClaim)) *corev1.PersistentVolumeClaim {
	class := Class
	c := &corev1.PersistentVolumeClaim{
		ObjectMeta: metav1.ObjectMeta{Name: name},
		Spec: corev1.PersistentVolumeClaimSpec{
			StorageClassName: &class,
			AccessModes:      []corev1.PersistentVolumeAccessMode{corev1.ReadWriteOnce},
			Resources:        corev1.VolumeResourceRequirements{Requests: corev1.ResourceList{corev1.ResourceStorage: resource.MustParse(size)}},
		},
	}
	for _, f := range change {
		f(c)
	}
	return c
}

// OfClass makes a claim ask for another class.
func OfClass(name string) func(*corev1.PersistentVolumeClaim) {
	return func(c *corev1.PersistentVolumeClaim) { c.Spec.StorageClassName = &name }
}

// OfVolume makes a claim ask for a volume by its name.
func OfVolume(name string) func(*corev1.PersistentVolumeClaim) {
	return func(c *corev1.PersistentVolumeClaim) { c.Spec.VolumeName = name }
}

// WithMode gives a claim another access mode.
func WithMode(mode corev1.PersistentVolumeAccessMode) func(*corev1.PersistentVolumeClaim) {
	return func(c *corev1.PersistentVolumeClaim) {
		c.Spec.AccessModes = []corev1.PersistentVolumeAccessMode{mode}
	}
}

// AsBlock makes a claim ask for a raw block device.
func AsBlock(c *corev1.PersistentVolumeClaim) {
	mode := corev1.PersistentVolumeBlock
	c.Spec.VolumeMode = &mode
}

// From makes a claim's volume of another claim (kind PersistentVolumeClaim) or
// of a snapshot (kind VolumeSnapshot).
func From(kind, name string) func(*corev1.PersistentVolumeClaim) {
	return func(c *corev1.PersistentVolumeClaim) {
		c.Spec.DataSource = &corev1.TypedLocalObjectReference{Kind: kind, Name: name}
		if kind == "VolumeSnapshot" {
			group := "snapshot.storage.k8s.io"
			c.Spec.DataSource.APIGroup = &group
		}
	}
}

// SelectedNode does what the scheduler does when it has chosen a node.
func SelectedNode(node string) func(*corev1.PersistentVolumeClaim) {
	return func(c *corev1.PersistentVolumeClaim) {
		c.Annotations = map[string]string{"volume.kubernetes.io/selected-node": node}
	}
}

// Claim makes a claim.
func (s *Story) Claim(name, size string, change ...func(*corev1.PersistentVolumeClaim)) *corev1.PersistentVolumeClaim {
	s.Helper()
	c, err := s.Kube.CoreV1().PersistentVolumeClaims(s.Namespace).Create(s.Context(), NewClaim(name, size, change...), metav1.CreateOptions{})
	if err != nil {
		s.Fatal(err)
	}
	return c
}

// GetClaim reads a claim.
func (s *Story) GetClaim(name string) *corev1.PersistentVolumeClaim {
	s.Helper()
	c, err := s.Kube.CoreV1().PersistentVolumeClaims(s.Namespace).Get(s.Context(), name, metav1.GetOptions{})
	if err != nil {
		s.Fatal(err)
	}
	return c
}

// Bound waits until the claim is bound and gives its volume.
func (s *Story) Bound(claim string, within time.Duration) *corev1.PersistentVolume {
	s.Helper()
	var pv *corev1.PersistentVolume
	Eventually(s, within, "claim "+claim+" bound", func(ctx context.Context) string {
		c, err := s.Kube.CoreV1().PersistentVolumeClaims(s.Namespace).Get(ctx, claim, metav1.GetOptions{})
		if err != nil {
			return err.Error()
		}
		if c.Status.Phase != corev1.ClaimBound {
			return "it is " + string(c.Status.Phase)
		}
		pv, err = s.Kube.CoreV1().PersistentVolumes().Get(ctx, c.Spec.VolumeName, metav1.GetOptions{})
		return text(err)
	})
	return pv
}

// VolumeNode is the node to which the volume's affinity binds it.
func VolumeNode(pv *corev1.PersistentVolume) string {
	if pv.Spec.NodeAffinity == nil || pv.Spec.NodeAffinity.Required == nil {
		return ""
	}
	for _, term := range pv.Spec.NodeAffinity.Required.NodeSelectorTerms {
		for _, e := range term.MatchExpressions {
			if e.Key == TopologyKey && len(e.Values) == 1 {
				return e.Values[0]
			}
		}
	}
	return ""
}

// Grow asks for more.
func (s *Story) Grow(claim, size string) {
	s.Helper()
	patch := fmt.Sprintf(`{"spec":{"resources":{"requests":{"storage":%q}}}}`, size)
	if err := s.tryPatch(claim, patch); err != nil {
		s.Fatal(err)
	}
}

// TryGrow asks for more or less and gives the answer.
func (s *Story) TryGrow(claim, size string) error {
	return s.tryPatch(claim, fmt.Sprintf(`{"spec":{"resources":{"requests":{"storage":%q}}}}`, size))
}

func (s *Story) tryPatch(claim, patch string) error {
	_, err := s.Kube.CoreV1().PersistentVolumeClaims(s.Namespace).Patch(s.Context(), claim, types.MergePatchType, []byte(patch), metav1.PatchOptions{})
	return err
}

// DeleteClaim deletes a claim and does not wait.
func (s *Story) DeleteClaim(name string) {
	s.Helper()
	if err := s.Kube.CoreV1().PersistentVolumeClaims(s.Namespace).Delete(s.Context(), name, metav1.DeleteOptions{}); err != nil {
		s.Fatal(err)
	}
}

// VolumeGone waits until there is no PersistentVolume of that name any more,
// so that the driver has deleted it.
func (s *Story) VolumeGone(name string, within time.Duration) time.Duration {
	s.Helper()
	return Eventually(s, within, "volume "+name+" gone", func(ctx context.Context) string {
		pv, err := s.Kube.CoreV1().PersistentVolumes().Get(ctx, name, metav1.GetOptions{})
		if apierrors.IsNotFound(err) {
			return ""
		}
		if err != nil {
			return err.Error()
		}
		return "it is " + string(pv.Status.Phase) + " " + pv.Status.Message
	})
}

// Event waits for an event of the namespace whose message has that text.
func (s *Story) Event(contains string, within time.Duration) string {
	s.Helper()
	return s.event(s.Namespace, contains, within)
}

func (s *Story) event(namespace, contains string, within time.Duration) string {
	s.Helper()
	found := ""
	Eventually(s, within, fmt.Sprintf("event with %q", contains), func(ctx context.Context) string {
		list, err := s.Kube.CoreV1().Events(namespace).List(ctx, metav1.ListOptions{})
		if err != nil {
			return err.Error()
		}
		seen := ""
		for _, e := range list.Items {
			if containsFold(e.Message, contains) {
				found = e.Message
				return ""
			}
			seen += "\n  " + e.Reason + ": " + e.Message
		}
		return "seen are" + seen
	})
	return found
}

// Capacity waits until the claim has that size.
func (s *Story) Capacity(claim, size string, within time.Duration) {
	s.Helper()
	Eventually(s, within, "claim "+claim+" of "+size, func(ctx context.Context) string {
		c, err := s.Kube.CoreV1().PersistentVolumeClaims(s.Namespace).Get(ctx, claim, metav1.GetOptions{})
		if err != nil {
			return err.Error()
		}
		if got := c.Status.Capacity[corev1.ResourceStorage]; got.Cmp(resource.MustParse(size)) != 0 {
			return "it has " + got.String()
		}
		return ""
	})
}

// NodeReady waits until a node is ready.
func (s *Story) NodeReady(node string) {
	s.Helper()
	Eventually(s, 3*time.Minute, node+" ready", func(ctx context.Context) string {
		n, err := s.Kube.CoreV1().Nodes().Get(ctx, node, metav1.GetOptions{})
		if err != nil {
			return err.Error()
		}
		for _, c := range n.Status.Conditions {
			if c.Type == corev1.NodeReady && c.Status == corev1.ConditionTrue {
				return ""
			}
		}
		return "it is not"
	})
}
