package flexvolume

import (
	"context"
	"path/filepath"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/hostvol/hostvol/test/e2e/cluster"
)

// A claim and a pod with a volume of its own are led to CSI, and find their data.
func TestMigrate(t *testing.T) {
	s := begin(t)
	dir := t.TempDir()
	program := filepath.Join(dir, "hostvol-flex")
	if _, err := cluster.Run("go", "build", "-buildvcs=false", "-o", program, "./cmd/hostvol-flex"); err != nil {
		t.Fatal(err)
	}
	plan := filepath.Join(dir, "plan")
	migrate := func(args ...string) (string, error) {
		return cluster.Run(program, append([]string{"migrate", "--from-cluster", "--namespace", s.Namespace, "-o", plan,
			"--kubectl", filepath.Join(cluster.Root(), "hack/cluster/kubectl")}, args...)...)
	}
	old := oldVolume(s, "n2")
	s.Claim("data", "64Mi", cluster.OfClass(""), cluster.OfVolume(old))
	s.Pod("claimed", "data")
	s.Ready("claimed")
	s.In("claimed", "echo of a claim >/data/file && sync")
	s.Pod("inline", "", cluster.OnNode("n1"), cluster.WithVolume("data", "/data", inlineVolume(s.Namespace+"-inline")))
	s.Ready("inline")
	s.In("inline", "echo of a pod >/data/file && sync")

	if out, err := migrate(); err != nil || !strings.Contains(out, "Nothing was done") {
		t.Fatalf("a dry run: %v\n%s", err, out)
	}
	if out, err := migrate("--apply"); err == nil || !strings.Contains(err.Error(), "in use by Pod "+s.Namespace+"/claimed") {
		t.Fatalf("while a pod runs: %v\n%s", err, out)
	}
	if claim := s.GetClaim("data"); claim.Spec.VolumeName != old || claim.DeletionTimestamp != nil {
		t.Fatalf("a refusal has changed the claim: %v", claim)
	}
	s.DeletePod("claimed")
	for range 2 { // again, with nothing left to do but for the inline pod, which runs
		out, err := migrate("--apply")
		t.Log(out)
		if err != nil {
			t.Fatal(err)
		}
	}
	if _, err := s.Kube.CoreV1().PersistentVolumes().Get(t.Context(), old, metav1.GetOptions{}); !apierrors.IsNotFound(err) {
		t.Errorf("the old volume is there: %v", err)
	}

	s.Pod("claimed", "data")
	if node := s.Ready("claimed"); node != "n2" {
		t.Errorf("the pod is on %s", node)
	}
	if got := s.In("claimed", "cat /data/file"); got != "of a claim" {
		t.Errorf("it reads %q", got)
	}
	s.DeletePod("inline")
	for range 2 { // a plan that no longer sees the pod leaves its manifest
		if out, err := migrate(); err != nil {
			t.Fatalf("%v\n%s", err, out)
		}
	}
	if _, err := cluster.Kubectl("create", "-f", filepath.Join(plan, "pod-"+s.Namespace+"_inline.yaml")); err != nil {
		t.Fatal(err)
	}
	s.Ready("inline")
	if got := s.In("inline", "cat /data/file"); got != "of a pod" {
		t.Errorf("it reads %q", got)
	}
	throughCSI(s)
	s.DeletePod("claimed")
	s.DeletePod("inline")
}

func inlineVolume(name string) corev1.VolumeSource {
	return corev1.VolumeSource{FlexVolume: &corev1.FlexVolumeSource{
		Driver: "hostvol/local", Options: map[string]string{"volume": name, "size": "64Mi"},
	}}
}

// oldVolume makes a PersistentVolume as people had them. The test leads it to CSI,
// so only one that has failed has left it.
func oldVolume(s *cluster.Story, node string) string {
	s.Helper()
	name := "old-" + s.Namespace
	pv := &corev1.PersistentVolume{
		ObjectMeta: metav1.ObjectMeta{Name: name},
		Spec: corev1.PersistentVolumeSpec{
			Capacity:                      corev1.ResourceList{corev1.ResourceStorage: resource.MustParse("64Mi")},
			AccessModes:                   []corev1.PersistentVolumeAccessMode{corev1.ReadWriteOnce},
			PersistentVolumeReclaimPolicy: corev1.PersistentVolumeReclaimRetain,
			PersistentVolumeSource: corev1.PersistentVolumeSource{FlexVolume: &corev1.FlexPersistentVolumeSource{
				Driver: "hostvol/local", Options: map[string]string{"volume": name, "size": "64Mi"},
			}},
			NodeAffinity: &corev1.VolumeNodeAffinity{Required: &corev1.NodeSelector{NodeSelectorTerms: []corev1.NodeSelectorTerm{{
				MatchExpressions: []corev1.NodeSelectorRequirement{{Key: "kubernetes.io/hostname", Operator: corev1.NodeSelectorOpIn, Values: []string{node}}},
			}}}},
		},
	}
	if _, err := s.Kube.CoreV1().PersistentVolumes().Create(s.Context(), pv, metav1.CreateOptions{}); err != nil {
		s.Fatal(err)
	}
	goes(s, name)
	return name
}

// goes has a volume removed with the test, if it is still there then.
func goes(s *cluster.Story, volume string) {
	s.Cleanup(func() {
		err := s.Kube.CoreV1().PersistentVolumes().Delete(context.Background(), volume, metav1.DeleteOptions{})
		if err != nil && !apierrors.IsNotFound(err) {
			s.Error(err)
		}
	})
}

// throughCSI checks that every claim of the story has a CSI volume, which goes with
// the test.
func throughCSI(s *cluster.Story) {
	s.Helper()
	claims, err := s.Kube.CoreV1().PersistentVolumeClaims(s.Namespace).List(s.Context(), metav1.ListOptions{})
	if err != nil || len(claims.Items) != 2 {
		s.Fatalf("claims: %v %v", claims, err)
	}
	for _, claim := range claims.Items {
		pv := s.Bound(claim.Name, time.Minute)
		if pv.Spec.CSI == nil || pv.Spec.CSI.Driver != cluster.Driver || cluster.VolumeNode(pv) == "" {
			s.Errorf("claim %s has the volume %v", claim.Name, pv.Spec)
		}
		goes(s, pv.Name)
	}
}
