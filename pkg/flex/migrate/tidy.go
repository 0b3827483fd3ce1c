package migrate

import (
	"fmt"
	"slices"
	"strings"
)

// tidy takes away what the cluster keeps in an object for itself, so that it can
// be created anew. What a person may miss is told.
func tidy(o Object) []string {
	var warnings []string
	for _, f := range o.texts("metadata", "finalizers") {
		if !slices.Contains([]string{"kubernetes.io/pv-protection", "kubernetes.io/pvc-protection", "kubernetes.io/pv-controller"}, f) {
			warnings = append(warnings, fmt.Sprintf("the finalizer %s of %s is left out; the old object stays until its owner has taken it off", f, o.ref()))
		}
	}
	for _, r := range o.objects("metadata", "ownerReferences") {
		warnings = append(warnings, fmt.Sprintf("the owner %s %s of %s is left out; a controller that wants it sets it again", r.text("kind"), r.text("name"), o.ref()))
	}
	for _, key := range []string{
		"uid", "resourceVersion", "generation", "creationTimestamp", "deletionTimestamp", "deletionGracePeriodSeconds",
		"managedFields", "selfLink", "finalizers", "ownerReferences", "generateName",
	} {
		o.remove("metadata", key)
	}
	o.remove("status")
	for _, key := range sortedKeys(o.sub("metadata", "annotations")) {
		if bookkeeping(key) {
			o.remove("metadata", "annotations", key)
		}
	}
	if a := o.sub("metadata", "annotations"); a != nil && len(a) == 0 {
		o.remove("metadata", "annotations")
	}
	return warnings
}

// bookkeeping tells whether an annotation is of those that Kubernetes writes: they
// speak of the old object.
func bookkeeping(key string) bool {
	group, _, _ := strings.Cut(key, "/")
	return slices.Contains([]string{"pv.kubernetes.io", "volume.kubernetes.io", "volume.beta.kubernetes.io", "control-plane.alpha.kubernetes.io"}, group) ||
		key == "kubectl.kubernetes.io/last-applied-configuration" || key == "deployment.kubernetes.io/revision"
}

// class is the storage class of a claim or volume, wherever it is written.
func class(o Object) string {
	if c := o.text("spec", "storageClassName"); c != "" {
		return c
	}
	return o.annotation("volume.beta.kubernetes.io/storage-class")
}
