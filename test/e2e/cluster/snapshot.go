package cluster

import (
	"context"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

var snapshots = schema.GroupVersionResource{Group: "snapshot.storage.k8s.io", Version: "v1", Resource: "volumesnapshots"}

// Snapshot cuts a snapshot of a claim's volume.
func (s *Story) Snapshot(name, claim string) {
	s.Helper()
	object := &unstructured.Unstructured{Object: map[string]any{
		"apiVersion": "snapshot.storage.k8s.io/v1", "kind": "VolumeSnapshot",
		"metadata": map[string]any{"name": name},
		"spec": map[string]any{
			"volumeSnapshotClassName": Class,
			"source":                  map[string]any{"persistentVolumeClaimName": claim},
		},
	}}
	if _, err := s.Dynamic.Resource(snapshots).Namespace(s.Namespace).Create(s.Context(), object, metav1.CreateOptions{}); err != nil {
		s.Fatal(err)
	}
}

// SnapshotReady waits until a snapshot is ready to use.
func (s *Story) SnapshotReady(name string) {
	s.Helper()
	Eventually(s, 2*time.Minute, "snapshot "+name+" ready", func(ctx context.Context) string {
		object, err := s.Dynamic.Resource(snapshots).Namespace(s.Namespace).Get(ctx, name, metav1.GetOptions{})
		if err != nil {
			return err.Error()
		}
		if ready, _, _ := unstructured.NestedBool(object.Object, "status", "readyToUse"); ready {
			return ""
		}
		message, _, _ := unstructured.NestedString(object.Object, "status", "error", "message")
		return "not ready " + message
	})
}

// DeleteSnapshot deletes a snapshot and waits until it is gone, from the node
// too.
func (s *Story) DeleteSnapshot(name string) {
	s.Helper()
	if err := s.Dynamic.Resource(snapshots).Namespace(s.Namespace).Delete(s.Context(), name, metav1.DeleteOptions{}); err != nil {
		s.Fatal(err)
	}
	contents := snapshots
	contents.Resource = "volumesnapshotcontents"
	Eventually(s, 2*time.Minute, "snapshot "+name+" gone", func(ctx context.Context) string {
		list, err := s.Dynamic.Resource(contents).List(ctx, metav1.ListOptions{})
		if err != nil {
			return err.Error()
		}
		for _, content := range list.Items {
			namespace, _, _ := unstructured.NestedString(content.Object, "spec", "volumeSnapshotRef", "namespace")
			of, _, _ := unstructured.NestedString(content.Object, "spec", "volumeSnapshotRef", "name")
			if namespace == s.Namespace && of == name {
				message, _, _ := unstructured.NestedString(content.Object, "status", "error", "message")
				return "its content is there " + message
			}
		}
		return ""
	})
}
